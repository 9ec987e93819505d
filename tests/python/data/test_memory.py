"""A compiled data set takes memory of the page cache, not of the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "experiments" / "speed" / "open_compiled.py"
ROWS = 1_000_000


def test_opening_and_one_epoch_of_a_million_rows(tmp_path: Path) -> None:
    """The order of an epoch takes 8 bytes a row, twice while it is made; nothing else grows with the rows.

    10 M rows may take 300 MB, so that 1 M may take 30; the columns alone have 56.
    """

    def step(name: str) -> str:
        command = [sys.executable, SCRIPT, "--step", name, "--folder", tmp_path / "data", "--rows", str(ROWS)]
        done = subprocess.run(command, check=True, text=True, capture_output=True)
        return done.stdout

    step("make")
    assert (tmp_path / "data" / "columns.safetensors").stat().st_size > 50e6
    found = json.loads(step("measure"))
    assert found["rows"] == 0.9 * ROWS
    assert found["open_mb"] < 25, found
    assert found["epoch_mb"] < 30, found
