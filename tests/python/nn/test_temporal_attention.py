"""Attention over time against loops."""

from __future__ import annotations

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random


def slow_context(weight: np.ndarray, x: np.ndarray, h: np.ndarray, steps: range) -> tuple[np.ndarray, list[float]]:
    scores = []
    for s in steps:
        before = h[s - 1] if s > 0 else np.zeros(h.shape[1])
        scores.append(np.exp(weight @ np.concatenate([before, x[s]]) / len(weight) ** 0.5))
    weights = [score / sum(scores) for score in scores]
    return np.sum([a * x[s] for a, s in zip(weights, steps, strict=True)], axis=0), weights


@pytest.mark.parametrize("causal", [True, False])
def test_matches_loops(causal: bool) -> None:
    torch.manual_seed(7)
    module = pn.TemporalAttention(2, 3, causal=causal).double()
    torch.nn.init.normal_(module.weight)
    lengths, x, h = [5, 3, 0], torch.randn(3, 5, 2, dtype=torch.float64), torch.randn(3, 5, 3, dtype=torch.float64)
    output, weights = module.attend(x, h, pn.padding_mask(torch.tensor(lengths), 5))
    expected, expected_weights = np.zeros(output.shape), np.zeros(weights.shape)
    for b, length in enumerate(lengths):
        arrays = module.weight.detach().numpy(), x[b].numpy(), h[b].numpy()
        if causal:
            for t in range(length):
                expected[b, t], expected_weights[b, t, : t + 1] = slow_context(*arrays, range(t + 1))
        elif length:
            expected[b], expected_weights[b, :length] = slow_context(*arrays, range(length))
    np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-13)
    np.testing.assert_allclose(weights.detach().numpy(), expected_weights, atol=1e-13)
    assert torch.equal(module(x, h), module(x, h, torch.ones(3, 5, dtype=torch.bool)))


@pytest.mark.parametrize("causal", [True, False])
def test_gradients(causal: bool) -> None:
    torch.manual_seed(8)
    module = pn.TemporalAttention(2, 3, causal=causal).double()
    x, h = random(2, 4, 2), random(2, 4, 3)
    valid = pn.padding_mask(torch.tensor([4, 2]), 4)
    check_gradients(module, lambda: module(x, h, valid), x, h)
