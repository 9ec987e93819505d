"""Shared bottom against loops over rows."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import slow
import slow_scene


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("interaction", ["none", "fm", "cross"])
def test_matches_loops(data: Any, norm: str, interaction: str, training: bool) -> None:
    options = {"dim": 3, "bottom": [6, 5], "tower": [4], "norm": norm, "interaction": interaction, "scene_field": True}
    model = slow_scene.random_model("shared_bottom", data, **options)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    h = slow_scene.mlp(state, "bottom", x, scene, norm=norm, training=training)
    body = slow_scene.mlp(state, "towers", h, scene, norm=norm, training=training)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(
        ValueError, match=r"SharedBottom: interaction must be one of none, fm, cross, got 'fn'; did you"
    ):
        ps.models.SharedBottom(data.schema, interaction="fn")
    with pytest.raises(ValueError, match="SharedBottom: dim must be positive, got 0"):
        ps.models.SharedBottom(data.schema, dim=0)
    with pytest.raises(ValueError, match="MLP: hidden widths must be positive, got "):
        ps.models.SharedBottom(data.schema, tower=[0])
