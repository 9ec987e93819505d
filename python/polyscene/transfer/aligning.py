"""Models whose scenes are to look alike, or to pull the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.transfer._around import Around


class Aligned(Around):
    r"""A model whose hidden layer is to look alike in all scenes.

    .. math:: L = L_{model} + \lambda A(h), \qquad h = \mathrm{represent}(x)

    on rows that are drawn from a table, as many from each scene; their labels are not looked at. A is for

    - "dann": the cross-entropy of a discriminator that tells the scene from h, whose gradient is reversed on its way to
      h and scaled by :math:`2 / (1 + e^{-\gamma p}) - 1`, p the share of ``ramp`` that is done (Ganin and Lempitsky,
      ICML 2015; TLlib's default scale ends at 0.46 and not at 1);
    - "mmd": the unbiased squared maximum mean discrepancy, :func:`polyscene.nn.mmd` (Long et al., ICML 2015);
    - "coral": the distance of covariances, :func:`polyscene.nn.coral` (Sun and Saenko, ECCV workshops 2016);

    the latter two as the mean over pairs of scenes. Models that read the scene in front of h can undo it, and where
    shares of positive labels differ it can harm. It shares the parameters of ``model``.

    Args:
        model: what trains; it must have a hidden layer or embeddings (:meth:`Model.represent`).
        table: rows of several scenes, such as the training rows.
        kind: "dann", "mmd" or "coral".
        strength: :math:`\lambda`; 0 for the model as it is.
        rows: rows drawn at each step.
        ramp: steps until the gradient is reversed in full.
        gamma: how fast it gets there.
        discriminator: hidden widths of the discriminator.
        seed: of the rows that are drawn.

    Raises:
        ValueError: options out of range, rows of one scene alone, a model without a representation.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import Aligned
        >>> data = ps.testing.tiny_data()
        >>> aligned = Aligned(ps.models.WideDeep(data.schema, hidden=[8]), data.train, kind="coral", rows=32)
        >>> bool(aligned.alignment(0) >= 0)
        True
    """

    def __init__(
        self,
        model: Model,
        table: Any,
        *,
        kind: str = "dann",
        strength: float = 0.1,
        rows: int = 256,
        ramp: int = 1000,
        gamma: float = 10.0,
        discriminator: Sequence[int] = (64, 64),
        seed: int = 2022,
    ) -> None:
        options = {"kind": kind, "strength": strength, "rows": rows, "ramp": ramp, "gamma": gamma, "seed": seed}
        options["discriminator"] = list(discriminator)
        self._around(model, _C.transfer.Aligned(model._native(), table, options))

    def alignment(self, number: int) -> torch.Tensor:
        """A on the rows of step ``number``, without the reversal, []."""
        return self._impl.alignment(number)

    def accuracy(self, number: int) -> float:
        """Share of the rows of step ``number`` whose scene the discriminator tells, in [0, 1].

        Near chance is the goal, and what a dead discriminator shows as well.

        Raises:
            ValueError: there is no discriminator.
        """
        return float(self._impl.accuracy(number))


class Balanced(Around):
    r"""A model that trains on several scenes as on several tasks.

    - "uncertainty" (Kendall, Gal and Cipolla, CVPR 2018): :math:`\sum_s b_s (e^{-t_s} L_s + t_s / 2)`, ratings
      :math:`\sum_s b_s (e^{-t_s} L_s + t_s)`, with learned log variances :math:`t_s`, 0 at the start, kept in [-5, 5];
    - "pcgrad" (Yu et al., NeurIPS 2020): of the gradient :math:`g_i` of each scene what points against that of another
      is taken off, :math:`g_i - (g_i \cdot g_j) / \|g_j\|^2\, g_j`, one scene after another in an order drawn at each
      step; shared parameters alone. The sum is the step, as in the paper; a known port averages.

    :math:`L_s` is the loss on the rows of a scene and :math:`b_s` their share of the batch, where the papers count
    tasks alike: so it starts as the plain loss. Scenes pass one by one, so that batch norm that they share sees one at
    a time. It shares the parameters of ``model``.

    Args:
        model: what trains.
        kind: "uncertainty" or "pcgrad".
        shared: names or prefixes of the parameters that pcgrad projects; empty for all but lookup tables and those of
            one scene.
        seed: of the order in which pcgrad meets the scenes.

    Raises:
        ValueError: an unknown kind or prefix, data of one scene.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import Balanced
        >>> data = ps.testing.tiny_data()
        >>> balanced = Balanced(ps.models.WideDeep(data.schema, hidden=[8]))
        >>> balanced.variances()
        {'phone': 1.0, 'tablet': 1.0, 'television': 1.0}
    """

    def __init__(
        self, model: Model, *, kind: str = "uncertainty", shared: Sequence[str] = (), seed: int = 2022
    ) -> None:
        options = {"kind": kind, "shared": list(shared), "seed": seed}
        self._around(model, _C.transfer.Balanced(model._native(), options))

    def variances(self) -> dict[str, float]:
        """The learned variance of each scene; empty for pcgrad."""
        found = dict(self.named_parameters()).get("balanced_log_variance")
        if found is None:
            return {}
        return dict(zip(self.schema.scenes, found.detach().clamp(-5, 5).exp().tolist(), strict=False))
