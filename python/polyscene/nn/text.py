"""Encoders of texts."""

from __future__ import annotations

from typing import Any

import torch

from polyscene import _C
from polyscene.nn._block import Attended, Block


class TextEncoder(Block):
    r"""Words of texts that lie one after another to one vector a text, by additive attention over their states.

    .. math:: a_t = \text{softmax}_t(c \cdot \tanh(W h_t + b)), \quad out = \sum_t a_t h_t

    Called with x [L, D] and offsets (int64 [B + 1], text b is words offsets[b] to offsets[b + 1] - 1); returns [B, H].
    The states h are those of an LSTM in each direction, of convolutions (Kim, EMNLP 2014), of a Transformer in which
    every word sees every other of its text, or with ``mean`` the words themselves, which all weigh the same. The
    attention is that of Yang et al. (NAACL 2016). A text knows nothing of the others; one without words is 0.

    Args:
        input_size: width of a word (D).
        options: ``kind`` (mean, bilstm, cnn, transformer), ``hidden`` (H; of mean D), ``layers``, ``dropout``,
            ``kernel`` (cnn), ``heads``, ``max_length`` (transformer).

    Example:
        >>> import torch
        >>> encoder = TextEncoder(3, kind="bilstm", hidden=8)
        >>> encoder(torch.ones(5, 3), torch.tensor([0, 2, 2, 5])).shape
        torch.Size([3, 8])
    """

    _impl_class = _C.nn.TextEncoder

    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__(input_size, **options)

    def attend(self, x: torch.Tensor, offsets: torch.Tensor) -> Attended:
        """Returns the vectors [B, H] and the weights of the words [L], which add up to 1 in each text."""
        self._check()
        return Attended(*self._impl.attend(x, offsets))

    @property
    def output_size(self) -> int:
        """Width of a text's vector (H)."""
        return int(self._impl.output_size)
