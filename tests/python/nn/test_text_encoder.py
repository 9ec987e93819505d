"""`TextEncoder` against words one after another in numpy, and what a text must not know."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from slow_texts import state_of, text_vector

KINDS = ("mean", "bilstm", "cnn", "transformer")
LENGTHS = [3, 0, 1, 6, 0]
every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, **options: Any) -> Any:
    torch.manual_seed(2)
    return pn.TextEncoder(5, **{"kind": kind, "hidden": 8, "layers": 2, "max_length": 9} | options).double()


def texts(lengths: list[int] = LENGTHS) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(sum(lengths), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0, *np.cumsum(lengths)])


@every_kind
def test_matches_numpy(kind: str) -> None:
    encoder, (x, offsets) = made(kind), texts()
    out, weights = encoder.attend(x, offsets)
    torch.testing.assert_close(encoder(x, offsets), out)
    state = state_of(encoder)
    for b, (start, end) in enumerate(itertools.pairwise(offsets)):
        vector, expected = text_vector(state, encoder.options, x[start:end].numpy())
        np.testing.assert_allclose(out[b].detach(), vector, atol=1e-10)
        np.testing.assert_allclose(weights[start:end].detach(), expected, atol=1e-10)


@every_kind
def test_a_text_knows_nothing_of_the_others(kind: str) -> None:
    encoder, (x, offsets) = made(kind), texts()
    alone = encoder(x[4:], torch.tensor([0, 6]))[0]
    torch.testing.assert_close(encoder(x, offsets)[3], alone)
    longer = encoder(torch.cat([x, torch.full((9, 5), 1e3, dtype=torch.float64)]), torch.tensor([*offsets, 19]))
    torch.testing.assert_close(longer[:5], encoder(x, offsets))


@every_kind
def test_a_text_without_words_is_zero_with_finite_gradients(kind: str) -> None:
    encoder, (x, offsets) = made(kind), texts()
    out = encoder(x.requires_grad_(), offsets)
    assert out[1].tolist() == [0] * encoder.output_size
    out.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    assert encoder(x[:0], torch.zeros(3, dtype=torch.int64)).tolist() == [[0] * encoder.output_size] * 2
    assert encoder(x[:0], torch.zeros(1, dtype=torch.int64)).shape == (0, encoder.output_size)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_parameter_has_the_gradient_of_its_differences(kind: str) -> None:
    encoder, (x, offsets) = made(kind, layers=1, hidden=4), texts([2, 3])
    encoder(x, offsets).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        flat, grad = parameter.data.view(-1), parameter.grad
        assert grad is not None, name
        at, step = int(grad.abs().argmax()), 1e-6
        values = []
        for sign in (1, -1):
            flat[at] += sign * step
            values.append(encoder(x, offsets).square().sum().item())
            flat[at] -= sign * step
        assert grad.view(-1)[at].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "lstm"}, "TextEncoder: kind must be one of mean, bilstm, cnn, transformer, got 'lstm'; did you mean"),
        ({"kernel": 2}, "TextEncoder: kernel must be odd, got 2"),
        ({"kind": "bilstm", "hidden": 7}, "TextEncoder: hidden must be even, half of it for each direction, got 7"),
        ({"kind": "transformer", "heads": 3}, r"TextEncoder: heads \(3\) must divide hidden \(8\)"),
        ({"dropout": 1.0}, r"TextEncoder: dropout must be in \[0, 1\), got 1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        made(**{"kind": "cnn"} | options)


def test_inputs_that_do_not_fit() -> None:
    encoder, (x, offsets) = made("transformer"), texts()
    with pytest.raises(ValueError, match=r"TextEncoder: x must be \[L, 5\], got \[10, 4\]"):
        encoder(x[:, :4], offsets)
    with pytest.raises(ValueError, match="TextEncoder: offsets must run from 0 to the 10 words, got 0 to 9"):
        encoder(x, offsets.clamp_max(9))
    with pytest.raises(ValueError, match="TextEncoder: texts may have 9 words, got 10; raise max_length"):
        encoder(x, torch.tensor([0, 10]))
