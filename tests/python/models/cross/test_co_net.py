"""Collaborative cross networks against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pair_models as pairs
import polyscene as ps
import pytest
import torch

SMALL = {"dim": 3, "hidden": [5, 4]}


@pytest.fixture(scope="module")
def known(data: Any) -> pairs.Known:
    return pairs.Known(data)


def run(
    state: dict[str, np.ndarray], known: pairs.Known, u: int, i: int, s: int, foreign: dict[int, np.ndarray]
) -> float:
    """The network on one pair; `foreign`: what the tower of each other scene sees for an item."""
    users, items = (len(state[f"{side}.weight"]) // known.scenes for side in ("user", "item"))
    size = state["user.weight"].shape[1]
    taste = {t: state["user.weight"][t * users + u] if u in known.items[t] else np.zeros(size) for t in [s, *foreign]}
    a = {t: np.concatenate([taste[t], v]) for t, v in (foreign | {s: state["item.weight"][s * items + i]}).items()}
    layer = 0
    while f"cross{layer}" in state:
        w, b, h = state[f"tower.layer{layer}_weight"][0], state[f"tower.layer{layer}_bias"][0], state[f"cross{layer}"]
        a = {
            t: np.maximum(
                w[t] @ x + b[t] + sum((h @ a[r] for r in a if r != t), np.zeros(len(h))) / max(len(a) - 1, 1), 0
            )
            for t, x in a.items()
        }
        layer += 1
    return float((state["tower.output_weight"][0, s] @ a[s] + state["tower.output_bias"][0, s])[0])


def score_of(known: pairs.Known) -> pairs.Score:
    def score(state: dict[str, np.ndarray], u: int, i: int, s: int) -> float:
        items = len(state["item.weight"]) // known.scenes
        foreign = {
            t: np.mean([state["item.weight"][t * items + j] for j in known.items[t][u]], axis=0)
            for t in known.elsewhere(u, s)
        }
        return run(state, known, u, i, s, foreign)

    return score


@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
@pytest.mark.parametrize("options", [{}, {"hidden": [6]}, {"hidden": [6, 4, 3], "negatives": 3}])
def test_matches_loops(data: Any, known: pairs.Known, loss: str, options: dict[str, Any]) -> None:
    model = pairs.random_model(
        "co_net", data, **(SMALL | {"loss": loss, "foreign": "mean"} | options), cross_penalty=0.0
    )
    pairs.check_scores(model, data, score_of(known))


def test_training_sees_one_item_of_the_user_in_each_other_scene(data: Any, known: pairs.Known) -> None:
    model = pairs.random_model("co_net", data, **SMALL, cross_penalty=0.0)
    pairs.check_scores(model, data, score_of(known), train_loss=False)
    batch = ps.testing.batch(data, 60)
    row = next(b for b in range(60) if known.elsewhere(int(batch.user[b]), int(batch.scene[b])))
    batch = batch.take([row])
    u, i, s = int(batch.user), int(batch.item), int(batch.scene)
    elsewhere, state = known.elsewhere(u, s), pairs.state_of(model)
    items = len(state["item.weight"]) // known.scenes
    choices: list[dict[int, np.ndarray]] = [{}]
    for t in elsewhere:
        choices = [c | {t: state["item.weight"][t * items + j]} for c in choices for j in known.items[t][u]]
    possible = [
        pairs.slow_loss("bce", run(state, known, u, i, s, c), [run(state, known, u, int(batch.negative), s, c)])
        for c in choices
    ]
    got = {model.train().loss(batch).item() for _ in range(40)}
    assert len(got) > 1
    for value in got:
        assert min(abs(value - each) for each in possible) < 1e-9


@pytest.mark.parametrize("norm", ["frobenius", "l1"])
def test_penalty_on_the_cross_matrices(data: Any, norm: str) -> None:
    batch = ps.testing.batch(data, 12)
    plain, penalised = (
        pairs.random_model("co_net", data, **SMALL, cross_norm=norm, cross_penalty=r).eval() for r in (0.0, 0.1)
    )
    cross = [tensor for name, tensor in pairs.state_of(plain).items() if name.startswith("cross")]
    expected = sum(np.abs(h).sum() if norm == "l1" else np.sqrt((h**2).sum()) for h in cross)
    assert penalised.loss(batch).item() - plain.loss(batch).item() == pytest.approx(0.1 * expected)
    assert len(cross) == 2


def test_predictions_without_cross_terms(data: Any, known: pairs.Known) -> None:
    model = pairs.random_model("co_net", data, **SMALL, predict_crossed=False, cross_penalty=0.0)
    pairs.check_scores(model, data, lambda state, u, i, s: run(state, known, u, i, s, {}), train_loss=False)


def test_a_cold_user_does_not_depend_on_its_row(data: Any, known: pairs.Known) -> None:
    model = pairs.random_model("co_net", data, **SMALL).eval()
    user = next(u for u in range(2, 42) if u not in known.items[1] and known.elsewhere(u, 1))
    items = torch.arange(2, 32)
    with torch.no_grad():
        before = model.score_items(torch.tensor([user]), 1, items)
        model.user.weight[len(model.user.weight) // 3 + user] += 5
        assert torch.equal(model.score_items(torch.tensor([user]), 1, items), before)
        model.user.weight[known.elsewhere(user, 1)[0] * len(model.user.weight) // 3 + user] += 5
        assert not torch.equal(model.score_items(torch.tensor([user]), 1, items), before)


def test_without_overlap_towers_are_alone(data: Any) -> None:
    model = pairs.random_model("co_net", data, **SMALL, cross_penalty=0.0)
    table = pairs.without_overlap(data)
    model.prepare(table)
    batch = table.batch(torch.arange(12), negatives=1)
    model.loss(batch).backward()
    assert not any(p.grad.any() for name, p in model.named_parameters() if name.startswith("cross"))
    assert model.user.weight.grad.any()


def test_one_scene_and_many() -> None:
    pairs.check_scenes("co_net", score_of, **SMALL, foreign="mean", cross_penalty=0.0)


def test_before_prepare_nobody_is_known(data: Any) -> None:
    model = ps.models.CoNet(data.schema, **SMALL)
    out = model(ps.testing.batch(data, 6))
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cross_penalty": -1.0}, "CoNet: cross_penalty must be 0 or more"),
        ({"cross_norm": "l2"}, "CoNet: cross_norm must be 'frobenius' or 'l1', got 'l2'"),
        ({"foreign": "last"}, "CoNet: foreign must be 'drawn' or 'mean', got 'last'"),
        ({"hidden": []}, "CoNet: hidden must name at least one layer"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.CoNet(data.schema, **options)
