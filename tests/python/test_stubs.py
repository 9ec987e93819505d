"""The committed stubs are those that the compiled part gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_stubs_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "build_tools" / "stubs.py", "--check"], text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
