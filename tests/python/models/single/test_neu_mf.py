"""Neural matrix factorisation against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pair_models as pairs
import polyscene as ps
import pytest
import torch


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking")


def score(state: dict[str, np.ndarray], u: int, i: int, s: int) -> float:
    p, q = state["user.weight"][u], state["item.weight"][i]
    x = np.concatenate([state["tower_user.weight"][u], state["tower_item.weight"][i]])
    return float(state["weight"] @ (p * q)) + pairs.tower(state, "tower", x)


@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
@pytest.mark.parametrize("options", [{}, {"tower_dim": 3, "hidden": [7]}, {"negatives": 2, "hidden": [6, 5, 4]}])
def test_matches_loops(data: Any, loss: str, options: dict[str, Any]) -> None:
    model = pairs.random_model("neu_mf", data, **({"dim": 4, "hidden": [6, 3], "loss": loss} | options))
    pairs.check_scores(model, data, score)


def test_penalty_counts_the_factors_of_both_halves(data: Any) -> None:
    def make(**options: Any) -> ps.Model:
        return ps.models.NeuMF(data.schema, dim=4, tower_dim=3, negatives=2, hidden=[4], **options)

    pairs.check_penalty(make, data, lambda batch: 10 * (4 + 3) * (1 + 3))


def test_ranking_in_blocks_is_ranking_of_pairs(data: Any) -> None:
    model = pairs.random_model("neu_mf", data, dim=4, hidden=[6, 3]).eval()
    users = torch.arange(2, 42).repeat(30)  # more pairs than one block holds
    items = torch.arange(2, 32)
    with torch.no_grad():
        whole = model.score_items(users, 1, items)
        torch.testing.assert_close(whole[:40], whole[-40:])
        for row in (0, 7, 39):
            torch.testing.assert_close(whole[row], model.score_items(users[row : row + 1], 1, items)[0])


def test_dropout_acts_in_training_alone(data: Any) -> None:
    model = pairs.random_model("neu_mf", data, dim=4, hidden=[6], dropout=0.5)
    batch = ps.testing.batch(data, 40, negatives=4)
    still = model.eval().loss(batch).item()
    assert model.loss(batch).item() == still
    assert abs(model.train().loss(batch).item() - still) > 1e-6


def test_start(data: Any) -> None:
    torch.manual_seed(3)
    model = ps.models.NeuMF(data.schema, dim=64)
    for name in ("user", "item", "tower_user", "tower_item"):
        table = getattr(model, name).weight
        assert not table[:2].any()
        assert table[2:].std().item() == pytest.approx(0.01, rel=0.1)
    table = ps.models.NeuMF(data.schema, dim=64, init_std=0).user.weight
    assert table[2:].std().item() == pytest.approx((2 / (table.shape[0] + 64)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tower_dim": -1}, "NeuMF: tower_dim must be 0 or more, got -1"),
        ({"hidden": []}, r"NeuMF: hidden must name at least one layer, widths above 0, got \[\]"),
        ({"hidden": [4, 0]}, "NeuMF: hidden must name"),
        ({"dropout": 1.0}, r"NeuMF: dropout must be in \[0, 1\)"),
        ({"init_std": -0.1}, "NeuMF: init_std must be 0 or more"),
        ({"loss": "hinge"}, "NeuMF: loss must be one of bpr, bce, mse"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.NeuMF(data.schema, **options)
