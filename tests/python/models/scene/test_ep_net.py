"""Gated embeddings against loops over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_gates
import slow_scene
import torch


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("reference", "gate", "norm"), [(False, 0, "batch"), (False, 5, "none"), (True, 4, "batch")])
def test_matches_loops(data: Any, reference: bool, gate: int, norm: str, training: bool) -> None:
    options = {"dim": 3, "gate": gate, "tower": [6, 4], "norm": norm, "reference": reference, "interaction": "fm"}
    model = slow_scene.random_model("ep_net", data, **options)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    delta = slow_gates.gate_nu(state, "gate", state["scene_prior"][scene], x, scene)[0]
    assert delta.shape == x.shape
    body = slow_scene.mlp(state, "tower", delta * x, scene, norm=norm, training=training)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["gate"].detach(), delta, rtol=1e-9)


def test_reference_is_one_linear_layer(data: Any) -> None:
    model = ps.models.EPNet(data.schema, tower=[6, 4], reference=True)
    state = model.state_dict()
    assert [path for path in state if path.startswith("tower")] == ["tower.output_weight", "tower.output_bias"]
    assert state["tower.output_weight"].numel() == model.explain(ps.testing.batch(data, 2))["gate"].shape[1]


def test_gate_starts_at_one(data: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.EPNet(data.schema, dim=4)
    assert (model.explain(ps.testing.batch(data, 8))["gate"] == 1).all()


def test_scenes_differ_by_their_embedding_alone(data: Any) -> None:
    model = slow_scene.random_model("ep_net", data, dim=3)
    batch = ps.testing.batch(data, 24)
    with torch.no_grad():
        apart = model(batch)
        assert (apart - model(slow_gates.in_scene(batch, 0)))[batch.scene != 0].abs().min() > 1e-6
        model.get_parameter("scene_prior").fill_(0.5)
        torch.testing.assert_close(model(batch), model(slow_gates.in_scene(batch, 0)))


def test_gate_has_no_gradient_into_what_it_scales(data: Any) -> None:
    model = slow_scene.random_model("ep_net", data, dim=3, reference=True)
    with torch.no_grad():  # with the gate at 1 and this head, the gradient of x is the head itself
        for path in ("gate.out0_weight", "gate.out0_bias"):
            model.get_parameter(path).fill_(0)
    head = model.get_parameter("tower.output_weight").flatten()
    batch = ps.testing.batch(data, 1)
    model(batch).sum().backward()
    row = slow.first_row(model.schema, "item_id") + int(batch.categorical[0, 1])
    torch.testing.assert_close(model.get_parameter("embedding.weight").grad[row], head[3:6])
    assert model.get_parameter("gate.out0_weight").grad.abs().max() > 0


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="EPNet: gate must be 0 or more, got -1"):
        ps.models.EPNet(data.schema, gate=-1)
    with pytest.raises(ValueError, match="MLP: hidden widths must be positive, got "):
        ps.models.EPNet(data.schema, tower=[0])
