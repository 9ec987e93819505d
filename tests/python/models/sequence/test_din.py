"""DIN against loops over rows and events."""

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


def slow_din(model: ps.Model, data: Any, batch: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    state, x = slow.state_of(model), slow_scene.inputs(model, batch)[0]
    v = slow_events.target(model, data, batch)
    how = {"activation": model.options["activation"], "training": model.training}
    past = [slow_events.keys(model, data, slow_events.events_of(model, batch, b)) for b in range(len(batch))]
    met = np.array([slow_events.meeting(v[b], k) for b in range(len(batch)) for k in past[b]])
    scores = iter(slow_events.dice_mlp(state, "attention", met, **how))
    rows, weights = [], []
    for b, k in enumerate(past):
        a = np.array([next(scores) for _ in k])
        if model.options["softmax"] and len(k):
            a = slow.softmax(a)
        u = sum((a[j] * k[j] for j in range(len(k))), np.zeros(v.shape[1]))
        rows.append(np.concatenate([x[b], u, u * v[b]]))
        weights.append(a)
    return slow_events.dice_mlp(state, "network", np.array(rows), **how), weights


@pytest.mark.parametrize("events", ["positive", "all"])
@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("activation", ["dice", "relu"])
def test_matches_loops(data: Any, events: str, softmax: bool, activation: str) -> None:
    options = {"dim": 3, "max_length": 6, "attention": [5, 4], "hidden": [7], "events": events}
    model = slow_scene.random_model("din", data, **options, softmax=softmax, activation=activation)
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    wanted, weights = slow_din(model, data, batch)
    assert any(len(each) > 2 for each in weights) and any(len(each) == 0 for each in weights)
    slow_fields.check(model, batch, wanted)
    told = model.explain(batch)
    assert told["events"].tolist() == [len(each) for each in weights]
    for b, each in enumerate(weights):
        np.testing.assert_allclose(told["attention"][b, : len(each)].detach().numpy(), each, rtol=1e-9)
        assert not told["attention"][b, len(each) :].any()


def test_dice_takes_its_statistics_from_events_and_rows_in_training(data: Any) -> None:
    model = slow_scene.random_model("din", data, dim=3, attention=[4], hidden=[5]).train()
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    before = model.state_dict()["network.dices.0.running_mean"].clone()
    wanted = slow_din(model, data, batch)[0]
    np.testing.assert_allclose(model(batch).detach().numpy(), wanted, rtol=1e-9)
    assert not torch.equal(model.state_dict()["network.dices.0.running_mean"], before)
    # One row has no variance: the moving statistics answer and stay.
    kept = {name: value.clone() for name, value in model.named_buffers()}
    one = data.train.batch(torch.tensor([0]), history=model.history_length)
    assert model(one).isfinite().all()
    assert all(torch.equal(value, kept[name]) for name, value in model.named_buffers() if name.startswith("network"))


def test_a_past_of_other_items_leaves_the_answer(data: Any) -> None:
    """The candidate's own row is not among its events, whatever its label says."""
    model = slow_scene.random_model("din", data, dim=3)
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    score = model(batch)
    batch.label = 1 - batch.label
    assert torch.equal(model(batch), score)


def test_scenes_are_a_field_or_unknown(data: Any) -> None:
    slow_fields.check_scenes_unknown("din", data)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="DIN: events must be 'positive' or 'all', got 'some'"):
        ps.models.DIN(data.schema, events="some")
    with pytest.raises(ValueError, match="DIN: max_length must be positive, got 0"):
        ps.models.DIN(data.schema, max_length=0)
    with pytest.raises(ValueError, match="DIN: activation must be one of"):
        ps.models.DIN(data.schema, activation="swish")
    bare = ps.testing.tiny_data("ctr")
    assert ps.models.DIN(bare.schema).history_length == 50
