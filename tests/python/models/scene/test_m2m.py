"""M2M against loops over rows, fields and experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_scene
import torch


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.01 * x)


def block(state: slow.State, name: str, fields: np.ndarray, heads: int) -> np.ndarray:
    """One Transformer block over the fields of one row, [F, D]."""
    normal = slow.layer_norm(state, f"{name}.attention_norm", fields)
    q, k, v = np.split(slow.linear(state, f"{name}.projection", normal), 3, axis=1)
    width, merged = q.shape[1] // heads, np.zeros_like(q)
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        for f in range(len(fields)):
            weights = slow.softmax([q[f, part] @ k[g, part] / width**0.5 for g in range(len(fields))])
            merged[f, part] = sum(weights[g] * v[g, part] for g in range(len(fields)))
    h1 = fields + slow.linear(state, f"{name}.output", merged)
    wide = slow.relu(slow.linear(state, f"{name}.inner", slow.layer_norm(state, f"{name}.feedforward_norm", h1)))
    return h1 + slow.linear(state, f"{name}.outer", wide)


def meta(state: slow.State, name: str, h: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """leaky(W(u) h + c(u)) for one row, weights made anew."""
    c = slow.linear(state, f"{name}.bias", scene)
    w = slow.linear(state, f"{name}.weight", scene).reshape(len(c), len(h))
    return leaky(w @ h + c)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("blocks", "norm"), [(0, "batch"), (1, "batch"), (2, "layer"), (1, "none")])
@pytest.mark.parametrize("interaction", ["none", "fm", "cross"])
def test_matches_loops(data: Any, interaction: str, blocks: int, norm: str, training: bool) -> None:
    options = {"dim": 4, "heads": 2, "feedforward": 5, "experts": 3, "width": 6, "head": [5, 4], "norm": norm}
    more = {"blocks": blocks, "attention_layers": 2, "tower_layers": 2, "interaction": interaction, "scene_field": True}
    model = slow_scene.random_model("m2m", data, **options, **more)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, slots = slow_scene.inputs(model, batch)
    for b in range(24):
        fields = slots[b]
        for index in range(blocks):
            fields = block(state, f"blocks.{index}", fields, heads=2)
        x[b, : fields.size] = fields.reshape(-1)  # numeric columns stay as they are
    settings = {"norm": norm, "training": training, "activation": "leaky_relu"}
    experts = slow_scene.mlp(state, "experts", x, scene, **settings)  # [B, K, H]
    weight, states = np.zeros((24, 3)), np.zeros((24, 6))
    for b in range(24):
        one = state["scene_vectors"][[scene[b]]]
        u = slow_scene.mlp(state, "scene_layers", one, np.zeros(1), norm="none", activation="leaky_relu")[0, 0]
        scores = []
        for k in range(3):
            h = np.concatenate([experts[b, k], state["task_vector"]])
            for index in range(2):
                h = meta(state, f"attention.{index}", h, u)
            scores.append(state["attention_vector"] @ h)
        weight[b] = slow.softmax(scores)
        states[b] = weight[b] @ experts[b]
        for index in range(2):
            states[b] = leaky(meta(state, f"tower.{index}", states[b], u) + states[b])
    body = slow_scene.mlp(state, "head", states, scene, **settings)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["attention"].detach(), weight, rtol=1e-9)


def test_other_rows_change_nothing(data: Any) -> None:
    model = slow_scene.random_model("m2m", data)
    batch = ps.testing.batch(data, 60)
    alone = model(batch.take([0]))
    for others in (range(1, 20), range(20, 60)):
        torch.testing.assert_close(model(batch.take([0, *others]))[:1], alone, rtol=1e-12, atol=1e-12)


def test_weights_are_made_once_a_scene(data: Any) -> None:
    """A scene's vector moves the rows of that scene, all of them, and no other."""
    model = slow_scene.random_model("m2m", data)
    batch = ps.testing.batch(data, 60)
    before = model(batch)
    with torch.no_grad():
        model.state_dict(keep_vars=True)["scene_vectors"][1] += 1
    moved = (model(batch) - before).abs() > 1e-6
    assert moved.equal(batch.scene == 1)
    assert 0 < moved.sum() < 60


def test_heads_divide_dim(data: Any) -> None:
    with pytest.raises(ValueError, match="M2M: heads must divide dim, got 4 heads and dim 6"):
        ps.models.M2M(data.schema, dim=6)
    assert ps.models.M2M(data.schema, dim=6, blocks=0)(ps.testing.batch(data, 4)).shape == (4,)


def test_wrong_options(data: Any) -> None:
    for option in ("heads", "feedforward", "experts", "width", "attention_layers", "tower_layers"):
        with pytest.raises(ValueError, match=f"M2M: {option} must be positive, got 0"):
            ps.models.M2M(data.schema, **{option: 0})
    with pytest.raises(ValueError, match="M2M: blocks must be 0 or more, got -1"):
        ps.models.M2M(data.schema, blocks=-1)
