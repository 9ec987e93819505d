"""`UNet` against loops over pixels in numpy, its loss, and the metric of pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polyscene as ps
import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random
from sklearn.metrics import jaccard_score
from slow_texts import sigmoid, state_of

NORMS = ("none", "batch", "group")


def made(**options: Any) -> Any:
    torch.manual_seed(6)  # no dead units without norm
    net = pn.UNet(2, 3, **{"channels": 2, "depth": 2} | options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 1:  # also norms, which start at 1 and 0
                parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64))
    return net


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


def convolved(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | float, step: int = 1, around: int = 0
) -> np.ndarray:
    """Convolution of one image [C, H, W], pixel by pixel."""
    size = weight.shape[2]
    x = np.pad(x, ((0, 0), (around, around), (around, around)))
    rows, columns = (x.shape[1] - size) // step + 1, (x.shape[2] - size) // step + 1
    out = np.zeros((len(weight), rows, columns))
    for i in range(rows):
        for j in range(columns):
            part = x[:, i * step : i * step + size, j * step : j * step + size]
            out[:, i, j] = (weight * part).sum((1, 2, 3)) + bias
    return out


def grown(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Transposed convolution of 2 x 2 in steps of 2."""
    out = np.zeros((weight.shape[1], 2 * x.shape[1], 2 * x.shape[2])) + bias[:, None, None]
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            for a in range(2):
                for b in range(2):
                    out[:, 2 * i + a, 2 * j + b] += x[:, i, j] @ weight[:, :, a, b]
    return out


def resized(x: np.ndarray) -> np.ndarray:
    """Twice the size, linear between the centres of pixels, [H, W]."""
    out = np.zeros((2 * x.shape[0], 2 * x.shape[1]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            y, z = max((i + 0.5) / 2 - 0.5, 0), max((j + 0.5) / 2 - 0.5, 0)
            top, left = int(y), int(z)
            below, right = min(top + 1, x.shape[0] - 1), min(left + 1, x.shape[1] - 1)
            dy, dz = y - top, z - left
            above = x[top, left] * (1 - dz) + x[top, right] * dz
            under = x[below, left] * (1 - dz) + x[below, right] * dz
            out[i, j] = above * (1 - dy) + under * dy
    return out


def group_normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    channels = len(x)
    groups = math.gcd(8, channels) if math.gcd(8, channels) < channels else 1
    out = np.zeros_like(x)
    for g in range(groups):
        own = slice(g * channels // groups, (g + 1) * channels // groups)
        out[own] = (x[own] - x[own].mean()) / np.sqrt(x[own].var() + 1e-5)
    return out * weight[:, None, None] + bias[:, None, None]


def block(state: dict[str, np.ndarray], name: str, x: np.ndarray, norm: str) -> np.ndarray:
    step = 1 if norm == "none" else 2
    for at in (0, step):
        x = convolved(x, state[f"{name}.{at}.weight"], 0.0, around=1)
        if norm == "none":
            x = x + state[f"{name}.{at}.bias"][:, None, None]
        elif norm == "group":
            x = group_normed(x, state[f"{name}.{at + 1}.weight"], state[f"{name}.{at + 1}.bias"])
        else:  # in evaluation
            mean, var, weight, bias = (
                state[f"{name}.{at + 1}.{which}"][:, None, None]
                for which in ("running_mean", "running_var", "weight", "bias")
            )
            x = (x - mean) / np.sqrt(var + 1e-5) * weight + bias
        x = np.maximum(x, 0)
    return x


def slow(net: Any, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits [K, H, W] and gates of one image."""
    state, options = state_of(net), net.options
    depth, height, width = options["depth"], x.shape[1], x.shape[2]
    unit = 2**depth
    h = np.pad(x, ((0, 0), (0, -height % unit), (0, -width % unit)))
    levels, gates = [], []
    for level in range(depth + 1):
        if level > 0:
            h = h.reshape(len(h), h.shape[1] // 2, 2, h.shape[2] // 2, 2).max((2, 4))
        h = block(state, f"down.{level}", h, options["norm"])
        levels.append(h)
    for level in range(depth - 1, -1, -1):
        skip = levels[level]
        if options["attention"] and level > 0:
            at = level - 1
            both = convolved(skip, state[f"skip_gates.{at}.weight"], 0.0, step=2)
            both = both + convolved(h, state[f"up_gates.{at}.weight"], state[f"up_gates.{at}.bias"])
            score = convolved(np.maximum(both, 0), state[f"gate_scores.{at}.weight"], state[f"gate_scores.{at}.bias"])
            gate = resized(sigmoid(score)[0])
            skip = skip * gate
            gates.insert(0, gate[: -(-height // 2**level), : -(-width // 2**level)])
        larger = grown(h, state[f"grow.{level}.weight"], state[f"grow.{level}.bias"])
        h = block(state, f"up.{level}", np.concatenate([skip, larger]), options["norm"])
    return convolved(h, state["output.weight"], state["output.bias"])[:, :height, :width], gates


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attention", [True, False])
def test_matches_numpy(norm: str, attention: bool) -> None:
    net, x = made(norm=norm, attention=attention), images(2, 2, 7, 6)
    if norm == "batch":
        net(images(3, 2, 8, 8))  # moves the running statistics
    net.eval()
    out, gates = net(x), net.gates(x)
    assert out.shape == (2, 3, 7, 6) and len(gates) == int(attention)
    for b in range(2):
        expected, expected_gates = slow(net, x[b].numpy())
        np.testing.assert_allclose(out[b].detach(), expected, atol=1e-10)
        for gate, wanted in zip(gates, expected_gates, strict=True):
            np.testing.assert_allclose(gate[b].detach(), wanted, atol=1e-10)


def test_gates_of_every_level_in_three_levels_and_norms_of_several_groups() -> None:
    net, x = made(depth=3, channels=3, norm="group"), images(1, 2, 9, 17)  # 24 channels in eight groups at the coarsest
    logits, expected = slow(net, x[0].numpy())
    np.testing.assert_allclose(net(x)[0].detach(), logits, atol=1e-10)
    assert [gate.shape for gate in expected] == [(5, 9), (3, 5)]
    for gate, wanted in zip(net.gates(x), expected, strict=True):
        np.testing.assert_allclose(gate[0].detach(), wanted, atol=1e-10)


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (13, 4)])
def test_any_size_and_no_neighbours(norm: str, size: tuple[int, int]) -> None:
    net, x = made(norm=norm), images(3, 2, *size)
    out = net(x)
    assert out.shape == (3, 3, *size)
    torch.testing.assert_close(net(x[1:2]), out[1:2])
    assert net(x[:0]).shape == (0, 3, *size)


def test_one_pixel_in_training_uses_the_running_statistics() -> None:
    net = made(norm="batch")
    state = {name: value.clone() for name, value in net.named_buffers()}
    assert net(images(1, 2, 1, 1)).isfinite().all()
    coarsest = {name: value for name, value in net.named_buffers() if name.startswith("down.2")}
    assert coarsest and all(torch.equal(value, state[name]) for name, value in coarsest.items())


def test_dropout_is_of_training_alone() -> None:
    net, x = made(dropout=0.5, channels=8, norm="none"), images(1, 2, 8, 8)
    torch.manual_seed(0)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("norm", NORMS)
def test_gradients(norm: str) -> None:
    net = made(norm=norm).eval()
    x = random(1, 2, 4, 8)
    check_gradients(net, lambda: net(x), x)


def slow_loss(logits: np.ndarray, label: np.ndarray, dice: float, ignore: int) -> float:
    lost, pixels = 0.0, 0
    hit, below = np.zeros(logits.shape[1]), np.zeros(logits.shape[1])
    for b, i, j in np.ndindex(label.shape):
        y = label[b, i, j]
        if y == ignore:
            continue
        p = np.exp(logits[b, :, i, j]) / np.exp(logits[b, :, i, j]).sum()
        lost, pixels = lost - np.log(p[y]), pixels + 1
        hit[y] += p[y]
        below += p
        below[y] += 1
    seen = np.unique(label[label != ignore])
    return lost / pixels + dice * (1 - (2 * hit[seen] / below[seen]).mean())


@pytest.mark.parametrize("dice", [0.0, 1.0, 0.3])
def test_loss_matches_pixel_by_pixel(dice: float) -> None:
    logits = images(2, 4, 3, 5).requires_grad_()
    label = torch.randint(-1, 3, (2, 3, 5), generator=torch.Generator().manual_seed(1))  # none is of class 3
    loss = pn.segmentation_loss(logits, label, dice=dice)
    assert loss.item() == pytest.approx(slow_loss(logits.detach().numpy(), label.numpy(), dice, -1), abs=1e-12)
    assert torch.autograd.gradcheck(lambda z: pn.segmentation_loss(z, label, dice=dice), [logits])
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(1) > 0).equal(label != -1)


def test_loss_of_a_right_answer_and_of_none() -> None:
    label = torch.tensor([[[0, 1], [1, 0]]])
    right = torch.nn.functional.one_hot(label, 2).permute(0, 3, 1, 2) * 50.0
    assert pn.segmentation_loss(right, label).item() == pytest.approx(0, abs=1e-6)
    nothing = torch.zeros(1, 2, 2, 2, requires_grad=True)
    loss = pn.segmentation_loss(nothing, torch.full((1, 2, 2), 255), ignore=255)
    loss.backward()
    assert loss.item() == 0 and nothing.grad is not None and (nothing.grad == 0).all()


def test_overlap_of_classes_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(8)
    label = torch.randint(0, 5, (3, 9, 8), generator=generator)
    given = torch.where(torch.rand(label.shape, generator=generator) < 0.6, label, label.roll(1, 0))
    ignored = torch.rand(label.shape, generator=generator) < 0.2
    found = ps.vision.intersection_over_union(given, label.masked_fill(ignored, 255), classes=7, ignore=255)
    y, z = label[~ignored].numpy(), given[~ignored].numpy()
    np.testing.assert_allclose(found[:5], jaccard_score(y, z, labels=range(5), average=None), atol=1e-15)
    assert found[5:].isnan().all()
    assert found.nanmean().item() == pytest.approx(jaccard_score(y, z, average="macro"), abs=1e-15)


def test_learns_a_square_under_noise() -> None:
    generator = torch.Generator().manual_seed(2)
    label = torch.zeros(8, 16, 16, dtype=torch.int64)
    for b in range(8):
        label[b, b : b + 6, 3 : 3 + 6] = 1
    x = label[:, None].float() + 0.5 * torch.randn(8, 1, 16, 16, generator=generator)
    torch.manual_seed(0)
    net = pn.UNet(1, 2, channels=8, depth=2)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(30):
        optimiser.zero_grad()
        pn.segmentation_loss(net(x), label).backward()
        optimiser.step()
    assert ps.vision.intersection_over_union(net(x).argmax(1), label, 2).min() > 0.9


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"norm": "layer"}, "UNet: norm must be one of none, batch, group, got 'layer'"),
        ({"depth": 0}, "UNet: depth must be 1 to 8, got 0"),
        ({"channels": 0}, "UNet: channels must be positive, got 0"),
        ({"dropout": -0.1}, r"UNet: dropout must be in \[0, 1\), got -0.1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pn.UNet(2, 3, **options)


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="UNet: classes must be positive, got 0"):
        pn.UNet(2, 0)
    with pytest.raises(ValueError, match=r"UNet: x must be \[B, 2, H, W\], got \[1, 3, 4, 4\]"):
        made()(images(1, 3, 4, 4))
    logits, label = images(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"segmentation_loss: label must be int64 \[1, 3, 3\], got Float \[1, 3, 3\]"):
        pn.segmentation_loss(logits, label.float())
    with pytest.raises(ValueError, match=r"segmentation_loss: labels must be 0 to 1 or -1 \(ignored\), got 2"):
        pn.segmentation_loss(logits, label + 2)
    with pytest.raises(ValueError, match="segmentation_loss: dice must be 0 or more, got -1"):
        pn.segmentation_loss(logits, label, dice=-1)
    with pytest.raises(ValueError, match="predicted must hold classes 0 to 1, got 2"):
        ps.vision.intersection_over_union(label + 2, label, 2)
    with pytest.raises(ValueError, match=r"predicted must have the shape of label, \[1, 3, 3\], got \[3, 3\]"):
        ps.vision.intersection_over_union(label[0], label, 2)
