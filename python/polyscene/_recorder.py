"""What a run writes while and after it trains: its history and its predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polyscene._files import replacing, write_text
from polyscene.results import Result


class Recorder:
    """Writes the history as it grows, and passes everything on.

    Args:
        path: ``history.jsonl``.
        inner: what shows the progress, see :meth:`Trainer.fit`.
        keep: go on with the history that is there.
    """

    def __init__(self, path: Path, inner: Any, keep: bool) -> None:
        self._path, self._inner = path, inner
        if not keep:
            path.unlink(missing_ok=True)

    def on_start(self, epochs: int, rows: int) -> None:
        """Passed on."""
        self._tell("on_start", epochs, rows)

    def on_progress(self, *given: Any) -> None:
        """Passed on."""
        self._tell("on_progress", *given)

    def on_epoch(self, row: dict[str, Any]) -> None:
        """Appends the row.

        Raises:
            OSError: the file cannot be written; the message names it.
        """
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(_line(row))
        except OSError as error:
            raise OSError(f"{self._path}: cannot be written: {error.strerror}") from error
        self._tell("on_epoch", row)

    def on_end(self) -> None:
        """Passed on."""
        self._tell("on_end")

    def write(self, history: list[dict[str, Any]]) -> None:
        """The whole history: what an interrupted run had written twice stands once."""
        write_text(self._path, "".join(map(_line, history)))

    def _tell(self, what: str, *given: Any) -> None:
        if hasattr(self._inner, what):
            getattr(self._inner, what)(*given)


def _line(row: dict[str, Any]) -> str:
    valid = {key: value if value == value else None for key, value in row["valid"].items()}
    return json.dumps(row | {"valid": valid}) + "\n"


def write_predictions(result: Result, folder: Path) -> None:
    """Writes what is behind a result, where it has it: the rows, or the rankings of users."""
    for name, behind in (("predictions", result.predictions), ("per_user", result.per_user)):
        if behind is not None:
            with replacing(folder / f"{name}.parquet") as temporary:
                behind.write(temporary)
