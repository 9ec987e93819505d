"""Comparisons of classes, row by row, against scikit-learn and SciPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene.results import Predictions, Result
from scipy.stats import binomtest
from sklearn import metrics as sk

METRICS = ("f1", "accuracy", "precision", "recall", "log_loss")


def result_of(seed: int, weight: bool = False, shift: float = 0.0) -> Result:
    """200 rows of four classes, of which training has met one that no row is of."""
    draw = np.random.default_rng(0)
    label = draw.choice([0, 1, 3], 200)
    scene = np.where(draw.random(200) < 0.3, "a", "b")
    rows = np.random.default_rng(seed)
    logits = rows.normal(size=(200, 4)) + shift * np.eye(4)[label]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    out = Result(task="text", scenes={"a": {}, "b": {}}, name=f"r{seed}")
    weights = draw.integers(1, 4, 200).astype(float) if weight else None
    out.predictions = Predictions(np.arange(200), scene, label, p[np.arange(200), label], None, weights, p)
    return out


def by_scikit(result: Result, metric: str, scene: str | None) -> float:
    rows = result.predictions if scene is None else result.predictions.of(scene)
    given, weight = rows.classes.argmax(1), rows.weight
    if metric == "log_loss":
        return float(sk.log_loss(rows.label, rows.classes, labels=range(4), sample_weight=weight))
    if metric == "accuracy":
        return float(sk.accuracy_score(rows.label, given, sample_weight=weight))
    score = getattr(sk, f"{metric}_score")
    return float(score(rows.label, given, average="macro", sample_weight=weight, zero_division=0))


@pytest.mark.parametrize("weight", [False, True])
def test_values_are_those_of_scikit_learn(weight: bool) -> None:
    one, other = result_of(1, weight), result_of(2, weight, shift=1.0)
    found = ps.compare(one, other, draws=50)
    assert {row.metric for row in found.rows} == set(METRICS)
    for row in found.rows:
        assert row.first_value == pytest.approx(by_scikit(one, row.metric, row.scene))
        assert row.second_value == pytest.approx(by_scikit(other, row.metric, row.scene))
        assert row.low <= row.difference <= row.high or row.n < 100


class Given(ps.Model):
    """Logits that are given, row by row of the table."""

    def __init__(self, schema: Any, logits: torch.Tensor) -> None:
        super().__init__(schema)
        self.logits = torch.nn.Parameter(logits)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.logits[batch.row]


def test_rows_of_weight_0_still_have_their_class_as_in_evaluate() -> None:
    """Class 3 stands in rows of weight 0 alone, and scene b has no weight at all."""
    draw = np.random.default_rng(4)
    label, logits = draw.integers(0, 4, 300), draw.normal(size=(300, 4))
    logits[:, 3] -= 20  # nobody is called 3
    scene = np.repeat(["a", "b"], [220, 80])
    weight = np.where((label == 3) | (scene == "b"), 0, draw.integers(0, 3, 300))
    rows = {"text": [f"w{k} w{k % 7}" for k in range(300)], "label": label, "scene": scene, "w": weight}
    data = ps.read_table(pa.table(rows), task="text", text=["text"], scene="scene", weight="w")
    result = ps.evaluate(Given(data.schema, torch.from_numpy(logits).float()), data.test)
    assert 3 in result.predictions.label and (result.predictions.weight == 0).any()
    found = ps.compare(result, result, draws=20)
    for metric in METRICS:
        value = found.row(metric).first_value
        assert value == pytest.approx(result.overall[metric], rel=1e-9), metric
        assert value == pytest.approx(by_scikit(result, metric, None), rel=1e-6), metric
        assert found.row(metric, "a").first_value == pytest.approx(result.scenes["a"][metric], rel=1e-9), metric
        assert np.isnan(found.row(metric, "b").first_value) and np.isnan(result.scenes["b"][metric]), metric


def test_the_first_class_alone_is_a_class_of_its_own() -> None:
    p = np.tile([0.8, 0.1, 0.1], (10, 1))
    one = Result(task="text", scenes={"a": {}}, name="one")
    one.predictions = Predictions(np.arange(10), ["a"] * 10, np.zeros(10), p[:, 0], classes=p)
    for metric in ("f1", "precision", "recall", "accuracy"):
        row = ps.compare(one, one, metric=metric, draws=20).row(metric)
        assert (row.first_value, row.second_value) == (1, 1)


def test_accuracy_is_tested_by_mcnemar() -> None:
    one, other = result_of(1), result_of(2, shift=1.0)
    row = ps.compare(one, other, metric="accuracy", draws=50).row("accuracy")
    right = [each.predictions.classes.argmax(1) == each.predictions.label for each in (one, other)]
    better, worse = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    assert row.p == pytest.approx(binomtest(better, better + worse, 0.5).pvalue)
    assert row.test == "McNemar"


def test_resampled_f1_is_that_of_a_plain_loop() -> None:
    one, other = result_of(1), result_of(2, shift=1.0)
    row = ps.compare(one, other, metric="f1", draws=1500).row("f1")
    draw, gaps = np.random.default_rng(5), []
    label = one.predictions.label
    given = [each.predictions.classes.argmax(1) for each in (one, other)]
    for _ in range(500):
        at = draw.integers(200, size=200)
        first, second = (sk.f1_score(label[at], each[at], average="macro", zero_division=0) for each in given)
        gaps.append(second - first)
    low, high = np.quantile(gaps, [0.025, 0.975])
    assert row.low == pytest.approx(low, abs=0.02)
    assert row.high == pytest.approx(high, abs=0.02)


def test_rows_are_kept_in_parquet(tmp_path: Path) -> None:
    rows = result_of(1, weight=True).predictions
    rows.write(tmp_path / "predictions.parquet")
    again = Predictions.read(tmp_path / "predictions.parquet")
    for name in ("row", "scene", "label", "score", "weight", "classes"):
        assert np.array_equal(getattr(again, name), getattr(rows, name)), name
    assert again.take(np.arange(3)).classes.shape == (3, 4)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compare: unknown metric 'auc'; metrics of classes: f1, accuracy, precision"):
        ps.compare(result_of(1), result_of(2), metric="auc")
    with pytest.raises(ValueError, match=r"classes must be \[N, C\] with N of 2 rows, got \(1, 3\)"):
        Predictions([0, 1], ["a", "a"], [0, 1], [0.5, 0.5], classes=np.ones((1, 3)))


def test_what_evaluate_leaves_behind(tmp_path: Path) -> None:
    data: Any = ps.testing.tiny_data("text")
    model = ps.models.TextClassifier(data.schema, encoder="mean", dim=4)
    result = ps.evaluate(model, data.test)
    assert result.predictions.classes == pytest.approx(model.predict(data.test), rel=1e-6)
    found = ps.compare(result, result, draws=20)
    for row in found.rows:
        wanted = result.overall if row.scene is None else result.scenes[row.scene]
        assert row.first_value == pytest.approx(wanted[row.metric], rel=1e-6)
        assert row.difference == 0
