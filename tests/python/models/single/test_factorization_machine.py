"""Factorisation machine against loops over pairs of fields."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import slow_fields
import slow_scene


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("scene_field", [False, True])
def test_matches_loops(data: Any, scene_field: bool, training: bool) -> None:
    model = slow_scene.random_model("factorization_machine", data, dim=3, scene_field=scene_field).train(training)
    batch = ps.testing.batch(data, 24)
    wanted = slow_fields.linear(model, batch) + slow_fields.pairs(slow_fields.fields(model, batch))
    slow_fields.check(model, batch, wanted)


def test_penalty(data: Any) -> None:
    slow_fields.check_penalty("factorization_machine", data, first_order=True)


def test_scenes_are_a_field_or_unknown(data: Any) -> None:
    slow_fields.check_scenes_unknown("factorization_machine", data)


def test_data_without_numeric_columns() -> None:
    bare = ps.testing.tiny_data(bare=True)
    model = slow_scene.random_model("factorization_machine", bare, dim=3)
    batch = ps.testing.batch(bare, 9)
    _, slots = slow_scene.inputs(model, batch)
    slow_fields.check(model, batch, slow_fields.linear(model, batch) + slow_fields.pairs(slots))


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="FactorizationMachine: dim must be positive, got 0"):
        ps.models.FactorizationMachine(data.schema, dim=0)
    with pytest.raises(ValueError, match="FactorizationMachine: init_std must be 0 or more, got -1"):
        ps.models.FactorizationMachine(data.schema, init_std=-1.0)
    with pytest.raises(ValueError, match="FactorizationMachine: embedding_l2 must be 0 or more, got -1"):
        ps.models.FactorizationMachine(data.schema, embedding_l2=-1.0)
