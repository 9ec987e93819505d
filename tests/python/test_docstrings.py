"""The examples in the documentation of Python run, and say what really comes out; everything public has one."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import polyscene as ps
import polyscene.data
import polyscene.datasets
import polyscene.models
import polyscene.nn
import polyscene.testing
import polyscene.transfer
import polyscene.vision
import pytest

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
BOUND = {
    ps.Batch,
    ps.Schema,
    ps.Table,
    ps.data.Columns,
    ps.data.History,
    ps.models.Phase,
    ps.models.Sampling,
    ps.transfer.Migrated,
}
"""Classes of the compiled part: the functions that return them show them."""

PARTS = {ps.nn.Block, ps.testing.TinyData, ps.transfer.Migration}
"""Classes that are met through others, whose examples show them."""


def modules() -> list[Any]:
    """Every module of the package but the compiled one."""
    names = [found.name for found in pkgutil.walk_packages(ps.__path__, "polyscene.") if "._C" not in found.name]
    return [ps, *(importlib.import_module(name) for name in names)]


def examples() -> list[doctest.DocTest]:
    """All documentation with examples, each with ``ps`` at hand."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = {test.name: test for module in modules() for test in finder.find(module) if test.examples}
    return [tests[name] for name in sorted(tests)]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name.removeprefix("polyscene."))
def test_example_runs(test: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    test.globs.setdefault("ps", ps)
    said: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=said.append)
    assert outcome.attempted > 0
    assert outcome.failed == 0, "".join(said)


PUBLIC = [ps, ps.data, ps.datasets, ps.models, ps.nn, ps.testing, ps.transfer, ps.vision]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_everything_public_is_documented_with_an_example(module: Any) -> None:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    missing = []
    for name in names:
        found = getattr(module, name)
        callable_here = inspect.isclass(found) or inspect.isfunction(found)
        if not callable_here or found in BOUND or not found.__module__.startswith("polyscene"):
            continue
        record = dataclasses.is_dataclass(found) or (inspect.isclass(found) and issubclass(found, tuple))
        if not (found.__doc__ or "").strip():
            missing.append(f"{name}: no documentation")
        elif ">>>" not in found.__doc__ and not record and found not in PARTS:
            missing.append(f"{name}: no example")
    assert not missing
