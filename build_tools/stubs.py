"""Writes the type stubs of polyscene._C from the compiled module: python build_tools/stubs.py [--check]."""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "python" / "polyscene"


def committed() -> dict[str, str]:
    """Returns the stubs of the source tree by their path in the package."""
    paths = [PACKAGE / "_C.pyi", *sorted((PACKAGE / "_C").rglob("*.pyi"))]
    return {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in paths if path.exists()}


def tidy(text: str) -> str:
    """Returns a stub without what differs from machine to machine: addresses and trailing blanks."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def generated() -> dict[str, str]:
    """Returns the stubs that pybind11-stubgen writes for the importable polyscene."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "polyscene._C", "-o", folder, "--exit-code"]
        subprocess.run(command, check=True)
        root = Path(folder) / "polyscene"
        return {p.relative_to(root).as_posix(): tidy(p.read_text()) for p in sorted(root.rglob("*.pyi"))}


def main() -> int:
    """Writes the stubs, or with ``--check`` prints how the committed ones differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a stub is not current")
    check = parser.parse_args().check
    old, new = committed(), generated()
    if check:
        for name in sorted(old.keys() | new.keys()):
            before, after = old.get(name, "").splitlines(), new.get(name, "").splitlines()
            print("\n".join(difflib.unified_diff(before, after, f"committed/{name}", f"generated/{name}", lineterm="")))
        if old != new:
            print("The stubs are not current; run: python build_tools/stubs.py")
        return int(old != new)
    (PACKAGE / "_C.pyi").unlink(missing_ok=True)
    shutil.rmtree(PACKAGE / "_C", ignore_errors=True)
    for name, text in new.items():
        path = PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
