"""AutoInt against loops over heads and fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_fields
import slow_scene


def attended(model: ps.Model, vectors: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Fields after all layers [B, F, H], and the attention of each layer [B, heads, F, F]."""
    state, heads, width = slow.state_of(model), model.options["heads"], model.options["width"]
    size, e, weights = width // heads, vectors, []
    for layer in range(model.options["layers"]):
        q, k, v, r = np.split(state[f"layer{layer}_projection"], 4)
        new, mine = np.zeros((*e.shape[:2], width)), np.zeros((len(e), heads, e.shape[1], e.shape[1]))
        for b, row in enumerate(e):
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                for f in range(len(row)):
                    mine[b, h, f] = slow.softmax([(q[part] @ row[f]) @ (k[part] @ other) for other in row])
                    new[b, f, part] = sum(a * (v[part] @ other) for a, other in zip(mine[b, h, f], row, strict=True))
            for f in range(len(row)):
                new[b, f] = slow.relu(new[b, f] + r @ row[f])
        e = new
        weights.append(mine)
    return e, weights


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hidden", [[], [6, 5]])
@pytest.mark.parametrize("heads", [1, 2])
def test_matches_loops(data: Any, heads: int, hidden: list[int], training: bool) -> None:
    options = {"layers": 2, "heads": heads, "width": 4, "hidden": hidden, "norm": "batch"}
    model = slow_scene.random_model("autoint", data, dim=3, **options)
    batch = ps.testing.batch(data, 24)
    e, weights = attended(model, slow_fields.fields(model, batch))
    state = slow.state_of(model)
    wanted = np.array([row.reshape(-1) @ state["attention_head"] for row in e]) + state["base"]
    if hidden:
        wanted += slow_fields.deep(model, batch, training=training)
    slow_fields.check(model.train(training), batch, wanted)
    found = model.explain(batch)
    for layer in range(2):
        np.testing.assert_allclose(found[f"attention{layer}"].detach(), weights[layer], rtol=1e-8, atol=1e-12)


def test_starts_at_the_training_rate(data: Any) -> None:
    model = ps.models.AutoInt(data.schema, init_std=0.0)
    rate = data.schema.label_mean
    np.testing.assert_allclose(model(ps.testing.batch(data, 4)).sigmoid().detach(), rate, rtol=1e-5)


def test_penalty(data: Any) -> None:
    slow_fields.check_penalty("autoint", data, first_order=False)


def test_scenes_are_a_field_or_unknown(data: Any) -> None:
    slow_fields.check_scenes_unknown("autoint", data)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="AutoInt: layers must be positive, got 0"):
        ps.models.AutoInt(data.schema, layers=0)
    with pytest.raises(ValueError, match="AutoInt: heads must be positive, got 0"):
        ps.models.AutoInt(data.schema, heads=0)
    with pytest.raises(ValueError, match="AutoInt: heads must divide width, got 3 heads and width 32"):
        ps.models.AutoInt(data.schema, heads=3)
