"""Attributions by captum, through functions of masks: what happens inside a C++ model, its hooks do not see."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from polyscene._features import Features

METHODS = ("shapley", "exact", "ablation", "integrated_gradients")
EXACT = 7
"""Most features of which all orders are tried."""


def require() -> Any:
    """Captum's attribution methods.

    Raises:
        ImportError: captum is not installed; the message says how to get it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its progress bars
            import captum.attr
    except ImportError as error:
        raise ImportError('attributions need the package captum: pip install "polyscene[explain]"') from error
    return captum.attr


def of_masks(features: Features, method: str, samples: int, seed: int) -> list[float]:
    """What each feature adds to the answer: with all of them there against none.

    Args:
        features: of one row.
        method: "shapley", "exact" or "ablation".
        samples: orders of features that are drawn, for "shapley".
        seed: of what is drawn.

    Raises:
        ValueError: more features than "exact" can order.
    """
    attr, count = require(), len(features.all)
    if count == 0:
        return []
    there, none = torch.ones(1, count, dtype=torch.float64), torch.zeros(1, count, dtype=torch.float64)
    if method == "exact":
        if count > EXACT:
            raise ValueError(
                f"attributions: method 'exact' orders at most {EXACT} features, the row has {count}; name fewer kinds, "
                "or take 'shapley'"
            )
        found = attr.ShapleyValues(features).attribute(there, baselines=none, perturbations_per_eval=64)
    elif method == "shapley":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sampling = attr.ShapleyValueSampling(features)
            found = sampling.attribute(there, baselines=none, n_samples=samples, perturbations_per_eval=64)
    else:
        found = attr.FeatureAblation(features).attribute(there, baselines=none, perturbations_per_eval=64)
    return found[0].tolist()


def of_numbers(features: Features, samples: int) -> list[float]:
    """Integrated gradients of a row's numeric fields, from missing values to its own (Sundararajan et al., ICML 2017).

    Args:
        features: of one row.
        samples: steps of the integral.
    """
    numbers = features.batch.numeric.double()
    found = (
        require()
        .IntegratedGradients(features.of_numbers)
        .attribute(numbers, baselines=features.absent().double().unsqueeze(0), n_steps=samples, internal_batch_size=512)
    )
    return [float(found[0, columns].sum()) for _, columns in features.numbers()]
