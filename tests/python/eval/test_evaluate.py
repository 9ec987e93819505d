"""`evaluate` and `recommend` on tables: which items, which weights, which numbers they see."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from polyscene import runs
from sklearn import metrics as sk


def rows(n: int, seed: int, users: int = 30, items: int = 12) -> pa.Table:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, n)
    item = rng.integers(0, items, n)
    hour = rng.uniform(8, 20, n)
    label = rng.random(n) < 1 / (1 + np.exp(-(0.2 * (hour - 14) + 0.3 * (item - items / 2))))
    columns = {"user_id": user, "item_id": item, "label": label.astype(int), "age": 20.0 + user, "hour": hour}
    return pa.table(columns | {"scene": np.where(item % 2, "a", "b"), "weight": rng.uniform(0.1, 3, n)})


def replaced(table: pa.Table, name: str, cells: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(cells))


def read(scaling: str = "z_score", missing: str = "mean", **sources: pa.Table) -> Any:
    numeric = [{"name": name, "scaling": scaling, "missing": missing} for name in ("age", "hour")]
    return ps.read_table(**sources, numeric=numeric, weight="weight", min_count=1)


def fitted(data: Any) -> Any:
    model = ps.models.Logistic(data.schema)
    ps.Trainer(lr=0.05, epochs=8, batch_size=64, seed=3).fit(model, data.train, data.valid)
    return model


def test_coverage_tells_items_apart_that_training_never_saw() -> None:
    test = rows(200, 3)
    items = [
        None if i < 5 else f"new {i % 7}" if i < 60 else str(each) for i, each in enumerate(test["item_id"].to_pylist())
    ]
    data = read(train=rows(400, 1), valid=rows(200, 2), test=replaced(test, "item_id", items))
    result = ps.evaluate(fitted(data), data.test, threshold=0.62)
    called = result.predictions.score >= 0.62
    scene = test["scene"].to_numpy(zero_copy_only=False)

    def expected(part: np.ndarray) -> float:
        known = {each for each, here in zip(items, part, strict=True) if here and each is not None}
        hit = {each for each, here in zip(items, part & called, strict=True) if here and each is not None}
        return len(hit) / len(known)

    assert 0 < expected(np.ones(200, bool)) < 1
    assert result.overall["coverage"] == pytest.approx(expected(np.ones(200, bool)), rel=1e-12)
    for name in ("a", "b"):
        assert result.scenes[name]["coverage"] == pytest.approx(expected(scene == name), rel=1e-12)


def test_gauc_tells_users_apart_that_training_never_saw() -> None:
    test = rows(400, 3, users=50)
    users = [None if i < 40 else f"new {u}" if u >= 20 else str(u) for i, u in enumerate(test["user_id"].to_pylist())]
    data = read(train=rows(400, 1, users=20), valid=rows(200, 2), test=replaced(test, "user_id", users))
    result = ps.evaluate(fitted(data), data.test.take(torch.arange(400)), ["gauc"])
    label, score, weight = test["label"].to_numpy(), result.predictions.score, test["weight"].to_numpy()
    weight = weight.astype(np.float32)
    scene = test["scene"].to_numpy(zero_copy_only=False)

    def expected(here: np.ndarray, weight: np.ndarray) -> float:
        total = part = 0.0
        for user in set(users) - {None}:
            mine = here & (np.array(users, object) == user)
            if len(set(label[mine])) == 2:
                part += weight[mine].sum() * sk.roc_auc_score(label[mine], score[mine], sample_weight=weight[mine])
                total += weight[mine].sum()
        return part / total

    assert result.overall["gauc"] == pytest.approx(expected(np.ones(400, bool), weight), rel=1e-6)
    assert result.scenes["a"]["gauc"] == pytest.approx(expected(scene == "a", weight), rel=1e-6)
    # a comparison weighs the same rows and knows the same users
    found = ps.compare(result, result, metric="gauc", draws=20).row("gauc")
    assert found.first_value == pytest.approx(expected(np.ones(400, bool), weight), rel=1e-6)


def test_tuned_threshold_has_the_best_weighted_f1_of_the_validation_rows() -> None:
    valid = rows(300, 2)
    weight = np.where(valid["label"].to_numpy() == 1, 0.05, 1.0)
    data = read(train=rows(400, 1), valid=replaced(valid, "weight", weight), test=rows(100, 3))
    model = fitted(data)
    found = runs.measure(model, data, {"threshold": 0.5, "metrics": ["f1"], "tune_threshold": True})
    p, label = model.predict(data.valid), valid["label"].to_numpy()
    best = max(sk.f1_score(label, p >= t, sample_weight=weight) for t in np.unique(p))
    assert found.valid.overall["f1"] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("scaling", ["z_score", "min_max", "none"])
@pytest.mark.parametrize("missing", ["mean", "category"])
def test_numbers_that_nobody_knows_are_missing_and_not_zero(scaling: str, missing: str) -> None:
    # Full scale of the table: age belongs to users, hour to the moment.
    data = read(scaling, missing, train=rows(400, 1), valid=rows(100, 2), test=rows(100, 3))
    assert [field.side for field in data.schema.numeric] == ["user", "context"]
    model = fitted(data)
    seen = {"user": "stranger", "item": "0"}
    found = model.recommend(["3", "stranger"], k=5, scene="a", events=[seen], exclude_seen=False)
    for user, age, items, scores in zip(["3", "stranger"], [23.0, None], found.items, found.scores, strict=True):
        # None is a cell that is empty
        asked = pa.table(
            {"user_id": [user] * 5, "item_id": list(items), "age": pa.array([age] * 5, pa.float64()),
             "hour": pa.array([None] * 5, pa.float64()), "scene": ["a"] * 5}
        )  # fmt: skip
        np.testing.assert_allclose(scores, model.predict(asked), rtol=1e-5)


@pytest.mark.parametrize("unseen", ["shared", "nearest"])
@pytest.mark.parametrize("name", ["scene_branch", "mf"])
def test_runs_measure_a_scene_that_training_never_saw(name: str, unseen: str, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "dataset": {"name": "table", "unseen_scene": unseen, "min_count": 1},
        "model": {"name": name},
        "train": {"epochs": 1, "batch_size": 128},
    }
    for part, seed in (("train", 1), ("valid", 2), ("test", 3)):
        table = rows(400, seed)
        if part == "test":
            table = replaced(table, "scene", np.where(np.arange(400) % 3, table["scene"].to_pylist(), "new"))
        parquet.write_table(table, tmp_path / f"{part}.parquet")
        config["dataset"][part] = str(tmp_path / f"{part}.parquet")
    (tmp_path / "config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    out.mkdir()
    result = runs.execute(runs.resolve(tmp_path / "config.json"), out).result
    assert list(result.scenes) == ["a", "b", "new"]
    found = json.loads((out / "explain.json").read_text())["unseen_scene"]
    assert found["scenes"] == ["new"]
    assert found["unseen"]["auc"] == pytest.approx(result.scenes["new"]["auc"], rel=1e-12)
    seen = result.predictions.take(result.predictions.scene != "new")
    assert found["seen"]["auc"] == pytest.approx(sk.roc_auc_score(seen.label, seen.score), rel=1e-9)
    page = (out / "report.html").read_text()
    assert re.search(rf"Unseen scenes</th>.*?{found['unseen']['auc']:.4f}.*?{found['seen']['auc']:.4f}", page, re.S)
