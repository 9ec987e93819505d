"""The trainer: a C++ loop, told what to do and watched from Python."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from polyscene._extension import _C
from polyscene._model import Model

Epoch = dict[str, Any]
"""``epoch, phase, train_loss, valid, seconds, rows_per_s, best``: a row of ``history.jsonl``."""

_log = logging.getLogger("polyscene")


def seed_everything(seed: int) -> None:
    """Seeds what initialises models: torch's generators.

    Raises:
        ValueError: a negative seed.

    Example:
        >>> import polyscene as ps
        >>> schema, made = ps.testing.tiny_data().schema, []
        >>> for _ in range(2):
        ...     ps.seed_everything(7)
        ...     made.append(ps.models.MF(schema).user.weight)
        >>> bool((made[0] == made[1]).all())
        True
    """
    if seed < 0:
        raise ValueError(f"seed_everything: seed must not be negative, got {seed}")
    torch.manual_seed(seed)


class Trainer:
    """Trains any model; the best epoch on validation data is what remains.

    Args:
        options: ``optimizer``, ``lr``, ``batch_size``, ``epochs``, ``patience``, ``monitor``, ``seed``,
            ``threads``, ...; :meth:`describe` lists all with their meaning. ``None`` stands for the default.

    Raises:
        ValueError: an unknown option or a value out of range.
        TypeError: an option of another type.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> history = ps.Trainer(epochs=2, seed=1).fit(ps.models.Logistic(data.schema), data)
        >>> [row["epoch"] for row in history]
        [1, 2]
    """

    def __init__(self, **options: Any) -> None:
        self._trainer = _C.train.Trainer({key: value for key, value in options.items() if value is not None})

    @property
    def options(self) -> dict[str, Any]:
        """Every option with its value."""
        return dict(self._trainer.options)

    @staticmethod
    def describe() -> dict[str, str]:
        """What each option means, by name."""
        return {name: doc for name, _, _, doc in _C.train.section_fields("train")}

    def monitor(self, task: str) -> str:
        """The validation metric that chooses the epoch of a task."""
        return self._trainer.monitor(task)

    def fit(
        self,
        model: Model,
        data: Any,
        valid: Any = None,
        *,
        callbacks: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> list[Epoch]:
        """Trains ``model`` in place.

        Args:
            model: a model; it is never initialised again.
            data: a data set, or a training table.
            valid: validation table; that of the data set if None. Without one, the last epoch is what remains.
            callbacks: an object with any of ``on_start(epochs, rows)``, ``on_progress(epoch, done, rows, loss)``,
                ``on_epoch(row)``, ``on_end()``, such as :class:`TrainingProgress`; or a function that takes ``row``.
            checkpoint: file that is written after every epoch, atomically.
            resume: go on from ``checkpoint``: the same bits as a run that was never stopped.

        Returns:
            The history: a row an epoch.

        Raises:
            ValueError: empty or foreign tables, an unknown monitor, training under ``no_grad`` or after a fork, a
                checkpoint of another run.
            RuntimeError: the loss is no longer finite, or the checkpoint cannot be written.
            KeyboardInterrupt: after Ctrl-C. As after every error, the best epoch so far is what remains.
        """
        if type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            raise ValueError(
                "Trainer.fit: takes the model itself, got it wrapped for parallel training; "
                "call fit(model.module, ...), or write the loop around the wrapped model with torch.optim"
            )
        if not isinstance(model, Model):
            raise TypeError(f"Trainer.fit: model must be a polyscene.Model, got {type(model).__name__}")
        train = getattr(data, "train", data)
        if train is None:
            raise ValueError("Trainer.fit: the data set has no training rows")
        valid = valid if valid is not None else getattr(data, "valid", None)
        for what, table in (("a data set or a training table", train), ("a validation table", valid)):
            if table is not None and not isinstance(table, _C.data.Table):
                raise TypeError(f"Trainer.fit: wanted {what}, got {type(table).__name__}")
        if resume and checkpoint is None:
            raise ValueError("Trainer.fit: resume needs the checkpoint to resume from")
        told = _Callbacks(callbacks)
        try:
            told.start(self.options["epochs"], len(train))
            with model._running() as native:
                history, best, interrupted = self._trainer.fit(
                    native,
                    train,
                    valid,
                    progress=told.progress,
                    epoch=told.epoch,
                    checkpoint="" if checkpoint is None else os.fspath(checkpoint),
                    resume=resume,
                )
        finally:
            told.end()
        if interrupted:
            _log.warning("interrupted in epoch %d; the best epoch so far is %d", len(history) + 1, best)
            raise KeyboardInterrupt
        return history


class _Callbacks:
    """Calls what the given object has."""

    def __init__(self, given: Any) -> None:
        self._given = given
        self.progress: Callable[..., None] | None = getattr(given, "on_progress", None)
        plain = callable(given) and not hasattr(given, "on_epoch")
        self.epoch: Callable[[Mapping[str, Any]], None] | None = given if plain else getattr(given, "on_epoch", None)

    def start(self, epochs: int, rows: int) -> None:
        if hasattr(self._given, "on_start"):
            self._given.on_start(epochs, rows)

    def end(self) -> None:
        if hasattr(self._given, "on_end"):
            self._given.on_end()
