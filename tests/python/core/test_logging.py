"""Messages of C++ in Python's logging, and what Python makes of C++ exceptions."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import Any

import polyscene as ps
import pytest
import torch
from polyscene import _logging
from polyscene._extension import _C


def test_reaches_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "polyscene"):
        _C.core.log(20, "100 % of épochs {x} %s")
        _C.core.log(30, "beware")
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("polyscene", 20, "100 % of épochs {x} %s"),
        ("polyscene", 30, "beware"),
    ]


def test_level_counts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "polyscene"):
        _C.core.log(20, "quiet")
    assert caplog.records == []


def test_threads_that_python_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    """They never wait for the interpreter: its lock is held by the caller that waits for them."""
    with caplog.at_level(logging.INFO, "polyscene"):
        _C.core.log(20, "from a thread", threads=8)
        sum(range(1000))  # the interpreter writes what waits
        _C.core.log(20, "last")
    assert [record.getMessage() for record in caplog.records] == ["from a thread"] * 8 + ["last"]


def test_python_threads(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "polyscene"):
        threads = [threading.Thread(target=_C.core.log, args=(20, f"{i}")) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(record.getMessage() for record in caplog.records) == sorted(str(i) for i in range(8))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_handler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed goes on."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError

    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    handler = Broken()
    logging.getLogger("polyscene").addHandler(handler)
    try:
        _C.core.log(40, "x")
    finally:
        logging.getLogger("polyscene").removeHandler(handler)
    assert [each.exc_type for each in told] == [ZeroDivisionError]


def test_resume_says_so(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    data = ps.testing.tiny_data()
    for resume in (False, True):
        with caplog.at_level(logging.INFO, "polyscene"):
            model = ps.models.MF(data.schema)
            ps.Trainer(epochs=2, threads=1).fit(model, data, checkpoint=tmp_path / "c", resume=resume)
    assert [r.getMessage() for r in caplog.records] == [f"Trainer: going on after epoch 2 of {tmp_path / 'c'}"]


CODE = """
import polyscene
from polyscene._extension import _C
for level in (10, 20, 30, 40):
    _C.core.log(level, f"level {level}")
_C.core.log(40, "late", threads=2)
"""


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (None, ["level 30", "level 40", "late", "late"]),
        ("info", ["INFO: level 20", "WARNING: level 30", "ERROR: level 40", "ERROR: late", "ERROR: late"]),
        ("critical", []),
    ],
)
def test_environment_variable(level: str | None, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, warnings and errors go to standard error, as those of any logger."""
    monkeypatch.delenv("POLYSCENE_LOG", raising=False)
    if level is not None:
        monkeypatch.setenv("POLYSCENE_LOG", level)
    done = subprocess.run([sys.executable, "-c", CODE], text=True, capture_output=True, check=True)
    own = "" if level is None else "polyscene: "
    assert done.stderr.splitlines() == [own + line for line in lines]


def test_unknown_level(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("polyscene")
    before = list(logger.handlers), logger.level
    try:
        _logging.start("loud")
    finally:
        logger.handlers[:] = before[0]
        logger.setLevel(before[1])
    assert caplog.messages == ["POLYSCENE_LOG must be one of debug, info, warning, error, critical, got 'loud'"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: _C.data.Columns.open("none"), ValueError, "cannot read 'none': No such file or directory"),
        (lambda: _C.core.permutation(-1, 0, "x"), ValueError, "permutation: n must not be negative, got -1"),
        (
            lambda: ps.testing.tiny_data().train.batch(torch.tensor([10**6])),
            IndexError,
            "table.batch: positions must be in [0, 420), got 1000000",
        ),
    ],
)
def test_errors_of_cpp(call: Any, error: type[Exception], message: str) -> None:
    """The class that is meant and one line, however a function is bound."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error and str(caught.value) == message
