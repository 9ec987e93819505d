"""Small data for the tests of models."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()
