"""The flow of a transfer: train the sources, train the target, migrate and fuse, go on, choose."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from polyscene import models
from polyscene._extension import _C
from polyscene._model import Model
from polyscene.evaluation import scores
from polyscene.results import metric_title
from polyscene.training import Trainer
from polyscene.transfer import _mechanisms
from polyscene.transfer.choosing import (
    LOWER_IS_BETTER,
    OF_RANKINGS,
    Comparison,
    chosen_by,
    compare,
    pool,
    query_values,
    steps_to_score,
    usable,
)
from polyscene.transfer.distances import carried_by
from polyscene.transfer.fusing import Evidence, State, fuse_sources, state_of
from polyscene.transfer.stages import Stage, Stages, joined, kept_whole, positions_of, rows_of, units_of
from polyscene.transfer.starting import recompute_statistics

ENOUGH = 2_000
"""Validation rows of the target that choose alone; with fewer, training rows are scored by models without them."""
FOLDS = 4
OWN = "target alone"

_log = logging.getLogger("polyscene")


@dataclass
class Candidate:
    """A model that may answer for the target.

    Attributes:
        name: "target alone", "fused", "fused, continued", "joint", "joint, continued"; of other mechanisms the name of
            the mechanism in the place of "continued".
        state: its parameters and buffers.
        start: what it was trained from; None where it is what it started from.
        stage: its training; None where it was not trained on the target's rows.
        tie: how it was tied to its start, or the mechanism that trained it.
        model: holds the state; None for the model of the flow.
    """

    name: str
    state: State
    start: State | None = None
    stage: Stage | None = None
    tie: dict[str, Any] | None = None
    model: Model | None = None


class Group(NamedTuple):
    """Rows that compare candidates.

    Attributes:
        label: labels; of rankings values of the target's own model.
        by: what each candidate says of the rows.
        unit: what they are not independent within; None where they are.
    """

    label: np.ndarray
    by: dict[str, np.ndarray]
    unit: np.ndarray | None


class Migration:
    """One transfer, with everything that it looked at; :func:`polyscene.transfer.migrate` makes and runs one.

    Args:
        model: the model as initialised; it holds the parameters of whatever is trained or scored.
        data: the data set.
        sources: scenes to learn from, at least one.
        target: the scene to migrate to.
        options: ``mechanism``, ``settings``, ``fusion``, ``strength``, ``lr_scale``, ``frozen``, ``source_epochs``,
            ``guard`` and ``unlabelled``, all of them.
        stages: runs the trainings.

    Attributes:
        candidates: the models that may answer for the target, the target's own first; empty before :meth:`run`.
        rows: training rows of the target.
        valid: validation rows of the target, or None.
        metric: what chooses: "auc" (labels), "rmse" (ratings), "log_loss" (classes, labels of one value), "ndcg@10"
            (rankings, sequences).
        way: the flow as it went.
    """

    exclude_seen: bool = True
    """Of rankings: whether what was seen is left out, as `evaluate` takes it."""

    def __init__(
        self, model: Model, data: Any, sources: list[str], target: str, options: dict[str, Any], stages: Stages
    ) -> None:
        self.model, self.data, self.sources, self.target = model, data, sources, target
        self.options, self.stages = options, stages
        self.seed = int(Trainer(**stages.train).options["seed"])
        self.initial = state_of(model)
        self.where = positions_of(data.train, [target])
        self.rows = data.train.take(self.where)
        self.trained: dict[str, tuple[State, Any]] = {}
        self.valid = rows_of(data.valid, [target])
        self.metric = chosen_by(self.rows, self.valid, target)
        self.way: list[str] = []
        self.weights: dict[str, float] = {}
        self.candidates: list[Candidate] = []
        self.folds = self.evidence = 0
        self.groups: list[Group] = []

    def run(self) -> tuple[Model, list[dict[str, Any]], dict[str, Any]]:
        """Runs the flow; what it returns stands at :func:`polyscene.transfer.migrate`."""
        starts = self.migrated()
        own = self.stages.fit(OWN, self.initial, self.rows, self.valid)
        self.way.append(f"{self.target} was not trained: trained on its own {len(self.rows):,} rows")
        candidates = self.candidates = [Candidate(OWN, own.state, self.initial, own)]
        candidates += self.continued(starts)
        found = self.compare(candidates)
        kept, verdict = self.choose(candidates, found)
        verdict["steps_to_target_score"] = steps_to_score(self)
        verdict["distances"] = carried_by(self)
        _log.info("%s", verdict["message"])
        final = self.assemble(kept, starts.get("joint", next(iter(starts.values()))))
        return final, self.stages.history(kept.stage), verdict

    def continued(self, starts: dict[str, State]) -> list[Candidate]:
        """What was migrated, as it is and as the mechanism goes on with it."""
        name = self.options["mechanism"]
        out = []
        if name == "migrate":
            tie = {key: self.options[key] for key in ("strength", "lr_scale", "frozen")}
            for start, state in starts.items():
                stage = self.stages.fit(f"{start}, continued", state, self.rows, self.valid, tie)
                out += [Candidate(start, state), Candidate(stage.name, stage.state, state, stage, tie)]
            self.way.append(f"{self.target} is trained: migrated, {' and '.join(starts)}, and continued on its rows")
            return out
        tie = self.tie(self.where)
        out = [Candidate(start, state) for start, state in starts.items()]
        rows, begun = self.rows, starts
        if name in _mechanisms.TOGETHER:
            rows, begun = tie["ground"].together, {"": self.initial}
        elif name in _mechanisms.WARM:
            self.model.load_state_dict(self.initial)
            self.model.prepare(rows_of(self.data.train, self.sources))  # what is known of inputs, as the tasks see them
            tasks = [each for each in tie["ground"].sources.values() if len(each) > 1]
            _mechanisms.start(name, self.model, tasks, self.options["settings"], self.seed)
            begun = {"": state_of(self.model)}
        for start, state in begun.items():
            stage = self.stages.fit(f"{start}, {name}" if start else name, state, rows, self.valid, tie)
            out.append(Candidate(stage.name, stage.state, state, stage, tie, stage.model))
        self.way.append(f"{self.target} is trained: migrated, {' and '.join(starts)}, and continued by {name}")
        return out

    def tie(self, where: torch.Tensor) -> dict[str, Any]:
        """How the mechanism trains on the training rows at ``where`` of the target."""
        name, train = self.options["mechanism"], self.data.train
        others = positions_of(train, self.sources)
        mine, given = train.take(where), self.options["unlabelled"]
        together = train.take(torch.cat([others, where]).sort().values)
        aligned = together
        if given is not None and name in ("dann", "mmd", "coral"):
            aligned = joined(train.take(others), given)
        ground = _mechanisms.Ground(
            sources={scene: rows_of(train, [scene]) for scene in self.sources},
            together=together,
            unlabelled=mine if given is None else given,
            aligned=aligned,
            teachers={scene: state for scene, (state, _) in self.trained.items()},
            seed=self.seed,
        )
        rate = 1.0 if name in (*_mechanisms.OWN_RATE, *_mechanisms.TOGETHER) else self.options["lr_scale"]
        tie = {"mechanism": name, "settings": self.options["settings"], "ground": ground, "lr_scale": rate}
        return tie | {"frozen": self.options["frozen"]}

    def migrated(self) -> dict[str, State]:
        """Source models, fused, and the joint one."""
        epochs, trained = self.options["source_epochs"], self.trained
        for name in self.sources:
            rows = rows_of(self.data.train, [name])
            stage = self.stages.fit(
                f"source {name}", self.initial, rows, rows_of(self.data.valid, [name]), epochs=epochs
            )
            trained[name] = (stage.state, rows)
        self.way.append(f"sources trained: {', '.join(self.sources)}")
        if len(self.sources) == 1:
            self.weights = {self.sources[0]: 1.0}
            return {"migrated": trained[self.sources[0]][0]}
        train, valid = rows_of(self.data.train, self.sources), rows_of(self.data.valid, self.sources)
        joint = self.stages.fit("joint", self.initial, train, valid, epochs=epochs)
        fused, self.weights = self.fuse(self.rows)
        return {"fused": fused, "joint": joint.state}

    def fuse(self, rows: Any) -> tuple[State, dict[str, float]]:
        """The source models in one, statistics of batch norm as of the target's ``rows``; and their weights.

        What is chosen is chosen on these rows, which no source has seen, so that validation rows stay clean; of
        rankings, where there is no score of single rows, on validation rows.
        """
        judges = self.valid if self.ranks() and self.valid is not None else rows
        states = {name: state for name, (state, _) in self.trained.items()}
        evidence = [Evidence(states, partial(self.value, table=judges), len(judges))]
        fused, weights = fuse_sources(
            self.options["fusion"], self.model, self.initial, self.trained, evidence, self.seed, rows
        )
        self.model.load_state_dict(fused)
        if recompute_statistics(self.model, rows):
            fused = state_of(self.model)
        return fused, weights

    def score(self, state: State, table: Any, model: Model | None = None) -> np.ndarray:
        """What the model with these parameters says of the rows: probabilities, ratings, or values of queries."""
        model = self.model if model is None else model
        model.load_state_dict(state)
        return query_values(model, table, self.exclude_seen)[0] if self.ranks() else scores(model, table)

    def ranks(self) -> bool:
        """Whether rankings are compared, which have no labels."""
        return self.metric == OF_RANKINGS

    def held_out(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels and scores of all rows that chose: what a threshold can be tuned on.

        Of rankings both are values of queries.
        Validation rows are scored by the candidate itself, folds of the training rows by models that were trained like
        it without them.

        Args:
            name: of a candidate.
        """
        label = np.concatenate([group.label for group in self.groups])
        return label, np.concatenate([group.by[name] for group in self.groups])

    def value(self, state: State, table: Any) -> float:
        """The metric of a state on rows of the target, higher is better; nan where they cannot tell."""
        score = self.score(state, table)
        label = score if self.ranks() else table.labels().numpy()
        found = compare(label, score, score, self.metric).first if usable(label, self.metric) else float("nan")
        return -found if self.metric in LOWER_IS_BETTER else found

    def compare(self, candidates: list[Candidate]) -> dict[str, dict[str, Any]]:
        """Each candidate against the first, on validation rows and, if they are few, on folds of the training rows."""
        groups = self.groups
        if self.valid is not None:
            by = {c.name: self.score(c.state, self.valid, c.model) for c in candidates}
            label = by[OWN] if self.ranks() else self.valid.labels().numpy()
            groups.append(Group(label, by, None if self.ranks() else units_of(self.data, self.valid)))
        if not self.enough():
            self.folds = self.most_folds()
            groups += [self.fold(number, candidates) for number in range(self.folds)]
        used = [group for group in groups if usable(group.label, self.metric)]
        out: dict[str, dict[str, Any]] = {}
        for candidate in candidates:
            parts = [compare(g.label, g.by[OWN], g.by[candidate.name], self.metric, g.unit) for g in used]
            whole = pool(parts) if parts else Comparison(np.nan, np.nan, 0.0, np.inf, 0)
            valid = parts[0].second if self.valid is not None and used and used[0] is groups[0] else None
            error = whole.variance**0.5
            out[candidate.name] = {
                "valid": valid,
                "score": None if np.isnan(whole.second) else whole.second,
                "gain": whole.gain,
                "standard_error": error if np.isfinite(error) else None,
            }
        self.evidence = sum(len(group.label) for group in used)
        return out

    @property
    def together(self) -> torch.Tensor:
        """What folds of the target's training rows keep whole, numbered in their order, int64 [n]."""
        return kept_whole(self.data, self.rows)

    def enough(self) -> bool:
        """Whether validation rows choose alone; else folds of the training rows speak as well."""
        return self.ranks() or (self.valid is not None and len(self.valid) >= ENOUGH)

    def most_folds(self) -> int:
        """How many folds the training rows have."""
        return min(FOLDS, int(self.together.max() + 1) // 2)

    def parted(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of the training rows of a fold, and of those outside it."""
        together = self.together
        order = torch.as_tensor(_C.core.permutation(int(together.max() + 1), self.seed, "transfer folds"))
        inside = (order % self.most_folds() == number)[together]  # one fold for each row, or for what belongs together
        return inside.nonzero().squeeze(1), inside.logical_not().nonzero().squeeze(1)

    def fold(self, number: int, candidates: list[Candidate]) -> Group:
        """Scores of a fold of the training rows by models that were trained as the candidates, but without it."""
        inside, outside = self.parted(number)
        held, rest = self.rows.take(inside), self.rows.take(outside)
        # A fusion that was chosen on these rows, or took its statistics from them, would know them.
        again = any(candidate.name.startswith("fused") for candidate in candidates)
        fused = self.fuse(rest)[0] if again else None
        out = {}
        for candidate in candidates:
            of_fused = fused is not None and candidate.name.startswith("fused")
            if candidate.stage is None:
                out[candidate.name] = self.score(fused if of_fused else candidate.state, held)  # type: ignore[arg-type]
                continue
            start, tie = fused if of_fused else candidate.start, candidate.tie
            rows, many, epochs = rest, len(self.rows), candidate.stage.best_epoch
            if tie is not None and "mechanism" in tie:
                tie = self.tie(self.where[outside])
                if tie["mechanism"] in _mechanisms.TOGETHER:
                    rows, many = tie["ground"].together, len(tie["ground"].together) + len(held)
            model = self.stages.refit(start, rows, epochs, many, tie)  # type: ignore[arg-type]
            out[candidate.name] = scores(model, held)
        return Group(held.labels().numpy(), out, units_of(self.data, held))

    def choose(self, candidates: list[Candidate], found: dict[str, dict[str, Any]]) -> tuple[Candidate, dict[str, Any]]:
        """The best migrated candidate if it wins by the guard, else the target's own; and the verdict."""
        others = [c for c in candidates if c.name != OWN]
        best = max(others, key=lambda c: found[c.name]["gain"])
        values, own = found[best.name], found[OWN]
        error = values["standard_error"]
        helped = error is not None and values["gain"] > self.options["guard"] * error
        kept = best if helped else candidates[0]
        self.way.append(f"kept for {self.target}: {kept.name}")
        names = ", ".join(self.sources)
        if error is None:
            reason = "too few rows to tell"
        else:
            kind = "validation and held-out" if self.folds else "validation"
            reason = (
                f"{metric_title(self.metric)} {values['score']:.4f} ({best.name}) against {own['score']:.4f} ({OWN}), "
                f"standard error of the difference {error:.4f}, on {self.evidence:,} {kind} rows"
            )
        asked = next(c.name for c in reversed(others) if c.stage is not None)
        if self.options["mechanism"] != "migrate" and asked != best.name and found[asked]["score"] is not None:
            reason += f"; {asked} {found[asked]['score']:.4f}"
        if helped:
            message = f"migrating {names} into {self.target} helped: {reason}"
        else:
            if error is not None and values["gain"] > 0:
                reason += f"; a gain of less than {self.options['guard']:g} standard errors"
            message = f"migrating {names} into {self.target} did not help: the target's own model stays; {reason}"
        return kept, {
            "helped": helped,
            "message": message,
            "sources": self.sources,
            "target": self.target,
            "way": " -> ".join(self.way),
            "kept": kept.name,
            "metric": self.metric,
            "candidates": found,
            "evidence": {"rows": self.evidence, "folds": self.folds, "guard": self.options["guard"]},
            "fusion": self.options["fusion"],
            "weights": self.weights,
            "rows": {"train": len(self.rows), "valid": 0 if self.valid is None else len(self.valid)},
        }

    def assemble(self, kept: Candidate, general: State) -> Model:
        """The model for all scenes."""
        special, holder = kept.state, self.model if kept.model is None else kept.model
        if holder is not self.model:
            self.model.load_state_dict(general)
            fresh = _mechanisms.wrap(
                self.options["mechanism"],
                self.model,
                self.rows,
                self.tie(self.where)["ground"],
                self.options["settings"],
                [],
            )
            general = state_of(fresh)  # what it adds is nothing yet: it answers as the general model
        holder.load_state_dict(special)
        holder.prepare(self.data.train)
        if holder.name not in models.list():
            return holder
        settings = json.dumps(holder.options)
        with torch.random.fork_rng(devices=[]):
            out = models.create(
                "specialist", self.data.schema, model=holder.name, settings=settings, scenes=[self.target]
            )
        out.to(next(value.dtype for value in special.values() if value.is_floating_point()))
        parts = {"general": general, "special": special}
        out.load_state_dict({f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()})
        out.prepare(self.data.train)
        return out
