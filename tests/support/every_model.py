"""What the tests over every registered model share: their names, and models and batches to try them on."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch
from torch import nn

SEQUENCE = set(ps.models.list("sequence")) - set(ps.models.list("ranking"))  # theirs are in models/sequence
TEXT = set(ps.models.list("text")) - set(ps.models.list("ctr"))  # theirs are in models/text
IMAGE = set(ps.models.list("image")) - set(ps.models.list("ctr"))  # theirs are in models/image
NAMES = [name for name in ps.models.list() if name not in SEQUENCE | TEXT | IMAGE]
WITHOUT_TENSORS = {"ease", "item_knn"}  # a function of the training pairs that a model keeps
WITHOUT_PARAMETERS = {"popularity", "cross_ease", "nmf"} | WITHOUT_TENSORS  # closed form: nothing to optimise
RESTING = {"adapted": "base", "side_tuned": "base"}  # a frozen part that stays in evaluation mode
# Every node of a graph is looked up at every step.
WITHOUT_TABLES = {"light_gcn", "ngcf", "gcn", "gat", "bi_tgcf", "disen_cdr", "cdrib"}
RANKING = set(ps.models.list("ranking")) - set(ps.models.list("ctr"))
RATING = set(ps.models.list("rating")) - set(ps.models.list("ctr"))

every_model = pytest.mark.parametrize("name", NAMES)
models_with_tensors = pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_TENSORS])
models_with_tables = pytest.mark.parametrize("name", [n for n in NAMES if n not in WITHOUT_PARAMETERS | WITHOUT_TABLES])
trained_models = pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_PARAMETERS])


def task_of(name: str | None) -> str:
    """A task that the model does: rankings or ratings for those that know nothing else."""
    return "ranking" if name in RANKING else "rating" if name in RATING else "ctr"


def data_of(name: str | None, **options: Any) -> Any:
    """Small data of that task."""
    return ps.testing.tiny_data(task_of(name), **options)


def make(name: str, data: Any, **options: Any) -> ps.Model:
    """A model, prepared and where possible fitted on the training rows; always the same."""
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, **options)
    model.prepare(data.train)
    model.fit_closed_form(data.train)
    return model


def draw(model: ps.Model, data: Any, rows: int, seed: int = 0) -> Any:
    """A batch with as much behaviour as the model needs."""
    return ps.testing.batch(data, rows, seed, history=model.history_length)


def scramble(model: nn.Module, seed: int = 1) -> nn.Module:
    """Moves the model away from an initialisation that may be all zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model
