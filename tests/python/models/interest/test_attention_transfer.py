"""Attention transfer against loops over rows, events and filters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polyscene as ps
import pytest
import slow
import torch
from interest_models import check_export, draw, random_model, without_events

OPTIONS: dict[str, Any] = {"dim": 4, "hidden": 6, "points": 5, "max_length": 4, "embedding_l2": 0.05}
VARIANTS = {
    "transfer": {},
    "plain": {"attention": False},
    "joint": {"training": "joint"},
    "joint plain": {"training": "joint", "attention": False, "kernel": 1},
    "one head": {"heads": 1, "kernel": 5, "target": "phone"},
}


class Row(NamedTuple):
    logit: float
    penalty: float
    points: np.ndarray  # [P]
    steps: np.ndarray  # [P]
    gates: np.ndarray  # [H]
    weights: np.ndarray  # [heads, T] of the last event


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


@pytest.fixture(scope="module")
def anonymous() -> Any:
    """Data without users and items: no events."""
    full = ps.testing.tiny_data()
    schema = ps._C.data.fit_schema(full.columns, full.train.rows, task="ctr")
    tables = {role: ps._C.data.Table(full.columns, schema, getattr(full, role).rows, role) for role in ROLES}
    return ps.testing.TinyData(full.columns, schema, tables)


ROLES = ("train", "valid", "test")


def parameters(model: ps.Model, here: bool) -> slow.State:
    """What rows of the target, or of the other scenes, see: theta_source, with delta in the target."""
    state = slow.state_of(model)
    parts = {
        "embedding": "target_embedding",
        "head.dense": "target_dense",
        "head.attention.gate": "target_gate",
        "head.output": "target_output",
    }
    for path, delta in parts.items():
        for leaf in ("weight", "bias"):
            if here and f"{delta}.{leaf}" in state:
                state[f"{path}.{leaf}"] = state[f"{path}.{leaf}"] + state[f"{delta}.{leaf}"]
    return state


def slow_row(model: ps.Model, batch: Any, b: int) -> Row:
    schema, o, scene = model.schema, model.options, int(batch.scene[b])
    smallest = schema.scene_rows.tolist().index(min(schema.scene_rows.tolist()))
    target = schema.scene(o["target"]) if o["target"] else smallest
    here = o["training"] == "transfer" and scene == target
    state = parameters(model, here)
    slots = slow.slots_of(state["embedding.weight"], schema, batch, b)
    if model.history_length:
        x = []
        for j in slow.events_of(batch, b, o["max_length"]):
            item = slow.first_row(schema, schema.item) + int(batch.history.item[j])
            x.append(state["embedding.weight"][item] + state["event_label"][int(batch.history.label[j] > 0.5)])
    else:
        x = list(slots)
    points, steps, weights = np.zeros(o["points"]), np.zeros(o["points"], int), np.zeros((o["heads"], 0))
    if x:
        context = np.array(x)
        if o["attention"]:
            context, every = slow.causal_attention(state, "attention", context, o["heads"])
            weights = every[:, -1]
        filters, bias = state["points.convolution.weight"], state["points.convolution.bias"]  # [P, D, kernel]
        for p in range(o["points"]):
            for t in range(len(x)):
                answer = bias[p]
                for k in range(o["kernel"]):
                    source = t + k - o["kernel"] // 2
                    if 0 <= source < len(x):
                        answer += filters[p, :, k] @ context[source]
                if answer > points[p]:
                    points[p], steps[p] = answer, t
    flat = np.concatenate([slots.ravel(), batch.numeric[b].double().numpy(), points])
    dense = slow.relu(slow.linear(state, "head.dense", flat))
    gates = np.full(o["hidden"], 1 / o["hidden"])
    both = dense
    if o["attention"]:
        gates = slow.softmax(slow.linear(state, "head.attention.gate", dense))
        both = np.concatenate([dense, gates * dense])
    logit = state["base"] + state["scene_bias"][scene] + slow.linear(state, "head.output", both)[0]
    drawn = slots
    if here:
        drawn = slow.slots_of(slow.state_of(model)["target_embedding.weight"], schema, batch, b)
    return Row(float(logit), float((drawn**2).sum()), points, steps, gates, weights)


def check(model: ps.Model, batch: Any) -> list[Row]:
    rows = [slow_row(model, batch, b) for b in range(len(batch))]
    np.testing.assert_allclose(model(batch).detach(), [row.logit for row in rows], rtol=1e-9, atol=1e-9)
    loss = np.mean([slow.cross_entropy(r.logit, float(y)) for r, y in zip(rows, batch.label, strict=True)])
    loss += 0.5 * model.options["embedding_l2"] * np.mean([row.penalty for row in rows])
    assert model.loss(batch).item() == pytest.approx(loss, rel=1e-9)
    found = {name: value.detach().numpy() for name, value in model.explain(batch).items()}
    np.testing.assert_allclose(found["interest_points"], [row.points for row in rows], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["gates"], [row.gates for row in rows], rtol=1e-9)
    positive = found["interest_points"] > 0
    assert (found["strongest"][positive] == np.array([row.steps for row in rows])[positive]).all()
    return rows


@pytest.mark.parametrize("variant", VARIANTS)
def test_matches_loops(variant: str, data: Any) -> None:
    model = random_model("attention_transfer", data, **OPTIONS | VARIANTS[variant])
    first = data.train.batch(torch.arange(4), history=4).row
    batch = data.train.batch(torch.cat([first, draw(model, data, 20).row]), history=4)
    rows = check(model, batch)
    assert set(batch.scene.tolist()) == {0, 1, 2}
    lengths = [len(slow.events_of(batch, b, 4)) for b in range(24)]
    assert set(lengths) >= {0, 1, 4}
    found = model.explain(batch)
    assert found["events"].tolist() == lengths
    if model.options["attention"]:
        for weights, row in zip(found["attention"].detach().numpy(), rows, strict=True):
            np.testing.assert_allclose(weights[:, : row.weights.shape[1]], row.weights, rtol=1e-9)
            assert not weights[:, row.weights.shape[1] :].any()


@pytest.mark.parametrize("attention", [True, False])
def test_fields_stand_in_for_events(attention: bool, anonymous: Any) -> None:
    model = random_model("attention_transfer", anonymous, **OPTIONS, attention=attention)
    assert model.history_length == 0
    check(model, draw(model, anonymous, 24))
    check_export(model.float(), anonymous)


def test_rows_without_events_have_no_interest_points(data: Any) -> None:
    model = random_model("attention_transfer", data, **OPTIONS)
    bare = without_events(draw(model, data, 12))
    check(model, bare)
    assert not model.explain(bare)["interest_points"].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_export_form(variant: str, data: Any) -> None:
    check_export(random_model("attention_transfer", data, **OPTIONS | VARIANTS[variant]).float(), data)


def fit(data: Any, epochs: int = 3, **options: Any) -> tuple[ps.Model, list[dict[str, Any]]]:
    torch.manual_seed(1)
    model = ps.models.AttentionTransfer(data.schema, **OPTIONS | options)
    trainer = ps.Trainer(optimizer="adam", lr=0.01, batch_size=64, epochs=epochs, patience=0, seed=1)
    return model, trainer.fit(model, data)


def test_source_then_target() -> None:
    """The target phase leaves what other scenes are told as it was, bit for bit."""
    data = ps.testing.tiny_data()
    sources, _ = fit(data)
    names = [name for name, _ in sources.named_parameters() if name.startswith("target_")]
    moved = dict(sources.named_parameters())
    assert len(names) == 6
    assert all(moved[name].any() for name in names)
    model, history = fit(data)
    assert [row["phase"] for row in history] == ["source"] * 3 + ["target"] * 3
    batch = draw(model, data, 100)
    before = model.eval()(batch)
    with torch.no_grad():
        for name in names:
            dict(model.named_parameters())[name].zero_()
    after = model(batch)
    target = batch.scene == data.schema.scene("television")
    assert torch.equal(before[~target], after[~target])
    assert (before[target] - after[target]).abs().min() > 0
    # The target's epoch is chosen by the target's validation rows, the sources' by theirs.
    counts = {"source": {0, 1}, "target": {2}}
    for row in history:
        rows = [r for r in range(len(data.valid)) if int(data.valid.scenes()[r]) in counts[row["phase"]]]
        assert 0 < len(rows) < len(data.valid)
    last = [row for row in history if row["best"]][-1]
    mine = data.valid.take(torch.tensor([r for r in range(len(data.valid)) if int(data.valid.scenes()[r]) == 2]))
    again, _ = fit(data)
    assert ps.evaluate(again, mine).overall["auc"] == pytest.approx(last["valid"]["auc"], abs=1e-9)


def test_target_alone_moves_nothing_of_other_scenes() -> None:
    data = ps.testing.tiny_data()
    model, history = fit(data, training="target", target="tablet")
    assert {row["phase"] for row in history} == {"target"}
    bias = model.scene_bias.tolist()
    assert [value != 0 for value in bias] == [False, True, False]


def test_carrying_over_helps_a_sparse_scene() -> None:
    """On simulated scenes that are alike, the sources' answers are worth more than the target's few rows."""
    data = ps.datasets.load(
        "simulator", scenes=3, interests=6, users=800, events=12, items=60, sparse_scene=2, sparsity=0.1, seed=5
    )
    found = {}
    for training in ("transfer", "target"):
        torch.manual_seed(1)
        model = ps.models.AttentionTransfer(data.schema, training=training, max_length=8)
        ps.Trainer(optimizer="adam", lr=0.01, batch_size=512, epochs=4, patience=2, seed=1).fit(model, data)
        smallest = data.schema.scenes[int(data.schema.scene_rows.argmin())]
        found[training] = ps.evaluate(model, data.test).scenes[smallest]["auc"]
    assert found["transfer"] > found["target"] + 0.01


def test_wrong_options() -> None:
    schema = ps.testing.tiny_data().schema
    with pytest.raises(ValueError, match="training must be one of transfer, joint, target, got 'all'"):
        ps.models.AttentionTransfer(schema, training="all")
    with pytest.raises(ValueError, match="radio"):
        ps.models.AttentionTransfer(schema, target="radio")
    with pytest.raises(ValueError, match="the target scene 'phone' cannot be a source as well"):
        ps.models.AttentionTransfer(schema, target="phone", sources=["tablet", "phone"])
    with pytest.raises(ValueError, match="InterestPoints: kernel must be odd and positive, got 2"):
        ps.models.AttentionTransfer(schema, kernel=2)
