"""Runs: a config in, a run folder out."""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyscene import models
from polyscene._environment import facts
from polyscene._extension import _C
from polyscene._files import write_json
from polyscene._loading import load_data as load_data
from polyscene._recorder import Recorder, write_predictions
from polyscene._resuming import check_resumable, is_finished, leaving_nothing
from polyscene._usage import measured as used
from polyscene.data.dataset import Dataset
from polyscene.evaluation import evaluate
from polyscene.generalising import check_unseen, new_scenes, unseen
from polyscene.moving import expects, moves
from polyscene.results import Result, nulls
from polyscene.saving import load, save
from polyscene.training import Trainer, seed_everything

QUICKSTART = """{
  // the embedded simulator: users whose interests move between three scenes
  "dataset": {"name": "simulator", "scenes": 3, "users": 4000, "events": 30, "interests": 8, "items": 400},
  "model": {"name": "interest_migration", "max_length": 6, "transition_weight": 1.0, "interest_weight": 0.5},
  "train": {"optimizer": "lazy_adam", "lr": 1e-2, "batch_size": 512, "epochs": 8, "patience": 2, "threads": 1}
}"""

_log = logging.getLogger("polyscene")


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
        text, source = _read_config(Path(config)), str(config)
    given = list(overrides)
    if config is None:
        given = _fresh_sections(given) + given
    if data is not None:
        name = json.loads(_C.train.resolve_config(text, source, given))["dataset"]["name"]
        if name == "simulator":
            raise ValueError(
                f"--data: the simulator makes its rows, it reads no folder {os.fspath(data)}; "
                "name a data set by dataset.name"
            )
        given.append(f"dataset.root={json.dumps(os.fspath(data))}")
    resolved = json.loads(_C.train.resolve_config(text, source, given))
    from polyscene import datasets

    name, known = resolved["dataset"]["name"], ["table", *datasets.list()]
    if name not in known:
        near = _C.core.suggestion(name, known)
        raise ValueError(
            f"{source}: dataset.name: unknown data set {name!r}; known data sets: {', '.join(known)}{near}"
        )
    return resolved


def _read_config(path: Path) -> str:
    if path.is_dir():
        raise FileNotFoundError(f"{path}: wanted a config, a JSON file, got a folder")
    if not path.is_file():
        near = [each.name for each in path.parent.glob("*.json")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"{path}: no such config{_C.core.suggestion(path.name, sorted(near))}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: wanted JSON in UTF-8, byte {error.start + 1} is not; save the file as UTF-8"
        ) from error


def _fresh_sections(overrides: Sequence[str]) -> list[str]:
    """Sections of the quickstart that belong to another model or data set than the one asked for start empty."""
    own, out = json.loads(_C.train.resolve_config(QUICKSTART, "quickstart", [])), []
    for section in ("dataset", "model"):
        named = [each.partition("=")[2].strip('"') for each in overrides if each.startswith(f"{section}.name=")]
        if named and named[-1] != own[section]["name"]:
            out.append(f"{section}={json.dumps({'name': named[-1]})}")
    return out


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
    sources: Sequence[Path] = (),
) -> Run:
    """Trains, evaluates and reports one run. One that fails before anything is trained leaves no folder.

    Args:
        config: as `resolve` returns it.
        folder: the run folder, as `folder_for` returns it.
        resume: go on from ``last.safetensors``, or the ``stages`` of a transfer, where they are there.
        callbacks: what shows the progress, see :meth:`Trainer.fit`.
        data: the data set of the config where it is loaded already.
        sources: finished runs that are carried into this one.

    Raises:
        ValueError: the data do not fit the config.
        KeyboardInterrupt: the run was stopped; it can be resumed.
    """
    started = time.time()
    if config["report"]["tensorboard"]:
        from polyscene.integrations import tensorboard

        tensorboard.require()
    if data is None:
        data = load_data(config, carried=bool(sources))
    if data.train is None or data.test is None:
        raise ValueError(f"dataset: a run needs training and test rows, got {', '.join(data.tables)}")
    measured = config["evaluate"]["unseen_scene"]
    if measured:
        check_unseen(data, measured)
    environment = facts(config, data)
    checkpoint = folder / "last.safetensors"
    if resume and not (checkpoint.exists() or (folder / "stages").is_dir()):
        _log.warning("%s: nothing to resume, starting from the beginning", folder)
        resume = False
    if resume:
        check_resumable(folder, config, environment)
    with leaving_nothing(folder, resume):
        write_json(folder / "config.json", config)
        write_json(folder / "environment.json", environment)

        train = dict(config["train"])
        seed_everything(train["seed"])
        options = {key: value for key, value in config["model"].items() if key != "name"}
        model = models.create(config["model"]["name"], data.schema, **options)
        watched = Recorder(folder / "history.jsonl", callbacks, resume)
        transfer = None
        with used() as training:
            if sources:
                from polyscene.transfer.carrying import continue_runs

                environment["source_runs"] = [str(run) for run in sources]
                model, history, transfer = continue_runs(
                    sources, model, data, config, callbacks=watched, folder=folder, resume=resume
                )
            elif config["transfer"]["mechanism"]:
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
    write_predictions(result, folder)
    write_json(folder / "metrics.json", result.to_dict())
    environment["training"] = training | {"parameters": sum(each.numel() for each in model.parameters())}
    environment["seconds"] = round(time.time() - started, 3)
    write_json(folder / "environment.json", environment)
    from polyscene.explaining import explanation

    found = explanation(model, data, exclude_seen=config["evaluate"].get("exclude_seen", True))
    if measured:
        found["left_out_scene"] = _left_out(data, measured, config, options, result)
    if new := new_scenes(model, data, result.threshold):
        found["unseen_scene"] = new
    if found:
        write_json(folder / "explain.json", found)
    if config["report"]["tensorboard"]:
        from polyscene.integrations.tensorboard import write_events

        write_events(folder, history, result)
    if config["report"]["html"]:
        from polyscene.report import build_report

        build_report(folder)
    return Run(folder, result, history, model, data)


def _left_out(
    data: Dataset, scene: str, config: dict[str, Any], options: dict[str, Any], seen: Result
) -> dict[str, Any]:
    """Metrics of a scene by a model that was trained without it, and by that of the run."""
    name, metrics = config["model"]["name"], config["evaluate"]["metrics"] or None
    found = unseen(data, scene, name, options, config["train"], metrics=metrics, threshold=seen.threshold)
    known = {key: value for key, value in found.overall.items() if math.isfinite(value)}
    both = {key: value for key, value in seen.scenes.get(scene, {}).items() if math.isfinite(value)}
    rows = sum(count["rows"] for count in found.counts.values())
    return {"scene": scene, "rows": rows, "unseen": known, "seen": both}


def measure(model: models.Model, data: Dataset, options: dict[str, Any]) -> Result:
    """Metrics of the test rows, those of the validation rows beside them; the threshold is tuned on these if wanted."""
    threshold = options["threshold"]
    metrics = options["metrics"] or None
    if options["tune_threshold"] and data.valid is not None and data.schema.task == "ctr":
        with model._running() as native:
            logits = _C.eval.predict_logits(native, data.valid)
        weight = data.valid.columns.weight
        if weight is not None:
            weight = weight[data.valid.rows]
        best, reason = _C.eval.best_threshold(logits, data.valid.labels(), weight)  # type: ignore[arg-type]
        if reason or not 0 < best < 1:
            _log.warning(
                "evaluate.tune_threshold: %s on validation rows, the threshold stays %g", reason or best, threshold
            )
        else:
            threshold = best
    candidates = options.get("candidates", "all")
    further = {"k": options.get("k", (10,)), "candidates": candidates if candidates == "all" else int(candidates)}
    further["exclude_seen"] = options.get("exclude_seen", True)
    result = evaluate(model, data.test, metrics, threshold=threshold, **further)
    if data.valid is not None:
        result.valid = evaluate(model, data.valid, metrics, threshold=threshold, **further)
    if expects(model, data.test):
        found = moves(model, data.test, data.train)
        result.extra["moves"] = {scene: nulls(values) for scene, values in found.items()}
    return result


def execute_seeds(
    config: dict[str, Any],
    folder: Path,
    seeds: int,
    *,
    split_seeds: bool = False,
    resume: bool = False,
    callbacks: Any = None,
) -> list[Run]:
    """One run a seed, each in a sub-folder, and a summary report.

    Args:
        config: as `resolve` returns it; its ``train.seed`` is the first.
        folder: holds the sub-folders ``seed-2022``, ...
        seeds: how many.
        split_seeds: whether the split's seed moves with it.
        resume: finished runs are kept as they are, others go on.
        callbacks: see `execute`; ``on_run(name)`` is called before each run.
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
        if hasattr(callbacks, "on_run"):
            callbacks.on_run(f"seed {first + number}")
        each = load_data(mine) if data is None else data
        sub = folder / f"seed-{first + number}"
        try:
            sub.mkdir(exist_ok=True)
        except OSError as error:
            raise OSError(f"{sub}: cannot make the run folder: {error.strerror}") from error
        if resume and is_finished(sub, mine, each):
            runs.append(_kept(sub, each))
        else:
            with leaving_nothing(sub, resume):
                runs.append(execute(mine, sub, resume=resume, callbacks=callbacks, data=each))
    if config["report"]["html"]:
        from polyscene.report import build_summary

        build_summary(folder)
    return runs


def _kept(folder: Path, data: Dataset) -> Run:
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return Run(folder, Result.load(folder), history, load(folder / "model.safetensors"), data)


def summary(results: Sequence[Result]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard deviation over runs: scene (or ``overall``, ``macro``) -> metric -> (mean, deviation).

    Runs in which a metric has no value are left out of it; nan where it has none in any.
    """
    parts: dict[str, list[dict[str, float]]] = {}
    for result in results:
        for name, values in (*result.scenes.items(), ("macro", result.macro), ("overall", result.overall)):
            parts.setdefault(name, []).append(values)
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for name, rows in parts.items():
        for metric in dict.fromkeys(key for row in rows for key in row):
            known = [row[metric] for row in rows if math.isfinite(row.get(metric, math.nan))]
            mean = statistics.fmean(known) if known else math.nan
            deviation = statistics.stdev(known) if len(known) > 1 else 0.0
            out.setdefault(name, {})[metric] = (mean, deviation)
    return out
