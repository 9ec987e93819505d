"""Small data for the tests of models."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
from every_model import RANKING

_made: dict[bool, Any] = {}


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Any:
    """Small data of the task of the model that the test names; clicks where it names none."""
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    ranks = name in RANKING
    if ranks not in _made:
        _made[ranks] = ps.testing.tiny_data("ranking" if ranks else "ctr")
    return _made[ranks]
