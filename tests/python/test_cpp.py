"""Builds the C++ tests against the installed package and runs them."""

from __future__ import annotations

from pathlib import Path

import nlohmann_json
import pytest
from cmake_project import ROOT, build, run


def test_cpp(pytestconfig: pytest.Config) -> None:
    json = Path(nlohmann_json.__file__).parent / "include"
    folder = build(ROOT / "tests" / "cpp", pytestconfig.cache.mkdir("cpp_tests"), JSON_INCLUDE=json)
    print(run(folder / "polyscene_tests"))


def test_every_cpp_test_is_listed() -> None:
    folder = ROOT / "tests" / "cpp"
    listed = (folder / "sources.cmake").read_text().split()
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*_test.cpp")}
    assert found <= set(listed)
