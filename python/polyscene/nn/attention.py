"""Attentions: one, many heads, over time, over adjacent pairs, over features; and the scores they rest on."""

from __future__ import annotations

from typing import Any

import torch

from polyscene import _C
from polyscene.nn._block import Attended, Block


def dot_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Returns ``q . k``, [B, Tq, Tk], of query [B, Tq, D] and key [B, Tk, D].

    Example:
        >>> import torch
        >>> dot_scores(torch.ones(1, 1, 4), torch.ones(1, 2, 4))
        tensor([[[4., 4.]]])
    """
    return _C.nn.dot_scores(query, key)


def scaled_dot_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Returns ``q . k / sqrt(D)``, [B, Tq, Tk], of query [B, Tq, D] and key [B, Tk, D].

    Example:
        >>> import torch
        >>> scaled_dot_scores(torch.ones(1, 1, 4), torch.ones(1, 2, 4))
        tensor([[[2., 2.]]])
    """
    return _C.nn.scaled_dot_scores(query, key)


def cosine_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Returns the cosines, [B, Tq, Tk], of query [B, Tq, D] and key [B, Tk, D]; a zero vector has cosine 0.

    Example:
        >>> import torch
        >>> cosine_scores(torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[3.0, 4.0], [-4.0, 3.0]]]))
        tensor([[[1., 0.]]])
    """
    return _C.nn.cosine_scores(query, key)


def additive_scores(
    query: torch.Tensor,
    key: torch.Tensor,
    query_weight: torch.Tensor,
    key_weight: torch.Tensor,
    bias: torch.Tensor,
    vector: torch.Tensor,
) -> torch.Tensor:
    """Returns ``v . tanh(W_q q + W_k k + b)``, [B, Tq, Tk] (Bahdanau et al., ICLR 2015).

    Args:
        query: [B, Tq, Dq].
        key: [B, Tk, Dk].
        query_weight: W_q, [A, Dq].
        key_weight: W_k, [A, Dk].
        bias: b, [A].
        vector: v, [A].

    Example:
        >>> import torch
        >>> q, k = torch.zeros(1, 1, 2), torch.ones(1, 3, 2)
        >>> W = torch.eye(2)
        >>> additive_scores(q, k, W, W, torch.zeros(2), torch.ones(2))
        tensor([[[1.5232, 1.5232, 1.5232]]])
    """
    return _C.nn.additive_scores(query, key, query_weight, key_weight, bias, vector)


def bilinear_scores(query: torch.Tensor, key: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Returns ``q W k``, [B, Tq, Tk], of query [B, Tq, Dq], key [B, Tk, Dk], weight [Dq, Dk] (Luong, EMNLP 2015).

    Example:
        >>> import torch
        >>> bilinear_scores(torch.ones(1, 1, 2), torch.ones(1, 1, 3), torch.ones(2, 3))
        tensor([[[6.]]])
    """
    return _C.nn.bilinear_scores(query, key, weight)


class AttentionScore(Block):
    """Scores of queries against keys, with the parameters that additive and bilinear scores need.

    Args:
        query_size: width of a query.
        key_size: width of a key; the same unless the score is additive or bilinear.
        options: ``score`` (dot, scaled_dot, cosine, additive, bilinear), ``hidden`` (width of the additive layer; 0:
            that of the keys).

    Example:
        >>> import torch
        >>> AttentionScore(4, 6, score="bilinear")(torch.ones(2, 3, 4), torch.ones(2, 5, 6)).shape
        torch.Size([2, 3, 5])
    """

    _impl_class = _C.nn.AttentionScore

    def __init__(self, query_size: int, key_size: int, **options: Any) -> None:
        super().__init__(query_size, key_size, **options)


class _Attention(Block):
    def attend(self, *args: Any, **kwargs: Any) -> Attended:
        """Returns the output and the weights; the arguments are those of the call."""
        self._check()
        return Attended(*self._impl.attend(*args, **kwargs))


class Attention(_Attention):
    r"""One attention (Bahdanau et al., ICLR 2015).

    .. math:: a_i = \text{softmax}_j(\text{score}(q_i, k_j)), \qquad o_i = \sum_j a_{ij} v_j

    Called with query [B, Tq, query_size], key [B, Tk, key_size], value [B, Tk, Dv] and, optionally, mask (bool,
    broadcasts to [B, Tq, Tk], true: may attend); returns [B, Tq, Dv]. A query with nothing to attend to has output 0.

    Args:
        query_size: width of a query.
        key_size: width of a key; the same unless the score is additive or bilinear.
        options: those of :class:`AttentionScore`.

    Example:
        >>> import torch
        >>> attention = Attention(4, 6, score="additive", hidden=8)
        >>> output, weights = attention.attend(torch.ones(2, 3, 4), torch.ones(2, 5, 6), torch.ones(2, 5, 7))
        >>> output.shape, weights.shape
        (torch.Size([2, 3, 7]), torch.Size([2, 3, 5]))
    """

    _impl_class = _C.nn.Attention

    def __init__(self, query_size: int, key_size: int, **options: Any) -> None:
        super().__init__(query_size, key_size, **options)


class MultiHeadAttention(_Attention):
    r"""Multi-head attention (Vaswani et al., NeurIPS 2017).

    .. math:: \text{head}_i = \text{softmax}(Q_i K_i^T / \sqrt{H / heads}) V_i, \qquad o = [head_1; \dots] W_o + b_o

    Called with query [B, Tq, size], key and value [B, Tk, key_size] and, optionally, valid (bool [B, Tk], true: the key
    counts) and mask ([Tq, Tk] or [B, Tq, Tk]; bool, true: may attend; floating: added to the scores, -inf: may not);
    returns [B, Tq, size]. :meth:`attend` returns the weights too, [B, heads, Tq, Tk], before dropout. Padded keys are
    never read, not even NaN.

    Args:
        size: width of queries and output.
        options: ``heads``, ``hidden`` (width of all projected queries; 0: ``size``), ``key_size`` (0: ``size``),
            ``scale`` ("head": scores divided by sqrt(hidden / heads); "hidden": by sqrt(hidden)), ``causal``,
            ``dropout`` (of the weights), ``bias``.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 5, 8)
        >>> MultiHeadAttention(8, heads=4, causal=True).attend(x, x, x).weights.shape
        torch.Size([2, 4, 5, 5])
    """

    _impl_class = _C.nn.MultiHeadAttention

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(size, **options)


class TemporalAttention(_Attention):
    r"""Attention over time that scores an event by itself and the state before it.

    .. math:: e_s = w \cdot [h_{s-1}; x_s] / \sqrt{H + D}, \quad c_t = \sum_{s \le t} \text{softmax}_{s \le t}(e_s) x_s

    Called with x [B, T, D], states [B, T, H] and, optionally, valid (bool [B, T], valid events first); returns contexts
    [B, T, D], or [B, D] without ``causal``. Steps and rows without events have context 0.

    Args:
        input_size: width of an event (D).
        state_size: width of a state (H).
        options: ``causal`` (one context per step from the steps up to it; else one per row from all its steps).

    Example:
        >>> import torch
        >>> TemporalAttention(3, 4)(torch.ones(2, 5, 3), torch.ones(2, 5, 4)).shape
        torch.Size([2, 5, 3])
    """

    _impl_class = _C.nn.TemporalAttention

    def __init__(self, input_size: int, state_size: int, **options: Any) -> None:
        super().__init__(input_size, state_size, **options)


class PairAttention(_Attention):
    r"""Attention over pairs of adjacent states, which sees transitions rather than single events.

    .. math:: c_t = \sum_{s < t} \text{softmax}_{s < t}(a \cdot W_v [h_s; h_{s+1}]) [h_s; h_{s+1}]

    Called with states [B, T, H] and, optionally, valid (bool [B, T], valid events first); returns [B, T, 2 H], 0 at the
    first step and at padding. Weight s of :meth:`attend`, [B, T, T - 1], is that of the pair of steps s and s + 1.

    Args:
        state_size: width of a state (H).
        options: ``hidden`` (width of the projected pairs; 0: that of a state).

    Example:
        >>> import torch
        >>> PairAttention(4)(torch.ones(2, 5, 4)).shape
        torch.Size([2, 5, 8])
    """

    _impl_class = _C.nn.PairAttention

    def __init__(self, state_size: int, **options: Any) -> None:
        super().__init__(state_size, **options)


class Gating(_Attention):
    r"""Attention over features: softmax(W_a h) * x, elementwise.

    Called with x [..., D] and context [..., H]; returns [..., D].

    Args:
        input_size: width of x (D).
        context_size: width of the context (H).
        options: ``bias`` (whether the gate has one).

    Example:
        >>> import torch
        >>> Gating(3, 4).attend(torch.ones(2, 3), torch.ones(2, 4)).weights.shape
        torch.Size([2, 3])
    """

    _impl_class = _C.nn.Gating

    def __init__(self, input_size: int, context_size: int, **options: Any) -> None:
        super().__init__(input_size, context_size, **options)


class DenseAttentionHead(_Attention):
    r"""Dense layer, attention over its features, both side by side into the logits.

    .. math:: d = \text{relu}(W x + b), \qquad \text{logits} = W_o [d; \text{softmax}(W_a d) * d] + b_o

    Called with x [..., D]; returns logits [..., C].

    Args:
        input_size: width of x (D).
        options: ``hidden`` (width of d), ``outputs`` (C), ``attention`` (false: the head sees d alone), ``dropout``.

    Example:
        >>> import torch
        >>> DenseAttentionHead(3, hidden=16)(torch.ones(2, 3)).shape
        torch.Size([2, 1])
    """

    _impl_class = _C.nn.DenseAttentionHead

    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)
