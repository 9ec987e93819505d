"""Saving and loading of models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

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

    Args:
        path: a file that `save` wrote, or the folder of a run.

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
    if os.path.isfile(of_run := os.path.join(path, "model.safetensors")):
        path = of_run
    return from_checkpoint(read(path), os.fspath(path))


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file holds: model, options, schema, history, state, metadata."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"load: no file {os.fspath(path)}")
    return _C.train.read_checkpoint(os.fspath(path))


def from_checkpoint(found: dict[str, Any], path: str = "load") -> Model:
    """The model of what `read` returned; ``path`` opens the messages.

    Raises:
        ValueError: its model is not registered, or its options or tensors do not fit.
    """
    from polyscene import models

    name, known = found["model"], models.list()
    if name not in known:
        raise ValueError(
            f"{path}: unknown model {name!r}; known models: {', '.join(known)}{_C.core.suggestion(name, known)}; "
            "a model written in Python must be registered under this name first"
        )
    try:
        model = models.create(name, found["schema"], **found["options"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if model._is_cpp():
        _C.models.expect_int8(model._impl, found["state"])
    _check_tensors(f"{path}: the tensors of {name} do not fit", model.state_dict(), found["state"])
    floating = [tensor.dtype for tensor in found["state"].values() if tensor.is_floating_point()]
    if floating:
        model = model.to(floating[0])
    model.load_state_dict(found["state"])
    if found["history"] is not None:
        model._impl.history = found["history"]
    return model.eval()


def _check_tensors(what: str, own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> None:
    wrong = [f"{name!r} is missing" for name in own if name not in given]
    wrong += [f"{name!r} is unexpected" for name in given if name not in own]
    wrong += [
        f"{name!r} has shape {list(given[name].shape)}, wanted {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        raise ValueError(f"{what}: {'; '.join(wrong[:10])}{'; ...' if len(wrong) > 10 else ''}")
