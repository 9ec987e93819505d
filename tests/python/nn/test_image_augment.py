"""`ImageAugment`: nothing where nothing is asked for, whole shifts against numpy, the same seed to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene.nn as pn
import pytest
import torch

EACH = {"shift": 2, "rotate": 20.0, "scale": 0.3, "crop": 0.3, "flip": 0.5, "brightness": 0.2, "contrast": 0.4}


def pictures(rows: int = 40, height: int = 9, width: int = 7) -> torch.Tensor:
    return torch.rand(rows, 2, height, width, generator=torch.Generator().manual_seed(1))


def drawn(x: torch.Tensor, seed: int = 0, **options: Any) -> torch.Tensor:
    torch.manual_seed(seed)
    return pn.ImageAugment(**options)(x)


def shifted(x: np.ndarray, dy: int, dx: int) -> np.ndarray:
    out = np.zeros_like(x)
    height, width = x.shape[1:]
    for i in range(height):
        for j in range(width):
            if 0 <= i - dy < height and 0 <= j - dx < width:
                out[:, i, j] = x[:, i - dy, j - dx]
    return out


def test_amounts_of_zero_and_evaluation_change_no_bit() -> None:
    x = pictures()
    state = torch.get_rng_state()
    assert torch.equal(pn.ImageAugment()(x), x)
    assert torch.equal(pn.ImageAugment(**EACH).eval()(x), x)
    assert torch.equal(torch.get_rng_state(), state)  # and draw nothing


def test_shifts_are_by_whole_pixels_and_reach_every_place() -> None:
    x = pictures()
    out, seen = drawn(x, shift=2).numpy(), set()
    for before, after in zip(x.numpy(), out, strict=True):
        fits = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.abs(shifted(before, dy, dx) - after).max() < 1e-5
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) > 15 and {dy for dy, _ in seen} == {dx for _, dx in seen} == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("name", EACH)
def test_each_amount_changes_images_and_a_seed_repeats_it(name: str) -> None:
    x, given = pictures(), {name: EACH[name]}
    out = drawn(x, **given)
    assert out.shape == x.shape and not torch.equal(out, x)
    assert torch.equal(drawn(x, **given), out)
    assert not torch.equal(drawn(x, seed=1, **given), out)
    assert float(out.min()) >= 0 and float(out.max()) <= 1


def test_one_change_does_not_alter_the_draws_of_another() -> None:
    x = pictures()
    alone = drawn(x, flip=0.5)
    turned = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(alone, x, strict=True)])
    assert 10 < int(turned.sum()) < 30
    assert all(torch.equal(alone[i], x[i]) for i in (~turned).nonzero().flatten().tolist())
    moved, both = drawn(x, shift=2), drawn(x, shift=2, flip=0.5)
    assert torch.equal(both, torch.where(turned.view(-1, 1, 1, 1), moved.flip(3), moved))


def test_a_quarter_turn_is_that_of_numpy() -> None:
    x = pictures(200, 5, 5)
    out, angles = drawn(x, rotate=180.0), []
    for quarter in range(4):
        turned = torch.from_numpy(np.ascontiguousarray(np.rot90(x.numpy(), -quarter, (2, 3))))
        angles.append((turned - out).abs().amax((1, 2, 3)).min().item())
    assert max(angles) < 0.25  # of 200 drawn angles one is near each quarter
    torch.testing.assert_close(out[:, :, 2, 2], x[:, :, 2, 2])  # the centre stays
    level = drawn(torch.ones(20, 1, 9, 9), rotate=180.0)
    torch.testing.assert_close(level[:, :, 2:7, 2:7], torch.ones(20, 1, 5, 5))


def test_crop_enlarges_a_window_and_scale_keeps_the_centre() -> None:
    ramp = torch.arange(20.0).div(20).expand(60, 1, 20, 20)
    rise = drawn(ramp, crop=0.5)[:, 0, 10, 5:15].diff(dim=1).mean(1) * 20  # pixels of the source a pixel
    assert float(rise.min()) > 0.45 and float(rise.max()) < 1.01 and float(rise.std()) > 0.05
    scaled = drawn(ramp, scale=1.0)
    rise = scaled[:, 0, 10, 8:12].diff(dim=1).mean(1) * 20
    assert 0.49 < float(rise.min()) < 0.75 and 1.3 < float(rise.max()) < 2.01
    torch.testing.assert_close(scaled[:, 0, 10, 9:11].mean(1), torch.full((60,), 9.5 / 20))


def test_colours_are_those_of_the_formula() -> None:
    x = pictures(30) * 0.2 + 0.4  # so that nothing is cut off
    out = drawn(x, brightness=0.2)
    added = (out - x).flatten(1)
    torch.testing.assert_close(added, added.mean(1, keepdim=True).expand_as(added))
    assert float(added.abs().max()) <= 0.2 and float(added.std()) > 0.05
    mean = x.mean((1, 2, 3), keepdim=True)
    stretched = ((drawn(x, contrast=0.5) - mean) / (x - mean)).flatten(1).median(1).values
    assert float(stretched.min()) > 0.5 - 1e-3 and float(stretched.max()) < 1.5 + 1e-3
    torch.testing.assert_close(drawn(x, contrast=0.5).mean((1, 2, 3)), mean.flatten())


def test_gradients_reach_the_image() -> None:
    x = pictures(3).double().requires_grad_()
    drawn(x, **EACH).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shift": -1}, "ImageAugment: shift must be 0 or more, got -1"),
        ({"rotate": 181.0}, r"ImageAugment: rotate must be in \[0, 180\], got 181"),
        ({"crop": 1.0}, r"ImageAugment: crop must be in \[0, 1\), got 1"),
        ({"flip": 1.5}, r"ImageAugment: flip must be in \[0, 1\], got 1.5"),
        ({"scale": float("nan")}, "ImageAugment: scale must be 0 or more, got nan"),
    ],
)
def test_amounts_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pn.ImageAugment(**options)


def test_images_have_four_dimensions() -> None:
    with pytest.raises(ValueError, match=r"ImageAugment: x must be \[B, C, h, w\], got \[3, 8, 8\]"):
        pn.ImageAugment(shift=1)(torch.zeros(3, 8, 8))
