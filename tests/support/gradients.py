"""Numerical gradients of modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def random(*shape: int) -> torch.Tensor:
    """Returns float64 standard normal numbers that take gradients."""
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def check_gradients(module: nn.Module, call: Callable[[], torch.Tensor], *inputs: torch.Tensor) -> None:
    """Compares the gradients of ``call()`` by ``inputs`` and by all parameters of ``module`` with numerical ones.

    Both are float64; every parameter must count, that is, have a gradient other than 0.
    """
    leaves = [*inputs, *module.parameters()]
    assert all(leaf.dtype == torch.float64 and leaf.requires_grad for leaf in leaves)
    grads = torch.autograd.grad(call().square().sum(), leaves)
    assert all(grad.abs().max() > 0 for grad in grads)
    assert torch.autograd.gradcheck(lambda *_: call(), leaves)
