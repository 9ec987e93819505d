"""Wide & Deep against loops over rows."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import slow_fields
import slow_scene


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("scene_field", [False, True])
def test_matches_loops(data: Any, scene_field: bool, norm: str, training: bool) -> None:
    options = {"dim": 3, "hidden": [6, 5], "norm": norm, "dropout": 0.0, "scene_field": scene_field}
    model = slow_scene.random_model("wide_deep", data, **options)
    batch = ps.testing.batch(data, 24)
    wanted = slow_fields.linear(model, batch) + slow_fields.deep(model, batch, training=training)
    slow_fields.check(model.train(training), batch, wanted)


def test_explains_its_parts(data: Any) -> None:
    model = slow_scene.random_model("wide_deep", data, dim=3)
    found = model.explain(ps.testing.batch(data, 24))
    parts = [found[part] for part in found if part != "body"]
    assert len(parts) == 2
    assert (sum(parts) - found["body"]).abs().max() < 1e-10


def test_penalty(data: Any) -> None:
    slow_fields.check_penalty("wide_deep", data, first_order=True, dropout=0.0)


def test_scenes_are_a_field_or_unknown(data: Any) -> None:
    slow_fields.check_scenes_unknown("wide_deep", data)


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="WideDeep: dim must be positive, got 0"):
        ps.models.WideDeep(data.schema, dim=0)
    with pytest.raises(ValueError, match=r"MLP: hidden widths must be positive, got \[4, 0\]"):
        ps.models.WideDeep(data.schema, hidden=[4, 0])
    with pytest.raises(ValueError, match=r"MLP: dropout must be in \[0, 1\), got 1"):
        ps.models.WideDeep(data.schema, dropout=1.0)
