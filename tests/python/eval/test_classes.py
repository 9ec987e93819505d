"""Metrics of tasks text and image against scikit-learn, and how their rows are predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from sklearn import metrics as sk
from torch import nn


class Given(ps.Model):
    """Logits that are given, row by row of the table."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.table = nn.Parameter(torch.zeros(600, 3))

    def forward(self, batch: Any) -> torch.Tensor:
        return self.table[batch.row]


@pytest.fixture(scope="module", params=["text", "image"])
def data(request: pytest.FixtureRequest) -> Any:
    return ps.testing.tiny_data(request.param)


def model_of(data: Any, seed: int = 0, *, without: int | None = None) -> Given:
    model = Given(data.schema)
    with torch.no_grad():
        model.table.copy_(torch.randn(600, 3, generator=torch.Generator().manual_seed(seed)))
        if without is not None:
            model.table[:, without] = -20  # where scikit-learn does not clip yet
    return model


def expected(label: np.ndarray, p: np.ndarray) -> dict[str, float]:
    given = p.argmax(1)
    how = {"average": "macro", "zero_division": 0}
    return {
        "accuracy": sk.accuracy_score(label, given),
        "precision": sk.precision_score(label, given, **how),
        "recall": sk.recall_score(label, given, **how),
        "f1": sk.f1_score(label, given, **how),
        "log_loss": sk.log_loss(label, p, labels=[0, 1, 2]),
    }


@pytest.mark.parametrize("without", [None, 2])
def test_matches_scikit_learn_overall_and_in_each_scene(data: Any, without: int | None) -> None:
    model = model_of(data, without=without)
    result = ps.evaluate(model, data.test)
    p, label = model.predict(data.test), data.test.labels().numpy()
    assert p.shape == (len(data.test), 3)
    np.testing.assert_allclose(p.sum(1), 1)
    assert result.overall == pytest.approx(expected(label, p), rel=1e-9)
    scene = data.test.scenes().numpy()
    for s, name in enumerate(data.schema.scenes):
        assert result.scenes[name] == pytest.approx(expected(label[scene == s], p[scene == s]), rel=1e-9)
        assert result.counts[name] == {"rows": int((scene == s).sum())}
    means = {m: np.mean([values[m] for values in result.scenes.values()]) for m in result.overall}
    assert result.macro == pytest.approx(means, rel=1e-12)


def test_a_class_that_is_neither_labelled_nor_given_is_left_out(data: Any) -> None:
    rows = (data.test.labels() != 2).nonzero().squeeze(1)
    result = ps.evaluate(model_of(data, without=2), data.test.take(rows), metrics=["f1", "recall"])
    p, label = model_of(data, without=2).predict(data.test.take(rows)), data.test.labels()[rows].numpy()
    assert result.overall["f1"] == pytest.approx(sk.f1_score(label, p.argmax(1), average="macro"), rel=1e-12)


def test_other_metrics_and_outputs_are_refused(data: Any) -> None:
    known = f"unknown metric 'auc' for task {data.schema.task}; known metrics: f1, accuracy, precision"
    with pytest.raises(ValueError, match=known):
        ps.evaluate(model_of(data), data.test, metrics=["auc"])

    class Narrow(Given):
        def forward(self, batch: Any) -> torch.Tensor:
            return self.table[batch.row, :2]

    with pytest.raises(
        ValueError, match=r"Narrow: forward must return one logit for each class, \[8, 3\], got \[8, 2\]"
    ):
        Narrow(data.schema).loss(ps.testing.batch(data, 8))


def test_the_loss_is_weighted_cross_entropy(data: Any) -> None:
    model, batch = model_of(data), ps.testing.batch(data, 32)
    batch.weight = torch.rand(32, generator=torch.Generator().manual_seed(3))
    log_p = model(batch).double().log_softmax(1)
    lost = sum(-w * log_p[i, int(y)] for i, (w, y) in enumerate(zip(batch.weight, batch.label, strict=True)))
    assert model.loss(batch).item() == pytest.approx((lost / batch.weight.sum()).item(), rel=1e-6)


def test_the_trainer_watches_f1_and_balances_classes(data: Any) -> None:
    history = ps.Trainer(epochs=2, lr=0.1, class_weight="balanced").fit(Given(data.schema), data)
    assert set(history[0]["valid"]) == {"f1", "accuracy", "precision", "recall", "log_loss"}
    best = max(history, key=lambda row: row["valid"]["f1"])
    assert [row["best"] for row in history][history.index(best)]
