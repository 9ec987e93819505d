"""C++ modules as ordinary ``torch.nn.Module`` objects: the same tensors under the same names, the standard protocol."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import nn

_OWN = frozenset({"_parameters", "_buffers", "_modules", "_impl", "_path", "_type", "_sealed", "_call", "_mirrored"})
"""Instance attributes that construction makes anew; all others are Python state, which copies and pickles keep."""


class _Mirrored(nn.Module):
    """What the root and the groups below it share: changes that C++ would not see are refused, modes are forwarded."""

    _impl: Any  # the C++ object of the root
    _path: str  # dotted, "" for the root

    def __setattr__(self, name: str, value: Any) -> None:
        if not self.__dict__.get("_sealed"):
            super().__setattr__(name, value)
            return
        known = self._parameters.get(name), self._buffers.get(name), self._modules.get(name)
        if any(member is not None for member in known):
            if not any(member is value for member in known):
                self._refuse(
                    f"'{name}' cannot be replaced; write into it: with torch.no_grad(): module.{name}.copy_(value)"
                )
            return
        if isinstance(value, (nn.Parameter, nn.Module)):
            self._refuse(f"'{name}' cannot be added")
        super().__setattr__(name, value)
        if name == "training":
            self._impl.set_training(self._path, bool(value))

    def __delattr__(self, name: str) -> None:
        if self.__dict__.get("_sealed") and (
            name in self._parameters or name in self._buffers or name in self._modules
        ):
            self._refuse(f"'{name}' cannot be removed or reparametrised")
        super().__delattr__(name)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Refused once the mirror stands: C++ would not see the parameter."""
        if self.__dict__.get("_sealed"):
            self._refuse(f"parameter '{name}' cannot be added")
        super().register_parameter(name, param)

    def register_buffer(self, name: str, tensor: torch.Tensor | None, persistent: bool = True) -> None:
        """Refused once the mirror stands: C++ would not see the buffer."""
        if self.__dict__.get("_sealed"):
            self._refuse(f"buffer '{name}' cannot be added")
        super().register_buffer(name, tensor, persistent)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Refused once the mirror stands: C++ would not see the module."""
        if self.__dict__.get("_sealed"):
            self._refuse(f"module '{name}' cannot be added")
        super().add_module(name, module)

    def _refuse(self, what: str) -> None:
        raise TypeError(
            f"{self._get_name()}: {what}; this is a C++ module, whose structure is fixed when it is made. Hold it in a "
            "torch.nn.Module (or a polyscene.Model) of your own to add parts to it."
        )

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Writes into the tensors that C++ holds (``to``, ``double``, ``share_memory``), their gradients included."""
        if not self.__dict__.get("_sealed"):
            return super()._apply(fn, recurse)
        if recurse:
            for child in self.children():
                child._apply(fn)
        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            if tensor is not None:
                self._write(name, tensor, fn)
        return self

    def _write(self, name: str, tensor: torch.Tensor, fn: Callable[[torch.Tensor], torch.Tensor]) -> None:
        grad = tensor.grad
        with torch.no_grad():
            new = fn(tensor)
            new_grad = fn(grad) if grad is not None else grad
        if new.is_meta or not torch._has_compatible_shallow_copy_type(tensor, new):
            raise TypeError(
                f"{self._get_name()}: '{name}' cannot become a tensor on device '{new.device}' of layout {new.layout}; "
                "C++ computes with the tensor itself. For shapes without storage use export_form()."
            )
        tensor.data = new
        if grad is not None and new_grad is not None:
            grad.data = new_grad

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        if local_metadata.get("assign_to_params_buffers", False) and self.__dict__.get("_sealed"):
            raise TypeError(
                f"{self._get_name()}: load_state_dict(assign=True) would leave C++ with the old tensors; use "
                "assign=False, which copies, after .to(dtype) if the types differ"
            )
        with _no_swap():
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _replicate_for_data_parallel(self) -> Any:
        raise TypeError(f"{self._get_name()}: DataParallel cannot copy a C++ module; use DistributedDataParallel")


class _Group(_Mirrored):
    """A C++ module inside another: holds its tensors and its mode. Computes nothing, so that its hooks never fire."""

    def __init__(self, impl: Any, path: str, kind: str) -> None:
        super().__init__()
        self.__dict__.update(_impl=impl, _path=path, _type=kind)

    def _get_name(self) -> str:
        return str(self._type)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Always raises: C++ runs this part inside the whole module."""
        raise TypeError(f"{self._get_name()}: '{self._path}' is a part of a C++ module and has no forward of its own")

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self._get_name()}: '{self._path}' is a part of a C++ module; copy or pickle the whole module"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.__reduce__()


class Module(_Mirrored):
    """A C++ module as an ordinary ``nn.Module``: same tensors, same names, standard protocol.

    A subclass makes the C++ object in its ``__init__`` and hands it to :meth:`_mirror`. The object has ``forward``,
    ``tensors()``, ``children()`` and ``set_training(path, on)``. Optimisers, ``state_dict``, ``to``, ``train`` and
    ``eval`` of the whole or of a part, ``deepcopy``, ``pickle``, hooks of the module itself and of its tensors work as
    with any module.

    The parts below it are bare groups of tensors: their hooks never fire, ``torch.ao.quantization.quantize_dynamic``
    and attribution methods for layers find nothing in them. What would leave Python and C++ with different tensors
    raises: ``load_state_dict(assign=True)``, replacing a parameter, parametrisations, ``torch.func.functional_call``,
    the meta device.
    """

    _call: tuple[tuple[Any, ...], dict[str, Any]]
    _mirrored: list[tuple[str, dict[str, torch.Tensor | None], str, torch.Tensor]]  # path, its dict, key there, tensor
    _traceable = True
    """Whether ``torch.jit.trace`` sees all that forward does; not so where it groups rows or runs raw loops."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remembers the call: copies and pickles make the object again in the same way."""
        self = super().__new__(cls)
        self.__dict__["_call"] = (args, kwargs)
        return self

    def _mirror(self, impl: Any) -> None:
        """Registers the tensors of ``impl``, themselves and not copies; from then on refuses what C++ cannot see."""
        self.__dict__.update(_impl=impl, _path="")
        groups: dict[str, _Mirrored] = {"": self}
        for path, kind, _ in impl.children():
            parent, _, leaf = path.rpartition(".")
            self._check_name(groups[parent], leaf)
            groups[path] = _Group(impl, path, kind)
            groups[parent].add_module(leaf, groups[path])
        mirrored = []
        for path, tensor, is_buffer in impl.tensors():
            parent, _, leaf = path.rpartition(".")
            owner = groups[parent]
            self._check_name(owner, leaf)
            if is_buffer:
                owner.register_buffer(leaf, tensor)
            else:
                tensor._is_param = True  # what isinstance(tensor, nn.Parameter) asks for; the class cannot be changed
                owner.register_parameter(leaf, tensor)
            mirrored.append((path, owner._buffers if is_buffer else owner._parameters, leaf, tensor))
        self.__dict__["_mirrored"] = mirrored
        for group in groups.values():
            group.__dict__["_sealed"] = True

    def _check_name(self, owner: nn.Module, leaf: str) -> None:
        if hasattr(owner, leaf):
            raise TypeError(
                f"{type(self).__name__}: the C++ module has a member '{leaf}', a name that {owner._get_name()} has "
                "already as an nn.Module; rename the member"
            )

    def _check(self) -> None:
        """Raises when Python and C++ no longer hold the same tensors, or when a trace would be wrong."""
        for path, holder, leaf, tensor in self._mirrored:
            if holder.get(leaf) is not tensor:
                raise RuntimeError(
                    f"{type(self).__name__}: '{path}' is not the tensor that C++ computes with (functional_call, "
                    "export and weight swapping replace it); use export_form() for a module of plain tensors"
                )
        if not self._traceable and torch._C._get_tracing_state() is not None:
            raise RuntimeError(
                f"{type(self).__name__}: a trace of this forward would be wrong for other batches; trace export_form()"
            )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the C++ forward."""
        self._check()
        return self._impl.forward(*args, **kwargs)

    def _state(self) -> dict[str, Any]:
        modules = {path: module for path, module in self.named_modules() if isinstance(module, _Mirrored)}
        return {
            "tensors": {path: tensor.detach() for path, _, _, tensor in self._mirrored},
            "requires_grad": {path: tensor.requires_grad for path, _, _, tensor in self._mirrored},
            "python": {path: {k: v for k, v in m.__dict__.items() if k not in _OWN} for path, m in modules.items()},
        }

    def __reduce__(self) -> Any:
        args, kwargs = self._call
        return _rebuild, (type(self), args, kwargs), self._state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        for path, _, _, tensor in self._mirrored:
            wanted = state["requires_grad"][path]
            if tensor.requires_grad and not wanted:  # first: whole numbers cannot take the place of a parameter
                tensor.requires_grad_(False)
            tensor.data = state["tensors"][path]
            if wanted and not tensor.requires_grad:
                tensor.requires_grad_(True)
        modules = dict(self.named_modules())
        for path, attributes in state["python"].items():
            modules[path].__dict__.update(attributes)
            modules[path].training = attributes["training"]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        rebuild, args, state = self.__reduce__()
        new: Self = rebuild(*args)
        memo[id(self)] = new
        new.__setstate__(copy.deepcopy(state, memo))
        return new


def _rebuild(cls: type[Module], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Module:
    with torch.random.fork_rng(devices=[]):  # initial values are drawn and thrown away: not from the caller's stream
        return cls(*args, **kwargs)


@contextlib.contextmanager
def _no_swap() -> Iterator[None]:
    """Turns ``set_swap_module_params_on_conversion`` off: swapping would leave C++ with the old tensor."""
    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(False)
    try:
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swap)
