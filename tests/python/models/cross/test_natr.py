"""Neural attentive transfer against loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pair_models as pairs
import polyscene as ps
import pytest
import torch


def by_scene(state: dict[str, np.ndarray], name: str, known: pairs.Known) -> np.ndarray:
    table = state[f"{name}.weight"]
    return table.reshape(known.scenes, -1, table.shape[1])


def listed(known: pairs.Known, shared: str, who: int, s: int, length: int) -> list[int]:
    """The history of a user (or item) in a scene: what other scenes hold too, evenly spread."""
    mine, theirs = (known.items, known.visitors) if shared == "items" else (known.visitors, known.items)
    entries = [x for x in sorted(mine[s].get(who, [])) if sum(x in where for where in theirs) > 1]
    if len(entries) > length:
        entries = [entries[k * len(entries) // length] for k in range(length)]
    return entries


def score_of(known: pairs.Known, shared: str = "items", length: int = 50) -> pairs.Score:
    theirs = known.visitors if shared == "items" else known.items

    def score(state: dict[str, np.ndarray], u: int, i: int, s: int) -> float:
        who, what = (u, i) if shared == "items" else (i, u)
        names = ("user", "item") if shared == "items" else ("item", "user")
        p, q = by_scene(state, names[0], known)[s, who], by_scene(state, names[1], known)[s, what]
        if u not in known.items[s]:  # nothing trained the user's row
            p, q = (0 * p, q) if shared == "items" else (p, 0 * q)
        frozen = by_scene(state, f"source_{names[1]}", known)
        rows = []
        for x in listed(known, shared, who, s, length):
            if x == what:
                continue
            found = [frozen[t, x] for t in range(known.scenes) if t != s and x in theirs[t]]
            rows.append(state["transfer"][s] @ np.mean(found, axis=0) + state["transfer_bias"][s])
        if not rows:
            return float(p @ q)
        weights = [math.exp(state["history_attention"][s] @ np.maximum(p * h, 0)) for h in rows]
        told = sum(w * h for w, h in zip(weights, rows, strict=True)) / sum(weights)
        b = [state["fusion_attention"][s] @ np.maximum(x * q, 0) for x in (told, p)]
        beta = 1 / (1 + math.exp(b[1] - b[0]))
        return float((beta * told + (1 - beta) * p) @ q)

    return score


@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
@pytest.mark.parametrize("shared", ["items", "users"])
@pytest.mark.parametrize("options", [{}, {"length": 2, "negatives": 3}])
def test_matches_loops(data: Any, loss: str, shared: str, options: dict[str, Any]) -> None:
    model = pairs.random_model("natr", data, dim=4, loss=loss, shared=shared, **options)
    known = pairs.Known(data)
    pairs.check_scores(model, data, score_of(known, shared, options.get("length", 50)))


@pytest.mark.parametrize("shared", ["items", "users"])
def test_one_scene_and_many(shared: str) -> None:
    pairs.check_scenes("natr", lambda known: score_of(known, shared), dim=3, shared=shared)


def test_the_first_phase_is_a_factorisation_of_each_scene(data: Any) -> None:
    known = pairs.Known(data)
    model = pairs.random_model("natr", data, dim=4)
    source, target = model.phases()
    assert (source.name, target.name) == ("source", "target")
    model.target.fill_(0)  # as the trainer leaves it in the first phase
    pairs.check_scores(
        model,
        data,
        lambda state, u, i, s: float(
            by_scene(state, "source_user", known)[s, u] @ by_scene(state, "source_item", known)[s, i]
        ),
    )
    model.target.fill_(1)
    pairs.check_scores(model, data, score_of(known))


def test_source_tables_stay_as_the_first_phase_left_them(data: Any, tmp_path: Any) -> None:
    model = ps.models.NATR(data.schema, dim=4, source_epochs=2)
    seen: list[dict[str, torch.Tensor]] = []

    class Watch:
        def on_epoch(self, row: dict[str, Any]) -> None:
            seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    trainer = ps.Trainer(epochs=3, batch_size=64, lr=0.01, patience=0, threads=1)
    history = trainer.fit(model, data.train, callbacks=Watch())
    assert [line["phase"] for line in history] == ["source"] * 2 + ["target"] * 3
    first, last = seen[1], model.state_dict()
    for name in ("source_user.weight", "source_item.weight"):
        assert torch.equal(first[name], last[name])
    for name in ("user.weight", "item.weight", "transfer", "history_attention", "fusion_attention"):
        assert torch.equal(seen[0][name], first[name])
        assert not torch.equal(first[name], last[name])
    assert model.target == 1
    ps.save(model, tmp_path / "natr")
    other = ps.load(tmp_path / "natr")
    batch = ps.testing.batch(data, 20)
    assert torch.equal(model.eval()(batch), other.eval()(batch))


def test_without_overlap_it_is_a_factorisation(data: Any) -> None:
    model = pairs.random_model("natr", data, dim=4)
    table = pairs.without_overlap(data)
    model.prepare(table)
    batch = table.batch(torch.arange(12), negatives=1)
    rows = [len(model.user.weight) // 3, len(model.item.weight) // 3]
    with torch.no_grad():
        p = model.user.weight[batch.scene * rows[0] + batch.user]
        q = model.item.weight[batch.scene * rows[1] + batch.item]
        torch.testing.assert_close(model(batch), (p * q).sum(1))


def test_weight_penalty(data: Any) -> None:
    batch = ps.testing.batch(data, 12)
    plain, penalised = (pairs.random_model("natr", data, dim=4, weight_l2=r) for r in (0.0, 0.2))
    state = pairs.state_of(plain)
    squares = sum((state[name] ** 2).sum() for name in ("transfer", "history_attention", "fusion_attention"))
    assert penalised.loss(batch).item() - plain.loss(batch).item() == pytest.approx(0.1 * squares)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared": "both"}, "NATR: shared must be 'items' or 'users', got 'both'"),
        ({"length": 0}, "NATR: length must be positive"),
        ({"weight_l2": -1.0}, "NATR: weight_l2 must be 0 or more"),
        ({"source_epochs": -1}, "NATR: source_epochs must be 0 or more"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.NATR(data.schema, **options)
