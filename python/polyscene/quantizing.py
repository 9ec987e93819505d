"""Lookup tables in 8 bits, for inference."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from polyscene._extension import _C
from polyscene._model import Model


def quantize(model: Model) -> Model:
    """A copy of a model for inference, whose embedding tables hold 8-bit rows: about a quarter of the memory.

    Each row keeps D whole numbers from -127 to 127 and one float, the scale, which is 1/127 of the largest number of
    the row; what is looked up is `scale * q`, off by half a scale at most. Tables narrower than 8, biases and dense
    layers stay as they are. The copy predicts, evaluates, recommends, explains, exports, and is saved and loaded as any
    model; it cannot be trained.

    Args:
        model: a model with embedding tables on the CPU; it is not changed.

    Returns:
        The copy, in evaluation mode.

    Raises:
        TypeError: not a model, or one written in Python, whose own lookups would not know the rows.
        ValueError: the model has no table that is wide enough, is quantised already, or holds nan or infinity.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> small = quantize(ps.models.MF(data.schema, dim=16))
        >>> small.user.weight.dtype, len(small.predict(data.test)) == len(data.test)
        (torch.int8, True)
    """
    if not isinstance(model, Model):
        raise TypeError(f"quantize: wanted a polyscene.Model, got {type(model).__name__}")
    if not model._is_cpp():
        raise TypeError(f"quantize: {model.name} is written in Python, its lookups would not know 8-bit rows")
    if is_quantized(model):
        raise ValueError(f"quantize: {model.name} is quantised already")
    names: Sequence[str] = _C.models.int8_tables(model._impl)
    if not names:
        raise ValueError(f"quantize: {model.name} has no embedding table of width 8 or more")
    out = copy.deepcopy(model).eval()
    tensors = dict(out.named_parameters())
    for tensor in tensors.values():
        tensor.requires_grad_(False)
    for name in names:
        tensors[name].data = _C.models.pack_int8(tensors[name])
    return out


def is_quantized(model: Model) -> bool:
    """Whether a model holds tables in 8 bits.

    Example:
        >>> import polyscene as ps
        >>> model = ps.models.SharedBottom(ps.testing.tiny_data().schema)
        >>> is_quantized(model), is_quantized(quantize(model))
        (False, True)
    """
    return any(tensor.dtype == torch.int8 for tensor in model.parameters())
