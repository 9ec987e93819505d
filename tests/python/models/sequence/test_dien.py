"""DIEN against loops over rows and events."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_events
import slow_fields
import slow_scene
import torch


def evolved(state: slow.State, h: np.ndarray, a: np.ndarray) -> np.ndarray:
    """A GRU whose update gate is scaled by the attention, step by step."""
    g = np.zeros(h.shape[1])
    for t in range(len(h)):
        x = np.split(state["input_gates.weight"] @ h[t] + state["input_gates.bias"], 3)
        s = np.split(state["state_gates.weight"] @ g + state["state_gates.bias"], 3)
        r, z = slow.sigmoid(x[0] + s[0]), slow.sigmoid(x[1] + s[1])
        n = np.tanh(x[2] + r * s[2])
        g = (1 - a[t] * z) * g + a[t] * z * n
    return g


def slow_dien(model: ps.Model, data: Any, batch: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    state, x = slow.state_of(model), slow_scene.inputs(model, batch)[0]
    v = slow_events.target(model, data, batch)
    rows, weights = [], []
    for b in range(len(batch)):
        k = slow_events.keys(model, data, slow_events.events_of(model, batch, b))
        g, total, a = np.zeros_like(v[b]), np.zeros_like(v[b]), np.zeros(0)
        if len(k):
            h = slow.gru(state, "extraction", k)
            a = slow.softmax(slow_events.unit(state, v[b], h))
            g, total = evolved(state, h, a), k.sum(0)
        rows.append(np.concatenate([x[b], g, total, total * v[b]]))
        weights.append(a)
    return slow_events.dice_mlp(state, "network", np.array(rows)), weights


@pytest.mark.parametrize("events", ["positive", "all"])
def test_matches_loops(data: Any, events: str) -> None:
    model = slow_scene.random_model("dien", data, dim=3, max_length=6, attention=[5], hidden=[7], events=events)
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    wanted, weights = slow_dien(model, data, batch)
    assert any(len(each) > 2 for each in weights) and any(len(each) == 0 for each in weights)
    slow_fields.check(model, batch, wanted)
    told = model.explain(batch)
    for b, each in enumerate(weights):
        np.testing.assert_allclose(told["attention"][b, : len(each)].detach().numpy(), each, rtol=1e-9)


def test_auxiliary_loss_is_in_the_loss_of_training_alone(data: Any) -> None:
    options = {"dim": 3, "max_length": 6, "activation": "relu"}
    plain = slow_scene.random_model("dien", data, **options, auxiliary=0)
    model = slow_scene.random_model("dien", data, **options, auxiliary=0.5)
    for each in (plain, model):
        each.prepare(data.train)
    shared = {name: value for name, value in model.state_dict().items() if not name.startswith("auxiliary")}
    plain.load_state_dict(shared)
    batch = slow_events.batch_of(model, data)
    torch.testing.assert_close(model.loss(batch), plain.loss(batch))
    # With a network that answers 0 everywhere each step costs 2 log 2.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("auxiliary.linears.2"):
                parameter.zero_()
    torch.testing.assert_close(model.train().loss(batch) - plain.train().loss(batch), torch.tensor(np.log(2.0)))


def test_auxiliary_loss_learns_what_follows() -> None:
    """Users walk through the items in order: what follows is known, what is drawn is not."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{(start + step) % 12}", step)
        for user, start in enumerate(rng.integers(0, 12, 40))
        for step in range(8)
    ]
    import pyarrow as pa

    users, items, time = zip(*rows, strict=True)
    label = rng.integers(0, 2, len(rows)).astype(float)
    label[time.index(0)] = 1.0
    table = pa.table({"user_id": users, "item_id": items, "time": time, "label": label})
    data = ps.read_table(train=table, scene=None, time="time")
    torch.manual_seed(0)
    model = ps.models.DIEN(data.schema, dim=8, events="all", init_std=0.3, auxiliary=1.0, activation="relu")
    losses = [row["train_loss"] for row in ps.Trainer(lr=1e-2, batch_size=64, epochs=30, patience=0).fit(model, data)]
    assert losses[-1] < losses[0] - 0.5  # labels are noise: what falls is the auxiliary loss


def test_gradients_of_the_recurrence(data: Any) -> None:
    model = slow_scene.random_model("dien", data, dim=2, max_length=4, attention=[3], hidden=[4], activation="tanh")
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data, 8)
    weight = model.input_gates.weight
    out = model(batch).sum()
    out.backward()
    eps = 1e-6
    for place in [(0, 0), (5, 1), (9, 2)]:
        with torch.no_grad():
            weight[place] += eps
            up = model(batch).sum()
            weight[place] -= 2 * eps
            down = model(batch).sum()
            weight[place] += eps
        assert weight.grad[place].item() == pytest.approx(((up - down) / (2 * eps)).item(), rel=1e-5, abs=1e-8)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="DIEN: auxiliary must be 0 or more, got -1"):
        ps.models.DIEN(data.schema, auxiliary=-1.0)
