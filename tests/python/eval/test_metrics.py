"""Metrics against scikit-learn on random scores with ties, weights and tiny scenes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import polyscene
import pytest
import torch
from sklearn import calibration as sk_calibration
from sklearn import metrics as sk

metrics = polyscene._C.eval


def sample(seed: int, rows: int, ties: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, generator=generator) * 2
    if ties:
        logits = (logits * 2).round() / 2
    label = (torch.rand(rows, generator=generator) < logits.sigmoid()).float()
    return logits, label, torch.rand(rows, generator=generator) + 0.1


SAMPLES = [(seed, rows, ties) for seed, rows in enumerate([5, 40, 3000]) for ties in (False, True)]


@pytest.mark.parametrize(("seed", "rows", "ties"), SAMPLES)
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_follow_scikit_learn(seed: int, rows: int, ties: bool, weighted: bool) -> None:
    logits, label, weight = sample(seed, rows, ties)
    label[0], label[1] = 0, 1
    w = weight if weighted else None
    p = logits.double().sigmoid()
    found = {name: getattr(metrics, name)(logits, label, w) for name in ("auc", "log_loss", "rmse", "mae")}
    found |= metrics.confusion(logits, label, 0.4, w)
    called = p >= 0.4
    expected = {
        "auc": sk.roc_auc_score(label, logits, sample_weight=w),
        "log_loss": sk.log_loss(label.double(), p, sample_weight=w),
        "rmse": sk.root_mean_squared_error(label, logits, sample_weight=w),
        "mae": sk.mean_absolute_error(label, logits, sample_weight=w),
        "accuracy": sk.accuracy_score(label, called, sample_weight=w),
        "precision": sk.precision_score(label, called, sample_weight=w, zero_division=np.nan),
        "recall": sk.recall_score(label, called, sample_weight=w, zero_division=np.nan),
        "f1": sk.f1_score(label, called, sample_weight=w, zero_division=np.nan),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), name
        assert (found[name][1] == "") == (not math.isnan(value))


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1], [0, 1, 0]])
@pytest.mark.parametrize("called", [[0, 0, 0], [1, 1, 1], [1, 0, 0]])
def test_undefined_is_what_scikit_learn_calls_zero_division(label: list[int], called: list[int]) -> None:
    found = metrics.confusion(torch.tensor(called) * 2.0 - 1, torch.tensor(label).float())
    for name, score in {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}.items():
        expected = score(label, called, zero_division=np.nan)
        assert found[name][0] == pytest.approx(expected, nan_ok=True), name
        assert bool(found[name][1]) == math.isnan(expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_gauc_is_the_mean_of_the_users_weighted_by_rows(weighted: bool) -> None:
    logits, label, weight = sample(7, 600, True)
    user = torch.randint(0, 150, (600,), generator=torch.Generator().manual_seed(1))
    total = part = 0.0
    for u in range(150):
        at = user == u
        if label[at].unique().numel() < 2:
            continue
        n = weight[at].double().sum().item() if weighted else at.sum().item()
        area = sk.roc_auc_score(label[at], logits[at], sample_weight=weight[at] if weighted else None)
        part, total = part + n * area, total + n
    assert total > 0
    found, reason = metrics.gauc(logits, label, user, weight if weighted else None)
    assert found == pytest.approx(part / total, rel=1e-9)
    assert reason == ""


@pytest.mark.parametrize("ties", [False, True])
def test_roc_corners_lie_on_the_curve_of_scikit_learn_and_keep_its_area(ties: bool) -> None:
    logits, label, weight = sample(3, 90, ties)
    fpr, tpr, thresholds, reason = metrics.roc(logits, label, weight)
    expected = sk.roc_curve(label, logits, sample_weight=weight.double(), drop_intermediate=False)
    assert reason == ""
    at = [expected[2].tolist().index(threshold) for threshold in thresholds]
    np.testing.assert_allclose(fpr, expected[0][at], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(tpr, expected[1][at], rtol=1e-9, atol=1e-12)
    assert sk.auc(fpr, tpr) == pytest.approx(sk.roc_auc_score(label, logits, sample_weight=weight.double()), rel=1e-9)


def test_calibration_follows_scikit_learn() -> None:
    logits, label, _ = sample(4, 2000, False)
    predicted, observed, weight, (error, _) = metrics.calibration(logits, label, bins=7)
    p = logits.double().sigmoid().numpy()
    expected = sk_calibration.calibration_curve(label.numpy(), p, n_bins=7)
    np.testing.assert_allclose(observed, expected[0], rtol=1e-9)
    np.testing.assert_allclose(predicted, expected[1], rtol=1e-9)
    gap = np.abs(np.array(predicted) - observed)
    assert error == pytest.approx(float((gap * weight).sum() / 2000), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_beats_the_best_one(seed: int) -> None:
    logits, label, weight = sample(seed, 300, seed % 2 == 0)
    p = logits.double().sigmoid()
    threshold, _ = metrics.best_threshold(logits, label, weight)
    best = sk.f1_score(label, p >= threshold, sample_weight=weight)
    others = [sk.f1_score(label, p >= t, sample_weight=weight) for t in p.unique()]
    assert best == pytest.approx(max(others), rel=1e-12)


def reference(logits: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    called = logits.double().sigmoid() >= 0.5
    one_class = label.unique().numel() < 2
    return {
        "auc": math.nan if one_class else float(sk.roc_auc_score(label, logits)),
        "log_loss": float(sk.log_loss(label.double(), logits.double().sigmoid(), labels=[0, 1])),
        "accuracy": float(sk.accuracy_score(label, called)),
        "precision": float(sk.precision_score(label, called, zero_division=np.nan)),
        "recall": float(sk.recall_score(label, called, zero_division=np.nan)),
        "f1": float(sk.f1_score(label, called, zero_division=np.nan)),
    }


def test_scenes_of_any_size_follow_scikit_learn() -> None:
    logits, label, _ = sample(5, 500, True)
    sizes = [1, 1, 2, 3, 93, 400]
    scene = torch.repeat_interleave(torch.arange(6), torch.tensor(sizes))[torch.randperm(500)]
    names = [f"s{i}" for i in range(6)]
    found: dict[str, Any] = metrics.evaluate_scores(logits, label, scene, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {name: reference(logits[scene == i], label[scene == i]) for i, name in enumerate(names)}
        overall = reference(logits, label)
    assert found["scene_names"] == names
    assert found["rows"] == dict(zip(names, sizes, strict=True))
    for metric, value in overall.items():
        assert found["overall"][metric] == pytest.approx(value, rel=1e-6)
        per_scene = [expected[name][metric] for name in names]
        assert [found["scenes"][name][metric] for name in names] == pytest.approx(per_scene, rel=1e-6, nan_ok=True)
        assert found["macro"][metric] == pytest.approx(np.nanmean(per_scene), rel=1e-6)
        for name, one in zip(names, per_scene, strict=True):
            assert (f"scenes.{name}.{metric}" in found["undefined"]) == math.isnan(one)


def test_errors_are_value_errors() -> None:
    logits, label = torch.tensor([0.0, math.nan]), torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="metrics: the logit of row 1 is NaN"):
        metrics.auc(logits, label)
    with pytest.raises(ValueError, match=r"unknown metric 'auroc' for task ctr; known metrics: auc, gauc, .*'auc'"):
        metrics.evaluate_scores(label, label, torch.zeros(2, dtype=torch.long), ["a"], metrics=["auroc"])
    with pytest.raises(IndexError, match="row 0 is of scene 5"):
        metrics.evaluate_scores(label, label, torch.tensor([5, 0]), ["a"])
