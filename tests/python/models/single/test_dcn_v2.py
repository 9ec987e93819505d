"""Deep & cross network against loops over rows, layers and experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_fields
import slow_scene

FORMS = [{}, {"rank": 2}, {"rank": 2, "experts": 3}]


def crossed(model: ps.Model, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row by row and expert by expert: x_L [B, E], and the gates [B, L, K]."""
    state, options = slow.state_of(model), model.options
    rank, experts = options["rank"], options["experts"]
    rows, gates = [], []
    for first in x:
        h, mine = first, []
        for layer in range(options["cross_layers"]):
            name = f"cross{layer}"
            if rank == 0:
                product = state[f"{name}_weight"] @ h
            else:
                product = np.zeros_like(h)
                gate = slow.softmax(state[f"{name}_gate"] @ h) if experts > 1 else np.ones(1)
                for k in range(experts):
                    part = slice(k * rank, (k + 1) * rank)
                    low = state[f"{name}_down"][part] @ h
                    if experts > 1:
                        low = np.tanh(state[f"{name}_core"][k] @ np.tanh(low))
                    product = product + gate[k] * (state[f"{name}_up"][:, part] @ low)
                mine.append(gate)
            h = first * (product + state[f"{name}_bias"]) + h
        rows.append(h)
        gates.append(mine)
    return np.array(rows), np.array(gates)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("structure", ["stacked", "parallel"])
@pytest.mark.parametrize("form", FORMS, ids=["full", "low rank", "experts"])
def test_matches_loops(data: Any, form: dict[str, int], structure: str, norm: str, training: bool) -> None:
    options = {"dim": 3, "hidden": [6, 5], "norm": norm, "dropout": 0.0, "structure": structure, "cross_layers": 2}
    model = slow_scene.random_model("dcn_v2", data, **options, **form)
    batch = ps.testing.batch(data, 24)
    x, gates = crossed(model, slow_scene.inputs(model, batch)[0])
    if structure == "stacked":
        wanted = slow_fields.deep(model, batch, x, training=training)
    else:
        wanted = slow_fields.deep(model, batch, training=training) + x @ slow.state_of(model)["cross_head"]
    slow_fields.check(model.train(training), batch, wanted)
    found = model.explain(batch)
    np.testing.assert_allclose(found["crossed"].detach(), x, rtol=1e-9, atol=1e-9)
    assert ("gates" in found) == ("experts" in form)
    if "gates" in found:
        np.testing.assert_allclose(found["gates"].detach(), gates, rtol=1e-9)


def test_full_rank_product_is_the_full_matrix(data: Any) -> None:
    batch = ps.testing.batch(data, 24)
    low = slow_scene.random_model("dcn_v2", data, dim=3, rank=4, cross_layers=1, hidden=[])
    full = slow_scene.random_model("dcn_v2", data, dim=3, rank=0, cross_layers=1, hidden=[])
    state = low.state_dict()
    product = state["cross0_up"] @ state["cross0_down"]
    state = {path: x for path, x in state.items() if path not in ("cross0_up", "cross0_down")}
    full.load_state_dict(state | {"cross0_weight": product})
    assert (full(batch) - low(batch)).abs().max() < 1e-10


def test_starts_as_glorot_says(data: Any) -> None:
    state = ps.models.DCNv2(data.schema).state_dict()
    weight = state["cross0_weight"]
    bound = (6 / (2 * len(weight))) ** 0.5
    assert 0.98 * bound < weight.abs().max() <= bound
    assert not state["cross0_bias"].any()
    assert (state["cross1_weight"] - weight).abs().max() > 0.01


def test_penalty(data: Any) -> None:
    slow_fields.check_penalty("dcn_v2", data, first_order=False, dropout=0.0)


def test_scenes_are_a_field_or_unknown(data: Any) -> None:
    slow_fields.check_scenes_unknown("dcn_v2", data, norm="none", hidden=[8])


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="DCNv2: cross_layers must be positive, got 0"):
        ps.models.DCNv2(data.schema, cross_layers=0)
    with pytest.raises(ValueError, match="DCNv2: rank must be 0 or more, got -1"):
        ps.models.DCNv2(data.schema, rank=-1)
    with pytest.raises(ValueError, match="DCNv2: experts must be positive, got 0"):
        ps.models.DCNv2(data.schema, experts=0)
    with pytest.raises(ValueError, match="DCNv2: experts are of low rank; give a rank for 4 experts"):
        ps.models.DCNv2(data.schema, experts=4)
    with pytest.raises(ValueError, match="DCNv2: structure must be stacked or parallel, got 'paralel'; did you"):
        ps.models.DCNv2(data.schema, structure="paralel")
