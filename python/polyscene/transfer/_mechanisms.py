"""The mechanisms by name: what configs, experiments and :func:`polyscene.transfer.migrate` call them by."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.transfer._around import State, given
from polyscene.transfer.aligning import Aligned, Balanced
from polyscene.transfer.continuing import Consolidated, FineTuned, LowRank
from polyscene.transfer.fusing import fisher, state_of
from polyscene.transfer.parts import adapted, side_tuned
from polyscene.transfer.starting import warm_start
from polyscene.transfer.teaching import Distilled, MeanTeacher, PseudoLabelled, prior_shift

TOGETHER = ("uncertainty", "pcgrad")
"""Mechanisms that train on the rows of all scenes from the start."""
WARM = ("reptile", "fomaml")
"""Mechanisms that are a start."""
HOLDING = ("adapters", "side_tuning")
"""Mechanisms whose model holds the one that was given."""
OF_LABELS = ("adapters", "side_tuning", "pseudo_labels")
"""Mechanisms for tasks with labels alone."""
OWN_RATE = ("adapters", "side_tuning", "lora", "linear_probe")
"""Mechanisms that start new parameters, at the trainer's own learning rate."""


@dataclass(frozen=True)
class Mechanism:
    """A way to carry what source scenes taught into a target scene.

    Attributes:
        name: what ``transfer.mechanism`` calls it.
        doc: what it does.
        options: what ``transfer.settings`` may hold, with defaults.
        docs: what each of these means.
    """

    name: str
    doc: str
    options: dict[str, Any]
    docs: dict[str, str] = field(repr=False)


def mechanisms() -> dict[str, Mechanism]:
    """All mechanisms by name, the whole flow "migrate" first.

    Example:
        >>> list(mechanisms())[:4]
        ['migrate', 'fine_tune', 'linear_probe', 'side_tuning']
        >>> mechanisms()["lora"].options["rank"]
        4
    """
    out = {}
    for name, doc, fields in _C.transfer.mechanisms():
        options, docs = {each[0]: each[2] for each in fields}, {each[0]: each[3] for each in fields}
        out[name] = Mechanism(name, doc, options, docs)
    return out


def find(name: str, settings: Mapping[str, Any] | None = None) -> tuple[Mechanism, dict[str, Any]]:
    """A mechanism and its options, defaults filled in.

    Raises:
        ValueError: an unknown mechanism or option.
    """
    known = mechanisms()
    if name not in known:
        hint = _C.core.suggestion(name, list(known))
        raise ValueError(f"migrate: mechanism must be one of {', '.join(known)}, got {name!r}{hint}")
    mechanism, values = known[name], dict(settings or {})
    for option in values:
        if option not in mechanism.options:
            names = ", ".join(mechanism.options) or "none"
            hint = _C.core.suggestion(option, list(mechanism.options))
            raise ValueError(f"{name}: unknown option {option!r}; known options: {names}{hint}")
    return mechanism, mechanism.options | values


@dataclass
class Ground:
    """What a mechanism may use beside the model that it continues.

    Attributes:
        sources: training rows of the source scenes, by scene.
        together: training rows of sources and target.
        unlabelled: rows whose labels are not read; the target's training rows unless others were given.
        aligned: rows of sources and target whose labels are not read: ``together`` unless ``unlabelled`` were given.
        teachers: states of the source models, by scene.
        seed: of what is drawn.
    """

    sources: dict[str, Any]
    together: Any
    unlabelled: Any
    aligned: Any
    teachers: dict[str, State]
    seed: int


def wrap(name: str, model: Model, rows: Any, ground: Ground, settings: Mapping[str, Any], frozen: list[str]) -> Model:
    """The model that trains by a mechanism, from where ``model`` stands.

    Args:
        name: of a mechanism other than "migrate".
        model: where it starts, which most mechanisms train in place.
        rows: training rows of the target in this training.
        ground: what else there is.
        settings: options of the mechanism, all of them.
        frozen: prefixes of parameters that do not move; for "fine_tune".
    """
    options, seed = given(settings), ground.seed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in ("fine_tune", "linear_probe"):
            return FineTuned(model, frozen=frozen, **options)
        if name == "lora":
            return LowRank(model, **options)
        if name == "adapters":
            return adapted(model, **options)
        if name == "side_tuning":
            return side_tuned(model)
        if name == "ewc":
            return Consolidated(model, state_of(model), _information(model, ground), **options)
        if name == "distillation":
            teachers = [_holding(model, state) for state in ground.teachers.values()]
            shifts = [_shift(ground.sources.get(scene), rows) for scene in ground.teachers]
            return Distilled(model, teachers, shifts=shifts, sample=rows, **options)
        if name in ("dann", "mmd", "coral"):
            return Aligned(model, ground.aligned, kind=name, seed=seed, **options)
        if name == "pseudo_labels":
            return PseudoLabelled(model, ground.unlabelled, seed=seed, **options)
        if name == "mean_teacher":
            return MeanTeacher(model, ground.unlabelled, seed=seed, **options)
        if name in TOGETHER:
            return Balanced(model, kind=name, seed=seed, **options)
        return model  # a warm start goes on as it is


def start(name: str, model: Model, tasks: list[Any], settings: Mapping[str, Any], seed: int) -> None:
    """Moves ``model`` to a start that is learned over tasks."""
    warm_start(model, tasks, kind=name, seed=seed, **given(settings))


def result(model: Model, trained: Model) -> Model:
    """The model that a training leaves: ``model`` itself, or one that holds it."""
    if isinstance(trained, LowRank):
        model.load_state_dict(trained.merged_state())
    elif isinstance(trained, MeanTeacher):
        model.load_state_dict(trained.averaged().state_dict())
    elif trained.name in ("adapted", "side_tuned") and trained.name != model.name:
        return trained
    return model


def _information(model: Model, ground: Ground) -> State:
    found = [fisher(model, rows, seed=ground.seed) for rows in ground.sources.values()]
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}  # type: ignore[misc]


def _holding(model: Model, state: State) -> Model:
    out = copy.deepcopy(model)
    out.load_state_dict(state)
    return out


def _shift(source: Any, target: Any) -> float:
    if source is None or target.schema.task != "ctr":
        return 0.0
    shares = [float(np.clip(rows.labels().numpy().mean(), 1e-3, 1 - 1e-3)) for rows in (source, target)]
    return prior_shift(*shares)
