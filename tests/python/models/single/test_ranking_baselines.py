"""Popularity, ItemKNN, EASE and BPRMF against plain loops and dense algebra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from every_model import draw, make, scramble


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking")


def matrix(data: Any, scene: int | None) -> np.ndarray:
    """Training pairs of a scene, or of all, as zeros and ones [U, I]."""
    out = np.zeros([field.rows for field in data.schema.categorical])
    for s, u, i in zip(
        data.train.scenes().tolist(), data.train.users().tolist(), data.train.items().tolist(), strict=True
    ):
        if scene is None or s == scene:
            out[u, i] = 1
    return out


def scores(model: Any, data: Any, scene: int) -> np.ndarray:
    users, items = (field.rows for field in data.schema.categorical)
    model.encode()
    return model.score_items(torch.arange(users), scene, torch.arange(items)).detach().numpy()


# -- popularity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["scene", "overall"])
def test_popularity_counts_rows(data: Any, scope: str) -> None:
    model = make("popularity", data, scope=scope)
    for s in range(3):
        found = scores(model, data, s)[5]
        rows = [(a, i) for a, i in zip(data.train.scenes().tolist(), data.train.items().tolist(), strict=True)]
        items = len(found)
        everywhere = np.array([sum(i == item for _, i in rows) for item in range(items)])
        here = np.array([sum((a, i) == (s, item) for a, i in rows) for item in range(items)])
        expected = here + everywhere / (everywhere.max() + 1) if scope == "scene" else everywhere
        np.testing.assert_allclose(found, expected, rtol=1e-6)


# -- neighbourhoods ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["scene", "overall"])
@pytest.mark.parametrize(("neighbours", "shrink"), [(0, 0.0), (3, 0.0), (0, 5.0)])
def test_item_knn_equals_plain_loops(data: Any, scope: str, neighbours: int, shrink: float) -> None:
    model = make("item_knn", data, scope=scope, neighbours=neighbours, shrink=shrink)
    for s in range(3):
        x = matrix(data, s if scope == "scene" else None)
        users, items = x.shape
        similar = np.zeros((items, items))
        for i in range(items):
            found = []
            for j in range(items):
                together = sum(x[u, i] * x[u, j] for u in range(users))
                if i != j and together:
                    size = math.sqrt(x[:, i].sum() * x[:, j].sum()) + shrink
                    found.append((-together / size, j))
            for value, j in sorted(found)[: neighbours or items]:
                similar[i, j] = -value
        np.testing.assert_allclose(scores(model, data, s), x @ similar, rtol=1e-5, atol=1e-6)


# -- EASE --------------------------------------------------------------------------------------------


def steck(x: np.ndarray, l2: float) -> np.ndarray:
    """B of the paper, by the inverse of the items' side."""
    p = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    return b


@pytest.mark.parametrize("scope", ["scene", "overall"])
@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_ease_equals_the_paper(data: Any, scope: str, l2: float) -> None:
    model = make("ease", data, scope=scope, l2=l2)
    for s in range(3):
        x = matrix(data, s if scope == "scene" else None)
        present = x.any(0)
        expected = np.zeros_like(x)
        expected[:, present] = x[:, present] @ steck(x[:, present], l2)
        np.testing.assert_allclose(scores(model, data, s), expected, atol=2e-5)


def test_ease_inverts_the_smaller_side() -> None:
    """Few users and many items: by the users' side, the same numbers."""
    import pyarrow as pa

    draw_ = np.random.default_rng(0)
    pairs = {(int(u), int(i)) for u, i in zip(draw_.integers(0, 6, 80), draw_.integers(0, 25, 80), strict=True)}
    rows = {"user_id": [u for u, _ in sorted(pairs)], "item_id": [i for _, i in sorted(pairs)]}
    data = ps.read_table(train=pa.table(rows), task="ranking")
    model = make("ease", data, l2=3.0)
    x = matrix(data, 0)
    present = x.any(0)
    assert present.sum() > x.any(1).sum()
    expected = np.zeros_like(x)
    expected[:, present] = x[:, present] @ steck(x[:, present], 3.0)
    np.testing.assert_allclose(scores(model, data, 0), expected, atol=2e-5)


@pytest.mark.parametrize("name", ["ease", "item_knn"])
def test_closed_forms_answer_pairs_as_lists(name: str, data: Any) -> None:
    model = make(name, data)
    batch = draw(model, data, 30)
    whole = np.stack([scores(model, data, s) for s in range(3)])
    np.testing.assert_allclose(model(batch).numpy(), whole[batch.scene, batch.user, batch.item], rtol=1e-6)


@pytest.mark.parametrize("name", ["ease", "item_knn", "popularity", "bpr_mf", "light_gcn"])
def test_a_loaded_model_recommends_the_same(name: str, data: Any, tmp_path: Any) -> None:
    model = scramble(make(name, data)).eval()
    ps.save(model, tmp_path / "m.safetensors")
    again = ps.load(tmp_path / "m.safetensors")
    users = data.schema.categorical[0].ids
    for scene in (None, "tablet"):
        one, two = (each.recommend(users, k=6, scene=scene) for each in (model, again))
        assert (one.items == two.items).all()
        assert (one.scores == two.scores).all()


@pytest.mark.filterwarnings("ignore:recommend. nothing that")
@pytest.mark.parametrize("name", ["ease", "item_knn", "bpr_mf", "light_gcn"])
def test_recommendations_are_the_best_unseen_items(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    ids = data.schema.categorical[1].ids
    users = data.schema.categorical[0].ids
    for s, scene in enumerate(data.schema.scenes):
        found = model.recommend(users, k=4, scene=scene)
        values, seen = scores(model, data, s), matrix(data, None)
        inside = np.flatnonzero(matrix(data, s).any(0))
        for u in range(len(users)):
            open_ = [i for i in inside if not seen[u + 2, i]]
            value = values[u + 2]
            if len(set(value[inside].tolist())) == 1:  # nothing that it can use: popularity
                value = matrix(data, s).sum(0)
            best = sorted(open_, key=lambda i: (-value[i], i))[:4]
            assert found.items[u].tolist() == [ids[i - 2] for i in best]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ease", {"l2": 0.0}, "EASE: l2 must be positive, got 0"),
        ("ease", {"scope": "all"}, "EASE: scope must be 'scene' or 'overall', got 'all'"),
        ("item_knn", {"shrink": -1.0}, "ItemKNN: shrink must be 0 or more, got -1"),
        ("item_knn", {"neighbours": -1}, "ItemKNN: neighbours must be 0 or more, got -1"),
        ("item_knn", {"scope": "all"}, "ItemKNN: scope must be 'scene' or 'overall'"),
        ("bpr_mf", {"loss": "bprr"}, "BPRMF: loss must be one of bpr, bce, mse, got 'bprr'; did you mean 'bpr'"),
        ("bpr_mf", {"sampler": "none"}, "BPRMF: sampler must be one of uniform, popularity, in_batch, got 'none'"),
        ("bpr_mf", {"negatives": 0}, "BPRMF: negatives must be positive, got 0"),
        ("bpr_mf", {"dim": 0}, "BPRMF: dim must be positive, got 0"),
        ("bpr_mf", {"embedding_l2": -0.1}, "BPRMF: embedding_l2 must be 0 or more"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str, data: Any) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.create(name, data.schema, **options)


# -- BPR ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["bpr", "bce", "mse"])
@pytest.mark.parametrize("bias", [True, False])
def test_bpr_mf_equals_plain_loops(loss: str, bias: bool, data: Any) -> None:
    model = scramble(make("bpr_mf", data, dim=5, loss=loss, negatives=3, item_bias=bias, embedding_l2=0.3))
    batch = ps.testing.batch(data, 20, negatives=3)
    p, q = (each.detach().double().numpy() for each in (model.user.weight, model.item.weight))
    b = model.bias.weight.detach().double().numpy()[:, 0] if bias else np.zeros(len(q))

    def score(u: int, i: int) -> float:
        return sum(p[u, d] * q[i, d] for d in range(5)) + b[i]

    total = penalty = 0.0
    for u, own, others in zip(batch.user.tolist(), batch.item.tolist(), batch.negative.tolist(), strict=True):
        values = [score(u, i) for i in (own, *others)]
        if loss == "bpr":
            total += np.mean([math.log1p(math.exp(v - values[0])) for v in values[1:]])
        else:
            wanted = [1.0, 0.0, 0.0, 0.0]
            each = [
                math.log1p(math.exp(v)) - y * v if loss == "bce" else (v - y) ** 2
                for v, y in zip(values, wanted, strict=True)
            ]
            total += np.mean(each)
        penalty += sum(p[u] ** 2) + sum(sum(q[i] ** 2) for i in (own, *others))
    expected = total / 20 + 0.3 * penalty / (2 * 20)
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)
    found = [score(u, i) for u, i in zip(batch.user.tolist(), batch.item.tolist(), strict=True)]
    np.testing.assert_allclose(model.eval()(batch).detach().numpy(), found, rtol=1e-5)


def test_a_batch_without_negatives_says_how_to_get_them(data: Any) -> None:
    model = make("bpr_mf", data, negatives=4)
    with pytest.raises(ValueError, match=r"no negatives; the trainer draws them, table.batch\(rows, negatives=4\)"):
        model.loss(data.train.batch(torch.arange(4)))


@pytest.mark.parametrize("name", ["bpr_mf", "light_gcn", "ease", "item_knn"])
def test_tastes_beat_popularity(name: str) -> None:
    import pyarrow as pa

    draw_ = np.random.default_rng(0)
    rows = [
        (user, item)
        for user in range(150)
        for item in draw_.choice(60, 8, False, np.where(np.arange(60) % 5 == user % 5, 20.0, 1.0) / 288)
    ]
    table = pa.table({"user_id": [u for u, _ in rows], "item_id": [i for _, i in rows]})
    data = ps.read_table(table, task="ranking", split={"by": "user", "ratios": [6, 1, 1]})
    model = make(name, data)
    history = ps.Trainer(lr=0.02, epochs=40, patience=8, batch_size=128, seed=1).fit(model, data)
    assert set(history[0]["valid"]) == {"hit@10", "mrr@10", "ndcg@10", "recall@10"}
    found, floor = (ps.evaluate(each, data.test).overall["ndcg@10"] for each in (model, make("popularity", data)))
    assert found > 1.5 * floor


def test_shuffled_users_are_no_better_than_popularity() -> None:
    """Without a pattern to learn, a factorisation finds none."""
    import pyarrow as pa

    draw_ = np.random.default_rng(0)
    pairs = np.unique(np.stack([draw_.integers(0, 60, 900), draw_.integers(0, 40, 900)], 1), axis=0)
    rows = pa.table({"user_id": pairs[:, 0], "item_id": pairs[:, 1]})
    data = ps.read_table(rows, task="ranking", split={"by": "user", "ratios": [6, 2, 2]})
    model = make("bpr_mf", data, dim=8)
    ps.Trainer(lr=0.01, epochs=20, patience=4, batch_size=64, seed=1).fit(model, data)
    chance = ps.evaluate(make("popularity", data), data.test).overall["ndcg@10"]
    assert abs(ps.evaluate(model, data.test).overall["ndcg@10"] - chance) < 0.1


def test_the_same_seed_gives_the_same_bits(data: Any) -> None:
    found = []
    for _ in range(2):
        model = make("bpr_mf", data, dim=8)
        ps.Trainer(lr=0.02, epochs=3, batch_size=64, seed=7, threads=1).fit(model, data)
        found.append(model.user.weight.clone())
    assert torch.equal(*found)


def test_other_monitors_and_wrong_ones(data: Any) -> None:
    model = make("bpr_mf", data, dim=8)
    history = ps.Trainer(epochs=1, monitor="map@5").fit(model, data)
    assert "map@5" in history[0]["valid"]
    with pytest.raises(ValueError, match="monitor must be a metric of task ranking with its cut-off.* got 'auc'"):
        ps.Trainer(epochs=1, monitor="auc").fit(model, data)
    with pytest.raises(ValueError, match="got 'ndcg'"):
        ps.Trainer(epochs=1, monitor="ndcg").fit(model, data)
