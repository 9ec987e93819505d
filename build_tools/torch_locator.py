"""Finds the torch package on disk, without importing it.

In pip's isolated build the user's torch cannot be imported, but ``sysconfig`` still names the site-packages it lies in.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from importlib.util import find_spec

TORCH_VERSION = "2.13.0"
"""The one release of torch that polyscene compiles against and runs with."""


def torch_version(folder: str) -> str | None:
    """Returns the version of the torch package in ``folder``, or None where there is none with C++ headers."""
    path = os.path.join(folder, "version.py")
    if not os.path.isfile(path) or not os.path.isdir(os.path.join(folder, "include", "torch")):
        return None
    with open(path, encoding="utf-8") as file:
        match = re.search(r"__version__ = '([^']+)'", file.read())
    return match.group(1) if match else None


def find_torch() -> str | None:
    """Returns the folder of a torch of the wanted release, or None.

    ``TORCH_DIR`` in the environment comes first, then ``sys.path``, then the interpreter's site-packages.

    Raises:
        RuntimeError: ``TORCH_DIR`` names a folder without the wanted torch.
    """
    chosen = os.environ.get("TORCH_DIR")
    if chosen:
        found = torch_version(chosen)
        if found is None or found.split("+")[0] != TORCH_VERSION:
            raise RuntimeError(f"TORCH_DIR: torch {TORCH_VERSION} wanted in {chosen}, found {found or 'none'}")
        return os.path.abspath(chosen)
    places = [path for path in sys.path if path] + [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for place in places:
        folder = os.path.join(place, "torch")
        if (torch_version(folder) or "").split("+")[0] == TORCH_VERSION:
            return os.path.abspath(folder)
    return None


def cmake_values() -> dict[str, str]:
    """Returns what CMake must know: the folders of torch, nlohmann_json and Python.h, and the module suffix.

    Raises:
        RuntimeError: torch or nlohmann_json is missing.
    """
    torch_dir = find_torch()
    if torch_dir is None:
        raise RuntimeError(f"torch {TORCH_VERSION} wanted, none found; run: pip install torch=={TORCH_VERSION}")
    json = find_spec("nlohmann_json")
    if json is None or json.origin is None:
        raise RuntimeError("nlohmann_json wanted, none found; run: pip install nlohmann-json==3.12.0")
    return {
        "TORCH_DIR": torch_dir,
        "JSON_INCLUDE": os.path.join(os.path.dirname(json.origin), "include"),
        "PY_INCLUDE": sysconfig.get_path("include"),
        "EXT_SUFFIX": sysconfig.get_config_var("EXT_SUFFIX"),
    }


if __name__ == "__main__":
    try:
        print(";".join(f"{name}={value}" for name, value in cmake_values().items()))
    except RuntimeError as error:
        sys.exit(str(error))
