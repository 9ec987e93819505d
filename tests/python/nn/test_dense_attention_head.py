"""The dense attention head against loops."""

from __future__ import annotations

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random


@pytest.mark.parametrize("attention", [True, False])
def test_matches_loops(attention: bool) -> None:
    torch.manual_seed(21)
    head = pn.DenseAttentionHead(3, hidden=5, outputs=2, attention=attention).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    logits, weights = head.attend(x)
    state = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    for b in range(4):
        dense = np.maximum(state["dense.weight"] @ x[b].numpy() + state["dense.bias"], 0)
        gates, beside = np.full(5, 0.2), dense
        if attention:
            scores = np.exp(state["attention.gate.weight"] @ dense)
            gates = scores / scores.sum()
            beside = np.concatenate([dense, gates * dense])
        expected = state["output.weight"] @ beside + state["output.bias"]
        np.testing.assert_allclose(logits[b].detach().numpy(), expected, atol=1e-13)
        np.testing.assert_allclose(weights[b].detach().numpy(), gates, atol=1e-13)
    assert torch.equal(head(x), logits)


def test_gradients() -> None:
    torch.manual_seed(22)
    head = pn.DenseAttentionHead(3, hidden=6).double()
    x = random(5, 3)
    check_gradients(head, lambda: head(x), x)
