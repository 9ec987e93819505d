"""Scenario-aware ranking network against loops over rows, experts and events."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import scene_checks
import slow
import slow_scene
import torch


def whitened(state: slow.State, name: str, t: np.ndarray, scene: np.ndarray, training: bool) -> np.ndarray:
    mean = state[f"{name}_running_mean"]
    stats = {f"{name}_running_mean": mean, f"{name}_running_var": state[f"{name}_running_var"]}
    stats |= {f"{name}_scale": np.ones_like(mean), f"{name}_shift": np.zeros_like(mean)}
    return slow_scene.normalised(t, scene, stats, name, training)


def body(state: slow.State, x: np.ndarray, scene: np.ndarray, training: bool, fair: Any = None) -> Any:
    """Logits of the body and gates."""
    t = np.array([x[b] * state["scene_scale"][s] + state["scene_shift"][s] for b, s in enumerate(scene)])
    weight = slow_scene.gate(state, "gate", t, scene)
    parts = [
        slow_scene.layer(state, f"{part}.output", whitened(state, part, t, scene, training), scene)
        for part in ("shared", "specific")
    ]
    experts = np.concatenate(parts, 1)
    z = np.array([sum(weight[b, k] * experts[b, k] for k in range(experts.shape[1])) for b in range(len(x))])
    if fair is not None:
        z = z * fair[:, None]
    return slow_scene.mlp(state, "head", z, scene, training=training)[:, 0, 0], weight


def interest(model: ps.Model, batch: Any, slots: np.ndarray, length: int) -> tuple[np.ndarray, list[Any]]:
    """What scene and item read from the events, [B, 2 D], and their weights, a list for each row."""
    state, schema = slow.state_of(model), model.schema
    first, item = slow.first_row(schema, schema.item), schema.field(schema.item)
    out, weights = [], []
    for b in range(len(batch)):
        events = slow.events_of(batch, b, length)
        rows = state["embedding.weight"][[first + int(batch.history.item[j]) for j in events]]
        labels = [int(batch.history.label[j] > 0.5) for j in events]
        values = rows.reshape(-1, slots.shape[2]) + state["event_label"][labels].reshape(-1, slots.shape[2])
        keys = values + state["event_scene"][[int(batch.history.scene[j]) for j in events]].reshape(values.shape)
        read, mine = [], []
        for query in (state["scene_query"][int(batch.scene[b])], state["item_query"] @ slots[b, item]):
            if not events:
                read.append(np.zeros(slots.shape[2]))
                mine.append(np.zeros(0))
                continue
            mine.append(slow.softmax([query @ key / slots.shape[2] ** 0.5 for key in keys]))
            read.append(sum(a * v for a, v in zip(mine[-1], values, strict=True)))
        out.append(np.concatenate(read))
        weights.append(mine)
    return np.array(out), weights


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("interaction", ["none", "cross"])
def test_matches_loops(data: Any, interaction: str, training: bool) -> None:
    options = {"shared": 4, "specific": 3, "expert": 5, "head": [6, 4], "interaction": interaction, "scene_field": True}
    model = slow_scene.random_model("sar_net", data, dim=3, **options)
    batch = ps.testing.batch(data, 24)
    x, _ = slow_scene.inputs(model, batch)
    wanted, weight = body(slow.state_of(model), x, batch.scene.numpy(), training)
    slow_scene.check_logits(model.train(training), batch, wanted)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["gates"].detach(), weight, rtol=1e-9)


@pytest.mark.parametrize("history", [0, 7])
@pytest.mark.parametrize("training", [False, True])
def test_attention_matches_loops(data: Any, training: bool, history: int) -> None:
    options = {"dim": 3, "head": [4], "attention": True, "max_length": 4, "history": history}
    model = slow_scene.random_model("sar_net", data, **options)
    assert model.history_length == max(4, history)
    batch = ps.testing.batch(data, 24, history=model.history_length)
    x, slots = slow_scene.inputs(model, batch)
    read, weights = interest(model, batch, slots, 4)
    wanted, _ = body(slow.state_of(model), np.concatenate([x, read], 1), batch.scene.numpy(), training)
    slow_scene.check_logits(model.train(training), batch, wanted)
    explained = model.explain(batch)
    told = explained["attention"].detach().numpy()
    assert explained["events"].tolist() == [len(row[0]) for row in weights]
    assert {len(row[0]) for row in weights} >= {4, 1}  # long and short histories
    for b, row in enumerate(weights):
        for k in range(2):
            np.testing.assert_allclose(told[b, k, : len(row[k])], row[k], rtol=1e-9)
            assert not told[b, k, len(row[k]) :].any()


def test_rows_without_events(data: Any) -> None:
    model = slow_scene.random_model("sar_net", data, dim=3, attention=True)
    batch = ps.testing.batch(data, 24, history=0)
    x, _ = slow_scene.inputs(model, batch)
    wanted, _ = body(slow.state_of(model), np.concatenate([x, np.zeros((24, 6))], 1), batch.scene.numpy(), False)
    slow_scene.check_logits(model, batch, wanted)


def test_attention_gives_every_parameter_a_gradient(data: Any) -> None:
    model = slow_scene.random_model("sar_net", data, dim=3, attention=True).train()
    model.loss(ps.testing.batch(data, 200, history=20)).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_fairness_weighs_pushed_items_down(data: Any, power: float) -> None:
    model = slow_scene.random_model("sar_net", data, dim=3, fairness=power)
    model.prepare(data.train)
    train = data.train.batch(torch.arange(len(data.train)))
    scene, item = train.scene.numpy(), train.item.numpy()
    fair = np.ones((3, data.schema.categorical[data.schema.field(data.schema.item)].rows))
    for s in range(3):
        for i in range(fair.shape[1]):
            share = (item == i).sum() / len(item)
            mine = (((item == i) & (scene == s)).sum() + 10 * share) / ((scene == s).sum() + 10)
            if mine > share:
                fair[s, i] = (share / mine) ** power
    assert 0.2 < (fair < 1).mean() < 0.8
    np.testing.assert_allclose(model.state_dict()["coefficient"], fair, rtol=1e-9)
    batch = ps.testing.batch(data, 24)
    x, _ = slow_scene.inputs(model, batch)
    mine = np.array([fair[int(batch.scene[b]), int(batch.item[b])] for b in range(24)])
    assert (mine < 1).any()
    wanted, _ = body(slow.state_of(model), x, batch.scene.numpy(), False, mine)
    slow_scene.check_logits(model, batch, wanted)


def test_reference_starts_at_random(data: Any) -> None:
    state = ps.models.SARNet(data.schema).state_dict()
    assert (state["scene_scale"] == 1).all()
    assert (state["scene_shift"] == 0).all()
    state = ps.models.SARNet(data.schema, reference=True).state_dict()
    bound = (6 / (1 + state["scene_scale"].shape[1])) ** 0.5
    assert 0.9 * bound < state["scene_scale"].abs().max() < bound
    assert 0.4 < state["scene_shift"].mean() < 0.6
    assert state["scene_shift"].min() >= 0


@pytest.mark.parametrize("options", [{}, {"reference": True, "fairness": 0.5}, {"norm": "layer"}, {"norm": "none"}])
def test_any_number_of_scenes(options: dict[str, Any]) -> None:
    scene_checks.check_scene_counts("sar_net", dim=3, **options)


def test_scenes_keep_apart() -> None:
    parts = ["scene_scale", "scene_shift", "specific.output_weight", "specific.output_bias"]
    scene_checks.check_isolation("sar_net", [*parts, "specific_running_mean", "specific_running_var"], dim=4)
    scene_checks.check_one_row("sar_net", dim=4)


def test_wrong_options(data: Any) -> None:
    for option in ("shared", "specific", "expert", "max_length"):
        with pytest.raises(ValueError, match=f"SARNet: {option} must be positive, got 0"):
            ps.models.SARNet(data.schema, **{option: 0})
    with pytest.raises(ValueError, match="SARNet: fairness must be 0 or more, got -1"):
        ps.models.SARNet(data.schema, fairness=-1)
