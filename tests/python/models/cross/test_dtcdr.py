"""Dual-target cross-domain recommendation against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pair_models as pairs
import polyscene as ps
import pytest
import torch

SMALL = {"dim": 3, "hidden": [5, 4], "dropout": 0.0}


def score_of(known: pairs.Known) -> pairs.Score:
    def fused(table: np.ndarray, where: list[dict[int, list[int]]], row: int) -> np.ndarray:
        rows = len(table) // known.scenes
        found = [table[t * rows + row] for t in range(known.scenes) if row in where[t]]
        return np.max(found, axis=0) if found else np.zeros(table.shape[1])

    def score(state: dict[str, np.ndarray], u: int, i: int, s: int) -> float:
        x = [fused(state["user.weight"], known.items, u), fused(state["item.weight"], known.visitors, i)]
        return pairs.tower(state, "tower", np.concatenate(x), scene=s)

    return score


@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
@pytest.mark.parametrize("options", [{}, {"hidden": [6], "negatives": 3}])
def test_matches_loops(data: Any, loss: str, options: dict[str, Any]) -> None:
    model = pairs.random_model("dtcdr", data, **(SMALL | {"loss": loss} | options))
    pairs.check_scores(model, data, score_of(pairs.Known(data)))


def test_one_scene_and_many() -> None:
    pairs.check_scenes("dtcdr", score_of, **SMALL)


def test_penalty_counts_the_rows_of_scenes_that_hold_the_id(data: Any) -> None:
    known = pairs.Known(data)

    def make(**options: Any) -> ps.Model:
        model = ps.models.DTCDR(data.schema, **SMALL, **options)
        model.prepare(data.train)
        return model

    def squares(batch: Any) -> float:
        items = torch.cat([batch.item, batch.negative.flatten()]).tolist()
        return 3 * sum(
            [row in where[t] for where, rows in ((known.items, batch.user.tolist()), (known.visitors, items))
             for row in rows for t in range(3)]
        )  # fmt: skip

    pairs.check_penalty(make, data, squares)


def test_rows_of_scenes_without_the_id_do_not_count(data: Any) -> None:
    known = pairs.Known(data)
    model = pairs.random_model("dtcdr", data, **SMALL).eval()
    user = next(u for u in range(2, 42) if u not in known.items[1] and known.elsewhere(u, 1))
    items = torch.arange(2, 32)
    rows = len(model.user.weight) // 3
    with torch.no_grad():
        before = model.score_items(torch.tensor([user]), 1, items)
        model.user.weight[rows + user] += 50
        assert torch.equal(model.score_items(torch.tensor([user]), 1, items), before)
        model.user.weight[known.elsewhere(user, 1)[0] * rows + user] += 50
        assert not torch.equal(model.score_items(torch.tensor([user]), 1, items), before)
    batch = ps.testing.batch(data, 60)
    model.loss(batch).backward()
    for s in range(3):
        absent = [u for u in range(2, 42) if u not in known.items[s]]
        assert absent
        assert not model.user.weight.grad[[s * rows + u for u in absent]].any()


def test_without_overlap_scenes_are_alone(data: Any) -> None:
    model = pairs.random_model("dtcdr", data, **SMALL)
    table = pairs.without_overlap(data)
    model.prepare(table)
    batch = table.batch((table.scenes() == 0).nonzero()[:, 0], negatives=1)
    model.loss(batch).backward()
    rows = len(model.user.weight) // 3
    assert model.user.weight.grad[:rows].any()
    assert not model.user.weight.grad[rows:].any()


def test_before_prepare_nobody_is_known(data: Any) -> None:
    model = ps.models.DTCDR(data.schema, **SMALL).eval()
    batch = ps.testing.batch(data, 6)
    same = batch.scene == batch.scene[0]
    out = model(batch)[same]
    torch.testing.assert_close(out, out[:1].expand_as(out))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": -0.1}, r"DTCDR: dropout must be in \[0, 1\)"),
        ({"hidden": []}, "DTCDR: hidden must name at least one layer"),
        ({"dim": 0}, "DTCDR: dim must be positive"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.DTCDR(data.schema, **options)
