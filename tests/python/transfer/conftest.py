"""A small simulated world whose last scene has few rows."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest

TRAIN = {"optimizer": "lazy_adam", "lr": 0.02, "batch_size": 256, "epochs": 4, "patience": 2, "seed": 1, "threads": 1}


@pytest.fixture(scope="session")
def world() -> Any:
    split = {"by": "random", "ratios": [7, 1, 2], "seed": 1}
    size = {"users": 400, "events": 16, "items": 60, "interests": 5, "scenes": 3, "seed": 1}
    return ps.datasets.load("simulator", split=split, **size).thin("scene_2", 0.1, seed=1)


@pytest.fixture
def train() -> dict[str, Any]:
    return dict(TRAIN)
