"""How well a model does in a scene that training never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from polyscene import models
from polyscene._model import Model
from polyscene.data.dataset import Dataset
from polyscene.evaluation import evaluate
from polyscene.results import Result
from polyscene.training import Trainer, seed_everything


def check_unseen(data: Dataset, scene: str) -> None:
    """Raises ValueError where `unseen` could not measure the scene; costs no training."""
    without = data.without(scene)
    if not len(_rows_of(without, scene)):
        raise ValueError(f"evaluate.unseen_scene: scene {scene!r} has no test rows")


def unseen(
    data: Dataset, scene: str, model: str, options: Mapping[str, Any], train: Mapping[str, Any], **measuring: Any
) -> Result:
    """Trains a model without the rows of one scene and measures it on that scene's test rows.

    Its rows are answered as those of the nearest scene that was seen, or by the row that was reserved for new scenes,
    as the data's ``unseen_scene`` says. Seeds are those of ``train``: beside a model that was trained with them on all
    rows, the scene alone makes the difference.

    Args:
        data: the data set, with test rows.
        scene: the scene that training shall not see.
        model: registered name.
        options: of the model.
        train: options of the trainer.
        measuring: ``metrics`` and ``threshold`` of :func:`polyscene.evaluate`.

    Returns:
        The result on the test rows of the scene, in ``.overall``.

    Raises:
        ValueError: an unknown scene, one without test rows, or the only one with training rows.

    Example:
        >>> import polyscene as ps
        >>> data = ps.datasets.load("simulator", users=200, scenes=3)
        >>> found = unseen(data, "scene_2", "mf", {"dim": 4}, {"epochs": 1, "seed": 1}, metrics=["auc"])
        >>> rows = sum(count["rows"] for count in found.counts.values())
        >>> list(found.overall), rows == data.counts()["test"]["scene_2"]
        (['auc'], True)
    """
    check_unseen(data, scene)
    without = data.without(scene)
    trainer = Trainer(**train)
    seed_everything(trainer.options["seed"])
    made = models.create(model, without.schema, **options)
    trainer.fit(made, without)
    return evaluate(made, without.test.take(_rows_of(without, scene)), **measuring)  # type: ignore[union-attr]


def new_scenes(model: Model, data: Dataset, threshold: float = 0.5) -> dict[str, Any]:
    """How well a model does in scenes that training never saw: the block ``unseen_scene`` of ``explain.json``.

    Args:
        model: a trained model.
        data: its data set; the test rows are measured.
        threshold: probability from which a row counts as positive.

    Returns:
        ``scenes``, the names of the unseen ones; ``unseen`` and ``seen``, metrics over the rows of all unseen
        and of all seen scenes. Empty where the test rows are not of both kinds.
    """
    table = data.test
    if table is None:
        return {}
    names, known = table.columns.scene_names, set(model.schema.scenes)
    scene = table.columns.scene[table.rows].long()
    new = [code for code, name in enumerate(names) if name not in known and bool((scene == code).any())]
    unseen = torch.isin(scene, torch.tensor(new, dtype=torch.int64))
    if not new or bool(unseen.all()):
        return {}
    out: dict[str, Any] = {"scenes": [names[code] for code in new]}
    for part, rows in (("unseen", unseen), ("seen", ~unseen)):
        found = evaluate(model, table.take(rows.nonzero().squeeze(1)), threshold=threshold).overall
        out[part] = {name: value for name, value in found.items() if math.isfinite(value)}
    return out


def _rows_of(data: Dataset, scene: str) -> torch.Tensor:
    """Positions of the scene's rows in the test table, int64."""
    if data.test is None:
        return torch.empty(0, dtype=torch.int64)
    code = data.columns.scene_names.index(scene)
    return (data.columns.scene[data.test.rows] == code).nonzero().squeeze(1)
