"""Mixture of experts against loops over rows and experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_scene


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reference", [False, True])
def test_matches_loops(data: Any, reference: bool, training: bool) -> None:
    options = {"dim": 3, "experts": 4, "expert": [6, 5], "tower": [4], "reference": reference, "interaction": "fm"}
    model = slow_scene.random_model("mmoe", data, **options)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    weight = slow_scene.gate(state, "gates", x, scene, training)
    experts = slow_scene.mlp(state, "experts", x, scene, training=training)
    z = np.array([sum(weight[b, k] * experts[b, k] for k in range(4)) for b in range(24)])
    body = slow_scene.mlp(state, "towers", z, scene, training=training)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["gates"].detach(), weight, rtol=1e-9)


def test_as_many_experts_as_scenes(data: Any) -> None:
    model = ps.models.MMoE(data.schema)
    assert model.state_dict()["experts.layer0_weight"].shape[1] == data.schema.num_scenes
    first, second = model.state_dict()["experts.layer0_weight"][0, :2]
    assert (first - second).abs().max() > 0.01  # each drawn on its own


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="MMoE: experts must be 0 or more, got -1"):
        ps.models.MMoE(data.schema, experts=-1)
    with pytest.raises(ValueError, match=r"MMoE: expert must have a hidden layer, got \[\]"):
        ps.models.MMoE(data.schema, expert=[])
