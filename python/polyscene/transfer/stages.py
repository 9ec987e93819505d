"""The trainings of a transfer, one after the other, each with a checkpoint of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.training import Trainer
from polyscene.transfer import _mechanisms
from polyscene.transfer.choosing import usable
from polyscene.transfer.fusing import State, state_of

STEPS = 8
"""An epoch over few rows has at least this many steps: the batch size is halved until it has."""


class Anchored(Model):
    r"""A model that trains on while it is tied to what was migrated.

    .. math::
        L = L_{model} + \text{strength} \cdot L_{migration}, \qquad
        L_{migration} = \frac{1}{k} \sum_{i=1}^{k} \sum_l \|\theta_l - \theta^*_{il}\|^2 / n_l

    :math:`\theta^*_i` are the anchors, matched by name, and :math:`n_l` is 1 unless ``per_entry``. It shares the
    parameters of ``model`` and answers as that does; train it, then go on with ``model``.

    Args:
        model: the model that trains.
        anchors: one state or several, as :func:`state_of` gives.
        strength: weight of the migration loss.
        per_entry: whether the distance of each parameter is divided by its number of entries.
        frozen: names or dotted prefixes of parameters that do not move; such parts stay in evaluation mode.
        lr_scale: times the trainer's learning rate.

    Raises:
        ValueError: no anchor, one of another shape, no name in common, a frozen prefix without a parameter.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import Anchored, state_of
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.MF(data.schema)
        >>> tied = Anchored(model, state_of(model), strength=0.1)
        >>> float(tied.migration_loss())
        0.0
    """

    def __init__(
        self,
        model: Model,
        anchors: Mapping[str, torch.Tensor] | Sequence[Mapping[str, torch.Tensor]],
        *,
        strength: float = 1e-2,
        per_entry: bool = False,
        frozen: Sequence[str] = (),
        lr_scale: float = 1.0,
    ) -> None:
        super(Model, self).__init__()
        self.schema = model.schema
        self.__dict__["model"] = model  # holds the Python side of a model written in Python
        states = [anchors] if isinstance(anchors, Mapping) else anchors
        options = {"strength": strength, "per_entry": per_entry, "frozen": list(frozen), "lr_scale": lr_scale}
        native = _C.transfer.Anchored(model._native(), [dict(state) for state in states], options)
        self._mirror(native)

    @property
    def unmatched(self) -> list[str]:
        """Parameters of the model without an anchor: they are free."""
        return list(self._impl.unmatched)

    @property
    def unused(self) -> list[str]:
        """Anchors that the model has no parameter or buffer for."""
        return list(self._impl.unused)

    def migration_loss(self) -> torch.Tensor:
        """The migration loss at the present parameters, []."""
        return self._impl.migration_loss()


@dataclass
class Stage:
    """A training that is done.

    Attributes:
        name: what messages call it.
        state: parameters and buffers of its best epoch.
        history: a row an epoch, from 1.
        steps: optimiser steps of an epoch.
        model: holds such states: the model that was given, or one that a mechanism made around it.
    """

    name: str
    state: State
    history: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    model: Model | None = None

    @property
    def best_epoch(self) -> int:
        """The epoch that was kept."""
        best = [row["epoch"] for row in self.history if row["best"]]
        return best[-1] if best else len(self.history)


class Stages:
    """Runs trainings of one model from given states.

    Args:
        model: holds the parameters; its state after a training is that of the best epoch.
        train: options of the trainer.
        folder: run folder; each training has its checkpoint ``stages/<name>.safetensors`` there. None for none.
        resume: go on from the checkpoints that are there.
        callbacks: see :meth:`Trainer.fit`; rows of all trainings are numbered on, their phase names the training.
    """

    def __init__(self, model: Model, train: dict[str, Any], folder: Path | None, resume: bool, callbacks: Any) -> None:
        self.model = model
        self.train = train
        self.folder = None if folder is None else Path(folder) / "stages"
        self.resume = resume
        self.callbacks = callbacks
        self.done: list[Stage] = []
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in () if resume else self.folder.glob("*.safetensors"):
                old.unlink()  # of another transfer, which a later resume must not find

    def fit(
        self, name: str, start: State, train: Any, valid: Any, tie: dict[str, Any] | None = None, epochs: int = 0
    ) -> Stage:
        """Trains from ``start``; with ``tie`` (options of :class:`Anchored`, or a mechanism) tied to it."""
        options = self.options(len(train), epochs)
        if valid is not None and self.model.schema.task == "ctr" and not usable(valid.labels().numpy(), "auc"):
            options["monitor"] = "log_loss"  # of one class there is no auc, and the first weights would stay
        path = None if self.folder is None else self.folder / f"{slug(name)}.safetensors"
        before = sum(len(stage.history) for stage in self.done)
        told = _Numbered(self.callbacks, name, before)
        resume = self.resume and path is not None and path.exists()
        history, model = self._run(start, train, valid, tie, options, told, path, resume)
        stage = Stage(name, state_of(model), [dict(row) for row in history], _steps(len(train), options), model)
        self.done.append(stage)
        return stage

    def refit(self, start: State, train: Any, epochs: int, rows: int, tie: dict[str, Any] | None = None) -> Model:
        """Trains for exactly ``epochs``, without validation rows, with the batch size that ``rows`` rows have."""
        options = self.options(rows, epochs) | {"patience": 0}
        return self._run(start, train, None, tie, options, None, None, False)[1]

    def options(self, rows: int, epochs: int = 0) -> dict[str, Any]:
        """Options of the trainer for a training on ``rows`` rows."""
        options = dict(self.train)
        size = int(options.get("batch_size", Trainer().options["batch_size"]))
        while size > 16 and rows < STEPS * size:
            size //= 2
        return options | {"batch_size": size} | ({"epochs": epochs} if epochs else {})

    def history(self, kept: Stage | None) -> list[dict[str, Any]]:
        """All rows in order; ``best`` is told of the training that was kept alone."""
        out: list[dict[str, Any]] = []
        for stage in self.done:
            first = len(out)
            for row in stage.history:
                best = stage is kept and row["best"]
                out.append(row | {"epoch": first + row["epoch"], "phase": stage.name, "best": best})
        return out

    def _run(
        self, start: State, train: Any, valid: Any, tie: Any, options: Any, told: Any, path: Path | None, resume: bool
    ) -> tuple[list[dict[str, Any]], Model]:
        self.model.load_state_dict(start)
        fitted = self.model
        if tie is not None and "mechanism" in tie:
            fitted = _mechanisms.wrap(
                tie["mechanism"], self.model, train, tie["ground"], tie["settings"], tie["frozen"]
            )
            options = options | {"lr": tie["lr_scale"] * options.get("lr", Trainer().options["lr"])}
        elif tie is not None:
            fitted = Anchored(self.model, start, **tie)
        history = Trainer(**options).fit(fitted, train, valid, callbacks=told, checkpoint=path, resume=resume)
        return history, self.model if tie is None else _mechanisms.result(self.model, fitted)


def slug(name: str) -> str:
    """A file name for a training: letters, digits, points and dashes, different for different names."""
    plain = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "stage"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def kept_whole(data: Any, rows: Any) -> torch.Tensor:
    """What folds of a table's rows keep whole, numbered in their order, int64 [n].

    The row, or the group that the split of the data keeps together.
    """
    of_source = getattr(data, "group", None)
    if of_source is None:
        return torch.arange(len(rows))
    group = of_source[rows.rows].long()
    alone = group < 0
    group[alone] = int(of_source.max()) + 1 + torch.arange(int(alone.sum()))
    _, first, position = np.unique(group.numpy(), return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[position])


def units_of(data: Any, rows: Any) -> np.ndarray | None:
    """What rows of a table are not independent within, int64 [n]; None where nothing is known of it.

    The group that the split of the data keeps together, else the user; a row without either stands alone.
    """
    of_source, user = getattr(data, "group", None), rows.schema.user
    if of_source is not None:
        code = of_source[rows.rows].long().numpy()
    elif user is not None:
        columns = rows.columns
        code = columns.codes[rows.rows, columns.categorical.index(user)].long().numpy()
    else:
        return None
    return np.where(code < 0, -1 - rows.rows.numpy(), code)  # by its place in the source, which no other table repeats


def rows_of(table: Any, scenes: Sequence[str]) -> Any:
    """The rows of some scenes as a table; None for no table or no rows.

    Raises:
        ValueError: an unknown scene.

    Example:
        >>> import polyscene as ps
        >>> train = ps.testing.tiny_data().train
        >>> {train.schema.scenes[scene] for scene in rows_of(train, ["tablet"]).scenes()}
        {'tablet'}
    """
    if table is None:
        return None
    codes = torch.tensor([table.schema.scene(scene) for scene in scenes])
    found = torch.isin(table.scenes(), codes).nonzero().squeeze(1)
    return table.take(found) if len(found) else None


def joined(first: Any, second: Any) -> Any:
    """The rows of two tables of one source as one table."""
    if first.columns is not second.columns and first.columns.digest() != second.columns.digest():
        raise ValueError(
            "migrate: unlabelled rows that are aligned must be rows of the data set that the sources are rows of; "
            "read both with one read_table"
        )
    out = _C.data.Table(first.columns, first.schema, rows=torch.cat([first.rows, second.rows]), role="train")
    if first.history is not None:
        out.history = first.history
    return out


def positions_of(table: Any, scenes: list[str]) -> torch.Tensor:
    """Positions of the rows of some scenes."""
    codes = torch.tensor([table.schema.scene(scene) for scene in scenes])
    return torch.isin(table.scenes(), codes).nonzero().squeeze(1)


def _steps(rows: int, options: Mapping[str, Any]) -> int:
    return -(-rows // int(options["batch_size"]))


class _Numbered:
    """Passes on what a training tells, under its name and with epochs numbered on."""

    def __init__(self, given: Any, name: str, before: int) -> None:
        self._given, self._name, self._before = given, name, before

    def on_start(self, epochs: int, rows: int) -> None:
        if hasattr(self._given, "on_start"):
            self._given.on_start(self._before + epochs, rows)

    def on_progress(self, epoch: int, *rest: Any) -> None:
        if hasattr(self._given, "on_progress"):
            self._given.on_progress(self._before + epoch, *rest)

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        told = dict(row) | {"epoch": self._before + row["epoch"], "phase": self._name}
        if hasattr(self._given, "on_epoch"):
            self._given.on_epoch(told)
        elif callable(self._given):
            self._given(told)

    def on_end(self) -> None:
        if hasattr(self._given, "on_end"):
            self._given.on_end()
