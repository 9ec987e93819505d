"""What draws samples together, against loops and golden values."""

from __future__ import annotations

import math

import polyscene as ps
import pytest
import torch
from polyscene import nn


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_reversed_gradient() -> None:
    x = random(3, 2).requires_grad_()
    assert torch.equal(nn.reverse_gradient(x, 0.7), x)
    (nn.reverse_gradient(x, 0.7) ** 3).sum().backward()
    torch.testing.assert_close(x.grad, -0.7 * 3 * x.detach() ** 2)
    # Numerically: the gradient of the turned function, for the part in front of it alone.
    w = random(2, 4, seed=1).requires_grad_()
    found = torch.autograd.grad((nn.reverse_gradient(x @ w, 0.5) ** 2).sum(), [x, w])
    want = torch.autograd.grad(((x @ w) ** 2).sum(), [x, w])
    for mine, plain in zip(found, want, strict=True):
        torch.testing.assert_close(mine, -0.5 * plain)


def test_schedule_of_the_reversal() -> None:
    assert nn.reversal_strength(0.0) == 0
    assert nn.reversal_strength(0.5) == pytest.approx(0.9866142982, abs=1e-10)
    assert nn.reversal_strength(1.0) == pytest.approx(0.9999092043)


def test_mmd_golden_value() -> None:
    x, y = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[1.0], [2.0]]).double()
    assert nn.mmd(x, y, scales=[1.0], bandwidth=1.0).item() == pytest.approx(0.0388630180, abs=1e-10)


@pytest.mark.parametrize("bandwidth", [0.0, 2.0])
def test_mmd_matches_loops(bandwidth: float) -> None:
    x, y = random(5, 3), random(4, 3, seed=1) + 0.5
    both = torch.cat([x, y])
    s2 = bandwidth
    if s2 == 0:
        pairs = [float(((a - b) ** 2).sum()) for i, a in enumerate(both) for j, b in enumerate(both) if i != j]
        s2 = sum(pairs) / len(pairs)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return sum(math.exp(-float(((a - b) ** 2).sum()) / (2 * c * s2)) for c in (0.5, 1.0, 2.0))

    within = [
        sum(kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j) / (len(z) * (len(z) - 1))
        for z in (x, y)
    ]
    between = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    assert nn.mmd(x, y, bandwidth=bandwidth).item() == pytest.approx(sum(within) - 2 * between, rel=1e-9)


def test_mmd_is_unbiased_and_differentiable() -> None:
    values = [nn.mmd(random(20, 2, seed=i), random(20, 2, seed=1000 + i)).item() for i in range(400)]
    mean = sum(values) / len(values)
    error = (sum((value - mean) ** 2 for value in values) / len(values) ** 2) ** 0.5
    assert abs(mean) < 4 * error and min(values) < 0
    x, y = random(4, 2).requires_grad_(), random(3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nn.mmd(a, b, bandwidth=1.5), (x, y))


def test_coral_golden_value_and_loops() -> None:
    x, y = torch.tensor([[0.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 0.0], [2.0, -2.0]])
    assert nn.coral(x, y).item() == 2
    x, y = random(6, 3), random(5, 3, seed=1)
    total = 0.0
    for a in range(3):
        for b in range(3):
            c = []
            for z in (x, y):
                mean = z.mean(0)
                c.append(sum(float((row[a] - mean[a]) * (row[b] - mean[b])) for row in z) / (len(z) - 1))
            total += (c[0] - c[1]) ** 2
    assert nn.coral(x, y).item() == pytest.approx(total / (4 * 9), rel=1e-9)
    assert nn.coral(x, x + 3).item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.gradcheck(nn.coral, (x.requires_grad_(), y.requires_grad_()))


def test_distillation_matches_loops() -> None:
    s, t = random(4, 3), random(4, 3, seed=1)
    target = (t / 2).softmax(1)
    for row, lost in enumerate(nn.distillation(s, target, 2.0)):
        q = (s[row] / 2).softmax(0)
        want = sum(float(p) * (math.log(p) - math.log(float(q[c]))) for c, p in enumerate(target[row].tolist()))
        assert lost.item() == pytest.approx(4 * want, rel=1e-9)
    # T^2 keeps the size of the gradient as T grows: near s - t over C, for logits of mean 0.
    s, t = (z - z.mean(1, keepdim=True) for z in (s, t))
    s.requires_grad_()
    (found,) = torch.autograd.grad(nn.distillation(s, (t / 1e4).softmax(1), 1e4).sum(), s)
    torch.testing.assert_close(found, (s - t) / 3, rtol=1e-3, atol=1e-4)
    assert torch.autograd.gradcheck(lambda z: nn.distillation(z, target, 3.0), (random(4, 3).requires_grad_(),))


def test_shapes_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match=r"mmd: samples must be .* two rows each, got \[1, 2\] and \[3, 2\]"):
        nn.mmd(torch.zeros(1, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"coral: samples must be .* got \[3, 2\] and \[3, 4\]"):
        nn.coral(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"distillation: student and teacher must be \[B\] or \[B, C\] each"):
        nn.distillation(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match="distillation: temperature must be positive, got 0"):
        ps.nn.distillation(torch.zeros(3), torch.zeros(3), 0.0)
