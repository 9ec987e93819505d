"""DASL against loops over rows, scenes and events."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_events
import slow_fields
import slow_scene
import torch

OPTIONS = {"dim": 3, "user_dim": 4, "states": 5, "max_length": 6, "hidden": [7]}


def scenes_of(model: ps.Model, batch: Any, b: int) -> list[int]:
    """Scenes of the events that count of a row's past, oldest first."""
    first, last = (int(batch.history.offsets[b + i]) for i in (0, 1))
    newest = list(range(first, last))[-model.options["max_length"] :]
    everything = model.options["events"] == "all"
    return [int(batch.history.scene[j]) for j in newest if everything or batch.history.label[j] > 0.5]


def slow_dasl(model: ps.Model, data: Any, batch: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    state, x = slow.state_of(model), slow_scene.inputs(model, batch)[0]
    people = data.schema.categorical[data.schema.field(data.schema.user)].rows
    rows, biases, weights = [], [], []
    for b in range(len(batch)):
        user, item, scene = int(batch.user[b]), int(batch.item[b]), int(batch.scene[b])
        u = state["users.weight"][scene * people + user]
        k = slow_events.keys(model, data, slow_events.events_of(model, batch, b))
        where = scenes_of(model, batch, b)
        h = np.zeros((len(k), model.options["states"]))
        for r in set(where):
            mine = [j for j, each in enumerate(where) if each == r]
            h[mine] = slow.gru(state, f"encoders.{r}", np.array([np.concatenate([k[j], u]) for j in mine]))
        a, p = np.zeros(0), np.zeros(model.options["states"])
        if len(k):
            a = slow.softmax(np.tanh(h @ state["question.weight"].T + state["question.bias"]) @ u)
            p = a @ h
        rows.append(np.concatenate([x[b], p, u]))
        biases.append(
            state["scene_intercept"][scene]
            + state["item_bias.weight"][item, 0]
            + state["user_bias.weight"][scene * people + user, 0]
        )
        weights.append(a)
    return slow_events.dice_mlp(state, "network", np.array(rows)) + np.array(biases), weights


@pytest.mark.parametrize("events", ["positive", "all"])
def test_matches_loops(data: Any, events: str) -> None:
    model = slow_scene.random_model("dasl", data, **OPTIONS, events=events)
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    wanted, weights = slow_dasl(model, data, batch)
    assert any(len(each) > 2 for each in weights)
    assert any(len(each) == 0 for each in weights)
    assert any(len(set(scenes_of(model, batch, b))) > 1 for b in range(len(batch)))
    slow_fields.check(model, batch, wanted)
    told = model.explain(batch)
    for b, each in enumerate(weights):
        np.testing.assert_allclose(told["attention"][b, : len(each)].detach().numpy(), each, rtol=1e-9)


def known_scenes(data: Any) -> dict[int, set[int]]:
    batch = data.train.batch(torch.arange(len(data.train)))
    out: dict[int, set[int]] = {}
    for user, scene in zip(batch.user.tolist(), batch.scene.tolist(), strict=True):
        if user >= 2:
            out.setdefault(user, set()).add(scene)
    return out


def test_users_of_two_scenes_are_aligned_in_training_alone(data: Any) -> None:
    weights = {"alignment": 0.7, "orthogonality": 0.3}
    plain = slow_scene.random_model("dasl", data, **OPTIONS, activation="relu", alignment=0.0, orthogonality=0.0)
    model = slow_scene.random_model("dasl", data, **OPTIONS, activation="relu", **weights)
    for each in (plain, model):
        each.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    torch.testing.assert_close(model.loss(batch), plain.loss(batch))  # in evaluation
    state, u = slow.state_of(model), 4
    people = data.schema.categorical[data.schema.field(data.schema.user)].rows
    pairs = list(itertools.combinations(range(len(data.schema.scenes)), 2))
    vectors, maps, known = state["users.weight"], state["maps"], known_scenes(data)
    gaps = []
    for user in set(batch.user.tolist()):
        for n, (s, t) in enumerate(pairs):
            if {s, t} <= known.get(user, set()):
                a, b = vectors[s * people + user], vectors[t * people + user]
                gaps.append(((a @ maps[n] - b) ** 2).sum() + ((b @ maps[n].T - a) ** 2).sum())
    assert gaps
    off = np.mean([((m @ m.T - np.eye(u)) ** 2).sum() / u for m in maps])
    wanted = 0.7 * np.mean(gaps) / (2 * u) + 0.3 * off
    got = (model.train().loss(batch) - plain.train().loss(batch)).item()
    assert got == pytest.approx(wanted, rel=1e-9)


def test_maps_start_orthogonal_and_stay_near() -> None:
    data = ps.testing.tiny_data()
    torch.manual_seed(0)
    model = ps.models.DASL(data.schema, dim=4, user_dim=4, states=4, hidden=[8], orthogonality=1.0)
    eye = torch.eye(4).expand(3, 4, 4)
    torch.testing.assert_close(torch.bmm(model.maps, model.maps.transpose(1, 2)), eye)
    before = model.maps.detach().clone()
    ps.Trainer(epochs=3, lr=0.01, batch_size=64).fit(model, data)
    assert not torch.equal(model.maps, before)
    assert (torch.bmm(model.maps, model.maps.transpose(1, 2)) - eye).abs().max() < 0.1


def test_a_target_row_of_a_user_moves_no_prediction_of_another_scene(data: Any) -> None:
    """Users who are known in one scene alone move no map, and what is aligned comes from training rows."""
    model = slow_scene.random_model("dasl", data, **OPTIONS)
    model.prepare(data.train)
    known = known_scenes(data)
    everyone = data.train.batch(torch.arange(len(data.train)), history=6)
    alone = [b for b, user in enumerate(everyone.user.tolist()) if len(known.get(user, set())) < 2]
    if alone:
        batch = everyone.take(alone)
        maps = torch.autograd.grad(model.train().loss(batch), model.maps)[0]
        free = slow_scene.random_model("dasl", data, **OPTIONS, alignment=0.0)
        free.prepare(data.train)
        torch.testing.assert_close(maps, torch.autograd.grad(free.train().loss(batch), free.maps)[0])


def test_one_scene_needs_no_map() -> None:
    import pyarrow as pa

    rng = np.random.default_rng(0)
    rows = {"user_id": [f"u{n % 9}" for n in range(90)], "item_id": [f"i{n}" for n in rng.integers(0, 12, 90)]}
    data = ps.read_table(train=pa.table(rows | {"label": rng.integers(0, 2, 90).astype(float)}), scene=None)
    model = ps.models.DASL(data.schema, dim=4, states=4, hidden=[4])
    assert "maps" not in dict(model.named_parameters())
    history = ps.Trainer(epochs=2, lr=0.01).fit(model, data)
    assert np.isfinite(history[-1]["train_loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment": -1.0}, "DASL: alignment must be 0 or more, got -1"),
        ({"orthogonality": -0.5}, "DASL: orthogonality must be 0 or more, got -0.5"),
        ({"states": 0}, "DASL: states must be positive, got 0"),
        ({"user_dim": 0}, "DASL: user_dim must be positive, got 0"),
        ({"activation": "dise"}, "DASL: activation must be one of"),
    ],
)
def test_options_out_of_range(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.DASL(data.schema, **options)
