"""Packed rows of lookup tables, as `nn/int8_rows.h` lays them out."""

from __future__ import annotations

import torch

_SCALE_BYTES = 4


def dequantized(tensor: torch.Tensor) -> torch.Tensor:
    """The float rows of a packed table, any other tensor as it is."""
    if tensor.dtype != torch.int8:
        return tensor
    scale = tensor[..., -_SCALE_BYTES:].contiguous().view(torch.float32)
    return tensor[..., :-_SCALE_BYTES] * scale
