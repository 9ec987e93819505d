"""Targets of which few labels are known, and their other rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from polyscene._extension import _C
from polyscene.data import Dataset


def few_labels(data: Dataset, targets: Sequence[str], share: float, seed: int | None = None) -> Dataset:
    """The same data where labels of few rows of some scenes are known: what `transfer.labels` of a config says.

    Rows are drawn without a look at their labels. Everything is fitted again on what is known; the other rows train
    and measure nothing.

    Args:
        data: the data set.
        targets: the scenes, such as the target of a transfer.
        share: of their training and validation rows whose labels are known, in (0, 1]; at least one of each scene.
        seed: which rows; None for the seed of the split.

    Returns:
        The data, whose ``unlabelled`` are all training rows of these scenes, for mechanisms that read no labels.

    Raises:
        ValueError: no scene, an unknown or a repeated one, a share out of range.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import few_labels
        >>> data = few_labels(ps.datasets.load("simulator", users=200, scenes=2), ["scene_1"], 0.1)
        >>> data.counts()["train"]["scene_1"] < 0.2 * len(data.unlabelled)
        True
    """
    if isinstance(targets, str) or not targets or len(set(targets)) < len(targets):
        raise ValueError(f"few_labels: targets must be a list of different scenes, got {targets!r}")
    out = data
    for scene in targets:
        parts = tuple(part for part in ("train", "valid") if data.counts().get(part, {}).get(scene))
        out = out.thin(scene, share, seed=data.split.seed if seed is None else seed, parts=parts)
    out.unlabelled = unlabelled(data, out, targets)
    return out


def unlabelled(whole: Dataset, data: Dataset, targets: Sequence[str]) -> _C.data.Table:
    """All training rows that ``whole`` has of some scenes, as ``data``, the same source with fewer rows, sees them.

    Args:
        whole: the data set before rows were left out.
        data: the data set after.
        targets: the scenes.
    """
    assert whole.train is not None
    rows = whole.train.rows
    codes = torch.tensor([whole.columns.scene_names.index(scene) for scene in targets])
    mine = rows[torch.isin(whole.columns.scene[rows], codes)]
    out = _C.data.Table(data.columns, data.schema, rows=mine, role="train")
    if data.train is not None and data.train.history is not None:
        out.history = data.train.history
    return out
