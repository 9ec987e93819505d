"""The multi-layer perceptron against the same made of torch's layers."""

from __future__ import annotations

from typing import Any

import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random
from torch import nn

ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "identity": nn.Identity,
}


def reference(mlp: pn.MLP) -> nn.Sequential:
    options, layers, width = mlp.options, [], 3
    for k, size in enumerate(options["hidden"]):
        layers.append(nn.Linear(width, size))
        layers[-1].load_state_dict(getattr(mlp.linears, str(k)).state_dict())
        if options["norm"] != "none":
            layers.append(nn.BatchNorm1d(size) if options["norm"] == "batch" else nn.LayerNorm(size))
        layers.append(ACTIVATIONS[options["activation"]]())
        width = size
    if options["output"]:
        layers.append(nn.Linear(width, options["output"]))
        layers[-1].load_state_dict(mlp.output.state_dict())
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", [0, 2])
def test_matches_torch(norm: str, activation: str, output: int) -> None:
    torch.manual_seed(18)
    mlp = pn.MLP(3, hidden=[5, 4], norm=norm, activation=activation, output=output).double()
    other = reference(mlp)
    for training in (True, True, False):
        mlp.train(training)
        other.train(training)
        x = torch.randn(9, 3, dtype=torch.float64)
        torch.testing.assert_close(mlp(x), other(x))
    buffers = [buffer for name, buffer in mlp.state_dict().items() if "running" in name or "tracked" in name]
    expected = [buffer for name, buffer in other.state_dict().items() if "running" in name or "tracked" in name]
    assert len(buffers) == (6 if norm == "batch" else 0)
    torch.testing.assert_close(buffers, expected)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_gradients(norm: str) -> None:
    torch.manual_seed(19)
    mlp = pn.MLP(2, hidden=[3], norm=norm, activation="tanh", output=1).double()
    if norm == "batch":  # otherwise the bias before the norm cancels
        mlp.eval()
    x = random(4, 2)
    check_gradients(mlp, lambda: mlp(x), x)


def test_dropout_keeps_the_mean() -> None:
    torch.manual_seed(20)
    mlp = pn.MLP(1, hidden=[20_000], dropout=0.25, activation="identity")
    with torch.no_grad():
        mlp.linears.get_submodule("0").weight.fill_(1.0)
        mlp.linears.get_submodule("0").bias.zero_()
        out = mlp(torch.ones(1))
    assert sorted(set(out.tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)


def test_part_in_evaluation_mode_freezes_its_norm() -> None:
    mlp = pn.MLP(3, hidden=[4], norm="batch")
    mlp.norms.eval()
    mlp(torch.randn(8, 3))
    assert mlp.norms.state_dict()["0.num_batches_tracked"] == 0
    mlp.train()
    mlp(torch.randn(8, 3))
    assert mlp.norms.state_dict()["0.num_batches_tracked"] == 1
