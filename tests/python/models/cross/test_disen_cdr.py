"""DisenCDR against loops over users, items and scenes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pair_models
import polyscene as ps
import pytest
import torch

from .variational import SlowEncoders


def prepared(data: Any, **options: Any) -> ps.Model:
    torch.manual_seed(5)
    model = ps.models.DisenCDR(data.schema, **({"dim": 4, "init_std": 0.5} | options))
    model.prepare(data.train)
    return model


class Slow(SlowEncoders):
    """What the paper's equations give, row by row."""

    def __init__(self, model: ps.Model, data: Any) -> None:
        super().__init__(model, data)
        self.specific = [self.side("specific", "user", s, self.items_of[s], self.users_of[s]) for s in self.scenes]
        self.item = [self.side("items_of", "item", s, self.users_of[s], self.items_of[s]) for s in self.scenes]
        self.own = [self.side("own", "shared", s, self.items_of[s], self.users_of[s]) for s in self.scenes]
        self.shared = self.cross()

    def weight(self, scene: int, user: int) -> float:
        if self.options["form"] == "authors":
            user = max(u for items in self.items_of for u in items)
        total = sum(len(items.get(user, ())) for items in self.items_of)
        return len(self.items_of[scene].get(user, ())) / total

    def cross(self) -> Any:
        everyone = sorted({u for items in self.items_of for u in items})
        x = [self.rows("shared", s, self.items_of[s]) for s in self.scenes]
        for k in range(self.options["layers"]):
            path = [f"cross.{s * self.options['layers'] + k}" for s in self.scenes]
            made = [self.layer(path[s], x[s], self.items_of[s], self.users_of[s]) for s in self.scenes]
            mixed = [
                {
                    u: sum(self.weight(s, u) * made[s][head][u] for s in self.scenes if u in self.items_of[s])
                    for u in everyone
                }
                for head in range(len(made[0]))
            ]
            x = [{u: mixed[0][u] for u in self.items_of[s]} for s in self.scenes]
        return self.gauss(mixed)

    def score(self, user: int, item: int, scene: int) -> float:
        zero = np.zeros(self.options["dim"])
        means = [q[k][0] if k in q else zero for q, k in ((self.shared, user), (self.specific[scene], user))]
        return float(sum(means) @ (self.item[scene][item][0] if item in self.item[scene] else zero))

    def divergences(self, joint: bool = True) -> float:
        """Per score of an epoch with two drawn items, or as the authors have it."""
        authors = self.options["form"] == "authors"
        prior = math.exp(0.1 + 0.9 * math.log1p(math.e)) if authors else 1.0

        def divergence(q: Any, others: Any = None) -> float:
            each = self.divergence(q, others, prior)
            return sum(each) / len(each) if authors else sum(each)

        beta = self.options["beta"]
        out = sum(divergence(self.specific[s]) + divergence(self.item[s]) for s in self.scenes)
        if joint:
            out += (1 - beta) * divergence(self.shared)
            out += beta * sum(divergence(self.shared, self.own[s]) for s in self.scenes)
        return out / (2 * len(self.scenes) if authors else 3 * sum(map(len, self.pairs)))


FORMS = [{}, {"layers": 1}, {"layers": 3, "beta": 0.2}, {"form": "authors"}]


@pytest.mark.parametrize(("form", "bias"), [("paper", -3.0), ("authors", 0.0)])
def test_deviations_begin_small(data: Any, form: str, bias: float) -> None:
    found = [w for name, w in prepared(data, form=form).named_parameters() if name.endswith("join_spread.bias")]
    assert len(found) == 4 * 3  # specific, items_of, own and cross of three scenes
    for each in found:  # of torch's own start: within 1 / sqrt(2 dim)
        assert (each == bias).all() if bias else (each.abs() > 0).all() and (each.abs() < 0.36).all()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_scores_and_loss_match_loops(data: Any, form: dict[str, Any]) -> None:
    model = prepared(data, **form, negatives=2, divergence=0.7, embedding_l2=0.1).eval()
    slow = Slow(model, data)
    batch = ps.testing.batch(data, 30, negatives=2)
    loss, penalty, scores = 0.0, 0.0, []
    for b in range(30):
        user, scene = int(batch.user[b]), int(batch.scene[b])
        items = [int(batch.item[b]), *batch.negative[b].tolist()]
        own, *others = (slow.score(user, item, scene) for item in items)
        scores.append(own)
        loss += (math.log1p(math.exp(-own)) + sum(math.log1p(math.exp(other)) for other in others)) / 3
        for table, ids in (("user", [user]), ("shared", [user]), ("item", items)):
            penalty += sum(float((row**2).sum()) for row in (slow.rows(table, scene, [k])[k] for k in ids))
    assert model(batch).tolist() == pytest.approx(scores, abs=1e-5)
    expected = loss / 30 + 0.05 * penalty / 30 + 0.7 * slow.divergences()
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_rankings_and_cold_users_match_loops(data: Any) -> None:
    model = prepared(data).eval()
    slow = Slow(model, data)
    users, items = len(model.user.weight) // 3, len(model.item.weight) // 3
    model.encode()
    cold = 0
    for scene in slow.scenes:
        scores = model.score_items(torch.arange(users), scene, torch.arange(items))
        for user in range(users):
            cold += user > 1 and user not in slow.items_of[scene]
            for item in range(0, items, 3):
                assert scores[user, item].item() == pytest.approx(slow.score(user, item, scene), abs=1e-5)
        before = scores
        with torch.no_grad():
            for user in set(range(users)) - set(slow.items_of[scene]):
                model.user.weight[scene * users + user].normal_(0, 10)
                model.shared.weight[scene * users + user].normal_(0, 10)
        model.encode()
        assert torch.equal(model.score_items(torch.arange(users), scene, torch.arange(items)), before)
    assert cold > 3


@pytest.mark.parametrize("form", ["paper", "authors"])
def test_noise_of_training(data: Any, form: str) -> None:
    """Scores in training spread around those of evaluation as the deviations say."""
    model = prepared(data, dropout=0.0, form=form, layers=1)
    slow = Slow(model, data)
    batch = ps.testing.batch(data, 4)
    torch.manual_seed(0)
    drawn = torch.stack([model(batch).detach() for _ in range(150)]).double()
    for b in range(4):
        user, item, scene = int(batch.user[b]), int(batch.item[b]), int(batch.scene[b])
        noise = np.exp if form == "authors" else lambda d: d
        (m1, d1), (m2, d2), (n, e) = slow.shared[user], slow.specific[scene][user], slow.item[scene][item]
        variance = noise(d1) ** 2 + noise(d2) ** 2
        expected = ((m1 + m2) ** 2 * noise(e) ** 2 + variance * n**2 + variance * noise(e) ** 2).sum()
        assert drawn[:, b].var().item() == pytest.approx(expected, rel=0.6)


def test_warm_up_trains_the_specific_parts_alone(data: Any, tmp_path: Any) -> None:
    model = prepared(data, warm_up=2, negatives=2, divergence=0.7)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()
    slow = Slow(model, data)
    batch = ps.testing.batch(data, 30, negatives=2)
    slow.shared = {}
    scores = [
        slow.score(u, i, s)
        for u, i, s in zip(*(x.tolist() for x in (batch.user, batch.item, batch.scene)), strict=True)
    ]
    assert model(batch).tolist() == pytest.approx(scores, abs=1e-5)
    without = prepared(data, warm_up=2, negatives=2, divergence=0.0).eval()
    assert (model.loss(batch) - without.loss(batch)).item() == pytest.approx(0.7 * slow.divergences(False), rel=1e-4)
    history = ps.Trainer(epochs=1, batch_size=64, lr=0.01).fit(model.train(), data)
    assert [row["phase"] for row in history] == ["specific", "specific", "fit"]
    state = model.state_dict()
    assert int(state["joined"]) == 1
    assert not torch.equal(state["shared.weight"], before["shared.weight"])
    ps.save(model, tmp_path / "model")
    assert int(ps.load(tmp_path / "model").state_dict()["joined"]) == 1


def test_generalises(tmp_path: Any) -> None:
    """Two groups of users, each of which meets its own half of the items: held-out pairs rank above popularity."""
    draw = np.random.default_rng(7)
    paths: dict[str, dict[str, str]] = {"train": {}, "valid": {}, "test": {}}
    for scene in ("a", "b"):
        lines: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
        for user in range(60):
            met = draw.choice(20, 10, replace=False) + 20 * (user % 2)
            for k, item in enumerate(met):
                lines[["test", "valid"][k] if k < 2 else "train"].append(f"u{user},{scene}{item}")
        for part, rows in lines.items():
            path = tmp_path / f"{part}-{scene}.csv"
            path.write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
            paths[part][scene] = str(path)
    data = ps.read_table(**paths, task="ranking", label=None, user="user_id", item="item_id")
    ps.seed_everything(3)
    model = ps.models.DisenCDR(data.schema, dim=16)
    ps.Trainer(epochs=100, patience=0, batch_size=256, lr=0.01, seed=3).fit(model, data)
    popularity = ps.models.create("popularity", data.schema)
    ps.Trainer(epochs=1).fit(popularity, data)
    reached = ps.evaluate(model, data.test).overall["ndcg@10"]
    assert reached > ps.evaluate(popularity, data.test).overall["ndcg@10"] + 0.1


def test_gradient(data: Any) -> None:
    model = prepared(data, dropout=0.2).double()
    batch = ps.testing.batch(data, 16)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same noise
        return model.loss(batch)

    pair_models.check_slope(model, loss, 1e-7, rel=1e-4)


@pytest.mark.parametrize(("scenes", "disjoint"), [(1, False), (2, True), (17, False)])
def test_any_number_of_scenes(scenes: int, disjoint: bool, tmp_path: Any) -> None:
    data = pair_models.few_rows(scenes, disjoint, tmp_path)
    model = prepared(data).eval()
    slow = Slow(model, data)
    batch = data.train.batch(torch.arange(min(len(data.train), 60)))
    parts = [batch.user.tolist(), batch.item.tolist(), batch.scene.tolist()]
    expected = [slow.score(*row) for row in zip(*parts, strict=True)]
    assert model(batch).tolist() == pytest.approx(expected, abs=1e-5)
    pair_models.check_training(model, data)


def test_before_it_is_prepared_and_without_rows(data: Any) -> None:
    model = ps.models.DisenCDR(data.schema, dim=4).eval()
    batch = ps.testing.batch(data, 9)
    assert not model(batch).any()
    model.prepare(data.train)
    assert model(batch).any()
    assert model(batch.take([])).shape == (0,)
    assert model.loss(batch.take([])).isfinite()


def test_learns_and_loads(data: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.DisenCDR(data.schema, dim=16, divergence=0.001, init_std=0.3, dropout=0.0)
    model.prepare(data.train)
    batch = ps.testing.batch(data, 64)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    model.eval().encode()
    with torch.no_grad():
        every = torch.stack([model.score_items(batch.user, s, torch.arange(2, 32)) for s in range(3)])
    every = every[batch.scene, torch.arange(64)]  # [64, 30]
    own = every[torch.arange(64), batch.item - 2]
    drawn = every[torch.arange(64), batch.negative[:, 0] - 2]
    assert (own[:, None] > drawn[None, :]).double().mean() > 0.9
    pair_models.check_file(model, data.test.batch(torch.arange(len(data.test))), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers must be positive, got 0"),
        ({"beta": 2.0}, r"beta must lie in \[0, 1\], got 2"),
        ({"divergence": -1.0}, "divergence must be 0 or more, got -1"),
        ({"form": "reference"}, "form must be 'paper' or 'authors', got 'reference'"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1"),
        ({"warm_up": -1}, "warm_up must be 0 or more, got -1"),
        ({"init_std": 0.0}, "init_std must be positive, got 0"),
    ],
)
def test_wrong_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"DisenCDR: {message}"):
        ps.models.DisenCDR(data.schema, **options)
