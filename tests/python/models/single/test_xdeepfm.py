"""xDeepFM against loops over feature maps and fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_fields
import slow_scene


def compressed(model: ps.Model, vectors: np.ndarray) -> np.ndarray:
    """Pooled feature maps of all layers, [B, H_1 + ... + H_L]."""
    state, activation = slow.state_of(model), slow_scene.ACTIVATIONS[model.options["activation"]]
    out = []
    for first in vectors:
        x, pooled = first, []
        for layer, maps in enumerate(model.options["cin"]):
            weight = state[f"cin{layer}_weight"]
            new = np.zeros((maps, first.shape[1]))
            for h in range(maps):
                for i in range(len(x)):
                    for f in range(len(first)):
                        new[h] += weight[f, h, i] * (x[i] * first[f])
            x = activation(new)
            pooled.extend(x.sum(1))
        out.append(pooled)
    return np.array(out)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ["identity", "relu"])
@pytest.mark.parametrize("scene_field", [False, True])
def test_matches_loops(data: Any, scene_field: bool, activation: str, training: bool) -> None:
    options = {"cin": [4, 3, 2], "activation": activation, "hidden": [6], "norm": "batch", "dropout": 0.0}
    model = slow_scene.random_model("xdeepfm", data, dim=3, scene_field=scene_field, **options)
    batch = ps.testing.batch(data, 24)
    cin = compressed(model, slow_fields.fields(model, batch)) @ slow.state_of(model)["cin_head"]
    wanted = slow_fields.linear(model, batch) + cin + slow_fields.deep(model, batch, training=training)
    slow_fields.check(model.train(training), batch, wanted)
    np.testing.assert_allclose(model.explain(batch)["cin"].detach(), cin, rtol=1e-9, atol=1e-9)


def test_one_layer_of_ones_is_a_factorisation_machine(data: Any) -> None:
    model = slow_scene.random_model("xdeepfm", data, dim=3, cin=[1])
    model.load_state_dict({"cin0_weight": model.state_dict()["cin0_weight"].fill_(1)}, strict=False)
    batch = ps.testing.batch(data, 24)
    vectors = slow_fields.fields(model, batch)
    wanted = 2 * slow_fields.pairs(vectors) + (vectors**2).sum((1, 2))  # all ordered pairs, a field with itself too
    head = model.state_dict()["cin_head"].item()
    np.testing.assert_allclose(model.explain(batch)["cin"].detach(), head * wanted, rtol=1e-9)


def test_penalty(data: Any) -> None:
    slow_fields.check_penalty("xdeepfm", data, first_order=True, dropout=0.0)


def test_scenes_are_a_field_or_unknown(data: Any) -> None:
    slow_fields.check_scenes_unknown("xdeepfm", data)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match=r"XDeepFM: cin must name positive widths, got \[\]"):
        ps.models.XDeepFM(data.schema, cin=[])
    with pytest.raises(ValueError, match=r"XDeepFM: cin must name positive widths, got \[4, 0\]"):
        ps.models.XDeepFM(data.schema, cin=[4, 0])
    with pytest.raises(ValueError, match="XDeepFM: activation must be one of relu, .*, got 'rel'; did you mean 'relu'"):
        ps.models.XDeepFM(data.schema, activation="rel")
