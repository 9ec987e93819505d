"""The C++ example builds against the installed package and runs without Python."""

from __future__ import annotations

import polyscene
import pytest
from cmake_project import ROOT, build, run


def test_cpp_example(pytestconfig: pytest.Config) -> None:
    folder = build(ROOT / "examples" / "cpp", pytestconfig.cache.mkdir("cpp_example"))
    assert f"polyscene {polyscene.__version__} on torch " in run(folder / "train")
