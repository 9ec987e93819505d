"""Parts of single-scene click models as loops over rows and fields: what the compiled models are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import slow
import slow_scene


def linear(model: ps.Model, batch: Any) -> np.ndarray:
    """First-order part, [B]."""
    state, out = slow.state_of(model), np.zeros(len(batch))
    for b in range(len(batch)):
        out[b] = state["base"] + slow.slots_of(state["first_order.weight"], model.schema, batch, b).sum()
        if model.options["scene_field"]:
            out[b] += state["scene_bias"][int(batch.scene[b])]
        for m, value in enumerate(batch.numeric[b].double().numpy()):
            out[b] += value * state["numeric_weight"][m]
    return out


def fields(model: ps.Model, batch: Any) -> np.ndarray:
    """Vectors of the fields, numeric columns among them, [B, F + M, D]."""
    state, (_, slots) = slow.state_of(model), slow_scene.inputs(model, batch)
    rows = []
    for b in range(len(batch)):
        numbers = [value * state["numeric_embedding"][m] for m, value in enumerate(batch.numeric[b].double().numpy())]
        rows.append(np.array([*slots[b], *numbers]))
    return np.array(rows)


def pairs(vectors: np.ndarray) -> np.ndarray:
    """Sum of the products of all pairs of fields, [B]."""
    return np.array([sum(v[f] @ v[g] for f in range(len(v)) for g in range(f)) for v in vectors])


def deep(model: ps.Model, batch: Any, x: np.ndarray | None = None, *, training: bool = False) -> np.ndarray:
    """Deep part, [B], on the input or on x [B, E]."""
    given = slow_scene.inputs(model, batch)[0] if x is None else x
    scene, norm = batch.scene.numpy(), model.options["norm"]
    return slow_scene.mlp(slow.state_of(model), "deep", given, scene, norm=norm, training=training)[:, 0, 0]


def check(model: ps.Model, batch: Any, wanted: np.ndarray) -> None:
    """Logits are the wanted ones to 1e-9 in float64."""
    np.testing.assert_allclose(model(batch).detach().numpy(), wanted, rtol=1e-9, atol=1e-9)


def check_penalty(name: str, data: Any, *, first_order: bool, **options: Any) -> None:
    """What embedding_l2 adds to the loss: l2 / 2B of the squares looked up, half of it for first-order weights."""
    batch = ps.testing.batch(data, 24)
    plain, penalised = (slow_scene.random_model(name, data, dim=3, embedding_l2=l2, **options) for l2 in (0.0, 0.2))
    state, (_, slots) = slow.state_of(plain), slow_scene.inputs(plain, batch)
    squares = (slots**2).sum()
    if first_order:
        for b in range(24):
            squares += (slow.slots_of(state["first_order.weight"], plain.schema, batch, b) ** 2).sum() / 2
    added = penalised.loss(batch).item() - plain.loss(batch).item()
    np.testing.assert_allclose(added, 0.2 / 2 / 24 * squares, rtol=1e-9)


def check_scenes_unknown(name: str, data: Any, **options: Any) -> None:
    """Without the scene as a field predictions do not depend on it; with it they do."""
    for known in (False, True):
        model = slow_scene.random_model(name, data, scene_field=known, **options)
        batch, other = ps.testing.batch(data, 16), ps.testing.batch(data, 16)
        other.scene = (batch.scene + 1) % 3
        moved = (model(other) - model(batch)).abs().max().item()
        assert (moved > 1e-12) == known
