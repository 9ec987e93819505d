"""Reading the files of a run folder, whichever of them there are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from polyscene.results import Predictions, Result, main_metric, read_json


@dataclass
class RunFolder:
    """The content of a run folder; a file that is missing is empty here.

    Attributes:
        path: the folder.
        result: metrics of the test set, with those of the validation data.
        config: the resolved configuration.
        environment: versions, machine, seeds, digests and facts about the data.
        history: one row an epoch.
        explain: attention, transitions and interests.
    """

    path: Path
    result: Result
    config: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]
    explain: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> RunFolder:
        """Reads a run folder.

        Raises:
            ValueError: there is no ``metrics.json``, or a file cannot be read; the message names it.
        """
        folder = Path(path)
        files = [read_json(folder / f"{name}.json") or {} for name in ("config", "environment", "explain")]
        for name, content in zip(("config", "environment", "explain"), files, strict=True):
            if not isinstance(content, dict):
                raise ValueError(f"{folder / name}.json: wanted an object, got {type(content).__name__}")
        result, history = Result.load(folder), read_history(folder / "history.jsonl")
        return cls(folder, result, files[0], files[1], history, files[2])

    @cached_property
    def data(self) -> dict[str, Any]:
        """Facts about the data."""
        return self.environment.get("data") or {}

    @property
    def data_name(self) -> str:
        """The name of the data set."""
        return str(self.data.get("name") or (self.config.get("dataset") or {}).get("name") or "")

    @property
    def monitor(self) -> str:
        """The validation metric by which the best epoch was chosen."""
        return str((self.config.get("train") or {}).get("monitor") or main_metric(self.result.task))

    @property
    def predictions(self) -> Predictions | None:
        """The test rows, if they were kept."""
        return self.result.predictions


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of ``history.jsonl``; a last line that was cut off when the run was killed is left out.

    Raises:
        ValueError: another line is not JSON; the message names it.
    """
    if not path.exists():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"{path}: line {number}: wanted JSON, {error}") from None
    return rows
