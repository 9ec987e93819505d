"""Settings of all tests. POLYSCENE_NO_SKIPS=1 turns every skipped test into a failed one."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
import torch

NO_SKIPS = os.environ.get("POLYSCENE_NO_SKIPS", "0") not in ("", "0")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped although POLYSCENE_NO_SKIPS is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="module")
def process_group() -> Generator[None]:
    """A process group of this process alone, kept in memory and started once for all tests of a file."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
