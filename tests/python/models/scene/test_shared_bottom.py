"""Shared bottom against loops over rows."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pyarrow as pa
import pytest
import slow
import slow_scene
import torch


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


@pytest.mark.parametrize("interaction", ["none", "fm", "cross"])
def test_history_is_one_more_slot(data: Any, interaction: str) -> None:
    options = {"dim": 3, "bottom": [6], "tower": [4], "interaction": interaction, "scene_field": True, "history": 3}
    model = slow_scene.random_model("shared_bottom", data, embedding_l2=0.3, **options)
    assert model.history_length == 3
    rows = torch.cat([torch.arange(12), torch.arange(12) + len(data.train) - 12])
    batch = data.train.batch(rows, history=5)  # the first rows of a user have no events, the last more than 3
    assert {len(slow.events_of(batch, b, 5)) for b in range(24)} >= {0, 1, 5}
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, slots = slow_scene.inputs(model, batch)
    plain = slow_scene.random_model("shared_bottom", data, **options | {"history": 0})
    assert slots.shape[1] == slow_scene.inputs(plain, batch)[1].shape[1] + 1
    h = slow_scene.mlp(state, "bottom", x, scene)
    body = slow_scene.mlp(state, "towers", h, scene)[:, 0, 0]
    slow_scene.check_logits(model, batch, body)
    bare = data.train.batch(rows, history=0)
    assert not torch.allclose(model(batch), model(bare))
    with pytest.raises(ValueError, match="SharedBottom: history must be 0 or more events, got -1"):
        ps.models.SharedBottom(data.schema, history=-1)


def test_history_needs_users_and_items() -> None:
    anonymous = ps.read_table(
        pa.table({"x": ["a", "b"] * 20, "label": [0.0, 1.0] * 20}), categorical=["x"], label="label", min_count=1
    )
    with pytest.raises(ValueError, match="history needs a user and an item column"):
        ps.models.SharedBottom(anonymous.schema, history=5)


def test_histories_are_of_training_rows_before_the_row(data: Any) -> None:
    """Earlier training rows of the user, whatever their labels, and nothing else."""
    batch = data.test.batch(torch.arange(len(data.test)), history=50)
    rows = data.train.batch(torch.arange(len(data.train)))
    for b in range(0, len(batch), 7):
        wanted = sorted(rows.item[(rows.user == batch.user[b]) & (rows.time < batch.time[b])].tolist())
        mine = slow.events_of(batch, b, 50)
        assert sorted(batch.history.item[mine].tolist()) == wanted


def test_wrong_options(data: Any) -> None:
    with pytest.raises(
        ValueError, match=r"SharedBottom: interaction must be one of none, fm, cross, got 'fn'; did you"
    ):
        ps.models.SharedBottom(data.schema, interaction="fn")
    with pytest.raises(ValueError, match="SharedBottom: dim must be positive, got 0"):
        ps.models.SharedBottom(data.schema, dim=0)
    with pytest.raises(ValueError, match="MLP: hidden widths must be positive, got "):
        ps.models.SharedBottom(data.schema, tower=[0])
