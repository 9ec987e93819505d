"""On simulated data, where it is known whether scenes are related: migrating helps, or is refused and costs nothing.

A smaller form of ``experiments/migration/transfer.py``, which holds the full settings and their figures.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).resolve().parents[3] / "experiments" / "migration" / "transfer.py"
SEEDS = (2022, 2023, 2024)
SMALLER = {"users": 6_000, "share": 0.06}


@pytest.fixture(scope="module")
def experiment() -> Any:
    spec = importlib.util.spec_from_file_location("migration_experiment", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_threshold_has_the_best_f1(experiment: Any) -> None:
    import numpy as np
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    label, score = (rng.random(200) < 0.4).astype(float), rng.random(200)
    best = max(f1_score(label, score >= cut) for cut in score)
    assert f1_score(label, score >= experiment.threshold_of(label, score)) == pytest.approx(best)


def test_related_scenes_help(experiment: Any) -> None:
    runs = [experiment.run(seed, related=True, **SMALLER) for seed in SEEDS]
    found = experiment.summarise(runs)
    assert found["helped"] == len(SEEDS)
    assert all("helped: AUC" in run["message"] for run in runs)
    assert found["auc"]["worst_gain"] > 0.01
    assert found["f1_half"]["gain"] > 0
    for run in runs:  # the migrated model starts above where the target's own ends
        assert run["steps_to_target_score"][run["kept_name"].partition(",")[0] + ", continued"]["epochs"] == 0


def test_unrelated_scenes_cost_nothing_and_it_is_said(experiment: Any) -> None:
    runs = [experiment.run(seed, related=False, **SMALLER) for seed in SEEDS]
    found = experiment.summarise(runs)
    assert found["auc"]["relative_gain"] >= -0.01
    assert found["helped"] == 0
    assert all("did not help: the target's own model stays" in run["message"] for run in runs)
    for run in runs:  # what was refused would have cost something
        assert run["others"]["joint"] < run["target alone"]["auc"]
