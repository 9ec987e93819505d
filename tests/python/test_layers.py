"""The dependency rules of CONTRIBUTING.md, read from the sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = ["core", "data", "nn", "models", "transfer", "eval", "train"]
SOURCES = sorted((ROOT / "csrc" / "polyscene").rglob("*.[hc]*"))
PRIVATE = [ROOT / "csrc" / "polyscene" / "core" / "json.h"]


def wrong_includes(layer: str, text: str) -> list[str]:
    """Returns the layers that a source of ``layer`` includes although they stand to its right."""
    used = re.findall(r'#include\s+["<]polyscene/(\w+)/', text)
    return [name for name in used if ORDER.index(name) > ORDER.index(layer)]


def test_the_rule_catches_a_wrong_include() -> None:
    text = '#include "polyscene/version.h"\n#include "polyscene/core/errors.h"\n#include "polyscene/nn/mlp.h"\n'
    assert wrong_includes("data", text) == ["nn"]
    assert wrong_includes("models", text) == []


def test_includes_point_left() -> None:
    layered = [path for path in SOURCES if path.suffix in (".h", ".cpp")]
    assert layered
    for path in layered:
        layer = path.relative_to(ROOT / "csrc" / "polyscene").parts[0]
        assert not wrong_includes(layer, path.read_text()), path


def test_python_headers_are_left_to_the_bindings() -> None:
    for path in SOURCES:
        assert not re.search(r"#include.*(pybind11|Python\.h|torch/extension\.h|torch/python\.h)", path.read_text()), (
            path
        )


def test_installed_headers_hold_no_private_library() -> None:
    for path in SOURCES:
        if path.suffix == ".h" and path not in PRIVATE:
            assert not re.search(r"#include\s+[\"<](nlohmann|fmt|polyscene/core/json)", path.read_text()), path


def test_every_source_is_listed() -> None:
    for folder in [*(ROOT / "csrc" / "polyscene").iterdir(), ROOT / "csrc" / "bindings"]:
        if folder.is_dir():
            listed = "".join(path.read_text() for path in folder.rglob("sources.cmake"))
            missing = [p for p in folder.rglob("*.cpp") if f"/{p.relative_to(folder).as_posix()}" not in listed]
            assert not missing


def test_no_module_is_longer_than_400_lines() -> None:
    for path in (ROOT / "python" / "polyscene").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path


@pytest.mark.parametrize("folder", ["experiments", "examples", "notebooks", "datasets", "docs"])
def test_compiled_part_is_imported_by_the_package_only(folder: str) -> None:
    pattern = r"^\s*(from polyscene import .*\b_C\b|from polyscene\._C\b|import polyscene\._C\b)"
    for path in (ROOT / folder).rglob("*.py"):
        assert not re.search(pattern, path.read_text(), re.MULTILINE), path
