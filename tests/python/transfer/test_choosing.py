"""Paired comparisons of two models: values, uncertainty, pooling."""

from __future__ import annotations

import numpy as np
import pytest
from polyscene.transfer.choosing import Comparison, compare, pool, usable
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score


def draw(rows: int, gain: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.4).astype(np.float32)
    shared = rng.normal(size=rows)
    a = label * 0.8 + shared + 0.5 * rng.normal(size=rows)
    b = label * (0.8 + gain) + shared + 0.5 * rng.normal(size=rows)
    return label, *(1 / (1 + np.exp(-np.round(x, 1))) for x in (a, b))  # rounded: ties


def test_values_are_those_of_sklearn() -> None:
    label, a, b = draw(500, 0.3)
    found = compare(label, a, b)
    assert found.first == pytest.approx(roc_auc_score(label, a), abs=1e-12)
    assert found.second == pytest.approx(roc_auc_score(label, b), abs=1e-12)
    assert found.gain == pytest.approx(found.second - found.first)
    logs = compare(label, a, b, "log_loss")
    assert (logs.first, logs.gain) == pytest.approx((log_loss(label, a), log_loss(label, a) - log_loss(label, b)))
    rmse = compare(label, a, b, "rmse")
    assert rmse.second**2 == pytest.approx(mean_squared_error(label, b))
    assert rmse.gain == pytest.approx(rmse.first**2 - rmse.second**2)


@pytest.mark.parametrize("metric", ["auc", "log_loss", "rmse"])
def test_standard_error_is_the_spread_over_samples(metric: str) -> None:
    gains, errors = [], []
    for seed in range(400):
        found = compare(*draw(200, 0.3, seed), metric)
        gains.append(found.gain)
        errors.append(found.variance**0.5)
    assert np.mean(errors) == pytest.approx(np.std(gains, ddof=1), rel=0.1)


def test_pairing_counts() -> None:
    label, a, _ = draw(300, 0.0)
    assert compare(label, a, a).variance == 0
    assert compare(label, a, a).gain == 0


def test_pool_weighs_by_rows() -> None:
    whole = pool([Comparison(0.6, 0.7, 0.1, 0.04, 300), Comparison(0.5, 0.9, 0.4, 0.01, 100)])
    assert (whole.first, whole.second, whole.gain) == pytest.approx((0.575, 0.75, 0.175))
    assert whole.variance == pytest.approx(0.75**2 * 0.04 + 0.25**2 * 0.01)
    assert whole.rows == 400


def draw_users(users: int, seed: int) -> tuple[np.ndarray, ...]:
    """Five rows of each user, who is better or worse off with the second model by a part of their own."""
    rng = np.random.default_rng(seed)
    unit = np.arange(users).repeat(5)
    label = (rng.random(len(unit)) < 0.4).astype(np.float32)
    shared, own = rng.normal(size=len(unit)), rng.normal(size=users)[unit]
    a = label * 0.8 + shared
    b = label * 0.8 + shared + own * (label - 0.4)
    return label, *(1 / (1 + np.exp(-x)) for x in (a, b)), unit


@pytest.mark.parametrize("metric", ["auc", "log_loss", "rmse"])
@pytest.mark.parametrize("parts", [1, 2])
def test_rows_of_a_user_count_together(metric: str, parts: int) -> None:
    gains, errors, alone = [], [], []
    for seed in range(300):
        label, a, b, unit = draw_users(60, seed)
        some = [np.arange(len(label)) % parts == part for part in range(parts)]  # a user has rows in each
        found = pool([compare(label[x], a[x], b[x], metric, unit[x]) for x in some])
        gains.append(found.gain)
        errors.append(found.variance**0.5)
        alone.append(pool([compare(label[x], a[x], b[x], metric) for x in some]).variance ** 0.5)
    assert np.mean(errors) == pytest.approx(np.std(gains, ddof=1), rel=0.12)
    assert np.mean(alone) < 0.8 * np.std(gains, ddof=1)


def test_units_of_one_row_change_nothing() -> None:
    label, a, b = draw(300, 0.3)
    for metric in ("auc", "log_loss", "rmse"):
        plain = compare(label, a, b, metric)
        assert compare(label, a, b, metric, np.arange(300)).variance == plain.variance


def test_usable_wants_two_of_each_class() -> None:
    assert usable(np.array([0, 0, 1, 1.0]), "auc")
    assert not usable(np.array([0, 0, 0, 1.0]), "auc")
    assert usable(np.array([1.0, 1.0]), "log_loss")
    assert not usable(np.array([1.0]), "rmse")
