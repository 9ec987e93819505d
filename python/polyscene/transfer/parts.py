"""Parts that are added to a frozen model: made, saved alone, and put back onto it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.transfer.continuing import LowRank

_KIND, _BASE = "polyscene.part", "polyscene.base"


def adapted(model: Model, **options: Any) -> Model:
    """A frozen copy of a trained model with adapters behind its hidden layers; it answers as that model at first.

    Args:
        model: a registered C++ model.
        options: of :class:`polyscene.models.Adapted` besides ``model`` and ``settings``.

    Raises:
        ValueError: a model that is not registered, an option out of range, a model without hidden layers.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.WideDeep(data.schema, hidden=[8])
        >>> batch = ps.testing.batch(data, 8)
        >>> with_adapters = adapted(model, bottleneck=2)
        >>> bool((with_adapters.eval()(batch) == model.eval()(batch)).all())
        True
    """
    return _holding("adapted", model, ("base",), options)


def side_tuned(model: Model) -> Model:
    """A frozen copy of a trained model and one that trains beside it; at first both are that model.

    Args:
        model: a registered C++ model.

    Raises:
        ValueError: a model that is not registered.

    Example:
        >>> import polyscene as ps
        >>> side_tuned(ps.models.MF(ps.testing.tiny_data().schema, dim=4)).options["model"]
        'mf'
    """
    return _holding("side_tuned", model, ("base", "side"), {})


def lift(state: Mapping[str, torch.Tensor], holder: Model, parts: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The state of a model that holds one: what it adds as it stands, each part with the state that is given."""
    own = {name: value.clone() for name, value in holder.state_dict().items()}
    return own | {f"{part}.{name}": value.clone() for part in parts for name, value in state.items()}


def save_part(model: Model, path: str | os.PathLike[str]) -> None:
    """Writes what was added to a frozen model alone, with a digest of that model, as one safetensors file.

    Args:
        model: a :class:`LowRank`, or an adapted model (:func:`adapted`).
        path: the file.

    Raises:
        TypeError: another model.
        RuntimeError: the file could not be written.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import LowRank, load_part, save_part
        >>> model = ps.models.MF(ps.testing.tiny_data().schema, dim=16)
        >>> save_part(LowRank(model, rank=1), "part.safetensors")
        >>> load_part(model, "part.safetensors").settings["rank"]
        1
    """
    kind, options, added, base = _parts(model)
    own = model.state_dict()
    texts = {_KIND: kind, "polyscene.options": json.dumps(options), _BASE: digest(base)}
    tensors = {name: own[name].detach().cpu().contiguous() for name in added}
    _C.core.write_safetensors(os.fspath(path), tensors, texts)


def load_part(model: Model, path: str | os.PathLike[str]) -> Any:
    """Puts what :func:`save_part` wrote onto the model that it was learned on.

    Args:
        model: that model; it is copied and stays as it is.
        path: the file.

    Returns:
        A :class:`LowRank`, whose ``merge`` gives a plain model, or an adapted model.

    Raises:
        ValueError: a file of another kind, or a model other than the one that the part was learned on.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import LowRank, load_part, save_part
        >>> model = ps.models.MF(ps.testing.tiny_data().schema, dim=16)
        >>> save_part(LowRank(model, rank=1), "part.safetensors")
        >>> load_part(model, "part.safetensors").merge().name
        'mf'
    """
    tensors, texts = _C.core.read_safetensors(os.fspath(path))
    kind = texts.get(_KIND, "")
    if kind not in ("lora", "adapters"):
        raise ValueError(f"load_part: {os.fspath(path)} holds no part that save_part wrote")
    options = json.loads(texts["polyscene.options"])
    out = LowRank(model, **options) if kind == "lora" else adapted(model, **options)
    _, _, added, base = _parts(out)
    if (found := digest(base)) != texts[_BASE]:
        raise ValueError(
            f"load_part: {os.fspath(path)} was learned on another model than this {model.name}: digest "
            f"{texts[_BASE][:12]}, this one has {found[:12]}"
        )
    if set(added) != set(tensors):
        raise ValueError(
            f"load_part: {os.fspath(path)} has other tensors: {', '.join(sorted(set(added) ^ set(tensors)))}"
        )
    out.load_state_dict(tensors, strict=False)
    return out.eval()


def digest(state: Mapping[str, torch.Tensor]) -> str:
    """sha256 of tensors by name.

    Example:
        >>> import torch
        >>> digest({"w": torch.zeros(1)})[:8] == digest({"w": torch.ones(1)})[:8]
        False
    """
    out = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        out.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        out.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return out.hexdigest()


def _parts(model: Model) -> tuple[str, dict[str, Any], list[str], dict[str, torch.Tensor]]:
    """Kind, options, names of what was added or trained, and the frozen tensors under the names of the base."""
    if isinstance(model, LowRank):
        trained = _below(model.base_state(), model.settings["trained"])
        added = [name for name in model.state_dict() if name.startswith("low_rank.")] + trained
        base = {name: value for name, value in model.base_state().items() if name not in trained}
        return "lora", model.settings, added, base
    if model.name == "adapted":
        frozen = _frozen(model)
        state = model.state_dict()
        buffers = {name for name, _ in model.named_buffers()}
        base = {name.removeprefix("base."): state[name] for name in (*frozen, *buffers) if name.startswith("base.")}
        added = [name for name in state if name not in frozen and name not in buffers]
        options = {name: value for name, value in model.options.items() if name not in ("model", "settings")}
        return "adapters", options, added, base
    raise TypeError(f"save_part: wanted a LowRank or an adapted model, got {type(model).__name__} ({model.name})")


def _below(names: Mapping[str, Any], prefixes: list[str]) -> list[str]:
    return [name for name in names if any(name == p or name.startswith(p + ".") for p in prefixes)]


def _holding(holder: str, model: Model, parts: tuple[str, ...], options: dict[str, Any]) -> Model:
    from polyscene import models

    if not model._is_cpp() or model.name not in models.list():
        raise ValueError(
            f"{holder}: the model must be one of the registry, so that what holds it can be saved; got "
            f"{type(model).__name__}; LowRank works for every model"
        )
    out = models.create(holder, model.schema, model=model.name, settings=json.dumps(model.options), **options)
    out.to(next(value.dtype for value in model.state_dict().values() if value.is_floating_point()))
    out.load_state_dict(lift(model.state_dict(), out, parts))
    out._impl.history = model._impl.history
    still = _frozen(out)
    for name, parameter in out.named_parameters():
        parameter.requires_grad_(name not in still)
    return out.train(model.training)


def _frozen(model: Model) -> set[str]:
    """Names of the parameters that the trainer does not move."""
    prefixes = model.phases()[0].frozen
    return set(_below(dict(model.named_parameters()), prefixes))
