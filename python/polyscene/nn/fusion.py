"""Several modalities of a row to one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from polyscene import _C
from polyscene.nn._block import Attended, Block


class Fusion(Block):
    r"""Vectors of M modalities of a row (its ids, text, image) to one vector, of those that the row has.

    - ``concat``: :math:`W [x_1; \ldots; x_M] + b`, with a learned vector, 0 at first, in the place of a missing one
    - ``gated``: :math:`\sum_m z_m \tanh(W_m x_m)` with z the softmax over the present modalities of
      :math:`G [x_1; \ldots; x_M]`, 0 where missing: the gated multimodal unit (Arevalo et al., ICLR workshop 2017) with
      one gate for all units of a modality. Of two modalities the softmax is the paper's z and 1 - z; for more the paper
      has a sigmoid of each, whose sum is anything
    - ``cross_attention``: the mean over the present modalities of norm(u_m + attention(u_m; the other present u)) with
      :math:`u_m = W_m x_m + b_m`; the attention is that of :class:`MultiHeadAttention`

    Called with x (M tensors [B, D_m]) and, optionally, present (bool [B, M], true: the row has the modality); returns
    [B, H]. What a missing vector holds changes nothing, not even NaN; a row without any modality is 0.

    Args:
        sizes: width of each modality (D_m).
        options: ``kind`` (concat, gated, cross_attention), ``hidden`` (H), ``heads`` (cross_attention; must divide H),
            ``dropout`` (of the fused vector).

    Example:
        >>> import torch
        >>> fusion = Fusion([3, 5], kind="gated", hidden=8)
        >>> present = torch.tensor([[True, True], [True, False]])
        >>> output, weights = fusion.attend([torch.ones(2, 3), torch.ones(2, 5)], present)
        >>> output.shape, weights[1]
        (torch.Size([2, 8]), tensor([1., 0.], grad_fn=<SelectBackward0>))
    """

    _impl_class = _C.nn.Fusion

    def __init__(self, sizes: Sequence[int], **options: Any) -> None:
        super().__init__(list(sizes), **options)

    def attend(self, x: Sequence[torch.Tensor], present: torch.Tensor | None = None) -> Attended:
        """Returns the fused vectors [B, H] and the weight of each modality [B, M].

        Weights add up to 1 over the modalities that a row has. They are z of ``gated``, of ``cross_attention`` the mean
        attention that a modality gets from the others (1 where it is alone), and of ``concat``, which has none, equal
        shares.
        """
        self._check()
        return Attended(*self._impl.attend(list(x), present))

    @property
    def output_size(self) -> int:
        """Width of the fused vector (H)."""
        return int(self._impl.output_size)
