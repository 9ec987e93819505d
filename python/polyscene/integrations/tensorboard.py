"""The history and the result of a run as TensorBoard events."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyscene.results import Result


def require() -> Any:
    """Imports the writer of events.

    Raises:
        ImportError: TensorBoard is not installed; the message names the extra that brings it.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "report.tensorboard: TensorBoard is not installed; run `pip install 'polyscene[tracking]'`, "
            "or set report.tensorboard to false"
        ) from error
    return SummaryWriter


def write_events(folder: Path, history: Sequence[Mapping[str, Any]], result: Result) -> Path:
    """Writes event files, in the place of those of an earlier call.

    Scalars over epochs: ``train/loss``, ``train/rows_per_s`` and ``valid/<metric>``; at the best epoch
    ``test/<metric>`` and ``test_<scene>/<metric>``. What has no value is left out.

    Args:
        folder: the run folder; the events go into its folder ``tensorboard``.
        history: a row an epoch.
        result: metrics of the test rows.

    Returns:
        The folder of the events, for ``tensorboard --logdir``.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    writer_class = require()
    target = Path(folder) / "tensorboard"
    shutil.rmtree(target, ignore_errors=True)
    with writer_class(str(target)) as writer:

        def put(name: str, value: float | None, epoch: int) -> None:
            if value is not None and math.isfinite(value):
                writer.add_scalar(name, value, epoch)

        for row in history:
            put("train/loss", row["train_loss"], row["epoch"])
            put("train/rows_per_s", row["rows_per_s"], row["epoch"])
            for metric, value in row["valid"].items():
                put(f"valid/{metric}", value, row["epoch"])
        best = result.best_epoch or 0
        for metric, value in result.overall.items():
            put(f"test/{metric}", value, best)
        for scene, values in result.scenes.items():
            for metric, value in values.items():
                put(f"test_{scene}/{metric}", value, best)
    return target
