"""Interest points against loops."""

from __future__ import annotations

import numpy as np
import polyscene.nn as pn
import torch
from gradients import check_gradients, random


def test_matches_loops() -> None:
    torch.manual_seed(16)
    module = pn.InterestPoints(3, points=4, kernel=5).double()
    lengths, context = [7, 2, 0], torch.randn(3, 7, 3, dtype=torch.float64)
    points = module.extract(context, pn.padding_mask(torch.tensor(lengths), 7))
    weight, bias = module.convolution.weight.detach().numpy(), module.convolution.bias.detach().numpy()
    for b, length in enumerate(lengths):
        for p in range(4):
            answers = []
            for t in range(length):
                inside = [k for k in range(5) if 0 <= t + k - 2 < length]
                answer = bias[p] + sum(weight[p, :, k] @ context[b, t + k - 2].numpy() for k in inside)
                answers.append(max(answer, 0.0))
            best = max(answers, default=0.0)
            assert abs(points.values[b, p].item() - best) < 1e-13
            if best > 0:
                assert points.steps[b, p].item() == int(np.argmax(answers))


def test_gradients() -> None:
    torch.manual_seed(17)
    module = pn.InterestPoints(2, points=6).double()
    context = random(2, 4, 2)
    valid = pn.padding_mask(torch.tensor([4, 2]), 4)
    check_gradients(module, lambda: module(context, valid), context)
