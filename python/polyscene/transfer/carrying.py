"""From finished runs into another data set: what can be carried, continued, and measured against doing without."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyscene._model import Model
from polyscene.training import Trainer
from polyscene.transfer import _mechanisms
from polyscene.transfer.choosing import chosen_by
from polyscene.transfer.estimating import negative_transfer, transferability
from polyscene.transfer.flow import Candidate, Group, Migration
from polyscene.transfer.fusing import State, carry, fuse, state_of
from polyscene.transfer.stages import Stages
from polyscene.transfer.starting import recompute_statistics

WITHOUT_ROWS = ("ewc", "reptile", "fomaml", *_mechanisms.TOGETHER)
"""Mechanisms that need the rows of the sources, which runs do not hold."""


class Carried(Migration):
    """A transfer whose sources are models that were trained elsewhere, into all scenes of a data set.

    Args:
        model: the target's model as initialised.
        data: the target's data set.
        sources: trained models by the name of their run.
        options: as of :class:`Migration`.
        stages: runs the trainings.

    Attributes:
        carried: of each source what was carried and what was not.
    """

    def __init__(
        self, model: Model, data: Any, sources: Mapping[str, Model], options: dict[str, Any], stages: Stages
    ) -> None:
        if options["mechanism"] in WITHOUT_ROWS:
            raise ValueError(
                f"transfer: {options['mechanism']} needs the rows that the sources were trained on; with runs as "
                f"sources take another mechanism than {', '.join(WITHOUT_ROWS)}"
            )
        self.model, self.data, self.sources, self.target = model, data, list(sources), "the target"
        self.options, self.stages = options, stages
        self.seed = int(Trainer(**stages.train).options["seed"])
        self.initial = state_of(model)
        self.where = torch.arange(len(data.train))
        self.rows, self.valid = data.train, data.valid
        self.metric = chosen_by(self.rows, self.valid, self.target)
        self.way: list[str] = []
        self.weights = dict.fromkeys(sources, 1.0)
        self.candidates: list[Candidate] = []
        self.folds = self.evidence = 0
        self.groups: list[Group] = []
        self.trained: dict[str, tuple[State, Any]] = {}
        self.carried: dict[str, dict[str, Any]] = {}
        self.models = sources

    def migrated(self) -> dict[str, State]:
        """What was carried, of several sources fused: each counts where it has something."""
        for name, source in self.models.items():
            self.model.load_state_dict(self.initial)
            self.carried[name] = told(carry(self.model, source))
            self.trained[name] = (state_of(self.model), None)
        states = [state for state, _ in self.trained.values()]
        carried = states[0]
        if len(states) > 1:
            carried = fuse(self.initial, states, [name for name, value in self.initial.items() if value.dim() > 0])
            self.model.load_state_dict(carried)
            if recompute_statistics(self.model, self.rows):
                carried = state_of(self.model)
        self.way.append(f"carried from {', '.join(self.sources)}")
        return {"carried": carried}

    def tie(self, where: torch.Tensor) -> dict[str, Any]:
        """How the mechanism trains on the training rows at ``where``."""
        rows = self.rows.take(where)
        other = self.options["unlabelled"]
        teachers = {scene: state for scene, (state, _) in self.trained.items()}
        ground = _mechanisms.Ground({}, rows, rows if other is None else other, rows, teachers, self.seed)
        name = self.options["mechanism"]
        rate = 1.0 if name in _mechanisms.OWN_RATE else self.options["lr_scale"]
        tie = {"mechanism": name, "settings": self.options["settings"], "ground": ground, "lr_scale": rate}
        return tie | {"frozen": self.options["frozen"]}

    def assemble(self, kept: Candidate, general: State) -> Model:
        """The model that was kept, for all scenes."""
        holder = self.model if kept.model is None else kept.model
        holder.load_state_dict(kept.state)
        holder.prepare(self.data.train)
        return holder


def told(report: Any) -> dict[str, Any]:
    """What was carried and what was not, as JSON takes it."""
    names = ("copied", "by_id", "unmatched", "unused")
    return {name: list(getattr(report, name)) for name in names} | {"rows": dict(report.rows)}


def continue_runs(
    runs: Sequence[Path],
    model: Model,
    data: Any,
    config: Mapping[str, Any],
    *,
    callbacks: Any = None,
    folder: Path | None = None,
    resume: bool = False,
) -> tuple[Model, list[dict[str, Any]], dict[str, Any]]:
    """Carries trained runs into a data set and goes on there, guarded as :func:`polyscene.transfer.migrate` is.

    Parameters are matched by name and shape, rows of lookup tables by field and id. Several runs are fused, each where
    it has something. The target's own model is trained beside, and what was carried stays only if it beats it.

    Args:
        runs: run folders or model files.
        model: the target's model as initialised.
        data: the target's data set.
        config: resolved; its ``transfer`` and ``train`` blocks say how.
        callbacks: see :meth:`Trainer.fit`.
        folder: run folder.
        resume: go on from its ``stages``.

    Returns:
        The model, the history, and the verdict of :func:`polyscene.transfer.migrate` with ``carried`` (of each run what
        was carried and what was not), ``estimate`` (:func:`transferability` before training, null where there is none)
        and ``harm`` (:func:`negative_transfer` on test rows).

    Raises:
        ValueError: no runs, a mechanism that needs their rows, or nothing that could be carried.
    """
    from polyscene.saving import load

    if not runs:
        raise ValueError("transfer: there must be a source run, got none")
    block, train = dict(config["transfer"]), {k: v for k, v in config["train"].items() if v is not None}
    block["mechanism"] = block["mechanism"] or "migrate"
    _, block["settings"] = _mechanisms.find(block["mechanism"], block.get("settings"))
    sources: dict[str, Model] = {}
    for run in runs:
        found = load(run)
        name = run.name if run.name not in sources else str(run)
        sources[name] = found.part("general") if found.name == "specialist" else found  # type: ignore[operator]
    stages = Stages(model, train, folder, resume, callbacks)
    flow = Carried(model, data, sources, block | {"unlabelled": getattr(data, "unlabelled", None)}, stages)
    flow.exclude_seen = dict(config.get("evaluate") or {}).get("exclude_seen", True)
    start = flow.migrated()["carried"]
    nothing = [name for name, each in flow.carried.items() if not each["copied"] and not each["by_id"]]
    if nothing:
        raise ValueError(f"transfer: {', '.join(nothing)}: nothing could be carried into {model.name}")
    model.load_state_dict(start)
    estimate = _estimate(model, data)
    flow.way.clear()
    final, history, verdict = flow.run()
    own = next(each for each in flow.candidates if each.name == "target alone")
    verdict |= {"carried": flow.carried, "estimate": estimate, "harm": None}
    if data.test is not None:
        alone = copy.deepcopy(model)
        alone.load_state_dict(own.state)
        verdict["harm"] = negative_transfer(alone, final, data.test, flow.metric, flow.exclude_seen)
    return final, history, verdict


def _estimate(model: Model, data: Any) -> dict[str, Any] | None:
    try:
        found = transferability(model, data.train, data=data)
    except ValueError:
        return None
    values = {"probe": found.probe, "answer": found.answer, "leep": found.leep, "base_rate": found.base_rate}
    plain = {name: None if np.isnan(value) else value for name, value in values.items()}
    return plain | {"rows": found.rows, "metric": found.metric}
