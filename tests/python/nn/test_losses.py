"""Losses against loops and golden values."""

from __future__ import annotations

import math

import polyscene.nn as pn
import pytest
import torch
from torch.autograd import gradcheck


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_pointwise_losses_match_loops() -> None:
    torch.manual_seed(23)
    logits, label, other = draw(20), torch.rand(20, dtype=torch.float64), draw(20)
    for k in range(20):
        z, y, n = logits[k].item(), label[k].item(), other[k].item()
        p = 1 / (1 + math.exp(-z))
        entropy = -y * math.log(p) - (1 - y) * math.log(1 - p)
        assert pn.bce_with_logits(logits, label)[k].item() == pytest.approx(entropy, rel=1e-12)
        assert pn.bpr(logits, other)[k].item() == pytest.approx(-math.log(1 / (1 + math.exp(n - z))), rel=1e-12)
        assert pn.squared_error(logits, label)[k].item() == pytest.approx((z - y) ** 2, rel=1e-12)
    assert gradcheck(lambda x: pn.bce_with_logits(x, label), (logits,))
    assert gradcheck(pn.bpr, (logits, other))
    assert gradcheck(lambda x: pn.squared_error(x, label), (logits,))


def test_bpr_of_several_negatives() -> None:
    torch.manual_seed(24)
    positive, negative = draw(3), draw(3, 4)
    loss = pn.bpr(positive, negative)
    assert loss.shape == (3, 4)
    for b in range(3):
        assert torch.equal(loss[b], pn.bpr(positive[b].expand(4), negative[b]))


def test_embedding_l2_golden_values_and_gradients() -> None:
    blocks = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double(), torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()]
    assert pn.embedding_l2(blocks, squared=False).item() == pytest.approx(3.4457195687, abs=1e-10)
    assert pn.embedding_l2(blocks).item() == pytest.approx(8.0, abs=1e-12)
    for squared in (False, True):
        leaves = [block.clone().requires_grad_() for block in blocks]
        assert gradcheck(lambda *x, squared=squared: pn.embedding_l2(x, squared), leaves)


@pytest.mark.parametrize("per_entry", [True, False])
def test_migration_loss_matches_loops(per_entry: bool) -> None:
    torch.manual_seed(25)
    shapes = {"table": (4, 3), "tower.weight": (2, 3), "head": (5,)}
    parameters = {name: draw(*shape) for name, shape in shapes.items()}
    owned = [("table", "tower.weight"), ("table",), ("tower.weight", "other")]
    anchors = [{name: draw(*shapes.get(name, (7,))) for name in names} for names in owned]
    weights = {"table": 0.3, "head": 5.0}
    expected = 0.0
    for name, parameter in parameters.items():
        holders = [anchor[name] for anchor in anchors if name in anchor]
        total = 0.0
        for holder in holders:
            for a, b in zip(parameter.flatten().tolist(), holder.flatten().tolist(), strict=True):
                total += (a - b) ** 2 / (parameter.numel() if per_entry else 1)
        expected += weights.get(name, 1.0) * total / max(len(holders), 1)
    loss = pn.migration_loss(parameters, anchors, per_entry, weights)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    assert all(tensor.grad is None for anchor in anchors for tensor in anchor.values())
    assert parameters["head"].grad is None
    table = parameters["table"].detach().requires_grad_()
    assert gradcheck(lambda x: pn.migration_loss({"table": x}, anchors[:2], per_entry), (table,))


def test_migration_loss_pulls_to_the_mean_of_the_anchors() -> None:
    theta = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    anchors = [{"w": torch.tensor([0.0, 0.0])}, {"w": torch.tensor([2.0, 0.0])}]
    loss = pn.migration_loss({"w": theta}, anchors, per_entry=False)
    loss.backward()
    assert loss.item() == 2.0
    assert theta.grad is not None
    assert theta.grad.tolist() == [0.0, 2.0]
    with pytest.raises(ValueError, match=r"^migration_loss: parameter 'w' is \[2\], but an anchor has \[1\]"):
        pn.migration_loss({"w": theta}, [{"w": torch.ones(1)}])
