"""Small data for the tests of models across scenes."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest


@pytest.fixture(scope="module")
def data() -> Any:
    """Rankings in three scenes that share users and items."""
    return ps.testing.tiny_data("ranking")
