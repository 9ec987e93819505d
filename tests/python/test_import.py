"""What ``import polyscene`` loads beyond ``import torch``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

_CODE = """
import json, sys
import torch
before = set(sys.modules)
import polyscene
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps({"modules": sorted(names)}))
"""


def imported(cache: Path) -> dict:
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", _CODE], env=environment, text=True, capture_output=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_import_is_light(tmp_path: Path) -> None:
    """torch, numpy and pyarrow alone are loaded."""
    found = imported(tmp_path)
    allowed = {"polyscene", "torch", "numpy", "pyarrow", *sys.stdlib_module_names}
    # What pyarrow runs on, and would use if it is installed; and what the standard library makes for itself.
    own = [name for name in found["modules"] if not re.match("_?cython_|cloudpickle$|_sysconfigdata_", name)]
    assert [name for name in own if name not in allowed] == []
