"""CDRIB against loops over users, items and scenes."""

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
    model = ps.models.CDRIB(data.schema, **({"dim": 4, "init_std": 0.5} | options))
    model.prepare(data.train)
    return model


class Slow(SlowEncoders):
    """What the paper's equations give, row by row."""

    def __init__(self, model: ps.Model, data: Any) -> None:
        super().__init__(model, data)
        self.kl = [0.0, 0.0]
        self.user = [self.encoded(0, "users_of", "user", s, self.items_of[s], self.users_of[s]) for s in self.scenes]
        self.item = [self.encoded(1, "items_of", "item", s, self.users_of[s], self.items_of[s]) for s in self.scenes]

    def encoded(self, side: int, encoder: str, table: str, scene: int, others: Any, back: Any) -> dict[int, np.ndarray]:
        layers = self.layers(encoder, table, scene, others, back)
        limited = math.exp(0.1 + 0.9 * math.log1p(math.exp(0.4)))  # the authors limit their prior, too
        each = self.divergence(self.gauss(layers[-1], 0.4), prior=limited if self.options["form"] == "authors" else 1.0)
        self.kl[side] += sum(each) / len(each) if self.options["form"] == "authors" else sum(each)
        return {k: np.concatenate([layer[0][k] for layer in layers]) for k in others}

    def vector(self, user: int, scene: int, how: str = "others") -> np.ndarray:
        there = [self.user[s][user] for s in self.scenes if s != scene and user in self.user[s]]
        own = self.user[scene].get(user)
        if how == "mean" and own is not None:
            there.append(own)
        elif own is not None and (how == "own" or not there):
            there = [own]
        return np.mean(there, 0) if there else np.zeros(self.options["layers"] * self.options["dim"])

    def score(self, user: int, item: int, scene: int, how: str = "others") -> float:
        found = self.item[scene].get(item)
        return 0.0 if found is None else float(self.vector(user, scene, how) @ found)

    def divergences(self) -> float:
        scores = 2 * len(self.scenes) if self.options["form"] == "authors" else 3 * sum(map(len, self.pairs))
        return (self.options["beta"] * self.kl[0] + self.kl[1]) / scores

    def contrast(self) -> float:
        """With the numbers that torch's generator gives next."""
        rows = [(s, u) for s in self.scenes for u in sorted(self.user[s])]
        n = self.options["contrasted"]
        pairs = [
            (a, b, u)
            for b in self.scenes
            for a in range(b)
            for u in sorted(self.user[a])
            if u in self.user[b]
        ]  # fmt: skip
        chosen, strange_b, strange_a = (torch.rand(n, dtype=torch.float64).tolist() for _ in range(3))
        assert len(rows) > len(pairs) > 0

        def logit(x: np.ndarray, y: np.ndarray) -> float:
            h = np.maximum(self.linear("first", np.concatenate([x, y])), 0)
            return float(self.linear("third", np.maximum(self.linear("second", h), 0))[0])

        def sigmoid(x: float) -> float:
            return 1 / (1 + math.exp(-x))

        total = 0.0
        for k in range(n):
            a, b, user = pairs[int(chosen[k] * len(pairs))]
            of_a, of_b = sorted(self.user[a]), sorted(self.user[b])
            x, y = self.user[a][user], self.user[b][user]
            own = logit(x, y)
            others = [
                logit(x, self.user[b][of_b[int(strange_b[k] * len(of_b))]]),
                logit(self.user[a][of_a[int(strange_a[k] * len(of_a))]], y),
            ]
            for other in others:
                if self.options["contrast_loss"] == "bce":
                    total += math.log1p(math.exp(-own)) + math.log1p(math.exp(other))
                else:
                    total += max(0.0, self.options["margin"] - sigmoid(own) + sigmoid(other))
        return total / n


FORMS = [{}, {"layers": 1}, {"layers": 2, "beta": 0.5, "contrast_loss": "bce"}, {"form": "authors", "margin": 0.6}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_scores_and_loss_match_loops(data: Any, form: dict[str, Any]) -> None:
    model = prepared(data, **form, negatives=2, divergence=0.7, embedding_l2=0.1, contrasted=20).eval()
    slow = Slow(model, data)
    batch = ps.testing.batch(data, 30, negatives=2)
    loss, penalty, scores = 0.0, 0.0, []
    for b in range(30):
        user, scene = int(batch.user[b]), int(batch.scene[b])
        items = [int(batch.item[b]), *batch.negative[b].tolist()]
        own, *others = (slow.score(user, item, scene) for item in items)
        scores.append(own)
        loss += (math.log1p(math.exp(-own)) + sum(math.log1p(math.exp(other)) for other in others)) / 3
        for table, ids in (("user", [user]), ("item", items)):
            penalty += sum(float((row**2).sum()) for row in (slow.rows(table, scene, [k])[k] for k in ids))
    assert model(batch).tolist() == pytest.approx(scores, abs=1e-5)
    torch.manual_seed(9)
    expected = loss / 30 + 0.05 * penalty / 30 + 0.7 * slow.divergences() + slow.contrast() / 6
    torch.manual_seed(9)
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("form", "bias"), [("paper", -3.0), ("authors", 0.0)])
def test_deviations_begin_small(data: Any, form: str, bias: float) -> None:
    found = [w for name, w in prepared(data, form=form).named_parameters() if name.endswith("join_spread.bias")]
    assert len(found) == 6
    for each in found:  # of torch's own start: within 1 / sqrt(2 dim)
        assert (each == bias).all() if bias else (each.abs() > 0).all() and (each.abs() < 0.36).all()


@pytest.mark.parametrize("trained", ["others", "mean"])
def test_what_training_reads(data: Any, trained: str) -> None:
    model = prepared(data, trained=trained, scored="own", negatives=2, contrast=0, divergence=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "join_spread" in name:  # next to no noise
                weight.fill_(-30.0 if name.endswith("bias") else 0.0)
    slow, loss = Slow(model, data), 0.0
    batch = ps.testing.batch(data, 30, negatives=2)
    for b in range(30):
        user, scene = int(batch.user[b]), int(batch.scene[b])
        items = [int(batch.item[b]), *batch.negative[b].tolist()]
        own, *others = (slow.score(user, item, scene, trained) for item in items)
        loss += (math.log1p(math.exp(-own)) + sum(math.log1p(math.exp(other)) for other in others)) / 3
    assert model.train().loss(batch).item() == pytest.approx(loss / 30, rel=1e-4)


@pytest.mark.parametrize("how", ["others", "own", "mean"])
def test_rankings_match_loops(data: Any, how: str) -> None:
    model = prepared(data, scored=how).eval()
    slow = Slow(model, data)
    users, items = len(model.user.weight) // 3, len(model.item.weight) // 3
    model.encode()
    cold = 0
    for scene in slow.scenes:
        scores = model.score_items(torch.arange(users), scene, torch.arange(items))
        for user in range(users):
            cold += user not in slow.items_of[scene] and bool(slow.vector(user, scene).any())
            for item in range(0, items, 3):
                assert scores[user, item].item() == pytest.approx(slow.score(user, item, scene, how), abs=1e-5)
    assert cold > 0


def test_a_cold_users_own_row_changes_nothing(data: Any) -> None:
    model = prepared(data).eval()
    slow = Slow(model, data)
    users, items = len(model.user.weight) // 3, len(model.item.weight) // 3
    model.encode()
    before = [model.score_items(torch.arange(users), s, torch.arange(items)) for s in slow.scenes]
    with torch.no_grad():
        for scene in slow.scenes:
            for user in set(range(users)) - set(slow.items_of[scene]):
                model.user.weight[scene * users + user].normal_(0, 10)
    model.encode()
    for scene in slow.scenes:
        assert torch.equal(model.score_items(torch.arange(users), scene, torch.arange(items)), before[scene])


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


def test_before_it_is_prepared_and_without_rows(data: Any, tmp_path: Any) -> None:
    model = ps.models.CDRIB(data.schema, dim=4).eval()
    batch = ps.testing.batch(data, 9)
    assert not model(batch).any()
    model.prepare(data.train)
    assert model(batch).any()
    assert model(batch.take([])).shape == (0,)
    assert model.loss(batch.take([])).isfinite()
    ps.save(model, tmp_path / "model")
    assert torch.equal(ps.load(tmp_path / "model").eval()(batch), model(batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers must be positive, got 0"),
        ({"beta": -1.0}, "beta must be 0 or more, got -1"),
        ({"divergence": -1.0}, "divergence must be 0 or more, got -1"),
        ({"form": "reference"}, "form must be 'paper' or 'authors', got 'reference'"),
        ({"scored": "all"}, "scored must be 'others', 'own' or 'mean', got 'all'"),
        ({"trained": "own"}, "trained must be 'others' or 'mean', got 'own'"),
        ({"contrast": -1.0}, "contrast must be 0 or more, got -1"),
        ({"contrast_loss": "mse"}, "contrast_loss must be 'hinge' or 'bce', got 'mse'"),
        ({"margin": -1.0}, "margin must be 0 or more, got -1"),
        ({"contrasted": 0}, "contrasted must be positive, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1"),
        ({"init_std": 0.0}, "init_std must be positive, got 0"),
    ],
)
def test_wrong_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"CDRIB: {message}"):
        ps.models.CDRIB(data.schema, **options)
