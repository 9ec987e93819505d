"""Gated towers against loops over rows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_gates
import slow_scene
import torch

FIELDS = ["user_id", "item_id", "age_group", "genre"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("prior", "gate", "norm"), [([], 0, "batch"), (["item_id", "genre"], 5, "none"), (FIELDS, 3, "layer")]
)
def test_matches_loops(data: Any, prior: list[str], gate: int, norm: str, training: bool) -> None:
    options = {"dim": 3, "prior": prior, "gate": gate, "tower": [6, 5], "norm": norm, "interaction": "fm"}
    model = slow_scene.random_model("pp_net", data, **options, scene_field=True)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, slots = slow_scene.inputs(model, batch)
    assert [field.name for field in model.schema.categorical] == FIELDS
    wanted = [FIELDS.index(name) for name in prior or ["user_id", "item_id"]]
    known = slots[:, wanted].reshape(24, -1)
    others = [f for f in range(slots.shape[1]) if f not in wanted]
    rest = np.concatenate([slots[:, others].reshape(24, -1), batch.numeric.double().numpy()], 1)
    deltas = slow_gates.gate_nu(state, "gates", known, rest, scene)
    h = x
    for layer, delta in enumerate(deltas):
        out = slow_scene.layer(state, f"towers.layer{layer}", h, scene, norm=norm, training=training)
        h = delta[:, None] * out
    body = slow_scene.layer(state, "towers.output", h, scene)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["gates"].detach(), np.concatenate(deltas, 1), rtol=1e-9)


def test_gates_start_at_one(data: Any) -> None:
    torch.manual_seed(0)
    gates = ps.models.PPNet(data.schema, dim=4, tower=[6, 5]).explain(ps.testing.batch(data, 8))["gates"]
    assert gates.shape == (8, 11)
    assert (gates == 1).all()


def test_gates_shape_the_prior_alone(data: Any) -> None:
    model = slow_scene.random_model("pp_net", data, dim=3)
    batch = ps.testing.batch(data, 24)
    model.explain(batch)["gates"].sum().backward()
    grad = model.get_parameter("embedding.weight").grad
    first = slow.first_row(model.schema, "age_group")
    assert grad[:first].abs().max() > 0  # user and item
    assert not grad[first:].any()


def test_every_table_learns(data: Any) -> None:
    model = slow_scene.random_model("pp_net", data, dim=3)
    batch = ps.testing.batch(data, 200)
    model.loss(batch).backward()
    grad = model.get_parameter("embedding.weight").grad
    starts = [slow.first_row(model.schema, name) for name in [*FIELDS, "tags"]] + [len(grad)]
    for begin, end in itertools.pairwise(starts):
        assert grad[begin:end].abs().max() > 0


def test_data_of_user_and_item_alone() -> None:
    bare = ps.testing.tiny_data(bare=True)
    model = slow_scene.random_model("pp_net", bare, dim=3)
    assert "gates.rest_weight" not in model.state_dict()
    assert model(ps.testing.batch(bare, 5)).isfinite().all()


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="PPNet: gate must be 0 or more, got -1"):
        ps.models.PPNet(data.schema, gate=-1)
    with pytest.raises(ValueError, match=r"PPNet: tower must have a hidden layer, got \[\]"):
        ps.models.PPNet(data.schema, tower=[])
    with pytest.raises(ValueError, match="unknown categorical field 'genres'"):
        ps.models.PPNet(data.schema, prior=["genres"])
