"""Biased matrix factorisation against loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import torch


def random_model(data: Any, **options: Any) -> ps.Model:
    model = ps.models.MF(data.schema, **options).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return model


def slow_mf(model: ps.Model, batch: Any, b: int) -> tuple[float, float]:
    """One row: its score and its penalty before the weight."""
    state = {path: tensor.tolist() for path, tensor in model.state_dict().items()}
    u, i = int(batch.user[b]), int(batch.item[b])
    p, q = state["user.weight"][u], state["item.weight"][i]
    user_bias, item_bias = state["user_bias.weight"][u][0], state["item_bias.weight"][i][0]
    h = [0.0] * len(p)
    if "past.item.weight" in state:
        h = slow.event_pool(np.array(state["past.item.weight"]), batch, b, model.history_length).tolist()
    score = state["mean"] + user_bias + item_bias + sum((x + z) * y for x, z, y in zip(p, h, q, strict=True))
    return score, sum(x * x for x in p + q + h) + 0.5 * (user_bias**2 + item_bias**2)


@pytest.mark.parametrize("history", [0, 3])
@pytest.mark.parametrize("task", ["ctr", "rating"])
def test_matches_loops(task: str, history: int) -> None:
    data = ps.testing.tiny_data(task)
    model = random_model(data, dim=5, embedding_l2=0.3, history=history)
    batch = data.train.batch(torch.arange(32), history=history)
    scores, penalties = zip(*(slow_mf(model, batch, b) for b in range(32)), strict=True)
    assert model(batch).tolist() == pytest.approx(list(scores), rel=1e-12)
    loss = 0.0
    for score, label in zip(scores, batch.label.tolist(), strict=True):
        loss += (score - label) ** 2 if task == "rating" else math.log1p(math.exp(-score if label == 1 else score))
    assert model.loss(batch).item() == pytest.approx(loss / 32 + 0.5 * 0.3 * sum(penalties) / 32, rel=1e-9)
    parts = model.explain(batch)
    assert list(parts) == ["user_bias", "item_bias", "interaction"]
    torch.testing.assert_close(sum(parts.values()) + model.mean, model(batch))


def test_export_form_with_a_history() -> None:
    data = ps.testing.tiny_data()
    model = random_model(data, dim=4, history=5).eval()
    batch = data.train.batch(torch.arange(len(data.train)), history=5)
    torch.testing.assert_close(model.export_form()(*model.export_inputs(batch)), model(batch))


def test_weights_of_rows_count_in_the_loss() -> None:
    data = ps.testing.tiny_data()
    model = random_model(data, dim=3, embedding_l2=0)
    batch = ps.testing.batch(data, 6)
    weight = torch.tensor([1.0, 2.0, 0.0, 0.5, 3.0, 1.0])
    each = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), batch.label.double(), reduction="none")
    batch.weight = weight
    torch.testing.assert_close(model.loss(batch), (each * weight).sum() / weight.sum())


def test_start() -> None:
    data = ps.testing.tiny_data()
    torch.manual_seed(3)
    model = ps.models.MF(data.schema, dim=64, init_std=0.2)
    rate = data.train.labels().double().mean()
    assert model.mean.item() == pytest.approx(math.log(rate / (1 - rate)), rel=1e-6)
    for table in (model.user.weight, model.item.weight):
        assert not table[:2].any()
        assert table[2:].std().item() == pytest.approx(0.2, rel=0.1)
    assert not model.user_bias.weight.any()
    assert not model.item_bias.weight.any()
    torch.manual_seed(3)
    torch.testing.assert_close(ps.models.MF(data.schema, dim=64, init_std=0.2).user.weight, model.user.weight)
    ratings = ps.testing.tiny_data("rating")
    mean = ratings.train.labels().mean().item()
    assert ps.models.MF(ratings.schema).mean.item() == pytest.approx(mean, rel=1e-6)


def test_ratings_are_clipped_in_evaluation_only() -> None:
    data = ps.testing.tiny_data("rating")
    model = random_model(data, dim=4)
    with torch.no_grad():
        model.user_bias.weight.mul_(20)
    batch = ps.testing.batch(data, 64)
    free = model(batch)
    assert free.min() < 1
    assert free.max() > 5
    torch.testing.assert_close(model.eval()(batch), free.clamp(1, 5))
    loss = model.loss(batch)
    torch.testing.assert_close(model.export_form()(*model.export_inputs(batch)), model(batch))
    torch.testing.assert_close(model.train().loss(batch), loss)


def test_learns_held_out_labels() -> None:
    data = ps.testing.tiny_data(rows=3000)
    torch.manual_seed(0)
    model = ps.models.MF(data.schema, dim=8, embedding_l2=0.05)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    train = data.train.batch(torch.arange(len(data.train)))
    test = data.test.batch(torch.arange(len(data.test)))
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(train).backward()
        optimiser.step()
    with torch.no_grad():
        score = model(test)
    positive, negative = score[test.label == 1], score[test.label == 0]
    assert (positive[:, None] > negative[None, :]).double().mean() > 0.75


def test_wrong_options() -> None:
    schema = ps.testing.tiny_data().schema
    with pytest.raises(ValueError, match="MF: dim must be positive, got 0"):
        ps.models.MF(schema, dim=0)
    with pytest.raises(ValueError, match="MF: init_std must be 0 or more, got -1"):
        ps.models.MF(schema, init_std=-1)
    with pytest.raises(ValueError, match=r"MF: embedding_l2 must be 0 or more, got -0\.5"):
        ps.models.MF(schema, embedding_l2=-0.5)
    with pytest.raises(ValueError, match=r"MF: option 'dim' must be int, got 'four' \(str\)"):
        ps.models.MF(schema, dim="four")
    assert ps.models.MF(schema, dim=8.0).options["dim"] == 8
