"""Attention over features against loops."""

from __future__ import annotations

import math

import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random


@pytest.mark.parametrize("bias", [False, True])
def test_matches_loops(bias: bool) -> None:
    torch.manual_seed(11)
    module = pn.Gating(3, 4, bias=bias).double()
    x, context = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    output, gates = module.attend(x, context)
    for b in range(2):
        scores = []
        for d in range(3):
            score = sum(module.gate.weight[d, h].item() * context[b, h].item() for h in range(4))
            scores.append(math.exp(score + (module.gate.bias[d].item() if bias else 0)))
        for d in range(3):
            assert gates[b, d].item() == pytest.approx(scores[d] / sum(scores), abs=1e-14)
            assert output[b, d].item() == pytest.approx(scores[d] / sum(scores) * x[b, d].item(), abs=1e-14)


def test_gradients() -> None:
    torch.manual_seed(12)
    module = pn.Gating(3, 4, bias=True).double()
    x, context = random(2, 3), random(2, 4)
    check_gradients(module, lambda: module(x, context), x, context)
