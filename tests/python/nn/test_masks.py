"""Masks and padding against loops."""

from __future__ import annotations

import math

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from torch.autograd import gradcheck


def test_masks_match_loops() -> None:
    lengths, steps = [3, 0, 5], 5
    valid = pn.padding_mask(torch.tensor(lengths), steps)
    assert valid.tolist() == [[t < length for t in range(steps)] for length in lengths]
    assert pn.causal_mask(steps).tolist() == [[s <= t for s in range(steps)] for t in range(steps)]
    both = [[[s <= t and s < length for s in range(steps)] for t in range(steps)] for length in lengths]
    assert pn.attention_mask(valid, causal=True).tolist() == both
    assert pn.attention_mask(valid, causal=False).tolist() == [[row] for row in valid.tolist()]


def slow_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    out = np.zeros_like(scores)
    for r in range(scores.shape[0]):
        total = sum(math.exp(s) for s, m in zip(scores[r], mask[r], strict=True) if m)
        for c in range(scores.shape[1]):
            if mask[r, c]:
                out[r, c] = math.exp(scores[r, c]) / total
    return out


def test_masked_softmax_matches_loops() -> None:
    torch.manual_seed(0)
    scores = torch.randn(20, 6, dtype=torch.float64)
    mask = torch.rand(20, 6) > 0.6
    mask[3] = False
    weights = pn.masked_softmax(scores, mask)
    np.testing.assert_allclose(weights.numpy(), slow_softmax(scores.numpy(), mask.numpy()), atol=1e-14)
    torch.testing.assert_close(pn.masked_softmax(scores.T, mask.T, dim=0).T, weights)


def test_masked_softmax_gradients() -> None:
    torch.manual_seed(0)
    scores = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(4, 5) > 0.5
    mask[0] = False
    assert gradcheck(lambda x: pn.masked_softmax(x, mask), (scores,))


@pytest.mark.parametrize("max_steps", [0, 1, 3, 9])
def test_pad_ragged_matches_loops(max_steps: int) -> None:
    rng = np.random.default_rng(0)
    lengths = [4, 0, 1, 7, 2]
    rows = [rng.normal(size=(length, 3)) for length in lengths]
    values = torch.tensor(np.concatenate(rows))
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    padded, valid = pn.pad_ragged(values, offsets, max_steps)
    steps = max(lengths) if max_steps == 0 else min(max_steps, max(lengths))
    assert padded.shape == (5, steps, 3)
    for b, row in enumerate(rows):
        newest = row[-steps:]
        np.testing.assert_array_equal(padded[b, : len(newest)].numpy(), newest)
        assert padded[b, len(newest) :].abs().sum() == 0
        assert valid[b].tolist() == [t < len(newest) for t in range(steps)]
    if steps == max(lengths):
        back, back_offsets = pn.unpad_ragged(padded, valid)
        assert torch.equal(back, values)
        assert torch.equal(back_offsets, offsets)


def test_pad_ragged_of_scalars_and_gradients() -> None:
    padded, _ = pn.pad_ragged(torch.arange(4), torch.tensor([0, 1, 4]))
    assert padded.tolist() == [[0, 0, 0], [1, 2, 3]]
    values = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: pn.pad_ragged(x, torch.tensor([0, 1, 4]), 2)[0], (values,))


def test_last_state_matches_loops() -> None:
    states = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    lengths = [4, 0, 2]
    last = pn.last_state(states, pn.padding_mask(torch.tensor(lengths), 4))
    for b, length in enumerate(lengths):
        assert torch.equal(last[b], states[b, length - 1] if length else torch.zeros(2))


def test_errors_are_value_errors_with_the_text_of_cpp() -> None:
    with pytest.raises(ValueError, match=r"^pad_ragged: offsets run to 9, but there are 4 values"):
        pn.pad_ragged(torch.arange(4), torch.tensor([0, 9]))
    with pytest.raises(ValueError, match=r"^unpad_ragged: the valid events of a row must come before its padding"):
        pn.unpad_ragged(torch.ones(1, 2), torch.tensor([[False, True]]))
    with pytest.raises(ValueError, match=r"^padding_mask: lengths must be integers \[B\], got Float \[1\]"):
        pn.padding_mask(torch.ones(1), 2)
