"""Deep attentive probabilistic factorisation against loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pair_models as pairs
import polyscene as ps
import pytest
import torch


def score_of(known: pairs.Known, shared: str) -> pairs.Score:
    def score(state: dict[str, np.ndarray], u: int, i: int, s: int) -> float:
        tables = {
            side: state[f"{side}.weight"].reshape(known.scenes, -1, len(state["weight"])) for side in ("user", "item")
        }
        who, other, where = ("user", "item", known.items) if shared == "users" else ("item", "user", known.visitors)
        ids = {"user": u, "item": i}
        y = tables[other][s, ids[other]]

        def attention(x: np.ndarray) -> float:
            hidden = np.maximum(state["attention.weight"] @ (x * y) + state["attention.bias"], 0)
            return float(state["attention_weight"] @ hidden)

        found = []
        if any(ids[who] in where[t] for t in range(known.scenes) if t != s):
            found.append(state["common.weight"][ids[who]])
        if ids[who] in where[s]:
            found.append(tables[who][s, ids[who]])
        if not found:
            return 0.0
        shares = [math.exp(attention(x)) for x in found]
        z = sum(a * x for a, x in zip(shares, found, strict=True)) / sum(shares)
        return float(state["weight"] @ (z * y))

    return score


@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
@pytest.mark.parametrize("shared", ["users", "items"])
@pytest.mark.parametrize("negatives", [1, 3])
def test_matches_loops(data: Any, loss: str, shared: str, negatives: int) -> None:
    model = pairs.random_model("deep_apf", data, dim=4, loss=loss, shared=shared, negatives=negatives)
    pairs.check_scores(model, data, score_of(pairs.Known(data), shared))


@pytest.mark.parametrize("shared", ["users", "items"])
def test_one_scene_and_many(shared: str) -> None:
    pairs.check_scenes("deep_apf", lambda known: score_of(known, shared), dim=3, shared=shared)


def test_a_cold_user_does_not_depend_on_its_row(data: Any) -> None:
    known = pairs.Known(data)
    model = pairs.random_model("deep_apf", data, dim=4).eval()
    user = next(u for u in range(2, 42) if u not in known.items[1] and known.elsewhere(u, 1))
    with torch.no_grad():
        before = model.score_items(torch.tensor([user]), 1, torch.arange(2, 32))
        model.user.weight[len(model.user.weight) // 3 + user] += 5
        assert torch.equal(model.score_items(torch.tensor([user]), 1, torch.arange(2, 32)), before)
        model.common.weight[user] += 5
        assert not torch.equal(model.score_items(torch.tensor([user]), 1, torch.arange(2, 32)), before)


def test_without_overlap_nothing_is_common(data: Any) -> None:
    model = pairs.random_model("deep_apf", data, dim=4)
    table = pairs.without_overlap(data)
    model.prepare(table)
    model.loss(table.batch(torch.arange(12), negatives=1)).backward()
    assert not model.common.weight.grad.any()
    assert model.user.weight.grad.any()


def test_before_prepare_nobody_is_known(data: Any) -> None:
    assert not ps.models.DeepAPF(data.schema)(ps.testing.batch(data, 6)).any()


def test_penalty_counts_what_takes_part(data: Any) -> None:
    known = pairs.Known(data)

    def make(**options: Any) -> ps.Model:
        model = ps.models.DeepAPF(data.schema, dim=4, **options)
        model.prepare(data.train)
        return model

    def squares(batch: Any) -> int:
        rows = zip(batch.user.tolist(), batch.scene.tolist(), strict=True)
        return 4 * sum((u in known.items[s]) + bool(known.elsewhere(u, s)) + 2 for u, s in rows)

    pairs.check_penalty(make, data, squares)


def test_bad_options(data: Any) -> None:
    with pytest.raises(ValueError, match="DeepAPF: shared must be 'users' or 'items', got 'both'"):
        ps.models.DeepAPF(data.schema, shared="both")


@pytest.mark.parametrize("shared", ["users", "items"])
def test_it_tells_how_much_other_scenes_carry(shared: str, data: Any) -> None:
    model = pairs.random_model("deep_apf", data, dim=4, shared=shared).eval()
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    batch = ps.testing.batch(data, 60)
    known = pairs.Known(data)
    common = model.explain(batch)["common"]
    weight, seen = state["weight"], set()
    for row, (u, i, s) in enumerate(zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True)):
        who, other = (u, i) if shared == "users" else (i, u)
        sides = ("user", "item") if shared == "users" else ("item", "user")
        own, y = (state[f"{side}.weight"].reshape(3, -1, 4)[s] for side in sides)
        where = known.items if shared == "users" else known.visitors
        b = common[row].item()
        elsewhere = any(who in where[t] for t in range(3) if t != s)
        seen.add(elsewhere)
        assert 0 < b < 1 if elsewhere else b == 0
        mixed = b * state["common.weight"][who] + (1 - b) * own[who]
        assert model(batch)[row].item() == pytest.approx(float(weight @ (mixed * y[other])), abs=1e-5)
    assert True in seen
