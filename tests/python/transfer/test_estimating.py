"""The estimate before a transfer and the report after it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from every_model import scramble
from polyscene.transfer import estimating, negative_transfer, represented, rows_of, transferability
from polyscene.transfer.estimating import _leep, _probe, _probe_of_classes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(data: Any, seed: int = 1) -> ps.Model:
    torch.manual_seed(0)
    return scramble(ps.models.MF(data.schema, dim=4), seed)


def test_leep_matches_loops() -> None:
    rng = np.random.default_rng(0)
    p, label = rng.uniform(0.05, 0.95, 30), rng.uniform(size=30) < 0.3
    joint = {(y, z): 0.0 for y in (0, 1) for z in (0, 1)}
    for value, y in zip(p, label, strict=True):
        joint[int(y), 1] += value / 30
        joint[int(y), 0] += (1 - value) / 30
    total = 0.0
    for value, y in zip(p, label, strict=True):
        given = [joint[int(y), z] / (joint[0, z] + joint[1, z]) for z in (0, 1)]
        total += math.log(given[0] * (1 - value) + given[1] * value) / 30
    leep, base = _leep(label.astype(int), np.stack([1 - p, p], 1))
    assert leep == pytest.approx(total) and leep >= base
    q = label.mean()
    assert base == pytest.approx(q * math.log(q) + (1 - q) * math.log(1 - q))


def test_probe_is_ridge_logistic_regression() -> None:
    rng = np.random.default_rng(1)
    x, held = rng.normal(size=(80, 3)) * [1, 5, 0.1] + 2, rng.normal(size=(10, 3))
    label = x[:, 0] + rng.normal(size=80) > 2
    mean, std = x.mean(0), x.std(0)
    wanted = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit((x - mean) / std, label)
    np.testing.assert_allclose(_probe(x, label, held, 1.0), wanted.decision_function((held - mean) / std), rtol=1e-4)


def test_leep_of_classes_matches_loops() -> None:
    rng = np.random.default_rng(2)
    label, z = rng.integers(0, 3, 40), rng.dirichlet(np.ones(4), 40)  # three classes, a source with four answers
    joint = [[sum(z[i, k] for i in range(40) if label[i] == y) / 40 for k in range(4)] for y in range(3)]
    total = 0.0
    for i in range(40):
        given = [joint[label[i]][k] / sum(joint[y][k] for y in range(3)) for k in range(4)]
        total += math.log(sum(given[k] * z[i, k] for k in range(4))) / 40
    rates = [(label == y).mean() for y in range(3)]
    leep, base = _leep(label, z)
    assert leep == pytest.approx(total, rel=1e-12) and leep > base
    assert base == pytest.approx(sum(rate * math.log(rate) for rate in rates), rel=1e-12)


def test_probe_of_classes_is_softmax_regression() -> None:
    rng = np.random.default_rng(1)
    x, held = rng.normal(size=(90, 3)) * [1, 5, 0.1] + 2, rng.normal(size=(10, 3))
    label = (x[:, :2] + rng.normal(size=(90, 2)) > 2).sum(1)
    mean, std = x.mean(0), x.std(0)
    wanted = LogisticRegression(C=0.5, tol=1e-10, max_iter=2000).fit((x - mean) / std, label)
    found = _probe_of_classes(x, label, held, 2.0, 4)  # of the fourth class there is no row
    p = np.exp(found - found.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(p[:, :3], wanted.predict_proba((held - mean) / std), atol=2e-3)
    assert (found.argmax(1) == wanted.predict((held - mean) / std)).all() and p[:, 3].max() < 0.02


def test_a_source_that_knows_is_worth_more(data: Any) -> None:
    rows = rows_of(data.train, ["television"])
    model = make(data)
    before = transferability(model, rows)
    ps.Trainer(epochs=20, lr=0.05, batch_size=64, patience=0).fit(model, rows_of(data.train, ["phone", "tablet"]))
    after = transferability(model, rows)
    assert after.answer > before.answer and after.gain > before.gain
    assert after.rows == len(rows) and after.leep <= 0
    assert after.answer == pytest.approx(roc_auc_score(rows.labels(), model.predict(rows)))
    assert transferability(model, rows) == after  # seeded


def test_folds_of_the_probe_keep_groups(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, model = rows_of(data.train, ["television"]), make(data)
    groups = torch.full((int(rows.rows.max()) + 1,), -1, dtype=torch.int32)
    groups[rows.rows] = torch.arange(len(rows), dtype=torch.int32) // 7
    given = SimpleNamespace(group=groups)
    held: list[np.ndarray] = []
    kept = represented(model, rows)
    kept[:, 0] = np.arange(len(rows))  # the row

    def probe(x: np.ndarray, label: np.ndarray, inside: np.ndarray, ridge: float) -> np.ndarray:
        held.append(inside[:, 0])
        return np.zeros(len(inside))

    monkeypatch.setattr(estimating, "_probe", probe)
    monkeypatch.setattr(estimating, "represented", lambda _, table: kept[_places(rows, table)])
    transferability(model, rows, data=given)
    parts = [set(part.astype(int) // 7) for part in held]
    assert len(parts) == 5 and sum(len(part) for part in parts) == len(set.union(*parts)) == -(-len(rows) // 7)
    groups[rows.rows] = 3
    with pytest.raises(ValueError, match="transferability: all rows belong to one group"):
        transferability(model, rows, data=given)


def _places(rows: Any, some: Any) -> list[int]:
    place = {row: i for i, row in enumerate(rows.rows.tolist())}
    return [place[row] for row in some.rows.tolist()]


def test_representation_of_a_table_is_that_of_its_rows(data: Any) -> None:
    model = make(data)
    found = represented(model, data.valid, batch_size=7)
    batch = data.valid.batch(torch.arange(len(data.valid)))
    np.testing.assert_allclose(found, model.eval().represent(batch).detach().double().numpy(), rtol=1e-6)


def test_harm_is_told_scene_by_scene(data: Any) -> None:
    own, moved = make(data), make(data, 2)
    ps.Trainer(epochs=15, lr=0.05, batch_size=64, patience=0).fit(own, data.train)
    found = negative_transfer(own, moved, data.train)
    assert set(found["scenes"]) == set(data.schema.scenes)
    assert found["harmed"] == 1.0 and found["overall"]["verdict"] == "harmed"
    assert found["message"].startswith("worse in 3 of 3 scenes, surely in ")
    scene = data.train.scenes() == 0
    label = data.train.labels()[scene]
    for part, model in (("own", own), ("moved", moved)):
        want = roc_auc_score(label, np.asarray(model.predict(data.train))[scene.numpy()])
        assert found["scenes"]["phone"][part] == pytest.approx(want)
    one = found["scenes"]["phone"]
    assert one["low"] < one["gain"] < one["high"] and one["rows"] == int(scene.sum())
    same = negative_transfer(own, own, data.train, "log_loss")
    assert same["harmed"] == 0 and same["overall"]["verdict"] == "undecided"
    with pytest.raises(ValueError, match="metric must be one of auc, log_loss, rmse, ndcg@10, got 'f1'"):
        negative_transfer(own, moved, data.test, "f1")


def test_what_cannot_be_estimated_is_told(data: Any) -> None:
    rating = ps.testing.tiny_data("rating")
    with pytest.raises(
        ValueError, match="transferability: made for labels 0 and 1 and for classes .*text, image.*task is 'rating'"
    ):
        transferability(make(rating), rating.train)
    with pytest.raises(ValueError, match="transferability: there must be at least 2 folds and a row for each"):
        transferability(make(data), data.train.take(torch.tensor([0])), folds=2)
