"""Attention over adjacent pairs against loops."""

from __future__ import annotations

import numpy as np
import polyscene.nn as pn
import torch
from gradients import check_gradients, random


def test_matches_loops() -> None:
    torch.manual_seed(9)
    module = pn.PairAttention(3, hidden=4).double()
    torch.nn.init.normal_(module.head)
    lengths, h = [5, 2, 1, 0], torch.randn(4, 5, 3, dtype=torch.float64)
    output, weights = module.attend(h, pn.padding_mask(torch.tensor(lengths), 5))
    projection, head = module.projection.weight.detach().numpy(), module.head.detach().numpy()
    expected, expected_weights = np.zeros((4, 5, 6)), np.zeros((4, 5, 4))
    for b, length in enumerate(lengths):
        states = h[b].numpy()
        for t in range(1, length):
            pairs = [np.concatenate([states[s], states[s + 1]]) for s in range(t)]
            scores = [np.exp(head @ (projection @ pair)) for pair in pairs]
            for s in range(t):
                expected_weights[b, t, s] = scores[s] / sum(scores)
                expected[b, t] += expected_weights[b, t, s] * pairs[s]
    np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-13)
    np.testing.assert_allclose(weights.detach().numpy(), expected_weights, atol=1e-13)


def test_gradients() -> None:
    torch.manual_seed(10)
    module = pn.PairAttention(2).double()
    h = random(2, 4, 2)
    valid = pn.padding_mask(torch.tensor([4, 3]), 4)
    check_gradients(module, lambda: module(h, valid), h)
