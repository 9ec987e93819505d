"""CrossEASE against dense algebra; its gates; what it learns from other scenes, and what it does not read."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from every_model import make

RIDGE, L2 = 2.0, 5.0


def matrices(data: Any) -> list[np.ndarray]:
    """Training pairs of each scene, [U, I]."""
    sizes = [field.rows for field in data.schema.categorical]
    out = [np.zeros(sizes) for _ in data.schema.scenes]
    columns = (data.train.scenes(), data.train.users(), data.train.items())
    for s, u, i in zip(*(each.tolist() for each in columns), strict=True):
        out[s][u, i] = 1
    return out


def normal(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.maximum(x.sum(1, keepdims=True), 1))


def own(x: np.ndarray) -> np.ndarray:
    there = x.any(0)
    p = np.linalg.inv(x[:, there].T @ x[:, there] + L2 * np.eye(there.sum()))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    out = np.zeros_like(x)
    out[:, there] = x[:, there] @ b
    return out


def taste(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Ridge regression from source rows to target rows, anew for each user without that user's own target row."""
    a, y = normal(source), normal(target)
    both = np.flatnonzero(source.any(1) & target.any(1))
    out = np.zeros_like(target)
    for u in np.flatnonzero(source.any(1)):
        others = both[both != u]
        k = a[others] @ a[others].T
        weights = np.linalg.solve(k + RIDGE * np.eye(len(others)), a[others] @ a[u])
        out[u] = weights @ (y[others] - y[others].mean(0)) if len(others) else 0
    return out


@pytest.fixture(scope="module")
def fitted(data: Any) -> Any:
    return make("cross_ease", data, ridge=RIDGE, l2=L2)


def test_scores_are_gated_sums_of_three_parts(data: Any, fitted: Any) -> None:
    x = matrices(data)
    users, items = x[0].shape
    gates = torch.tensor([[1.0, 0.5], [0.3, 3.0], [0.1, 1.0], [0.0, 0.0]])
    model = make("cross_ease", data, ridge=RIDGE, l2=L2)
    model.gates.copy_(gates.expand(3, 4, 2))
    model.encode()
    for s in range(3):
        known = x[s].sum(1)
        group = np.select([known == 0, known <= 5, known <= 20], [0, 1, 2], 3)
        prior = normal(x[s])[known > 0].mean(0)
        sources = [taste(x[a], x[s]) for a in range(3) if a != s]
        knows = np.stack([x[a].any(1) for a in range(3) if a != s])
        mean = sum(sources) / np.maximum(knows.sum(0), 1)[:, None]
        p, c = (gates.numpy()[group][:, [k]] for k in (0, 1))
        expected = own(x[s]) + p * prior + c * mean
        found = model.score_items(torch.arange(users), s, torch.arange(items)).numpy()
        np.testing.assert_allclose(found, expected, atol=3e-5)
    batch = ps.testing.batch(data, 30)
    parts = model.explain(batch)
    torch.testing.assert_close(sum(parts.values()), model(batch), rtol=1e-4, atol=1e-6)
    assert all(part.any() for part in parts.values())


def crossed(users: int, linked: bool, seed: int = 0) -> Any:
    """Two scenes of five genres; a user's genre is the same in both, or drawn anew."""
    draw = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"user_id": [], "item_id": [], "scene": []}
    for user in range(users):
        genre = int(draw.integers(0, 5))
        for scene in ("a", "b"):
            weight = np.where(np.arange(60) % 5 == genre, 15.0, 1.0) / (1 + np.arange(60) / 20)
            for item in draw.choice(60, 6, False, weight / weight.sum()):
                rows["user_id"].append(user)
                rows["item_id"].append(f"{scene}{item}")
                rows["scene"].append(scene)
            if not linked:
                genre = int(draw.integers(0, 5))
    split = {"by": "cold_scene", "ratios": [6, 1, 3]}
    return ps.read_table(pa.table(rows), task="ranking", split=split)


def test_cold_users_are_served_by_their_taste_elsewhere() -> None:
    data = crossed(400, linked=True)
    model, popular = make("cross_ease", data, ridge=3.0), make("popularity", data)
    assert (model.gates[:, 0, 1] > 0).all()
    found, floor = (ps.evaluate(each, data.test).scenes for each in (model, popular))
    for scene in ("a", "b"):
        assert found[scene]["ndcg@10"] > 1.3 * floor[scene]["ndcg@10"]


def test_a_scene_that_teaches_nothing_is_shut_out() -> None:
    data = crossed(400, linked=False)
    model = make("cross_ease", data, ridge=3.0)
    assert not model.gates[:, :, 1].any()
    prior = ps.evaluate(model, data.test).overall["ndcg@10"]
    assert prior == pytest.approx(ps.evaluate(make("popularity", data), data.test).overall["ndcg@10"], abs=0.03)


def test_held_out_rows_are_never_read() -> None:
    """Gates, weights and scores are the same whatever validation and test rows say."""
    data = crossed(120, linked=True)
    rows = {part: getattr(data, part) for part in ("train", "valid", "test")}

    def table(part: str, shift: int) -> Any:
        ids = [field.ids for field in data.schema.categorical]
        user, item = rows[part].users().tolist(), rows[part].items().tolist()
        scene = [data.schema.scenes[s] for s in rows[part].scenes().tolist()]
        moved = [ids[1][(i - 2 + shift) % len(ids[1])] for i in item]
        return pa.table({"user_id": [ids[0][u - 2] for u in user], "item_id": moved, "scene": scene})

    found = []
    for shift in (0, 7):
        other = {part: table(part, 0 if part == "train" else shift) for part in rows}
        changed = ps.read_table(**other, task="ranking")
        model = make("cross_ease", changed)
        model.encode()
        users, items = (torch.arange(field.rows) for field in changed.schema.categorical)
        found.append((model.gates.clone(), model.score_items(users, 0, items)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_gates_are_judged_anew() -> None:
    """What an earlier fit opened does not stay open."""
    data = crossed(120, linked=True)
    model = make("cross_ease", data)
    fitted = model.gates.clone()
    model.gates.fill_(7)
    model.fit_closed_form(data.train)
    assert torch.equal(model.gates, fitted)


def test_without_overlap_it_is_ease_with_a_prior() -> None:
    rows = {"user_id": list("aabbccddee"), "item_id": list("xyxyzwzwzx"), "scene": list("sssstttttt")}
    data = ps.read_table(train=pa.table(rows), task="ranking")
    model, ease = make("cross_ease", data, l2=2.0), make("ease", data, l2=2.0)
    model.encode()
    ease.encode()
    users, items = (torch.arange(field.rows) for field in data.schema.categorical)
    for s in range(2):
        known = torch.tensor(matrices(data)[s].any(1))
        mine = model.score_items(users, s, items)[known] - ease.score_items(users, s, items)[known]
        assert torch.allclose(mine, mine[0].expand_as(mine), atol=1e-6)


def test_a_loaded_model_ranks_the_same(fitted: Any, data: Any, tmp_path: Any) -> None:
    ps.save(fitted, tmp_path / "m.safetensors")
    again = ps.load(tmp_path / "m.safetensors")
    users = data.schema.categorical[0].ids
    one, two = fitted.recommend(users, k=5), again.recommend(users, k=5)
    assert (one.items == two.items).all()
    assert (one.scores == two.scores).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": 0.0}, "CrossEASE: l2 must be positive, got 0"),
        ({"ridge": -1.0}, "CrossEASE: ridge must be positive, got -1"),
        ({"margin": -1.0}, "CrossEASE: margin must be 0 or more, got -1"),
        ({"held_out": 1.0}, r"CrossEASE: held_out must be in \(0, 1\), got 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str, data: Any) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.create("cross_ease", data.schema, **options)
