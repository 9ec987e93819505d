"""Saving and loading of models."""

from __future__ import annotations

import os
from typing import Any

from polyscene._extension import _C
from polyscene._model import Model


def save(model: Model, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Writes a model with its options, schema and training behaviour as one safetensors file, atomically.

    Args:
        model: any registered model.
        path: the file; one that exists is replaced only when the new one is whole.
        metadata: further texts to keep.

    Raises:
        RuntimeError: the file could not be written; an earlier one is still there.
        TypeError: not a model.

    Example:
        >>> import polyscene as ps
        >>> ps.save(ps.models.MF(ps.testing.tiny_data().schema), "mf.safetensors", {"note": "not trained"})
        >>> ps.load("mf.safetensors").options["dim"]
        32
    """
    if not isinstance(model, Model):
        raise TypeError(f"save: wanted a polyscene.Model, got {type(model).__name__}")
    native = model._native()
    _C.train.write_checkpoint(
        os.fspath(path),
        model=model.name,
        options=model.options,
        schema=model.schema,
        history=native.history,
        state={name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
        metadata=metadata or {},
    )


def load(path: str | os.PathLike[str]) -> Model:
    """Makes a saved model again, in evaluation mode.

    Raises:
        ValueError: the file holds no model, is damaged, was written by a newer version, or its model is not registered
            (a model written in Python must be registered by the same name first).
        FileNotFoundError: no such file.

    Example:
        >>> import polyscene as ps, tempfile, os
        >>> model = ps.models.Logistic(ps.testing.tiny_data().schema)
        >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
        >>> ps.save(model, path)
        >>> ps.load(path).name
        'logistic'
    """
    return from_checkpoint(read(path))


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file holds: model, options, schema, history, state, metadata."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"load: no file {os.fspath(path)}")
    return _C.train.read_checkpoint(os.fspath(path))


def from_checkpoint(found: dict[str, Any]) -> Model:
    """The model of what `read` returned."""
    from polyscene import models

    model = models.create(found["model"], found["schema"], **found["options"])
    floating = [tensor.dtype for tensor in found["state"].values() if tensor.is_floating_point()]
    if floating:
        model = model.to(floating[0])
    model.load_state_dict(found["state"])
    if found["history"] is not None:
        model._impl.history = found["history"]
    return model.eval()
