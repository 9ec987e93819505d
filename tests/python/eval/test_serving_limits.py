"""What recommending, similar items and reasons refuse: scores that are none, and places that are none."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene import _C
from served import fitted


class Fixed(ps.Model):
    """Scores [S, U, I] that are given."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.scores: torch.Tensor | None = None

    def forward(self, batch: Any) -> torch.Tensor:
        assert self.scores is not None
        return self.scores[batch.scene, batch.user, batch.item]


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking", seed=4)


def fixed(data: Any) -> Any:
    model = Fixed(data.schema)
    sizes = [field.rows for field in data.schema.categorical]
    model.scores = torch.randn(len(data.schema.scenes), *sizes, generator=torch.Generator().manual_seed(0))
    model.prepare(data.train)
    return model


def test_recommend_refuses_scores_that_are_not_numbers(data: Any) -> None:
    model = fixed(data).train()
    model.scores[1] = torch.nan
    with pytest.raises(ValueError, match="a score of user row 2 in scene 'tablet' is NaN"):
        model.recommend([data.schema.categorical[0].ids[0]])
    assert model.training  # as before


def test_recommend_ranks_infinite_scores_first(data: Any) -> None:
    model = fixed(data)
    user, items = data.schema.categorical[0].ids[0], sorted(set(data.train.items()[data.train.scenes() == 0].tolist()))
    model.scores[0, 2, items[3]] = torch.inf
    found = model.recommend([user], scene=data.schema.scenes[0], k=len(items), exclude_seen=False)
    assert found.items[0, 0] == data.schema.categorical[1].ids[items[3] - 2]
    assert all(item is not None for item in found.items[0])


@pytest.fixture(scope="module")
def two_scenes() -> Any:
    rows = {"user_id": list("aabbccaabb"), "item_id": list("xyxyxzvwvw"), "scene": list("sssssstttt")}
    return ps.read_table(train=pa.table(rows), task="ranking")


@pytest.mark.parametrize("name", ["ease", "bpr_mf", "cross_ease"])
def test_similar_items_of_a_scene_without_the_item(name: str, two_scenes: Any) -> None:
    model = fitted(name, two_scenes, epochs=1)
    with pytest.raises(ValueError, match="item 'x' has no training rows in scene 't'; it has some in: s"):
        model.similar_items("x", source="t")
    assert model.similar_items("x", source="s") == model.similar_items("x")


@pytest.mark.parametrize(
    ("user", "items", "scenes", "message"),
    [
        (10**6, [2], [0], r"explain: user must be in \[0, \d+\), got 1000000"),
        (-1, [2], [0], r"explain: user must be in"),
        (2, [2, 10**6], [0, 0], r"explain: items must be in \[0, \d+\), got 2 to 1000000"),
        (2, [2, 3], [0, 9], r"explain: scenes must be in \[0, 3\), got 0 to 9"),
        (2, [2], [-1], r"explain: scenes must be in \[0, 3\), got -1"),
    ],
)
def test_reasons_of_places_that_are_none(user: int, items: Any, scenes: Any, message: str, data: Any) -> None:
    model = fitted("ease", data)
    with model._running() as native, pytest.raises(IndexError, match=message):
        _C.eval.recommendation_reasons(native, user, None, torch.tensor(items), torch.tensor(scenes))


def test_reasons_with_events_are_those_of_whom_the_model_ranks(data: Any) -> None:
    """natr ranks a user with new events by the user's row: the parts are that row's too."""
    model = fitted("natr", data, epochs=3)
    user, item, scene = data.schema.categorical[0].ids[0], data.schema.categorical[1].ids[5], data.schema.scenes[0]
    events = [{"user": user, "item": data.schema.categorical[1].ids[7], "scene": scene}]
    without = {(each.item, each.scene): each.part for each in model.explain_recommendation(user, item, scene)}
    found = {
        (each.item, each.scene): each.part for each in model.explain_recommendation(user, item, scene, events=events)
    }
    assert any(part != 0 for part in without.values())
    assert {key: found[key] for key in without} == pytest.approx(without)
