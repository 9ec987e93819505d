"""What scores are made of: it is there without being asked for, and never that of other parameters."""

from __future__ import annotations

import copy
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import RANKING, WITHOUT_PARAMETERS, make, scramble

ranking_models = pytest.mark.parametrize("name", sorted(RANKING))
trained_rankings = pytest.mark.parametrize("name", sorted(RANKING - WITHOUT_PARAMETERS))


def everything(model: Any) -> list[torch.Tensor]:
    """Scores of all users and items in every scene."""
    users, items = (torch.arange(field.rows) for field in model.schema.categorical[:2])
    return [model.score_items(users, scene, items) for scene in range(len(model.schema.scenes))]


def encoded(model: Any) -> list[torch.Tensor]:
    model.encode()
    return everything(model)


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


@ranking_models
def test_scores_do_not_wait_for_encode(name: str, data: Any) -> None:
    def prepared() -> Any:
        torch.manual_seed(0)
        model = ps.models.create(name, data.schema)
        model.prepare(data.train)
        return model.eval()

    assert_same(everything(prepared()), encoded(prepared()))


@ranking_models
def test_before_training_scores_are_numbers_or_refused(name: str, data: Any) -> None:
    model = ps.models.create(name, data.schema).eval()
    try:
        found = everything(model)
    except ValueError as error:
        assert "was not prepared; fit it, or call prepare" in str(error)  # noqa: PT017
    else:
        assert all(scores.isfinite().all() for scores in found)


@trained_rankings
def test_scores_follow_the_parameters(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    state = copy.deepcopy(model.state_dict())
    before = encoded(model)
    scramble(model, seed=2)
    after = everything(model)
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert_same(after, encoded(model))
    model.load_state_dict(state)
    assert_same(everything(model), before)


@trained_rankings
def test_scores_follow_training(name: str, data: Any) -> None:
    model = make(name, data).eval()
    before = encoded(model)
    batch = ps.testing.batch(data, 64, history=model.history_length)
    optimiser = ps._C.train.Optimizer({"optimizer": "adam", "lr": 0.1}, list(model.named_parameters()))
    model.loss(batch).backward()
    optimiser.step()
    after = everything(model)
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert_same(after, encoded(model))


@trained_rankings
def test_scores_follow_the_mode(name: str, data: Any) -> None:
    """Training leaves nothing of its dropout behind."""
    model = scramble(make(name, data)).eval()
    expected = encoded(model)
    model.train()
    model.loss(ps.testing.batch(data, 32, history=model.history_length))
    assert_same(everything(model.eval()), expected)


@pytest.mark.parametrize(
    "name", ["bpr_mf", "light_gcn", "gat", "bi_tgcf", "cmf", "clfm", "emcdr", "disen_cdr", "cdrib"]
)
def test_scores_of_vectors_have_no_gradient(name: str, data: Any) -> None:
    assert not any(scores.requires_grad for scores in everything(make(name, data)))


@pytest.mark.parametrize("name", ["light_gcn", "bi_tgcf", "sscdr", "emcdr", "cmf"])
def test_newcomers_and_similar_items_follow_the_parameters(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    twin = scramble(make(name, data)).eval()
    model.recommend(items=["i3", "i8"], k=5)
    for each in (model, twin):
        scramble(each, seed=2)
    assert (model.recommend(items=["i3", "i8"], k=5).scores == twin.recommend(items=["i3", "i8"], k=5).scores).all()
    assert model.similar_items("i3", k=5) == twin.similar_items("i3", k=5)
