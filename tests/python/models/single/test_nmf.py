"""Matrix factorisation without negative numbers against loops."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch


def fitted(data: Any, seed: int = 3, **options: Any) -> tuple[ps.Model, np.ndarray, np.ndarray]:
    """A model after its passes, and where its factors began."""
    torch.manual_seed(seed)
    model = ps.models.NMF(data.schema, **options).double()
    first = model.user.numpy().copy(), model.item.numpy().copy()
    ps.Trainer().fit(model, data)
    return model, *first


def slow_pass(ratings: list[tuple[int, int, float]], p: np.ndarray, q: np.ndarray, l2: float) -> None:
    """One update of users, then one of items, rating by rating."""
    for mine, theirs, side in ((p, q, 0), (q, p, 1)):
        for row in {rating[side] for rating in ratings}:
            met = [rating for rating in ratings if rating[side] == row]
            up = sum(theirs[rating[1 - side]] * rating[2] for rating in met)
            down = sum(theirs[r[1 - side]] * (p[r[0]] @ q[r[1]]) for r in met) + l2 * len(met) * mine[row]
            mine[row] = mine[row] * up / (down + 1e-12)


def objective(ratings: list[tuple[int, int, float]], p: np.ndarray, q: np.ndarray, l2: float) -> float:
    return sum((r - p[u] @ q[i]) ** 2 + l2 * (p[u] @ p[u] + q[i] @ q[i]) for u, i, r in ratings)


def ratings_of(table: Any) -> list[tuple[int, int, float]]:
    batch = table.batch(torch.arange(len(table)))
    return list(zip(batch.user.tolist(), batch.item.tolist(), batch.label.tolist(), strict=True))


def test_matches_loops() -> None:
    data = ps.testing.tiny_data("rating")
    model, p, q = fitted(data, dim=4, l2=0.1, passes=3)
    ratings = ratings_of(data.train)
    for _ in range(3):
        slow_pass(ratings, p, q, 0.1)
    users, items = sorted({r[0] for r in ratings}), sorted({r[1] for r in ratings})
    np.testing.assert_allclose(model.user.numpy()[users], p[users], rtol=1e-10)
    np.testing.assert_allclose(model.item.numpy()[items], q[items], rtol=1e-10)
    batch = data.test.batch(torch.arange(16))
    low, high = data.schema.label_low, data.schema.label_high
    wanted = (model.user[batch.user] * model.item[batch.item]).sum(1).clamp(low, high)
    torch.testing.assert_close(model(batch), wanted)
    torch.testing.assert_close(model.explain(batch)["parts"].sum(1).clamp(low, high), model(batch))


def test_no_pass_makes_the_objective_larger() -> None:
    data = ps.testing.tiny_data("rating")
    ratings = ratings_of(data.train)
    found = []
    for passes in (1, 2, 4, 8, 16):
        model, _, _ = fitted(data, dim=3, l2=0.06, passes=passes)
        assert bool((model.user >= 0).all()) and bool((model.item >= 0).all())
        found.append(objective(ratings, model.user.numpy(), model.item.numpy(), 0.06))
    assert all(b <= a for a, b in itertools.pairwise(found))
    assert found[-1] < 0.8 * found[0]


def test_rows_without_ratings_predict_by_the_mean_vector() -> None:
    rows = {"user_id": list("aabbc"), "item_id": list("xyxyx"), "label": [4.0, 2.0, 5.0, 1.0, 3.0]}
    data = ps.read_table(train=pa.table(rows), task="rating", scene=None)
    model, _, _ = fitted(data, dim=2, passes=5)
    # "c" is rare and trains the row of unknown users; nobody is missing, and no item is unknown or missing.
    torch.testing.assert_close(model.user[1], model.user[[0, 2, 3]].mean(0))
    torch.testing.assert_close(model.item[:2], model.item[2:].mean(0).expand(2, 2))
    unknown = {"user_id": ["new", "a"], "item_id": ["x", "new"]}
    scores = model.predict(pa.table(unknown))
    assert np.isfinite(scores).all() and (scores >= 1).all() and (scores <= 5).all()


def test_the_same_bits_on_one_thread_and_on_two() -> None:
    data = ps.testing.tiny_data("rating")
    states = []
    for threads in (1, 2):
        torch.manual_seed(5)
        model = ps.models.NMF(data.schema, dim=4)
        ps.Trainer(threads=threads).fit(model, data)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_saved_and_loaded(tmp_path: Path) -> None:
    data = ps.testing.tiny_data("rating")
    model, _, _ = fitted(data, dim=4, passes=2)
    ps.save(model, tmp_path / "m.safetensors")
    batch = data.test.batch(torch.arange(8))
    assert torch.equal(ps.load(tmp_path / "m.safetensors")(batch), model(batch))


def test_export_form() -> None:
    data = ps.testing.tiny_data("rating")
    model, _, _ = fitted(data, dim=4, passes=2)
    batch = data.test.batch(torch.arange(8))
    torch.testing.assert_close(model.export_form()(*model.export_inputs(batch)), model(batch))


def test_negative_ratings_are_refused() -> None:
    rows = {"user_id": list("aab"), "item_id": list("xyx"), "label": [1.0, -2.0, 3.0]}
    data = ps.read_table(train=pa.table(rows), task="rating", scene=None)
    with pytest.raises(ValueError, match="NMF: ratings must be 0 or more, row 1 has -2"):
        ps.Trainer().fit(ps.models.NMF(data.schema), data)


def test_a_popularity_baseline_is_beaten_where_ratings_have_factors() -> None:
    generator = np.random.default_rng(4)
    taste, kind = generator.random((60, 2)), generator.random((40, 2))
    taste[:, 1] = 1 - taste[:, 0]
    kind[:, 1] = 1 - kind[:, 0]
    user, item = (side.ravel() for side in np.meshgrid(np.arange(60), np.arange(40), indexing="ij"))
    label = 1 + 4 * (taste @ kind.T).ravel()
    order = generator.permutation(len(user))
    names = {"user_id": [f"u{u}" for u in user[order]], "item_id": [f"i{i}" for i in item[order]]}
    table = pa.table(names | {"label": label[order]})
    data = ps.read_table(train=table.slice(0, 1600), test=table.slice(1600), task="rating", scene=None)
    errors = {}
    for name in ("popularity", "nmf"):
        torch.manual_seed(1)
        model = ps.models.create(name, data.schema, **({"dim": 4, "l2": 1e-3, "passes": 200} if name == "nmf" else {}))
        ps.Trainer().fit(model, data)
        errors[name] = ps.evaluate(model, data.test).overall["rmse"]
    assert errors["nmf"] < 0.3 * errors["popularity"]
