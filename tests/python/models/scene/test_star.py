"""Star topology network against loops over rows and scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import scene_checks
import slow
import slow_scene
import torch


def partitioned(state: slow.State, x: np.ndarray, scene: np.ndarray, training: bool) -> np.ndarray:
    one = len(state["running_mean"]) == 1  # the reference's statistics of the whole batch
    out = np.zeros_like(x)
    for b, s in enumerate(scene):
        mean, var = state["running_mean"][0 if one else s], state["running_var"][0 if one else s]
        rows = x if one else x[scene == s]
        if training and len(rows) > 1:
            mean, var = rows.mean(0), rows.var(0)
        gain = state["scale"][0] * (1 + state["scene_scale"][s])
        out[b] = gain * (x[b] - mean) / np.sqrt(var + 1e-5) + state["shift"][0] + state["scene_shift"][s]
    return out


def star(state: slow.State, x: np.ndarray, scene: np.ndarray, training: bool) -> np.ndarray:
    h = partitioned(state, x, scene, training)
    names = sorted({path.removesuffix("_scene_weight") for path in state if path.endswith("_scene_weight")})
    for name in names:  # layer0, layer1, ..., output
        z = []
        for b, s in enumerate(scene):
            weight = state[f"{name}_weight"][0, 0] * (1 + state[f"{name}_scene_weight"][s, 0])
            bias = state[f"{name}_bias"][0] + state[f"{name}_scene_bias"][s] if f"{name}_bias" in state else 0
            z.append(weight @ h[b] + bias)
        h = np.array(z)
        if f"{name}_scale" in state:
            h = slow_scene.normalised(h, scene, state, name, training)
        if name != "output" or f"{name}_scale" in state:
            h = slow.relu(h)
    return h[:, 0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", [{"norm": "none"}, {"norm": "batch"}, {"reference": True}])
@pytest.mark.parametrize("interaction", ["none", "fm"])
def test_matches_loops(data: Any, interaction: str, form: dict[str, Any], training: bool) -> None:
    options = {"hidden": [6, 5], "auxiliary": [4], "interaction": interaction, **form}
    model = slow_scene.random_model("star", data, dim=3, **options)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    main = star(state, x, scene, training)
    seen = x if form.get("reference") else np.concatenate([x, state["auxiliary_scene"][scene]], 1)
    norm = "batch" if form.get("reference") else form["norm"]
    aside = slow_scene.mlp(state, "auxiliary", seen, scene, training=training, norm=norm)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, main + aside)
    if not training:
        told = model.explain(batch)
        np.testing.assert_allclose(told["star"].detach(), main, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(told["auxiliary"].detach(), aside, rtol=1e-9, atol=1e-12)
        assert not form.get("reference") or (main >= 0).all()


def test_training_moves_the_statistics_of_scenes(data: Any) -> None:
    model = slow_scene.random_model("star", data, dim=3).train()
    batch = ps.testing.batch(data, 60)
    before, scene = slow.state_of(model), batch.scene.numpy()
    mean, var = before["running_mean"].copy(), before["running_var"].copy()
    x, _ = slow_scene.inputs(model, batch)
    model(batch)
    after = slow.state_of(model)
    for s in range(3):
        mine = x[scene == s]
        assert len(mine) > 1
        np.testing.assert_allclose(after["running_mean"][s], 0.9 * mean[s] + 0.1 * mine.mean(0), rtol=1e-9)
        np.testing.assert_allclose(after["running_var"][s], 0.9 * var[s] + 0.1 * mine.var(0, ddof=1), rtol=1e-9)


def test_scenes_begin_as_one_network(data: Any) -> None:
    model = ps.models.STAR(data.schema, init_std=0.5).double().eval()
    batch, other = ps.testing.batch(data, 24), ps.testing.batch(data, 24)
    other.scene = (other.scene + 1) % 3
    torch.testing.assert_close(model.explain(batch)["star"], model.explain(other)["star"], rtol=1e-12, atol=0)
    assert model.explain(batch)["star"].std() > 0.01
    model.state_dict()["layer1_scene_weight"][0] += 0.5
    assert (model.explain(batch)["star"] - model.explain(other)["star"]).abs().max() > 0.01


def test_weight_decay_draws_scenes_to_the_shared_network(data: Any) -> None:
    model = slow_scene.random_model("star", data, dim=3)
    layer = [model.state_dict()[f"layer0_{part}"] for part in ("weight", "scene_weight")]
    before = (1 + layer[1] - 1).abs().sum()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser = torch.optim.SGD([model.get_parameter("layer0_scene_weight")], lr=0.1, weight_decay=1.0)
    for _ in range(100):
        optimiser.step()
    assert layer[1].abs().sum() < 1e-4 * before  # W_s is 1: the product is W


@pytest.mark.parametrize("form", [{"norm": "none"}, {"norm": "batch"}, {"reference": True}, {"hidden": []}])
def test_any_number_of_scenes(form: dict[str, Any]) -> None:
    scene_checks.check_scene_counts("star", dim=3, **form)


def test_scenes_keep_apart() -> None:
    parts = ["scene_scale", "scene_shift", "running_mean", "running_var", "auxiliary_scene", "output_scene_bias"]
    layers = [f"layer{k}_{x}" for k in (0, 1) for x in ("scene_weight", "scale", "shift", "running_mean")]
    scene_checks.check_isolation("star", [*parts, *layers], dim=4, hidden=[8, 4], norm="batch")
    scene_checks.check_one_row("star", dim=4)
    scene_checks.check_one_row("star", dim=4, norm="batch")


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="STAR: norm must be one of none, batch, got 'layer'"):
        ps.models.STAR(data.schema, norm="layer")
    with pytest.raises(ValueError, match="STAR: hidden widths must be positive, got 0"):
        ps.models.STAR(data.schema, hidden=[8, 0])
    with pytest.raises(ValueError, match=r"STAR: dropout must be in \[0, 1\), got 1"):
        ps.models.STAR(data.schema, dropout=1)
