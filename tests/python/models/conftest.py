"""Small data for the tests of models."""

from __future__ import annotations

from typing import Any

import pytest
from every_model import data_of, task_of

_made: dict[str, Any] = {}


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Any:
    """Small data of the task of the model that the test names; clicks where it names none."""
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    task = task_of(name)
    if task not in _made:
        _made[task] = data_of(name)
    return _made[task]
