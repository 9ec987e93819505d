"""The command line in this process and in others, on data that take no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from polyscene.cli import main

TINY = {
    "dataset": {"name": "simulator", "users": 60, "events": 12, "items": 40, "interests": 4, "scenes": 2},
    "model": {"name": "mf", "dim": 4},
    "train": {"optimizer": "lazy_adam", "lr": 0.02, "batch_size": 64, "epochs": 3, "seed": 3, "threads": 1},
    "report": {"html": False},
}
CONTENT = {
    "config.json",
    "environment.json",
    "history.jsonl",
    "metrics.json",
    "predictions.parquet",
    "model.safetensors",
}
_START = "from polyscene.cli import main; raise SystemExit(main())"


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def write_config(path: Path, **sections: Any) -> Path:
    """A config: ``TINY`` with other sections; a section that is None is left out."""
    path.write_text(json.dumps({key: value for key, value in (TINY | sections).items() if value is not None}))
    return path


def command(capsys: Any, *arguments: Any) -> Outcome:
    """Runs a command in this process."""
    capsys.readouterr()
    code = main([str(each) for each in arguments])
    said = capsys.readouterr()
    return Outcome(code, said.out, said.err)


def start(
    *arguments: Any, cwd: Path, before: Callable[[], None] | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Starts a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _START, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=before,
    )


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Outcome:
    """Waits for it."""
    out, err = process.communicate(timeout=timeout)
    return Outcome(process.returncode, out, err)


def history(folder: Path) -> list[dict[str, Any]]:
    """The history of a run without what a clock measured."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seconds", "rows_per_s")} for row in rows]
