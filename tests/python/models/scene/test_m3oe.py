"""Three mixtures of experts against loops over rows and experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_scene
import torch

BALANCES = ("scene_own", "scene_share", "task_own", "task_share")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_matches_loops(data: Any, norm: str, training: bool) -> None:
    options = {"dim": 3, "star": 7, "width": 6, "experts": 2, "expert": [5, 4], "tower": [3]}
    model = slow_scene.random_model("m3oe", data, **options, norm=norm, interaction="fm")
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    star = np.zeros((24, 7))
    for b, s in enumerate(scene):
        star[b] = (state["star_weight"] * state["star_scale"][s]) @ x[b] + state["star_bias"] + state["star_shift"][s]
    form = {"norm": norm, "training": training}
    z = slow_scene.mlp(state, "star_mlp", star, scene, **form)[:, 0]
    z = z + slow_scene.mlp(state, "skip", x, scene, **form)[:, 0]
    experts = slow_scene.mlp(state, "experts", z, scene, **form)
    assert experts.shape == (24, 2 + 3 + 1, 4)
    gates = slow_scene.gate(state, "gates", z, scene)
    own, scene_share, task_own, task_share = (slow.sigmoid(state[name]) for name in (BALANCES))
    mixed = np.zeros((24, 4))
    for b, s in enumerate(scene):
        shared = sum(gates[b, k] * experts[b, k] for k in range(2))
        others = np.mean([experts[b, 2 + j] for j in range(3) if j != s], axis=0)
        of_scene = own * experts[b, 2 + s] + (1 - own) * others
        mixed[b] = shared + scene_share * of_scene + task_share * task_own * experts[b, 5]
    body = slow_scene.mlp(state, "towers", mixed, scene, **form)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["gates"].detach(), gates, rtol=1e-9)


def test_balance_of_the_experts_of_scenes(data: Any) -> None:
    batch = ps.testing.batch(data, 24)
    balance = ps.models.M3oE(data.schema).explain(batch)["balance"].detach()
    share = 1 / (1 + np.exp(-1.0))  # all four balances start at 1
    for row, s in zip(balance, batch.scene.tolist(), strict=True):
        wanted = [share * (share if j == s else (1 - share) / 2) for j in range(3)]
        np.testing.assert_allclose(row, [*wanted, share * share], rtol=1e-6)


def test_balances_learn(data: Any) -> None:
    model = slow_scene.random_model("m3oe", data, dim=3)
    model.loss(ps.testing.batch(data, 24)).backward()
    assert all(model.get_parameter(name).grad != 0 for name in BALANCES)


def test_gates_leave_what_they_read_alone(data: Any) -> None:
    model = slow_scene.random_model("m3oe", data, dim=3)
    batch = ps.testing.batch(data, 24)
    model.explain(batch)["gates"].square().sum().backward()
    assert model.get_parameter("gates.weight").grad.any()
    assert model.get_parameter("embedding.weight").grad is None


def test_scenes_start_as_one(data: Any) -> None:
    torch.manual_seed(0)
    state = ps.models.M3oE(data.schema).state_dict()
    assert (state["star_scale"] == 1).all()
    assert not state["star_shift"].any()


def test_wrong_options(data: Any) -> None:
    for name in ("star", "width", "experts"):
        with pytest.raises(ValueError, match=f"M3oE: {name} must be positive, got 0"):
            ps.models.M3oE(data.schema, **{name: 0})
    with pytest.raises(ValueError, match=r"M3oE: expert must have a hidden layer, got \[\]"):
        ps.models.M3oE(data.schema, expert=[])
