"""Runs: a config in, a run folder out."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyscene import models
from polyscene._environment import facts, write_json
from polyscene._extension import _C
from polyscene.data.dataset import Dataset
from polyscene.evaluation import evaluate, scores
from polyscene.results import Result
from polyscene.saving import save
from polyscene.training import Trainer, seed_everything

QUICKSTART = """{
  // the embedded simulator: users whose interests move between four scenes
  "dataset": {"name": "simulator", "users": 3000, "events": 20, "interests": 12, "items": 400},
  "model": {"name": "interest_migration", "max_length": 10},
  "train": {"optimizer": "lazy_adam", "lr": 5e-3, "batch_size": 2048, "epochs": 12, "patience": 3}
}"""


class RunExistsError(ValueError):
    """The run folder is there already and was not to be resumed."""


@dataclass
class Run:
    """What came of a run.

    Attributes:
        folder: the run folder.
        result: metrics of the test rows at the best epoch, those of the validation rows in ``result.valid``.
        history: a row an epoch.
        model: the trained model.
        data: the data set.
    """

    folder: Path
    result: Result
    history: list[dict[str, Any]]
    model: models.Model
    data: Dataset


def resolve(
    config: str | os.PathLike[str] | None, overrides: Sequence[str] = (), data: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Reads, checks and completes a config.

    Args:
        config: path of a JSON file that may hold comments; None for the quickstart on the simulator.
        overrides: ``"model.experts=8"``, applied first.
        data: folder of the data set, in the place of ``dataset.root``.

    Raises:
        ValueError: what is wrong, with file and JSON path.
        FileNotFoundError: no such file.
    """
    if config is None:
        text, source = QUICKSTART, "quickstart"
    else:
        path = Path(config)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such config")
        text, source = path.read_text(encoding="utf-8"), str(path)
    given = list(overrides)
    if data is not None:
        given.append(f"dataset.root={json.dumps(os.fspath(data))}")
    return json.loads(_C.train.resolve_config(text, source, given))


def folder_for(config: dict[str, Any], out: str | os.PathLike[str] | None, resume: bool) -> Path:
    """The run folder, made if it is not there.

    Raises:
        RunExistsError: it is there and holds something, and ``resume`` is False.
        OSError: it cannot be made; the message names it.
    """
    if out is None:
        stem = f"{config['model']['name']}-{config['dataset']['name']}"
        number = 1
        while (Path("runs") / f"{stem}-{number}").exists():
            number += 1
        out = Path("runs") / f"{stem}-{number - 1 if resume and number > 1 else number}"
    folder = Path(out)
    if folder.is_dir() and any(folder.iterdir()) and not resume:
        raise RunExistsError(f"{folder} exists; choose another --out, or go on with it by --resume")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder}: cannot make the run folder: {error.strerror}") from error
    return folder


def execute(
    config: dict[str, Any],
    folder: Path,
    *,
    resume: bool = False,
    callbacks: Any = None,
    data: Dataset | None = None,
) -> Run:
    """Trains, evaluates and reports one run.

    Args:
        config: as `resolve` returns it.
        folder: the run folder, as `folder_for` returns it.
        resume: go on from ``last.safetensors`` where it is there.
        callbacks: what shows the progress, see :meth:`Trainer.fit`.
        data: the data set of the config where it is loaded already.

    Raises:
        ValueError: the data do not fit the config.
        KeyboardInterrupt: the run was stopped; it can be resumed.
    """
    started = time.time()
    if data is None:
        data = load_data(config)
    if data.train is None or data.test is None:
        raise ValueError(f"dataset: a run needs training and test rows, got {', '.join(data.tables)}")
    write_json(folder / "config.json", config)
    environment = facts(config, data)
    write_json(folder / "environment.json", environment)

    train = dict(config["train"])
    seed_everything(train["seed"])
    options = {key: value for key, value in config["model"].items() if key != "name"}
    model = models.create(config["model"]["name"], data.schema, **options)
    checkpoint = folder / "last.safetensors"
    watched = _Recorder(folder / "history.jsonl", callbacks, resume)
    resume = resume and (checkpoint.exists() or (folder / "stages").is_dir())
    transfer = None
    if config["transfer"]["mechanism"]:
        from polyscene.transfer import migrate

        model, history, transfer = migrate(model, data, config, callbacks=watched, folder=folder, resume=resume)
    else:
        history = Trainer(**train).fit(model, data, callbacks=watched, checkpoint=checkpoint, resume=resume)
    watched.write(history)

    result = measure(model, data, config["evaluate"])
    best = [row["epoch"] for row in history if row["best"]]
    result.best_epoch = best[-1] if best else None
    result.transfer = transfer
    result.split_digest = data.split_digest
    save(model, folder / "model.safetensors", {"threshold": repr(result.threshold)})
    result.predictions.write(folder / "predictions.parquet")
    write_json(folder / "metrics.json", result.to_dict())
    environment["seconds"] = round(time.time() - started, 3)
    write_json(folder / "environment.json", environment)
    from polyscene.explaining import explanation

    if found := explanation(model, data):
        write_json(folder / "explain.json", found)
    if config["report"]["tensorboard"]:
        from polyscene.integrations.tensorboard import write_events

        write_events(folder, history, result)
    if config["report"]["html"]:
        from polyscene.report import build_report

        build_report(folder)
    return Run(folder, result, history, model, data)


def load_data(config: dict[str, Any]) -> Dataset:
    """The data set of a resolved config."""
    from polyscene import datasets

    block = {key: value for key, value in config["dataset"].items() if value is not None}
    return datasets.from_config(block)


def measure(model: models.Model, data: Dataset, options: dict[str, Any]) -> Result:
    """Metrics of the test rows, with those of the validation rows beside them; the threshold tuned on the latter if wanted."""
    threshold = options["threshold"]
    metrics = options["metrics"] or None
    if options["tune_threshold"] and data.valid is not None and data.schema.task == "ctr":
        threshold = _C.eval.best_threshold(_as_tensor(scores(model, data.valid)), data.valid.labels())
    result = evaluate(model, data.test, metrics, threshold=threshold)
    if data.valid is not None:
        result.valid = evaluate(model, data.valid, metrics, threshold=threshold)
    return result


def _as_tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)


def execute_seeds(
    config: dict[str, Any], folder: Path, seeds: int, *, split_seeds: bool = False, resume: bool = False, callbacks: Any = None
) -> list[Run]:
    """One run a seed, each in a sub-folder, and a summary report.

    Args:
        config: as `resolve` returns it; its ``train.seed`` is the first.
        folder: holds the sub-folders ``seed-2022``, ...
        seeds: how many.
        split_seeds: whether the split's seed moves with it.
        resume: finished runs are kept, others go on.
        callbacks: see `execute`.
    """
    runs = []
    data = None if split_seeds else load_data(config)
    first, first_split = config["train"]["seed"], config["dataset"].get("split", {}).get("seed")
    for number in range(seeds):
        mine = json.loads(json.dumps(config))
        mine["train"]["seed"] = first + number
        if split_seeds:
            if first_split is None:
                raise ValueError("dataset: its files are split already, there is no split seed to vary")
            mine["dataset"]["split"]["seed"] = first_split + number
        sub = folder / f"seed-{first + number}"
        sub.mkdir(exist_ok=True)
        runs.append(execute(mine, sub, resume=resume, callbacks=callbacks, data=data))
    if config["report"]["html"]:
        from polyscene.report import build_summary

        build_summary(folder)
    return runs


def summary(results: Sequence[Result]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard deviation over runs: scene (or ``overall``, ``macro``) -> metric -> (mean, deviation)."""
    parts: dict[str, list[dict[str, float]]] = {}
    for result in results:
        for name, values in (*result.scenes.items(), ("macro", result.macro), ("overall", result.overall)):
            parts.setdefault(name, []).append(values)
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for name, rows in parts.items():
        for metric in rows[0]:
            values = [row[metric] for row in rows]
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            out.setdefault(name, {})[metric] = (statistics.fmean(values), deviation)
    return out


class _Recorder:
    """Writes the history as it grows, and passes everything on."""

    def __init__(self, path: Path, inner: Any, keep: bool) -> None:
        self._path, self._inner = path, inner
        if not keep:
            path.unlink(missing_ok=True)

    def on_start(self, epochs: int, rows: int) -> None:
        self._tell("on_start", epochs, rows)

    def on_progress(self, *given: Any) -> None:
        self._tell("on_progress", *given)

    def on_epoch(self, row: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(row))
        self._tell("on_epoch", row)

    def on_end(self) -> None:
        self._tell("on_end")

    def write(self, history: list[dict[str, Any]]) -> None:
        """The whole history: what an interrupted run had written twice stands once."""
        temporary = self._path.with_suffix(".part")
        temporary.write_text("".join(map(_line, history)), encoding="utf-8")
        os.replace(temporary, self._path)

    def _tell(self, what: str, *given: Any) -> None:
        if hasattr(self._inner, what):
            getattr(self._inner, what)(*given)


def _line(row: dict[str, Any]) -> str:
    valid = {key: value if value == value else None for key, value in row["valid"].items()}
    return json.dumps(row | {"valid": valid}) + "\n"
