"""Tables: every config of a folder run with several seeds, and what came of them side by side."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polyscene import _quick as quickly
from polyscene import _ranking_tables as ranked
from polyscene import _studies as studies
from polyscene import _table_notes as table_notes
from polyscene import runs
from polyscene._files import write_json, write_text
from polyscene._markdown import cell, differences
from polyscene._markdown import table as table_of
from polyscene._significance import paired_tests
from polyscene.data._errors import choice
from polyscene.results import Predictions, Result, metric_order, metric_title, nulls, read_json

# Tables of labels alone: columns that are all counted from one confusion matrix, then AUC.
_COLUMNS = {
    "interest-migration": ("accuracy", "precision", "recall", "f1", "auc"),
    "ml100k-scenes": ("auc", "log_loss", "gauc", "f1"),
}
_COUNTED = ("accuracy", "precision", "recall", "f1")
# What every run of a part is tested against, over seeds and over rows.
_REFERENCES = {
    "ml100k-scenes": {
        "paper": ("shared_bottom",),
        "interaction": ("mf", "factorization_machine", "deep_fm"),
        "history": ("mf", "factorization_machine", "svdpp"),
    }
}
# Parts in which the split moves with the seed; in the others every seed has the same test rows.
_SPLITS = {
    "ml100k-scenes": ("history", "interaction"),
    "cdr-cold": ("amazon-sport-phone", "douban-book-music"),
    "cdr-warm": ("amazon-sport-phone", "douban-book-music"),
}
_MADE_ON_THE_SPOT = "simulator"


@dataclass
class Outcome:
    """What came of the runs of a table.

    Attributes:
        table: its name.
        folder: holds ``table.md``, ``table.json``, ``report.html`` and a folder a run.
        rows: one a part, scene, run and metric: ``part``, ``scene``, ``run``, ``metric``, ``mean``, ``sd`` and
            ``values``, one a seed; None where a metric has no value.
        runs: one a run and seed: ``part``, ``run``, ``seed``, ``folder``, ``split_digest``, ``best_epoch``, ``target``
            (the scene that the model is carried into, or None), ``scenes`` with all metrics and, for labels, the
            confusion matrix, ``valid`` with the metrics of the validation rows, and ``training``: ``seconds``,
            ``cpu_seconds``, ``peak_memory_mb`` of the process and ``parameters``.
        tests: paired tests against the references of the table, see `_significance.paired_tests`.
        notes: what a reader must know: what was left out, how the figures were made.
    """

    table: str
    folder: Path
    seeds: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The table in Markdown."""
        if self.table in studies.TABLES:
            lines = studies.text(self)
            return "\n".join([*lines, *(["", *(f"- {note}" for note in self.notes)] if self.notes else [])])
        counted = f"mean ± standard deviation over {self.seeds} seeds" if self.seeds > 1 else "one seed"
        lines = [f"# {self.table}", "", f"Test rows, {counted}."]
        for part in dict.fromkeys(row["part"] for row in self.rows):
            lines += ["", *([f"## {part}", ""] if part else []), *self._part(part)]
            tests = [test for test in self.tests if test["part"] == part]
            metric, unit = ("ndcg@10", "users") if self.table in ranked.TABLES else ("auc", "rows")
            for against in dict.fromkeys(test["against"] for test in tests):
                chosen = [test for test in tests if test["against"] == against]
                lines += ["", f"### {part}, less {against}", "", *differences(chosen, metric, unit)]
            if self.tests and any(each["training"] for each in self.runs if each["part"] == part):
                lines += ["", f"### {part}, cost of training", "", *self._costs(part)]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)

    def values(self, part: str, scene: str, run: str, metric: str) -> list[float | None]:
        """One value a seed."""
        for row in self.rows:
            if (row["part"], row["scene"], row["run"], row["metric"]) == (part, scene, run, metric):
                return list(row["values"])
        return []

    def _part(self, part: str) -> list[str]:
        mine = [row for row in self.rows if row["part"] == part]
        metrics = list(dict.fromkeys(row["metric"] for row in mine))
        cells = {(row["scene"], row["run"], row["metric"]): row for row in mine}
        lines = [["Scene", "Run", *map(metric_title, metrics)]]
        for scene, run in dict.fromkeys((row["scene"], row["run"]) for row in mine):
            lines.append([scene, run, *(cell(cells.get((scene, run, metric)), self.seeds) for metric in metrics)])
        return table_of(lines)

    def _costs(self, part: str) -> list[str]:
        lines = [["Run", "", "Parameters", "Epochs", "CPU seconds", "Seconds", "Peak memory (MB)"]]
        mine = [each for each in self.runs if each["part"] == part]
        for run in dict.fromkeys(each["run"] for each in mine):
            found = [each["training"] | {"epochs": each["epochs"]} for each in mine if each["run"] == run]
            keys = (("parameters", ",.0f"), ("epochs", ".1f"), ("cpu_seconds", ".1f"), ("seconds", ".1f"))
            cells = []
            for key, form in (*keys, ("peak_memory_mb", ",.0f")):
                known = [each[key] for each in found if each.get(key) is not None]
                cells.append(format(statistics.fmean(known), form) if known else "–")
            lines.append([run, "", *cells])
        return table_of(lines, skip=1)


def tables() -> list[str]:
    """Returns the names of the tables that `reproduce` can make.

    Example:
        >>> import polyscene.reproducing
        >>> "interest-migration" in polyscene.reproducing.tables()
        True
    """
    return sorted(path.name for path in _configs().iterdir() if path.is_dir() and any(path.rglob("*.json")))


def reproduce(
    table: str,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    seeds: int = 3,
    overrides: Sequence[str] = (),
    resume: bool = False,
    callbacks: Any = None,
    only: Sequence[str] = (),
    quick: bool = False,
) -> Outcome:
    """Runs every config of a table with several seeds; writes ``table.md``, ``table.json`` and ``report.html``.

    Args:
        table: as `tables` names it.
        data: folder of the data set, for the configs that read one. Without it, a table that also has simulated data
            is made from these alone, and says so; other tables download what they need.
        out: folder of the table; ``runs/reproduce-<table>-<n>`` by default.
        seeds: runs of each config; the first has the config's seed.
        overrides: ``"train.epochs=3"``, applied to every config.
        resume: finished runs are kept, others go on.
        callbacks: what shows the progress, see :meth:`Trainer.fit`; ``on_run(name)`` is called before the runs of a
            config and before each of them.
        only: names of runs, ``"ease"`` in every part or ``"amazon-sport-phone/ease"`` in one; the table is then of
            these alone. With ``resume`` a table can so grow, run by run. A table of transfer takes its ways to use
            source scenes.
        quick: one seed, less training and, in long tables, some of the runs; the notes then tell which ranges the
            figures are expected in.

    Raises:
        ValueError: an unknown table or run, or overrides that do not fit its configs.
        RunExistsError: ``out`` holds something and ``resume`` is False.
    """
    choice("reproduce: table", table, tables())
    if seeds < 1:
        raise ValueError(f"reproduce: seeds must be 1 or more, got {seeds}")
    small = quickly.of(_configs(), table) if quick else quickly.Quick()
    if quick:
        seeds, overrides, only = 1, [*small.set, *overrides], only or small.only
    chosen, notes = _chosen(table, data, overrides)
    if table in studies.TABLES:
        folder = runs.folder_for({"model": {"name": "reproduce"}, "dataset": {"name": table}}, out, resume)
        outcome = Outcome(table, folder, seeds)
        told = getattr(callbacks, "on_run", lambda name: None)
        studies.fill(outcome, {part: config for _, part, config in chosen}, told, only, quick)
        outcome.rows = _rows(outcome.runs, None)
        return _written(outcome, chosen, small)
    known = {run for _, run, _ in chosen} | {f"{part}/{run}" for part, run, _ in chosen if part}
    for name in only:
        choice("reproduce: only", name, sorted(known))
    chosen = [(part, run, config) for part, run, config in chosen if not only or {run, f"{part}/{run}"} & {*only}]
    folder = runs.folder_for({"model": {"name": "reproduce"}, "dataset": {"name": table}}, out, resume)
    outcome = Outcome(table, folder, seeds)
    for part, run, config in chosen:
        if hasattr(callbacks, "on_run"):
            callbacks.on_run(f"{part}: {run}" if part else run)
        mine = runs.folder_for(config, folder / part / run, resume)
        moves = part in _SPLITS.get(table, ())
        found = runs.execute_seeds(config, mine, seeds, split_seeds=moves, resume=resume, callbacks=callbacks)
        for number, each in enumerate(found):
            outcome.runs.append(_figures(part, run, config["train"]["seed"] + number, each, folder))
            if table in ranked.TABLES:
                outcome.runs += ranked.further(table, outcome.runs[-1], each, folder)
    outcome.rows = _rows(outcome.runs, ranked.COLUMNS if table in ranked.TABLES else _COLUMNS.get(table))
    for name, references in _REFERENCES.get(table, {}).items():
        if tested := [each for each in outcome.runs if each["part"] == name]:
            outcome.tests += paired_tests(tested, references, folder)
    if table in ranked.TABLES:
        for name in dict.fromkeys(each["part"] for each in outcome.runs):
            outcome.tests += ranked.paired_tests([each for each in outcome.runs if each["part"] == name], folder)
        notes += ranked.notes(outcome.runs, table)
    moving = _SPLITS.get(table, ())
    outcome.notes = notes + table_notes.differences(outcome, _COLUMNS.get(table, ()))
    outcome.notes += table_notes.tested(outcome, moving) + table_notes.searched(chosen)
    if table in _COLUMNS:
        thresholds = sorted({round(each["threshold"], 4) for each in outcome.runs})
        shown = ", ".join(map(str, thresholds))
        outcome.notes.append(
            f"Accuracy, precision, recall and F1 are counted from one confusion matrix a scene, threshold {shown}."
        )
    return _written(outcome, chosen, small)


def _written(outcome: Outcome, chosen: Sequence[tuple[str, str, dict[str, Any]]], small: quickly.Quick) -> Outcome:
    """Leaves the table in its folder."""
    table, folder = outcome.table, outcome.folder
    outcome.notes += small.told(outcome.rows)
    write_text(folder / "table.md", outcome.text() + "\n")
    content = {key: getattr(outcome, key) for key in ("rows", "runs", "tests", "notes")}
    configs = {each: {run: config for at, run, config in chosen if at == each} for each, _, _ in chosen}
    write_json(
        folder / "table.json", {"table": table, "seeds": outcome.seeds, "configs": _portable(configs), **content}
    )
    from polyscene.report import build_table

    build_table(folder)
    return outcome


def confusion(predictions: Predictions, threshold: float) -> dict[str, int]:
    """Counts of the rows called positive, score >= threshold, against their labels.

    Example:
        >>> rows = Predictions(range(4), ["a"] * 4, [1, 0, 1, 0], [0.9, 0.6, 0.2, 0.1])
        >>> confusion(rows, 0.5)
        {'true_positive': 1, 'false_positive': 1, 'false_negative': 1, 'true_negative': 1}
    """
    positive, called = predictions.label > 0.5, predictions.score >= threshold
    pairs = {"true_positive": (1, 1), "false_positive": (0, 1), "false_negative": (1, 0), "true_negative": (0, 0)}
    return {name: int(np.sum((positive == truth) & (called == guess))) for name, (truth, guess) in pairs.items()}


def from_confusion(counts: Mapping[str, int]) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of a confusion matrix; nan where there is nothing to divide by.

    Example:
        >>> counts = {"true_positive": 1, "false_positive": 1, "false_negative": 0, "true_negative": 2}
        >>> from_confusion(counts)
        {'accuracy': 0.75, 'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666}
    """
    tp, fp = counts["true_positive"], counts["false_positive"]
    fn, tn = counts["false_negative"], counts["true_negative"]

    def share(part: int, whole: int) -> float:
        return part / whole if whole else math.nan

    return {
        "accuracy": share(tp + tn, tp + fp + fn + tn),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "f1": share(2 * tp, 2 * tp + fp + fn),
    }


def _configs() -> Path:
    """The folder of all tables: that of a checkout where this is one, else the one installed with the package."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / "experiments" / "configs"
    return checkout if checkout.is_dir() else package / "configs"


def _chosen(table: str, data: Any, overrides: Sequence[str]) -> tuple[list[tuple[str, str, dict[str, Any]]], list[str]]:
    """Part, run and config of each file, and notes on those left out."""
    top = _configs() / table
    # Where a table has parts, a config beside them stands for itself.
    files = sorted(top.glob("*/*.json")) or sorted(top.glob("*.json"))
    paths = {path: runs.resolve(path)["dataset"]["name"] for path in files}
    notes = []
    read = [name for name in dict.fromkeys(paths.values()) if name != _MADE_ON_THE_SPOT]
    if data is None and read and _MADE_ON_THE_SPOT in paths.values():
        paths = {path: name for path, name in paths.items() if name == _MADE_ON_THE_SPOT}
        left_out = ", ".join(read)
        notes = [f"{left_out}: left out, since no folder of the data was given; add --data DIR for that part."]
    out = []
    for path, name in paths.items():
        config = runs.resolve(path, overrides, None if name == _MADE_ON_THE_SPOT else data)
        out.append((path.parent.relative_to(top).as_posix().replace(".", ""), path.stem, config))
    return out, notes


def _figures(part: str, run: str, seed: int, done: runs.Run, folder: Path) -> dict[str, Any]:
    result = done.result
    parts = {**result.scenes, "macro": result.macro, "overall": result.overall}
    scenes: dict[str, Any] = {name: nulls(values) for name, values in parts.items()}
    if result.task == "ctr" and result.predictions is not None:
        for name in (*result.scenes, "overall"):
            rows = result.predictions if name == "overall" else result.predictions.of(name)
            counts = confusion(rows, result.threshold)
            scenes[name] |= nulls(from_confusion(counts))
            scenes[name]["confusion"] = counts
        _mean_over_scenes(scenes, result)
    target = done.model.phases()[-1].scenes
    of_rankings = ranked.facts(result) if result.task in ("ranking", "sequence") else {}
    for name, values in of_rankings.pop("scenes", {}).items():
        scenes[name] |= values
    return of_rankings | {
        "part": part,
        "run": run,
        "seed": seed,
        "folder": done.folder.relative_to(folder).as_posix(),
        "split_digest": result.split_digest,
        "best_epoch": result.best_epoch,
        "threshold": result.threshold,
        "target": target[0] if len(target) == 1 else None,
        "scenes": scenes,
        "valid": nulls(result.valid.overall if result.valid else {}),
        "epochs": len(done.history),
        "training": (read_json(done.folder / "environment.json") or {}).get("training", {}),
    }


def _mean_over_scenes(scenes: dict[str, Any], result: Result) -> None:
    for metric in _COUNTED:
        values = [scenes[name][metric] for name in result.scenes if scenes[name][metric] is not None]
        scenes["macro"][metric] = statistics.fmean(values) if values else None


def _rows(figures: Sequence[Mapping[str, Any]], columns: Sequence[str] | None) -> list[dict[str, Any]]:
    out = []
    for part in dict.fromkeys(each["part"] for each in figures):
        mine = [each for each in figures if each["part"] == part]
        names = dict.fromkeys(scene for each in mine for scene in each["scenes"])
        known = {m for each in mine for values in each["scenes"].values() for m in values} - {"confusion"}
        for scene in names:
            for run in dict.fromkeys(each["run"] for each in mine):
                found = [each["scenes"].get(scene, {}) for each in mine if each["run"] == run]
                for metric in columns or metric_order(known):
                    values = [each.get(metric) for each in found]
                    defined = [value for value in values if value is not None]
                    mean = statistics.fmean(defined) if defined else None
                    sd = statistics.stdev(defined) if len(defined) > 1 else None
                    row = {"part": part, "scene": scene, "run": run, "metric": metric}
                    out.append(row | {"mean": mean, "sd": sd, "values": values})
    return out


def _portable(configs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The configs without the folder of the data, which is another one elsewhere."""
    for config in (each for part in configs.values() for each in part.values()):
        config["dataset"].pop("root", None)
    return configs
