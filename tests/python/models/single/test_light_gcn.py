"""LightGCN against loops over the edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pair_models
import polyscene as ps
import pytest
import torch


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking")


def prepared(data: Any, **options: Any) -> ps.Model:
    torch.manual_seed(5)
    model = ps.models.LightGCN(data.schema, **({"dim": 6, "init_std": 0.5} | options))
    model.prepare(data.train)
    return model


def neighbours(data: Any) -> dict[tuple[str, int], set[tuple[str, int]]]:
    """The other ends of each node's edges: pairs of the training rows of all scenes, each once."""
    rows = data.train.batch(torch.arange(len(data.train)))
    out: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for user, item in zip(rows.user.tolist(), rows.item.tolist(), strict=True):
        if user > 1 and item > 1:
            out.setdefault(("user", user), set()).add(("item", item))
            out.setdefault(("item", item), set()).add(("user", user))
    return out


def slow_vectors(model: ps.Model, data: Any, layers: int) -> dict[tuple[str, int], np.ndarray]:
    edges = neighbours(data)
    state = {path: tensor.double().numpy() for path, tensor in model.state_dict().items()}
    now = {(side, k): row for side in ("user", "item") for k, row in enumerate(state[f"{side}.weight"])}
    total = dict(now)
    for _ in range(layers):
        following = {}
        for node, row in now.items():
            following[node] = np.zeros_like(row)
            for other in edges.get(node, ()):
                following[node] = following[node] + now[other] / math.sqrt(len(edges[node]) * len(edges[other]))
        now = following
        total = {node: total[node] + now[node] for node in total}
    return {node: row / (layers + 1) for node, row in total.items()}


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_scores_match_loops(data: Any, layers: int) -> None:
    model = prepared(data, layers=layers).eval()
    vectors = slow_vectors(model, data, layers)
    batch = ps.testing.batch(data, 40)
    expected = [
        float(vectors["user", u] @ vectors["item", i])
        for u, i in zip(batch.user.tolist(), batch.item.tolist(), strict=True)
    ]
    assert model(batch).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("form", ["bpr", "bce", "mse"])
def test_loss_matches_loops(data: Any, form: str) -> None:
    model = prepared(data, layers=2, loss=form, negatives=3, embedding_l2=0.2)
    vectors = slow_vectors(model, data, 2)
    tables = {side: model.state_dict()[f"{side}.weight"].double().numpy() for side in ("user", "item")}
    batch = ps.testing.batch(data, 30, negatives=3)
    loss = penalty = 0.0
    for b in range(30):
        user, item, drawn = int(batch.user[b]), int(batch.item[b]), batch.negative[b].tolist()
        own, *others = (float(vectors["user", user] @ vectors["item", i]) for i in (item, *drawn))
        if form == "bpr":
            loss += sum(math.log1p(math.exp(other - own)) for other in others) / 3
        elif form == "bce":
            loss += (math.log1p(math.exp(-own)) + sum(math.log1p(math.exp(other)) for other in others)) / 4
        else:
            loss += ((1 - own) ** 2 + sum(other**2 for other in others)) / 4
        penalty += float((tables["user"][user] ** 2).sum())
        penalty += sum(float((tables["item"][i] ** 2).sum()) for i in (item, *drawn))
    assert model.loss(batch).item() == pytest.approx(loss / 30 + 0.5 * 0.2 * penalty / 30, abs=1e-5)


def test_gradient_reaches_nodes_outside_the_batch(data: Any) -> None:
    model = prepared(data, layers=2).double()
    batch = ps.testing.batch(data, 2)
    model.loss(batch).backward()
    moved = model.user.weight.grad.abs().sum(1).gt(0)
    assert moved.sum() > len(set(batch.user.tolist()))
    row = int((moved & ~torch.isin(torch.arange(len(moved)), batch.user)).nonzero()[0])
    slope, step = model.user.weight.grad[row, 0].item(), 1e-5
    with torch.no_grad():
        model.user.weight[row, 0] += step
        above = model.loss(batch).item()
        model.user.weight[row, 0] -= 2 * step
        below = model.loss(batch).item()
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_held_out_pairs_change_nothing(data: Any) -> None:
    """Rows of validation and test are no edges: what `fit` saw of them does not move a score."""
    model = prepared(data).eval()
    batch = data.valid.batch(torch.arange(len(data.valid)))
    vectors = slow_vectors(model, data, 3)
    expected = [
        float(vectors["user", u] @ vectors["item", i])
        for u, i in zip(batch.user.tolist(), batch.item.tolist(), strict=True)
    ]
    assert model(batch).tolist() == pytest.approx(expected, abs=1e-5)


def test_rankings_score_as_forward_does(data: Any) -> None:
    model = prepared(data).eval()
    batch = ps.testing.batch(data, 20)
    model.encode()
    for scene in range(3):
        rows = batch.take((batch.scene == scene).nonzero().flatten())
        assert len(rows) > 0
        items = rows.item.unique()
        scores = model.score_items(rows.user, scene, items)
        picked = scores[torch.arange(len(rows)), torch.searchsorted(items, rows.item)]
        torch.testing.assert_close(picked, model(rows), rtol=1e-5, atol=1e-6)


def test_before_it_is_prepared_it_scores_its_factors(data: Any) -> None:
    model = ps.models.LightGCN(data.schema, dim=4)
    batch = ps.testing.batch(data, 9)
    plain = (model.user.weight[batch.user] * model.item.weight[batch.item]).sum(1) / 16
    torch.testing.assert_close(model(batch), plain)
    assert model(batch.take([])).shape == (0,)


def test_learns_and_loads(data: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.LightGCN(data.schema, dim=16)
    pair_models.check_learns_and_loads(model, data, tmp_path, lr=0.02)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="LightGCN: layers must be 0 or more, got -1"):
        ps.models.LightGCN(data.schema, layers=-1)
    with pytest.raises(ValueError, match="LightGCN: init_std must be 0 or more, got -2"):
        ps.models.LightGCN(data.schema, init_std=-2.0)
    with pytest.raises(ValueError, match="LightGCN: loss must be one of bpr, bce, mse, got 'bprr'"):
        ps.models.LightGCN(data.schema, loss="bprr")
    with pytest.raises(ValueError, match="light_gcn: made for task ranking"):
        ps.models.LightGCN(ps.testing.tiny_data("ctr", bare=True).schema)
