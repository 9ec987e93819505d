"""Encoders of behaviour sequences, interest points and the multi-layer perceptron."""

from __future__ import annotations

from typing import Any

import torch

from polyscene import _C
from polyscene.nn._block import Block, Points


class SequenceEncoder(Block):
    """A behaviour sequence to one hidden state per event: GRU, LSTM, causal convolutions or causal Transformer.

    Called with x [B, T, D], valid (bool [B, T], valid events first) and, when ``scenes`` is set, scene (int64 [B, T]);
    returns all hidden states [B, T, H]. State t depends on events up to t only. Padded values are never read, not even
    NaN, and padded states are 0.

    Args:
        input_size: width of an event (D).
        options: ``kind`` (gru, lstm, cnn, transformer), ``hidden`` (H), ``layers``, ``dropout``, ``scenes`` (scenes
            that have an embedding, which is added to x), ``kernel`` (cnn), ``heads``, ``feedforward``, ``max_length``
            (transformer).

    Example:
        >>> import torch
        >>> encoder = SequenceEncoder(3, kind="lstm", hidden=8)
        >>> encoder(torch.ones(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)).shape
        torch.Size([2, 5, 8])
    """

    _impl_class = _C.nn.SequenceEncoder

    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)

    @property
    def output_size(self) -> int:
        """Width of a state (H)."""
        return int(self._impl.output_size)


class ConvEncoder(Block):
    r"""Causal convolutions over time with dilation :math:`2^{l-1}` in layer l (Bai et al., arXiv:1803.01271, 2018).

    Called with x [B, T, D]; returns [B, T, H].

    Args:
        input_size: width of an event (D).
        options: ``hidden`` (H), ``layers``, ``kernel`` (steps that a filter spans), ``dropout``.

    Example:
        >>> import torch
        >>> ConvEncoder(3, hidden=8)(torch.ones(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    _impl_class = _C.nn.ConvEncoder

    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)


class TransformerEncoder(Block):
    """Causal Transformer with learned positions, normalised before each sublayer (Xiong et al., ICML 2020).

    Called with x [B, T, D] and valid (bool [B, T]); returns [B, T, H].

    Args:
        input_size: width of an event (D).
        options: ``hidden`` (H), ``layers``, ``heads``, ``feedforward`` (0: four times ``hidden``), ``max_length``,
            ``dropout``.

    Example:
        >>> import torch
        >>> TransformerEncoder(3, hidden=8)(torch.ones(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)).shape
        torch.Size([2, 5, 8])
    """

    _impl_class = _C.nn.TransformerEncoder

    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)


class InterestPoints(Block):
    r"""Interest points of a behaviour sequence: P filters over time, the strongest answer of each (Kim, EMNLP 2014).

    .. math:: z_p = \max_t \text{relu}(b_p + \sum_j W_{pj} c_{t+j})

    Called with context [B, T, D] and, optionally, valid (bool [B, T], valid events first); returns [B, P].

    Args:
        input_size: width of the context (D).
        options: ``points`` (P), ``kernel`` (steps that a filter spans, centred; odd).

    Example:
        >>> import torch
        >>> InterestPoints(3, points=6)(torch.ones(2, 5, 3)).shape
        torch.Size([2, 6])
    """

    _impl_class = _C.nn.InterestPoints

    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)

    def extract(self, context: torch.Tensor, valid: torch.Tensor | None = None) -> Points:
        """Returns the points and the step at which each was strongest."""
        self._check()
        return Points(*self._impl.extract(context, valid))


class MLP(Block):
    """Multi-layer perceptron: Linear, norm, activation, dropout for each hidden width, then a Linear for the output.

    Called with x [..., input_size]; returns [..., output_size]. Any number of rows works. Batch norm with fewer than
    two rows uses its running statistics, in training too, and leaves them unchanged.

    Args:
        input_size: width of x.
        options: ``hidden`` (widths), ``output`` (width of the output layer; 0: none), ``activation`` (relu, gelu, silu,
            tanh, sigmoid, leaky_relu, identity), ``norm`` (none, batch, layer), ``dropout``.

    Example:
        >>> import torch
        >>> MLP(3, hidden=[16, 8], output=1, norm="batch")(torch.ones(2, 3)).shape
        torch.Size([2, 1])
    """

    _impl_class = _C.nn.MLP

    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)

    @property
    def output_size(self) -> int:
        """Width of what the call returns."""
        return int(self._impl.output_size)
