"""Collective matrix factorisation against loops."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import slow_ranking as slow
import torch


def score_of(model: ps.Model) -> slow.Score:
    state = slow.arrays(model)
    p, q = state["user.weight"], state["item.weight"]
    return lambda user, item, scene: sum(x * y for x, y in zip(p[user], q[item], strict=True))


@pytest.mark.parametrize("weights", [[], [0.2, 0.5, 0.3]])
@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
def test_matches_loops(data: Any, loss: str, weights: list[float]) -> None:
    model = slow.scrambled(ps.models.CMF(data.schema, dim=4, loss=loss, negatives=2, scene_weights=weights))
    batch = ps.testing.batch(data, 24, negatives=2)
    score = score_of(model)
    losses = slow.row_losses(batch, score, loss)
    wanted = slow.scene_mean(batch, losses, weights) if weights else sum(losses) / len(losses)
    assert model.loss(batch).item() == pytest.approx(wanted, rel=1e-7)
    model.eval()
    assert model(batch).tolist() == pytest.approx([score(u, i, s) for u, i, s, _ in slow.rows(batch)], rel=1e-9)
    for scene in range(3):
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


def test_penalty(data: Any) -> None:
    batch = ps.testing.batch(data, 16)
    plain, penalised = (slow.scrambled(ps.models.CMF(data.schema, dim=4, embedding_l2=l2)) for l2 in (0.0, 0.3))
    penalised.load_state_dict(plain.state_dict())
    p, q = plain.user.weight, plain.item.weight
    squares = sum((p[u] @ p[u] + q[i] @ q[i] + q[drawn[0]] @ q[drawn[0]]) for u, i, _, drawn in slow.rows(batch))
    wanted = plain.loss(batch) + 0.5 * 0.3 * squares / 16
    torch.testing.assert_close(penalised.loss(batch), wanted)


def test_weights_of_rows_count_within_a_scene(data: Any) -> None:
    model = slow.scrambled(ps.models.CMF(data.schema, dim=4, scene_weights=[1, 1, 1]))
    batch = ps.testing.batch(data, 24)
    keep = torch.arange(24) % 3 != 0
    kept = batch.take(keep.nonzero().squeeze(1).tolist())
    batch.weight = keep.float()
    torch.testing.assert_close(model.loss(batch), model.loss(kept))


def test_scene_of_weight_0_trains_nothing(data: Any) -> None:
    model = ps.models.CMF(data.schema, dim=4, scene_weights=[1, 0, 1])
    batch = ps.testing.batch(data, 24)
    model.loss(batch).backward()
    inside = set(batch.item[batch.scene != 1].tolist()) | set(batch.negative[batch.scene != 1].flatten().tolist())
    moved = set(model.item.weight.grad.abs().sum(1).nonzero().flatten().tolist())
    assert moved == inside


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(data: Any, rows: int) -> None:
    model = ps.models.CMF(data.schema, dim=4, scene_weights=[0.5, 0.3, 0.2])
    batch = ps.testing.batch(data, 4).take(list(range(rows)))
    assert model(batch).shape == (rows,)
    assert model.loss(batch).isfinite()


def test_learns(data: Any) -> None:
    model = ps.models.CMF(data.schema, dim=8)
    ps.Trainer(epochs=30, batch_size=64, lr=0.02).fit(model, data)
    popular = ps.models.Popularity(data.schema)
    ps.Trainer().fit(popular, data)
    assert ps.evaluate(model, data.test).overall["ndcg@10"] > 0.3
    assert not model.user.weight[:2].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scene_weights": [0.5, 0.5]}, "one entry for each of 3 scenes, got 2"),
        ({"scene_weights": [0.5, 0.5, -1]}, "0 or more, got -1"),
        ({"scene_weights": [0, 0, 0]}, "are all 0"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"dim": 0}, "dim must be positive"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.CMF(data.schema, **options)
