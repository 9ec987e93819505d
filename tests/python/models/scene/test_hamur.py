"""Hyper adapters against loops that make the generated matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_scene
import torch


def adapter(
    state: slow.State, name: str, h: np.ndarray, core: np.ndarray, scene: np.ndarray, training: bool
) -> np.ndarray:
    """h [B, M] and core [B, R, R] to [B, M]."""
    part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
    u = np.zeros_like(h)
    for b in range(len(h)):
        down = part["down_in"] @ core[b] @ part["down_out"]
        up = part["up_in"] @ core[b] @ part["up_out"]
        u[b] = slow.sigmoid(h[b] @ down + part["down_bias"]) @ up
    scenes = len(part["running_mean"])
    norm = {f"norm_{key}": np.tile(part[key], (scenes, 1)) for key in ("scale", "shift")}
    norm |= {f"norm_{key}": part[key] for key in ("running_mean", "running_var")}
    return h + slow_scene.normalised(u, scene, norm, "norm", training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("adapters", "hyper", "norm"), [(1, [5], "batch"), (2, [], "none"), (2, [4, 6], "layer")])
def test_matches_loops(data: Any, adapters: int, hyper: list[int], norm: str, training: bool) -> None:
    options = {"dim": 3, "backbone": [7, 6], "adapters": adapters, "adapter": 4, "rank": 3, "hyper": hyper}
    model = slow_scene.random_model("hamur", data, **options, norm=norm, interaction="fm")
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    core = slow_scene.mlp(state, "hyper", x, scene, norm=norm, training=training).reshape(24, 3, 3)
    h = x
    for layer in range(2):
        h = slow_scene.layer(state, f"backbone.layer{layer}", h, scene, norm=norm, training=training)[:, 0]
        if layer >= 2 - adapters:
            h = adapter(state, f"adapter{layer}", h, core, scene, training)
    body = slow_scene.layer(state, "backbone.output", h, scene)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["core"].detach(), core, rtol=1e-9)


def test_columns_of_generated_matrices_start_apart(data: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.HAMUR(data.schema)
    for path in ("down_in", "down_out", "up_in", "up_out"):
        value = model.state_dict()[f"adapter1.{path}"]
        assert torch.linalg.matrix_rank(value) == min(value.shape)


def test_statistics_are_of_the_scenes_that_came(data: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.HAMUR(data.schema, backbone=[8], adapter=4, rank=3).train()
    batch = ps.testing.batch(data, 100)
    rows = (batch.scene == 1).nonzero().flatten()
    assert len(rows) > 1
    model.loss(batch.take(rows)).backward()
    mean, var = (model.state_dict()[f"adapter0.running_{part}"] for part in ("mean", "var"))
    assert (mean[1] != 0).any()
    assert not mean[[0, 2]].any()
    assert (var[[0, 2]] == 1).all()
    grad = model.get_parameter("backbone.layer0_weight").grad
    assert grad[1].any()
    assert not grad[[0, 2]].any()


def test_one_row_in_evaluation_is_finite(data: Any) -> None:
    model = ps.models.HAMUR(data.schema, backbone=[8], adapter=4, rank=3).eval()
    assert model(ps.testing.batch(data, 1)).isfinite().all()


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="HAMUR: adapters must be between 1 and 2, the hidden layers of the backbone"):
        ps.models.HAMUR(data.schema, adapters=3)
    with pytest.raises(ValueError, match=r"HAMUR: backbone must have a hidden layer, got \[\]"):
        ps.models.HAMUR(data.schema, backbone=[])
    with pytest.raises(ValueError, match="HAMUR: rank must be positive, got 0"):
        ps.models.HAMUR(data.schema, rank=0)
    with pytest.raises(ValueError, match="HAMUR: adapter must be positive, got -2"):
        ps.models.HAMUR(data.schema, adapter=-2)
