"""Personalised bridges against loops."""

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


def bridged(state: dict[str, np.ndarray], known: pairs.Known, u: int, s: int, length: int) -> np.ndarray:
    p, q = by_scene(state, "user", known), by_scene(state, "item", known)
    size = p.shape[2]
    found = []
    for t in known.elsewhere(u, s):
        ordered = [(a, b) for a in range(known.scenes) for b in range(known.scenes) if a != b]
        pair = ordered.index((t, s))
        met = known.items[t][u]
        if len(met) > length:
            met = [met[k * len(met) // length] for k in range(length)]
        w, b = state["encoder.layer0_weight"][pair, 0], state["encoder.layer0_bias"][pair, 0]
        weights = [math.exp(state["encoder_weight"][pair] @ np.maximum(w @ q[t, j] + b, 0)) for j in met]
        c = sum(x * q[t, j] for x, j in zip(weights, met, strict=True)) / sum(weights)
        hidden = np.maximum(state["meta.layer0_weight"][pair, 0] @ c + state["meta.layer0_bias"][pair, 0], 0)
        flat = state["meta.output_weight"][pair, 0] @ hidden + state["meta.output_bias"][pair, 0]
        found.append(p[t, u] @ flat.reshape(size, size))
    return np.mean(found, axis=0)


def score_of(known: pairs.Known, who: str = "cold", length: int = 20) -> pairs.Score:
    def score(state: dict[str, np.ndarray], u: int, i: int, s: int) -> float:
        here, elsewhere = u in known.items[s], known.elsewhere(u, s)
        q = by_scene(state, "item", known)[s, i]
        if state["bridges"] == 1 and elsewhere and (who == "all" or not here):
            return float(bridged(state, known, u, s, length) @ q)
        return float(by_scene(state, "user", known)[s, u] @ q) if here else 0.0

    return score


def in_bridges(data: Any, **options: Any) -> ps.Model:
    model = pairs.random_model("ptupcdr", data, **({"dim": 3, "meta_hidden": 4} | options))
    model.bridges.fill_(1)  # as the trainer leaves it in the second phase
    return model


@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
def test_factors_match_loops(data: Any, loss: str) -> None:
    model = pairs.random_model("ptupcdr", data, dim=4, loss=loss, negatives=2)
    pairs.check_scores(model, data, score_of(pairs.Known(data)))


@pytest.mark.parametrize("who", ["cold", "all"])
@pytest.mark.parametrize("length", [2, 20])
def test_bridges_match_loops(data: Any, who: str, length: int) -> None:
    model, known = in_bridges(data, bridged=who, length=length).eval(), pairs.Known(data)
    state, score = pairs.state_of(model), score_of(known, who, length)
    users, items = torch.arange(42), torch.arange(0, 32, 3)
    for s in range(3):
        with torch.no_grad():
            got = model.score_items(users, s, items)
        want = [[score(state, u, i, s) for i in items.tolist()] for u in users.tolist()]
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-10)
    batch = ps.testing.batch(data, 30)
    rows = zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True)
    assert model(batch).tolist() == pytest.approx([score(state, *row) for row in rows], rel=1e-9)


@pytest.mark.parametrize("loss", ["bce", "bpr", "mse"])
def test_bridges_learn_the_task_of_those_in_several_scenes(data: Any, loss: str) -> None:
    data = pairs.SomeAlone(data)
    model, known = in_bridges(data, loss=loss), pairs.Known(data)
    state, batch = pairs.state_of(model), ps.testing.batch(data, 40)
    losses = []
    columns = (batch.user, batch.item, batch.scene, batch.negative.flatten())
    for u, i, s, j in zip(*(x.tolist() for x in columns), strict=True):
        if known.elsewhere(u, s):
            p, q = bridged(state, known, u, s, 20), by_scene(state, "item", known)[s]
            losses.append(pairs.slow_loss(loss, float(p @ q[i]), [float(p @ q[j])]))
    assert 0 < len(losses) < 40
    out = model.loss(batch)
    assert out.item() == pytest.approx(np.mean(losses), rel=1e-9)
    out.backward()
    for name, parameter in model.named_parameters():
        moves = name.startswith(("encoder", "meta"))
        assert (parameter.grad is not None and bool(parameter.grad.any())) == moves, name


def test_one_scene_and_many() -> None:
    pairs.check_scenes("ptupcdr", score_of, dim=3, meta_hidden=4)
    data = pairs.ManyScenes(17)
    model, known = in_bridges(data), pairs.Known(data)
    state, score = pairs.state_of(model), score_of(known)
    with torch.no_grad():
        got = model.score_items(torch.arange(2, 8), 5, torch.arange(2, 6))
    want = [[score(state, u, i, 5) for i in range(2, 6)] for u in range(2, 8)]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-8, atol=1e-10)


def test_bridges_leave_factors_as_they_are(data: Any, tmp_path: Any) -> None:
    model = ps.models.PTUPCDR(data.schema, dim=4, meta_hidden=6, bridge_epochs=3)
    seen: list[dict[str, torch.Tensor]] = []

    class Watch:
        def on_epoch(self, row: dict[str, Any]) -> None:
            seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    trainer = ps.Trainer(epochs=2, batch_size=64, lr=0.01, patience=0, threads=1)
    history = trainer.fit(model, data.train, callbacks=Watch())
    assert [line["phase"] for line in history] == ["factors"] * 2 + ["bridges"] * 3
    last = model.state_dict()
    for name in ("user.weight", "item.weight"):
        assert torch.equal(seen[1][name], last[name])
    for name in last:
        if name.startswith(("encoder", "meta")):
            assert torch.equal(seen[0][name], seen[1][name])
            assert not torch.equal(seen[1][name], last[name])
    assert model.bridges == 1
    ps.save(model, tmp_path / "ptupcdr")
    other = ps.load(tmp_path / "ptupcdr").eval()
    users, items = torch.arange(42), torch.arange(2, 32)
    assert torch.equal(model.eval().score_items(users, 1, items), other.score_items(users, 1, items))


def test_a_cold_user_does_not_depend_on_its_row(data: Any) -> None:
    known, model = pairs.Known(data), in_bridges(data).eval()
    user = next(u for u in range(2, 42) if u not in known.items[1] and known.elsewhere(u, 1))
    rows, items = len(model.user.weight) // 3, torch.arange(2, 32)
    with torch.no_grad():
        before = model.score_items(torch.tensor([user]), 1, items)
        assert before.any()
        model.user.weight[rows + user] += 5
        assert torch.equal(model.score_items(torch.tensor([user]), 1, items), before)


def test_without_overlap_there_are_no_bridges(data: Any) -> None:
    model = ps.models.PTUPCDR(data.schema, dim=3)
    table = pairs.without_overlap(data)
    history = ps.Trainer(epochs=1, threads=1).fit(model, table)
    assert [line["phase"] for line in history] == ["factors"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"meta_hidden": 0}, "PTUPCDR: meta_hidden must be positive"),
        ({"length": 0}, "PTUPCDR: length must be positive"),
        ({"bridged": "some"}, "PTUPCDR: bridged must be 'cold' or 'all', got 'some'"),
        ({"bridge_epochs": -1}, "PTUPCDR: bridge_epochs must be 0 or more"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.PTUPCDR(data.schema, **options)
