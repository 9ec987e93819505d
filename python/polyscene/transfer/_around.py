"""What the classes around a model share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch

from polyscene._model import Model

State = dict[str, torch.Tensor]


class Around(Model):
    """A C++ model around another one: it shares that one's parameters and trains in its place."""

    model: Model

    def _around(self, model: Model, native: Any) -> None:
        super(Model, self).__init__()
        self.schema = model.schema
        self.__dict__["model"] = model  # holds the Python side of a model written in Python
        self._mirror(native)

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, defaults filled in; ``options`` are those of the model inside."""
        return dict(self._impl.settings)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        if mode:
            rest(self, [*self.phases()[0].frozen, "teacher"])
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{type(self).__name__}: is no model of its own, so that it is neither copied nor pickled; use .model, or "
            "what it made of it"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.__reduce__()


def rest(model: Model, prefixes: Sequence[str]) -> None:
    """Puts the parts of a model into evaluation mode of which nothing moves."""
    names = [name for name, _ in model.named_parameters()]
    still = {name for name in names if any(name == p or name.startswith(p + ".") for p in prefixes)}
    for path, module in model.named_modules():
        inside = [name for name in names if path and name.startswith(path + ".")]
        if inside and still.issuperset(inside):
            module.train(False)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as C++ takes them: sequences as lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
