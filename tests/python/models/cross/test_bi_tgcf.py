"""BiTGCF against loops over users, items, scenes and edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pair_models
import polyscene as ps
import pytest
import torch

Node = tuple[str, int]


def prepared(data: Any, **options: Any) -> ps.Model:
    torch.manual_seed(5)
    model = ps.models.BiTGCF(data.schema, **({"dim": 5} | options))
    with torch.no_grad():
        model.user.weight.normal_(0, 0.5)
        model.item.weight.normal_(0, 0.5)
    model.prepare(data.train)
    return model


def graphs(data: Any) -> list[dict[Node, set[Node]]]:
    """The other ends of each node's edges in each scene."""
    rows = data.train.batch(torch.arange(len(data.train)))
    out: list[dict[Node, set[Node]]] = [{} for _ in data.schema.scenes]
    for user, item, scene in zip(rows.user.tolist(), rows.item.tolist(), rows.scene.tolist(), strict=True):
        if user > 1 and item > 1:
            out[scene].setdefault(("user", user), set()).add(("item", item))
            out[scene].setdefault(("item", item), set()).add(("user", user))
    return out


class Slow:
    """What the paper's equations give, node by node."""

    def __init__(self, model: ps.Model, data: Any) -> None:
        self.options = options = model.options
        self.edges = graphs(data)
        self.scenes = range(len(self.edges))
        now: list[dict[Node, np.ndarray]] = [{} for _ in self.scenes]
        for side in ("user", "item"):
            table = model.state_dict()[f"{side}.weight"].double().numpy()
            count = len(table) // len(self.edges)
            for at, row in enumerate(table):
                now[at // count][side, at % count] = row
        self.layers = [now]
        for _ in range(options["layers"]):
            now = self.exchange([self.walk(s, now[s]) for s in self.scenes])
            self.layers.append(now)

    def walk(self, scene: int, x: dict[Node, np.ndarray]) -> dict[Node, np.ndarray]:
        edges, out = self.edges[scene], {}
        for node, row in x.items():
            others = edges.get(node, set())
            if self.options["graph"] == "mean":
                gathered = (row + sum((x[other] for other in others), np.zeros_like(row))) / (len(others) + 1)
                out[node] = gathered + row * gathered
            else:
                gathered = np.zeros_like(row)
                for other in others:
                    gathered = gathered + x[other] / math.sqrt(len(others) * len(edges[other]))
                out[node] = row + gathered + row * gathered
        return out

    def degree(self, scene: int, node: Node) -> int:
        return len(self.edges[scene].get(node, ()))

    def exchange(self, y: list[dict[Node, np.ndarray]]) -> list[dict[Node, np.ndarray]]:
        out = [dict(rows) for rows in y]
        sides = {"both": ("user", "item"), "users": ("user",), "none": ()}[self.options["exchange"]]
        own = self.options["own"]
        for node in y[0]:
            inside = [s for s in self.scenes if self.degree(s, node)]
            if node[0] not in sides or len(inside) < 2:
                continue
            pooled = sum(self.degree(t, node) * y[t][node] for t in inside)
            pooled = pooled / sum(self.degree(t, node) for t in inside)
            for s in inside:
                mixed = own * y[s][node] + (1 - own) * np.mean([y[t][node] for t in inside if t != s], 0)
                out[s][node] = (mixed + pooled) / 2
        return out

    def vector(self, scene: int, node: Node) -> np.ndarray:
        inside = [s for s in self.scenes if self.degree(s, node)]
        rows = []
        for k, layer in enumerate(self.layers):
            if inside and scene not in inside:
                row = sum(self.degree(t, node) * layer[t][node] for t in inside)
                row = row / sum(self.degree(t, node) for t in inside)
            else:
                row = layer[scene][node]
            rows.append(row if k == 0 else row / max(float(np.linalg.norm(row)), 1e-12))
        return np.concatenate(rows) if self.options["combine"] == "concat" else np.mean(rows, 0)

    def score(self, user: int, item: int, scene: int) -> float:
        return float(self.vector(scene, ("user", user)) @ self.vector(scene, ("item", item)))

    def scores(self, batch: Any) -> list[float]:
        return [
            self.score(*row) for row in zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True)
        ]


FORMS = [
    {},
    {"layers": 0},
    {"layers": 3, "own": 0.3},
    {"graph": "mean", "exchange": "users", "layers": 3},
    {"exchange": "none"},
    {"combine": "mean"},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_scores_match_loops(data: Any, form: dict[str, Any]) -> None:
    model = prepared(data, **form).eval()
    slow = Slow(model, data)
    counts = {sum(slow.degree(s, ("user", u)) > 0 for s in slow.scenes) for u in range(len(model.user.weight) // 3)}
    assert {0, 2, 3} <= counts
    batch = ps.testing.batch(data, 40)
    assert model(batch).tolist() == pytest.approx(slow.scores(batch), abs=1e-5)


def test_pairs_outside_of_training_match_loops(data: Any) -> None:
    """Held-out rows are no edges, and some of their users have rows in other scenes only."""
    model = prepared(data).eval()
    slow = Slow(model, data)
    model.encode()
    users, items = len(model.user.weight) // 3, len(model.item.weight) // 3
    guests = 0
    for scene in range(3):
        scores = model.score_items(torch.arange(users), scene, torch.arange(items))
        for user in range(users):
            guests += slow.degree(scene, ("user", user)) == 0 and user > 1
            for item in range(0, items, 3):
                assert scores[user, item].item() == pytest.approx(slow.score(user, item, scene), abs=1e-5)
    assert guests > 3
    batch = data.test.batch(torch.arange(len(data.test)))
    assert model(batch).tolist() == pytest.approx(slow.scores(batch), abs=1e-5)


@pytest.mark.parametrize("form", ["bpr", "bce", "mse"])
def test_loss_matches_loops(data: Any, form: str) -> None:
    model = prepared(data, loss=form, negatives=2, embedding_l2=0.3, dropout=0.0)
    slow = Slow(model, data)
    batch = ps.testing.batch(data, 30, negatives=2)
    loss = penalty = 0.0
    for b in range(30):
        user, scene = int(batch.user[b]), int(batch.scene[b])
        items = [int(batch.item[b]), *batch.negative[b].tolist()]
        own, *others = (slow.score(user, item, scene) for item in items)
        if form == "bpr":
            loss += sum(math.log1p(math.exp(other - own)) for other in others) / 2
        elif form == "bce":
            loss += (math.log1p(math.exp(-own)) + sum(math.log1p(math.exp(other)) for other in others)) / 3
        else:
            loss += ((1 - own) ** 2 + sum(other**2 for other in others)) / 3
        for node in [("user", user), *(("item", item) for item in items)]:
            penalty += float((slow.layers[0][scene][node] ** 2).sum())
    assert model.loss(batch).item() == pytest.approx(loss / 30 + 0.5 * 0.3 * penalty / 30, abs=1e-5)


@pytest.mark.parametrize("form", [{}, {"graph": "mean"}, {"dropout": 0.4}], ids=str)
def test_gradient(data: Any, form: dict[str, Any]) -> None:
    model = prepared(data, **({"dropout": 0.0} | form)).double()
    batch = ps.testing.batch(data, 16)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same numbers are dropped
        return model.loss(batch)

    pair_models.check_slope(model, loss, 1e-6, rel=1e-5)


def test_dropout_only_in_training(data: Any) -> None:
    model = prepared(data, dropout=0.5)
    batch = ps.testing.batch(data, 16)
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_own_row_of_a_cold_user_is_not_looked_at(data: Any) -> None:
    model = prepared(data).eval()
    slow = Slow(model, data)
    users = len(model.user.weight) // 3
    cold = [(s, u) for s in slow.scenes for u in range(2, users) if not slow.degree(s, ("user", u))]
    cold = [(s, u) for s, u in cold if any(slow.degree(t, ("user", u)) for t in slow.scenes)]
    assert {s for s, _ in cold} == {0, 1, 2}

    def scores() -> list[torch.Tensor]:
        model.encode()
        return [model.score_items(torch.arange(users), s, torch.arange(2, 20)) for s in slow.scenes]

    before = scores()
    with torch.no_grad():
        for s, u in cold:
            model.user.weight[s * users + u].normal_(0, 10)
    assert all(torch.equal(*pair) for pair in zip(scores(), before, strict=True))


def test_scenes_without_exchange_do_not_touch_each_other(data: Any) -> None:
    model = prepared(data, exchange="none").eval()
    batch = ps.testing.batch(data, 40)
    rows = batch.take((batch.scene == 0).nonzero().flatten())
    before = model(rows)
    with torch.no_grad():
        model.user.weight[len(model.user.weight) // 3 :].normal_(0, 3)
        model.item.weight[len(model.item.weight) // 3 :].normal_(0, 3)
    assert torch.equal(model(rows), before)
    shared = prepared(data).eval()
    before = shared(rows)
    with torch.no_grad():
        shared.user.weight[len(shared.user.weight) // 3 :].normal_(0, 3)
    assert not torch.allclose(shared(rows), before)


@pytest.mark.parametrize(("scenes", "disjoint"), [(1, False), (2, True), (17, False)])
def test_any_number_of_scenes(scenes: int, disjoint: bool, tmp_path: Any) -> None:
    data = pair_models.few_rows(scenes, disjoint, tmp_path)
    model = prepared(data).eval()
    slow = Slow(model, data)
    batch = data.train.batch(torch.arange(min(len(data.train), 60)))
    assert model(batch).tolist() == pytest.approx(slow.scores(batch), abs=1e-5)
    pair_models.check_training(model, data)


def test_before_it_is_prepared_and_without_rows(data: Any) -> None:
    model = ps.models.BiTGCF(data.schema, dim=4).eval()
    batch = ps.testing.batch(data, 9)
    users, items = len(model.user.weight) // 3, len(model.item.weight) // 3
    u = model.user.weight[batch.scene * users + batch.user]
    i = model.item.weight[batch.scene * items + batch.item]
    plain = (u * i).sum(1)
    torch.testing.assert_close(model(batch), plain + 2 * plain / (u.norm(dim=1) * i.norm(dim=1)))
    model.prepare(data.train)
    assert model(batch.take([])).shape == (0,)
    assert model.loss(batch.take([])).isfinite()


def test_learns_and_loads(data: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.BiTGCF(data.schema, dim=16)
    pair_models.check_learns_and_loads(model, data, tmp_path, lr=0.02)


def test_wrong_options(data: Any) -> None:
    for options, message in (
        ({"layers": -1}, "layers must be 0 or more, got -1"),
        ({"own": 1.5}, r"own must lie in \[0, 1\], got 1.5"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1"),
        ({"graph": "meen"}, "graph must be one of symmetric, mean, got 'meen'"),
        ({"exchange": "items"}, "exchange must be one of both, users, none, got 'items'"),
        ({"combine": "sum"}, "combine must be one of concat, mean, got 'sum'"),
    ):
        with pytest.raises(ValueError, match=f"BiTGCF: {message}"):
            ps.models.BiTGCF(data.schema, **options)
