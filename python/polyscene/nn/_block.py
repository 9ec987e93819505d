"""The base of all neural blocks."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from polyscene._module import Module


class Block(Module):
    """A C++ block as an ordinary ``nn.Module``; its sizes come first, its options by keyword.

    An option that is left out takes its default, which ``option_fields()`` tells. Raises ``ValueError`` for an unknown
    option, a value out of range or tensors that do not fit, ``TypeError`` for an option of another type.
    """

    _traceable = False
    """Checks of values, and the numbers of rows and steps, would be frozen into a trace."""

    _impl_class: Any
    _impl: Any
    _call: Any

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__()
        self._mirror(self._impl_class(*sizes, options=options))

    @property
    def options(self) -> dict[str, Any]:
        """Every option with its value."""
        return dict(self._impl.options)

    @classmethod
    def option_fields(cls) -> list[tuple[str, str, Any, str]]:
        """Returns name, type, default and meaning of every option.

        Example:
            >>> import polyscene.nn as pn
            >>> pn.MLP.option_fields()[0]
            ('hidden', 'list of int', [64], 'widths of the hidden layers')
        """
        return list(cls._impl_class.option_fields())

    def extra_repr(self) -> str:
        """Sizes and options, as they would be written to make the block."""
        sizes, _ = self._call
        return ", ".join([*map(str, sizes), *(f"{name}={value!r}" for name, value in self.options.items())])


class Attended(NamedTuple):
    """What an attention gives."""

    output: torch.Tensor
    """The weighted sums."""
    weights: torch.Tensor
    """The weights; they add up to 1 over what may be attended to, or are all 0 where that is nothing."""


class Points(NamedTuple):
    """Interest points of each row."""

    values: torch.Tensor
    """float [B, P], not negative."""
    steps: torch.Tensor
    """int64 [B, P], the step at which each point was strongest; 0 for a row without events."""
