"""What an installation promises: versions that agree, errors that help, headers and stubs in place."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import polyscene
import torch

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(polyscene.__file__).parent


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=False)


def test_version_is_the_one_of_the_file() -> None:
    assert polyscene.__version__ == (ROOT / "VERSION").read_text().strip()


def test_other_torch_is_refused() -> None:
    done = python("import torch; torch.__version__ = '2.12.1+cpu'; import polyscene")
    built = torch.__version__
    assert done.returncode == 1
    assert (
        f"ImportError: polyscene: built against torch {built}, but torch 2.12.1+cpu is installed; run `pip "
        in done.stderr
    )
    assert "pip install torch==2.13.0" in done.stderr


def test_other_build_of_the_same_torch_is_accepted() -> None:
    done = python("import torch; torch.__version__ = '2.13.0+other'; import polyscene")
    assert done.returncode == 0, done.stderr


def test_missing_compiled_part_is_named() -> None:
    done = python("import sys; sys.modules['polyscene._build'] = None; import polyscene")
    assert "ImportError: polyscene: the compiled part is missing; run `pip install .`" in done.stderr


def test_package_holds_the_library_and_its_headers() -> None:
    prefix = Path(polyscene.cmake_prefix_path)
    assert (prefix / "polyscene" / "polysceneConfig.cmake").is_file()
    assert (PACKAGE / "lib" / "libpolyscene.so").is_file()
    installed = {path.relative_to(PACKAGE / "include").as_posix() for path in (PACKAGE / "include").rglob("*.h")}
    written = {path.relative_to(ROOT / "csrc").as_posix() for path in (ROOT / "csrc" / "polyscene").rglob("*.h")}
    assert installed == written - {"polyscene/core/json.h"} | {"polyscene/version.h"}


def test_run_paths_lead_to_torch_and_to_no_other_folder() -> None:
    def run_path(path: Path) -> str:
        text = subprocess.run(["readelf", "-d", str(path)], text=True, capture_output=True, check=True).stdout
        return next(line.split("[")[1].rstrip("]") for line in text.splitlines() if "RUNPATH" in line)

    assert run_path(PACKAGE / "lib" / "libpolyscene.so") == "$ORIGIN/../../torch/lib"
    assert run_path(next(PACKAGE.glob("_C.*.so"))) == "$ORIGIN/lib:$ORIGIN/../torch/lib"


def test_cmake_prefix_entry_point() -> None:
    try:
        importlib.metadata.distribution("polyscene")
    except importlib.metadata.PackageNotFoundError:
        assert PACKAGE.is_relative_to(ROOT), "an installed polyscene has metadata"
        return
    names = [
        entry.value for entry in importlib.metadata.entry_points(group="cmake.prefix") if entry.name == "polyscene"
    ]
    assert names == ["polyscene"]


def test_import_stays_light() -> None:
    heavy = {"sklearn", "scipy", "pandas", "matplotlib", "jinja2", "rich", "typer"}
    done = python("import torch, sys; before = set(sys.modules); import polyscene; print(*set(sys.modules) - before)")
    assert done.returncode == 0, done.stderr
    assert "polyscene._C" in done.stdout.split()
    assert not heavy & set(done.stdout.split())


def test_torch_release_is_the_same_everywhere() -> None:
    locator = re.search(
        r'^TORCH_VERSION = "(.+)"$', (ROOT / "build_tools" / "torch_locator.py").read_text(), re.MULTILINE
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert locator is not None
    assert f"torch=={locator[1]}" in project["dependencies"]
    assert f"torch=={locator[1]}" in (ROOT / "CONTRIBUTING.md").read_text()
    assert torch.__version__.split("+")[0] == locator[1]
