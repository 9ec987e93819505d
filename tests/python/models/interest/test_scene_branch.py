"""The branch by scenes against loops over rows, slots and events."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import torch
from interest_models import check_export, draw, random_model, without_events

OPTIONS: dict[str, Any] = {"dim": 4, "max_length": 4, "embedding_l2": 0.05}
SCORES = ["dot", "scaled_dot", "cosine", "additive", "bilinear"]


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def score(model: ps.Model, state: slow.State, q: np.ndarray, k: np.ndarray) -> float:
    kind = model.options["score"]
    if kind == "additive":
        names = ("query_weight", "key_weight", "bias", "vector")
        w_q, w_k, b, v = (state[f"attention.score.{name}"] for name in names)
        return float(v @ np.tanh(w_q @ q + w_k @ k + b))
    if kind == "bilinear":
        return float(q @ state["attention.score.weight"] @ k)
    product = float(q @ k)
    if kind == "cosine":
        return product / (math.sqrt(q @ q) * math.sqrt(k @ k))
    return product / math.sqrt(len(q)) if kind == "scaled_dot" else product


def slow_row(model: ps.Model, batch: Any, b: int) -> tuple[float, float, list[float], np.ndarray]:
    """Logit, penalty, attention weights and interest of one row."""
    state, schema, o, scene = slow.state_of(model), model.schema, model.options, int(batch.scene[b])
    slots = list(slow.slots_of(state["factors.weight"], schema, batch, b))
    biases = slow.slots_of(state["bias.weight"], schema, batch, b)
    logit = float(state["base"] + state["scene_bias"][scene] + biases.sum())
    penalty = 0.5 * (biases**2).sum()
    weights, interest = [], np.zeros(o["dim"])
    if "scene_factors.weight" in state:
        query = own = state["scene_factors.weight"][scene]
        values = keys = slots
        if model.history_length:
            query = own + sum(slots[f] for f in slow.item_slots(schema))
            values, keys = [], []
            for j in slow.events_of(batch, b, o["max_length"]):
                item, label = int(batch.history.item[j]), int(batch.history.label[j] > 0.5)
                values.append(state["event_item.weight"][item] + state["event_label"][label])
                keys.append(values[-1] + state["event_scene.weight"][int(batch.history.scene[j])])
        if values:
            weights = slow.softmax([score(model, state, query, key) for key in keys]).tolist()
            interest = sum(w * value for w, value in zip(weights, values, strict=True))
        slots += [interest, own]
    penalty += sum((slot**2).sum() for slot in slots)
    for m, x in enumerate(batch.numeric[b].tolist()):
        logit += float(x * state["numeric_bias"][m])
        slots.append(x * state["numeric_factors"][m])
    logit += sum(float(slots[f] @ slots[g]) for f in range(len(slots)) for g in range(f))
    return logit, float(penalty), weights, interest


def check(model: ps.Model, batch: Any) -> None:
    logits, penalties, weights, interests = zip(*(slow_row(model, batch, b) for b in range(len(batch))), strict=True)
    np.testing.assert_allclose(model(batch).detach(), logits, rtol=1e-9, atol=1e-9)
    loss = np.mean([slow.cross_entropy(z, float(y)) for z, y in zip(logits, batch.label, strict=True)])
    loss += 0.5 * model.options["embedding_l2"] * np.mean(penalties)
    assert model.loss(batch).item() == pytest.approx(loss, rel=1e-9)
    found = {name: value.detach().numpy() for name, value in model.explain(batch).items()}
    np.testing.assert_allclose(found["biases"] + found["interaction"] + model.base.item(), logits, rtol=1e-9)
    if "interest" not in found:
        assert set(found) == {"biases", "interaction"}
        return
    np.testing.assert_allclose(found["interest"], interests, rtol=1e-9, atol=1e-12)
    attended = found["attention"][:, 0] if model.history_length else found["field_attention"]
    for mine, expected in zip(attended, weights, strict=True):
        np.testing.assert_allclose(mine[: len(expected)], expected, rtol=1e-9)
        assert not mine[len(expected) :].any()


@pytest.mark.parametrize("kind", SCORES)
def test_attention_matches_loops(kind: str, data: Any) -> None:
    model = random_model("scene_branch", data, **OPTIONS, score=kind)
    first = data.train.batch(torch.arange(4), history=4).row
    batch = data.train.batch(torch.cat([first, draw(model, data, 20).row]), history=4)
    assert {len(slow.events_of(batch, b, 4)) for b in range(24)} >= {0, 1, 4}
    check(model, batch)
    check(model, without_events(batch))


def test_plain_matches_loops(data: Any) -> None:
    model = random_model("scene_branch", data, **OPTIONS, branch="plain")
    check(model, draw(model, data))


@pytest.mark.parametrize("branch", ["plain", "attention"])
def test_fields_stand_in_for_events(branch: str) -> None:
    full = ps.testing.tiny_data()
    schema = ps._C.data.fit_schema(full.columns, full.train.rows, task="ctr")
    roles = ("train", "valid", "test")
    tables = {role: ps._C.data.Table(full.columns, schema, getattr(full, role).rows, role) for role in roles}
    anonymous = ps.testing.TinyData(full.columns, schema, tables)
    model = random_model("scene_branch", anonymous, **OPTIONS, branch=branch)
    assert model.history_length == 0
    check(model, draw(model, anonymous))
    check_export(model.float(), anonymous)


def test_branch_follows_from_the_schema(data: Any) -> None:
    alone = ps.datasets.load("simulator", scenes=1, interests=4, users=60, events=8, items=30, seed=1)
    assert len(alone.schema.scenes) == 1
    for schema, attends in ((alone.schema, False), (data.schema, True)):
        assert ("attention.score.vector" in ps.models.SceneBranch(schema).state_dict()) is attends
        for branch in ("attention", "plain"):
            model = ps.models.SceneBranch(schema, branch=branch)
            assert ("attention.score.vector" in model.state_dict()) is (branch == "attention")
            assert (model.history_length > 0) is (branch == "attention")


def test_attention_looks_across_scenes(data: Any) -> None:
    """The same behaviour weighs differently in another scene: events are asked with the row's own scene."""
    model = random_model("scene_branch", data, **OPTIONS)
    batch = draw(model, data)
    moved = batch.take(torch.arange(len(batch)))
    moved.scene = (batch.scene + 1) % 3
    long = model.explain(batch)["events"] > 1
    change = (model.explain(batch)["attention"] - model.explain(moved)["attention"]).abs().amax((1, 2))
    assert (change[long] > 1e-4).all()


@pytest.mark.parametrize("kind", [*SCORES, "plain"])
def test_export_form(kind: str, data: Any) -> None:
    options = {"branch": "plain"} if kind == "plain" else {"score": kind}
    check_export(random_model("scene_branch", data, **OPTIONS | options).float(), data)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match=r"SceneBranch: branch must be one of auto, attention, plain, got 'both'"):
        ps.models.SceneBranch(data.schema, branch="both")
    with pytest.raises(ValueError, match=r"AttentionScore: score must be one of .*, got 'sum'"):
        ps.models.SceneBranch(data.schema, score="sum")
    with pytest.raises(ValueError, match="SceneBranch: init_std and embedding_l2 must be 0 or more, got -1 and 0.05"):
        ps.models.SceneBranch(data.schema, init_std=-1)
