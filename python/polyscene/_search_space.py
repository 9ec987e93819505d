"""What a search may change in a config: paths of options, each with a range or a list of choices."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polyscene import models
from polyscene._extension import _C
from polyscene.data._errors import listed, suggestion, unknown_key

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Where a model has the option, and the config names no space of its own.
_DEFAULT: dict[str, Any] = {
    "train.lr": {"low": 5e-4, "high": 1e-2, "log": True},
    "train.batch_size": [1024, 4096],
    "train.weight_decay": {"low": 1e-7, "high": 1e-3, "log": True},
    "model.dim": [8, 16, 32],
    "model.init_std": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.embedding_l2": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.5},
}
# What decides how a trial is measured, and is not the search's to change.
_FIXED = ("seed", "monitor", "threads", "epochs", "patience")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; on a logarithmic scale, in steps, or whole numbers."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def ends(self) -> list[Any]:
        """The values that must be allowed if all are."""
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Whether a config's own value is one of the range."""
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    def distribution(self) -> BaseDistribution:
        """The range as Optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), self.log, int(self.step or 1))
        return FloatDistribution(self.low, self.high, self.log, self.step)

    def to_json(self) -> Any:
        """The range as a config holds it."""
        out: dict[str, Any] = {"low": self.low, "high": self.high}
        return out | ({"log": True} if self.log else {}) | ({"step": self.step} if self.step else {})


@dataclass(frozen=True)
class Choices:
    """Values of which one is taken, of any kind that JSON has."""

    values: tuple[Any, ...]

    def ends(self) -> list[Any]:
        """The values that must be allowed if all are."""
        return list(self.values)

    def holds(self, value: Any) -> bool:
        """Whether a config's own value is one of the choices."""
        return json.dumps(value) in map(json.dumps, self.values)

    def distribution(self) -> BaseDistribution:
        """The choices as Optuna has them, in JSON, for it keeps no lists."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([json.dumps(value) for value in self.values])

    def to_json(self) -> Any:
        """The choices as a config holds them."""
        return list(self.values)


Space = dict[str, Range | Choices]


def default_space(model: str) -> dict[str, Any]:
    """The space of a model for which none is given: what it has of lr, batch size, decay, width, start and dropout.

    Example:
        >>> list(default_space("mf"))
        ['train.lr', 'train.batch_size', 'train.weight_decay', 'model.dim', 'model.init_std', 'model.embedding_l2']
    """
    known = _options(model)
    return {path: given for path, given in _DEFAULT.items() if path in known}


def space_of(given: Any, model: str, owner: str) -> Space:
    """Checks a space as a config or a file holds it.

    Args:
        given: path of an option -> list of choices, or ``{"low": ..., "high": ..., "log": ..., "step": ...}``.
        model: name of the model that is searched.
        owner: what messages call the place, such as ``mmoe.json: tune.space``.

    Raises:
        ValueError: an option that is not there, or a range that is none; the message names the path.

    Example:
        >>> space_of({"model.dim": [8, 16]}, "mf", "tune.space")
        {'model.dim': Choices(values=(8, 16))}
        >>> space_of({"model.dimm": [8, 16]}, "mf", "tune.space")
        Traceback (most recent call last):
        ValueError: tune.space: no option 'model.dimm' to search; did you mean 'model.dim'?
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f'{owner} must be an object such as {{"model.dim": [8, 16]}}, got {given!r}')
    known = _options(model)
    out: Space = {}
    for path, wanted in given.items():
        if path not in known:
            section, _, name = str(path).partition(".")
            if section == "train" and name in _FIXED:
                raise ValueError(f"{owner}: '{path}' decides how trials are measured and cannot be searched")
            raise ValueError(f"{owner}: no option '{path}' to search{suggestion(str(path), known) or _all(known)}")
        out[path] = _one(wanted, known[path], f"{owner}.{path}")
    return out


def _all(known: Mapping[str, str]) -> str:
    return f"; known options: {listed(known, 60)}"


def _options(model: str) -> dict[str, str]:
    """Path of each option that can be searched -> its type."""
    train = {f"train.{name}": kind for name, kind, *_ in _C.train.section_fields("train") if name not in _FIXED}
    return train | {f"model.{name}": option.type for name, option in models.options(model).items()}


def _one(given: Any, kind: str, owner: str) -> Range | Choices:
    if isinstance(given, (list, tuple)):
        if not given:
            raise ValueError(f"{owner}: an empty list leaves nothing to choose from")
        return Choices(tuple(given))
    if not isinstance(given, Mapping):
        raise ValueError(f'{owner} must be a list of choices or {{"low": ..., "high": ...}}, got {given!r}')
    unknown_key(owner, given, ("low", "high", "log", "step"))
    if kind not in ("int", "float"):
        raise ValueError(
            f"{owner}: a range needs an option that is a number, this one is {kind}; give a list of choices"
        )
    for end in ("low", "high"):
        number = given.get(end)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"{owner}.{end} must be a number, got {number!r}")
        if kind == "int" and number != int(number):
            raise ValueError(f"{owner}.{end} must be a whole number, as the option is, got {number!r}")
    low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step")
    if low > high:
        raise ValueError(f"{owner}: low must not be above high, got {low} and {high}")
    if not isinstance(log, bool):
        raise ValueError(f"{owner}.log must be true or false, got {log!r}")
    if log and low <= 0:
        raise ValueError(f"{owner}: a logarithmic range must begin above 0, got low {low}")
    if step is not None and (isinstance(step, bool) or not isinstance(step, (int, float)) or step <= 0 or log):
        raise ValueError(f"{owner}.step must be a number above 0, without log, got {step!r}")
    return Range(low, high, log, step, kind == "int")
