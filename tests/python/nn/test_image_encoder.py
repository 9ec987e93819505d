"""`ImageEncoder` against loops in numpy, and what an image must not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from slow_images import image_map, image_vector
from slow_texts import state_of

KINDS = ("cnn", "resnet")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_norm = pytest.mark.parametrize("norm", ["group", "batch", "none"])


def made(kind: str, **options: Any) -> Any:
    torch.manual_seed(2)
    encoder = pn.ImageEncoder(3, **{"kind": kind, "widths": [4, 6], "layers": 2} | options).double()
    with torch.no_grad():
        for tensor in encoder.state_dict().values():  # away from norms and biases that do nothing
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, dtype=torch.float64))
    return encoder.eval()


def pictures(rows: int = 3, height: int = 7, width: int = 6) -> torch.Tensor:
    return torch.randn(rows, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_kind
@every_norm
@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_matches_numpy(kind: str, norm: str, pool: str) -> None:
    encoder, x = made(kind, norm=norm, pool=pool), pictures()
    out, weights = encoder.attend(x)
    torch.testing.assert_close(encoder(x), out)
    state = state_of(encoder)
    for b, image in enumerate(x.numpy()):
        vector, expected = image_vector(state, encoder.options, image)
        np.testing.assert_allclose(out[b].detach(), vector, atol=1e-10)
        np.testing.assert_allclose(weights[b].detach(), expected, atol=1e-10)
        np.testing.assert_allclose(encoder.map(x)[b].detach(), image_map(state, encoder.options, image), atol=1e-10)


@every_kind
@pytest.mark.parametrize("kernel", [1, 5])
def test_other_filters_and_small_images(kind: str, kernel: int) -> None:
    encoder = made(kind, kernel=kernel, widths=[2, 4, 3], layers=1)
    for height, width in ((1, 1), (2, 5), (8, 3)):
        x = pictures(2, height, width)
        out, weights = encoder.attend(x)
        for b, image in enumerate(x.numpy()):
            vector, expected = image_vector(state_of(encoder), encoder.options, image)
            np.testing.assert_allclose(out[b].detach(), vector, atol=1e-10)
            assert weights[b].shape == expected.shape


@every_kind
def test_an_image_knows_nothing_of_the_others(kind: str) -> None:
    encoder, x = made(kind).train(), pictures(5)
    out = encoder(x)
    torch.testing.assert_close(encoder(x[3:4])[0], out[3])
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(encoder(x[order]), out[order])
    found = encoder.attend(x[:0])
    assert found.output.shape == (0, 6) and found.weights.shape[1:] == encoder.attend(x).weights.shape[1:]


def test_batch_norm_learns_its_statistics_in_training_alone() -> None:
    encoder, x = made("cnn", norm="batch"), pictures(6)
    before = encoder.state_dict()["norms.0.running_mean"].clone()
    encoder(x)
    assert torch.equal(encoder.state_dict()["norms.0.running_mean"], before)
    encoder.train()(x)
    assert not torch.equal(encoder.state_dict()["norms.0.running_mean"], before)


@every_kind
def test_every_parameter_has_the_gradient_of_its_differences(kind: str) -> None:
    encoder, x = made(kind, layers=1, widths=[3, 4]), pictures(2)
    encoder(x).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        flat, grad = parameter.data.view(-1), parameter.grad
        assert grad is not None, name
        at, step = int(grad.abs().argmax()), 1e-6
        values = []
        for sign in (1, -1):
            flat[at] += sign * step
            values.append(encoder(x).square().sum().item())
            flat[at] -= sign * step
        assert grad.view(-1)[at].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "resnett"}, "ImageEncoder: kind must be one of cnn, resnet, got 'resnett'; did you mean 'resnet'"),
        ({"norm": "layer"}, "ImageEncoder: norm must be one of group, batch, none, got 'layer'"),
        ({"pool": "max"}, "ImageEncoder: pool must be one of attention, mean, got 'max'"),
        ({"kernel": 2}, "ImageEncoder: kernel must be odd, got 2"),
        ({"widths": []}, r"ImageEncoder: widths must name at least one width, got \[\]"),
        ({"widths": [4, 0]}, "ImageEncoder: widths must be positive, got 0"),
        ({"layers": 0}, "ImageEncoder: layers must be positive, got 0"),
        ({"dropout": 1.0}, r"ImageEncoder: dropout must be in \[0, 1\), got 1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pn.ImageEncoder(1, **options)


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"ImageEncoder: x must be \[B, 3, h, w\], got \[2, 1, 4, 4\]"):
        made("cnn")(torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="ImageEncoder: channels must be positive, got 0"):
        pn.ImageEncoder(0)
