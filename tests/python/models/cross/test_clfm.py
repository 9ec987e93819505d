"""Cluster-level latent factors against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow_ranking as slow
import torch


def score_of(model: ps.Model, scenes: int = 3, known: Any = None) -> slow.Score:
    """``known``: the training pairs, for a model that was prepared."""
    state = slow.arrays(model)
    u, v = (slow.scene_table(state, side, scenes) for side in ("user", "item"))

    def score(user: int, item: int, scene: int) -> float:
        own = common = u[scene, user]
        if known is not None and not known[scene].get(user):
            others = [u[s, user] for s in range(scenes) if known[s].get(user)]
            own, common = 0 * own, np.mean(others, axis=0) if others else 0 * own
        parts = []
        if "shared_code" in state:
            parts.append(common @ state["shared_code"])
        if "scene_code" in state:
            parts.append(own @ state["scene_code"][scene])
        return float(np.concatenate(parts) @ v[scene, item])

    return score


@pytest.mark.parametrize(("item_dim", "shared"), [(0, -1), (0, 0), (0, 4), (6, 1), (3, 3)])
@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_matches_loops(data: Any, loss: str, item_dim: int, shared: int) -> None:
    options = {"loss": loss, "item_dim": item_dim, "shared_dim": shared, "embedding_l2": 0.0, "negatives": 2}
    model = slow.scrambled(ps.models.CLFM(data.schema, dim=4, **options))
    batch = ps.testing.batch(data, 24, negatives=2)
    score = score_of(model)
    assert model.loss(batch).item() == pytest.approx(np.mean(slow.row_losses(batch, score, loss)), rel=1e-9)
    assert model(batch).tolist() == pytest.approx([score(u, i, s) for u, i, s, _ in slow.rows(batch)], rel=1e-9)
    for scene in range(3):
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


def test_weights_and_penalty(data: Any) -> None:
    weights = [0.2, 0.5, 0.3]
    model = slow.scrambled(
        ps.models.CLFM(data.schema, dim=4, shared_dim=2, scene_weights=weights, embedding_l2=0.3), scale=0.3
    )
    batch = ps.testing.batch(data, 24)
    state = slow.arrays(model)
    u, v = (slow.scene_table(state, side, 3) for side in ("user", "item"))
    squares = sum(
        (u[s, user] ** 2).sum() + (v[s, i] ** 2).sum() + (v[s, drawn[0]] ** 2).sum()
        for user, i, s, drawn in slow.rows(batch)
    )
    losses = slow.row_losses(batch, score_of(model), "bce")
    wanted = slow.scene_mean(batch, losses, weights) + 0.5 * 0.3 * squares / 24
    assert model.loss(batch).item() == pytest.approx(wanted, rel=1e-7)


def test_only_the_shared_codebook_goes_from_scene_to_scene(data: Any) -> None:
    model = ps.models.CLFM(data.schema, dim=4, shared_dim=2, embedding_l2=0.0)
    batch = ps.testing.batch(data, 40)
    rows = (batch.scene == 1).nonzero().squeeze(1).tolist()
    model.loss(batch.take(rows)).backward()
    assert model.shared_code.grad.abs().sum() > 0
    assert model.scene_code.grad.abs().sum((1, 2)).gt(0).tolist() == [False, True, False]
    for table in (model.user, model.item):
        assert table.weight.grad.view(3, -1).abs().sum(1).gt(0).tolist() == [False, True, False]


@pytest.mark.parametrize(("scenes", "overlap"), [(1, True), (2, False), (17, True)])
def test_any_number_of_scenes(scenes: int, overlap: bool) -> None:
    data = slow.scenes_data(scenes, overlap=overlap)
    torch.manual_seed(0)
    model = ps.models.CLFM(data.schema, dim=4, shared_dim=2)
    history = ps.Trainer(epochs=12, lr=0.05).fit(model, data)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    score = score_of(model.double(), scenes, slow.pairs(data))
    for scene in {0, scenes - 1}:
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(data: Any, rows: int) -> None:
    model = ps.models.CLFM(data.schema, dim=4, shared_dim=2)
    batch = ps.testing.batch(data, 4).take(list(range(rows)))
    assert model(batch).shape == (rows,)
    assert model.loss(batch).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 8, "shared_dim": 9}, "shared_dim must lie between 0 and the items' width, 8, or be -1"),
        ({"shared_dim": -2}, "shared_dim must lie between 0"),
        ({"item_dim": -1}, "item_dim must be 0 or more"),
        ({"scene_weights": [1.0]}, "one entry for each of 3 scenes, got 1"),
        ({"loss": "hinge"}, "loss must be one of"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.CLFM(data.schema, **options)
