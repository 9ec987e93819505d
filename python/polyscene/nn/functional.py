"""Masks, padding and losses. In every mask true means: take part."""

from __future__ import annotations

import torch

from polyscene import _C


def padding_mask(lengths: torch.Tensor, steps: int) -> torch.Tensor:
    """Returns a bool mask [B, steps], true for the first ``lengths[b]`` steps of row b.

    Args:
        lengths: integers [B], 0 to ``steps``.
        steps: number of columns.

    Raises:
        ValueError: ``lengths`` are not integers [B], or ``steps`` is negative.

    Example:
        >>> import torch
        >>> padding_mask(torch.tensor([2, 0]), 3)
        tensor([[ True,  True, False],
                [False, False, False]])
    """
    return _C.nn.padding_mask(lengths, steps)


def causal_mask(steps: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Returns a bool mask [steps, steps], true where the key (column) is not after the query (row).

    Example:
        >>> causal_mask(2)
        tensor([[ True, False],
                [ True,  True]])
    """
    return _C.nn.causal_mask(steps, torch.device(device))


def attention_mask(valid: torch.Tensor, causal: bool) -> torch.Tensor:
    """Returns what each step may attend to: valid keys and, when ``causal``, none after itself.

    Args:
        valid: bool [B, T].
        causal: whether later steps are hidden.

    Returns:
        bool [B, T, T] when ``causal``, else [B, 1, T].

    Example:
        >>> import torch
        >>> attention_mask(torch.tensor([[True, True, False]]), causal=True)
        tensor([[[ True, False, False],
                 [ True,  True, False],
                 [ True,  True, False]]])
    """
    return _C.nn.attention_mask(valid, causal)


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Softmax over the scores whose mask is true; the others are 0, and a row without any is all 0, not NaN.

    Args:
        scores: floating, any shape.
        mask: bool, broadcasts with ``scores``.
        dim: the dimension that adds up to 1.

    Example:
        >>> import torch
        >>> masked_softmax(torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]))
        tensor([[1., 0.],
                [0., 0.]])
    """
    return _C.nn.masked_softmax(scores, mask, dim)


def pad_ragged(values: torch.Tensor, offsets: torch.Tensor, max_steps: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Lays ragged rows side by side, padded on the right.

    Args:
        values: [L, ...], the events of all rows one after another.
        offsets: int64 [B + 1]; events of row b are ``offsets[b]`` to ``offsets[b + 1]``.
        max_steps: of a longer row the newest (last) events are kept; 0: no limit.

    Returns:
        Values [B, T, ...], 0 at padding, and bool [B, T], true for events.

    Raises:
        ValueError: ``offsets`` decrease or run past ``values``.

    Example:
        >>> import torch
        >>> pad_ragged(torch.arange(5), torch.tensor([0, 3, 5]), max_steps=2)[0]
        tensor([[1, 2],
                [3, 4]])
    """
    padded, valid = _C.nn.pad_ragged(values, offsets, max_steps)
    return padded, valid


def unpad_ragged(padded: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of :func:`pad_ragged` for rows that were not cut.

    Args:
        padded: [B, T, ...].
        valid: bool [B, T], valid events first.

    Returns:
        Values [L, ...] and int64 offsets [B + 1].

    Example:
        >>> import torch
        >>> padded, valid = pad_ragged(torch.arange(3), torch.tensor([0, 2, 3]))
        >>> unpad_ragged(padded, valid)
        (tensor([0, 1, 2]), tensor([0, 2, 3]))
    """
    values, offsets = _C.nn.unpad_ragged(padded, valid)
    return values, offsets


def last_state(states: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Returns the state of each row's last event, [B, H], 0 for a row without events, of states [B, T, H].

    Example:
        >>> import torch
        >>> states = torch.arange(4.0).view(1, 4, 1)
        >>> last_state(states, torch.tensor([[True, True, False, False]]))
        tensor([[1.]])
    """
    return _C.nn.last_state(states, valid)


def ragged_attention(
    q: torch.Tensor, kv: torch.Tensor, offsets: torch.Tensor, heads: int = 1, causal: bool = True, dropout: float = 0.0
) -> torch.Tensor:
    r"""Returns self-attention within each of many sequences that lie one after another, without padding, [L, D].

    .. math:: o_i = \sum_j \text{softmax}_j(q_i \cdot k_j / \sqrt{D / \text{heads}})\, v_j

    over j up to i of the same sequence where ``causal``, else over all of it.

    Args:
        q: queries [L, D].
        kv: keys, then values, [L, 2 D].
        offsets: int64 [B + 1], sequence b lies in [offsets[b], offsets[b + 1]).
        heads: must divide D.
        causal: whether what comes later is not seen.
        dropout: of the weights, in [0, 1).

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> import torch
        >>> v = torch.tensor([[1.0], [3.0], [5.0]])
        >>> kv = torch.cat([torch.zeros(3, 1), v], 1)
        >>> ragged_attention(torch.zeros(3, 1), kv, torch.tensor([0, 2, 3])).T
        tensor([[1., 2., 5.]])
    """
    return _C.nn.ragged_attention(q, kv, offsets, heads, causal, dropout)
