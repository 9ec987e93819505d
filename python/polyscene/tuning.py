"""Search for options on validation rows: Optuna's sampler on runs of the trainer, kept in a file to go on with."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyscene import models, runs
from polyscene._extension import _C
from polyscene._files import write_text
from polyscene._search_space import Choices, Space, default_space, space_of
from polyscene.data._errors import unknown_key
from polyscene.data.dataset import Dataset
from polyscene.results import LOWER_IS_BETTER
from polyscene.training import Trainer, seed_everything

if TYPE_CHECKING:
    import optuna

_KEYS = ("trials", "seed", "prune", "space", "found")
_FIRST = 6  # trials at random, before any is ended early
_EPOCHS = 8  # epochs that every trial has


@dataclass
class Search:
    """What came of a search.

    Attributes:
        storage: the SQLite file with all trials.
        best: the config with the best options, which ``polyscene run`` takes as it is; its ``tune`` says how it was
            found.
        metric: the validation metric that chose.
        trials: one a trial, in order: ``number``, ``state`` ("complete", "pruned" or "failed"), ``value``,
            ``settings``, ``epochs``, ``seconds``, ``cpu_seconds`` and, where it failed, ``error``.
    """

    storage: Path
    best: dict[str, Any]
    metric: str
    trials: list[dict[str, Any]] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The best value of the metric on validation rows."""
        return float(self.best["tune"]["found"]["value"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the best config."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_text(path, json.dumps(self.best, indent=2, allow_nan=False) + "\n")


def tune(
    config: str | os.PathLike[str] | Mapping[str, Any],
    trials: int | None = None,
    storage: str | os.PathLike[str] | None = None,
    space: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    on_trial: Callable[[dict[str, Any]], None] | None = None,
) -> Search:
    """Searches the options of a config for the best validation metric. Test rows are never read.

    The first trial has the config's own values where the space holds them; the others come from Optuna's TPE sampler,
    seeded, so that a search gives the same trials again, whether it was stopped in between or not. A trial ends early
    when after 8 epochs its best epoch is among the worst quarter of earlier trials.

    Args:
        config: path of a config, or what it holds. Its section ``tune`` may give ``trials``, ``seed``, ``prune`` and
            ``space``; without a space the options that the model has of lr, batch_size, weight_decay, dim, init_std,
            embedding_l2 and dropout are searched.
        trials: how many there are in the end, those in the storage included; 20 unless the config says otherwise.
        storage: SQLite file; kept trials are gone on with. ``runs/tune-<model>-<data>/trials.db`` by default.
        space: in the place of the config's: path of a JSON file, or path of an option -> list of choices or
            ``{"low": ..., "high": ..., "log": ..., "step": ...}``.
        data: folder of the data set, in the place of ``dataset.root``.
        overrides: ``"train.epochs=3"``, applied first.
        on_trial: called with the record of each trial when it ends.

    Raises:
        ValueError: no validation rows, an unknown option, a range that is none, a storage of another search, no trial
            that worked.
        ImportError: Optuna is not installed.
        KeyboardInterrupt: after Ctrl-C; what is finished is kept.

    Example:
        >>> import polyscene as ps, tempfile
        >>> config = {"dataset": {"users": 60}, "model": {"name": "logistic"}, "train": {"epochs": 2}}
        >>> found = ps.tune(config, 2, f"{tempfile.mkdtemp()}/trials.db", {"train.lr": {"low": 0.001, "high": 0.1}})
        >>> [trial["state"] for trial in found.trials], found.best["tune"]["trials"]
        (['complete', 'complete'], 2)
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError("tune needs Optuna: pip install 'polyscene[tune]'") from error
    base, source = _resolved(config, overrides, data)
    given = dict(base.pop("tune", {}))
    trials, seed, prune = _options(given, trials, f"{source}: tune")
    name = base["model"]["name"]
    if base["transfer"]["mechanism"]:
        raise ValueError(f"{source}: a config with transfer.mechanism is not searched; search the model without it")
    owner = f"{source}: tune.space"
    if isinstance(space, Mapping):
        owner, wanted = "space", dict(space)
    elif space is not None:
        owner, wanted = str(space), _read(Path(space))
    else:
        wanted = given.get("space") or default_space(name)
    ranges = space_of(wanted, name, owner)
    loaded = runs.load_data(base)
    if loaded.train is None or loaded.valid is None:
        raise ValueError(f"{source}: a search needs training and validation rows, got {', '.join(loaded.tables)}")
    _check_ends(ranges, base, loaded, owner)

    path = (
        Path(storage) if storage is not None else Path("runs") / f"tune-{name}-{base['dataset']['name']}" / "trials.db"
    )
    study, metric = _study(optuna, path, base, ranges, loaded, seed)
    _run(study, _Trial(base, ranges, loaded, metric, prune), trials, seed, metric, on_trial)
    return _found(study, base, ranges, path, metric, trials, seed, prune)


def _resolved(config: Any, overrides: Sequence[str], data: Any) -> tuple[dict[str, Any], str]:
    if isinstance(config, Mapping):
        given = list(overrides) + ([] if data is None else [f"dataset.root={json.dumps(os.fspath(data))}"])
        return json.loads(_C.train.resolve_config(json.dumps(config), "config", given)), "config"
    return runs.resolve(config, overrides, data), str(config)


def _options(given: Mapping[str, Any], trials: int | None, owner: str) -> tuple[int, int, bool]:
    unknown_key(owner, given, _KEYS)
    trials, seed, prune = (
        given.get("trials", 20) if trials is None else trials,
        given.get("seed", 2022),
        given.get("prune"),
    )
    for name, value, least in (("trials", trials, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{owner}.{name} must be a whole number of {least} or more, got {value!r}")
    if prune is not None and not isinstance(prune, bool):
        raise ValueError(f"{owner}.prune must be true or false, got {prune!r}")
    return trials, seed, prune is not False


def _read(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of a search space")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: wanted JSON, {error}") from None


def _with(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The config with some options changed, checked as any other."""
    given = [f"{path}={json.dumps(value)}" for path, value in settings.items()]
    out: dict[str, Any] = json.loads(_C.train.resolve_config(json.dumps(base), "tune", given))
    return out


def _model(config: Mapping[str, Any], data: Dataset) -> models.Model:
    seed_everything(config["train"]["seed"])
    options = {key: value for key, value in config["model"].items() if key != "name"}
    return models.create(config["model"]["name"], data.schema, **options)


def _check_ends(ranges: Space, base: Mapping[str, Any], data: Dataset, owner: str) -> None:
    """Raises where an end of a range, the rest as in the config, is not what the option takes."""
    for path, each in ranges.items():
        for value in each.ends():
            try:
                _model(_with(base, {path: value}), data)
            except (ValueError, TypeError) as error:
                text = str(error).split("\nException raised from", 1)[0].removeprefix("tune: ")
                raise ValueError(f"{owner}.{path}: {json.dumps(value)} is not possible: {text}") from None


class _Trial:
    """Trains one model and says how it did on validation rows."""

    def __init__(self, base: dict[str, Any], ranges: Space, data: Dataset, metric: str, prune: bool) -> None:
        self.base, self.ranges, self.data, self.metric, self.prune = base, ranges, data, metric, prune
        self.sign = -1.0 if metric in LOWER_IS_BETTER else 1.0

    def settings(self, trial: optuna.Trial) -> dict[str, Any]:
        """What the sampler chose, as a config holds it."""
        return settings_of(trial.params, self.ranges)

    def __call__(self, trial: optuna.Trial) -> tuple[float, int]:
        """Best value of the metric, and epochs."""
        import optuna

        config, best = _with(self.base, self.settings(trial)), -math.inf

        def watch(row: Mapping[str, Any]) -> None:
            nonlocal best
            value = (row["valid"] or {}).get(self.metric, math.nan)
            best = max(best, self.sign * value) if math.isfinite(value) else best
            if self.prune and math.isfinite(best):
                trial.report(self.sign * best, row["epoch"])
                if trial.should_prune():
                    trial.set_user_attr("epochs", row["epoch"])
                    raise optuna.TrialPruned

        history = Trainer(**config["train"]).fit(
            _model(config, self.data), self.data.train, self.data.valid, callbacks=watch
        )
        if not math.isfinite(best):
            raise RuntimeError(f"{self.metric} has no value on validation rows")
        return self.sign * best, len(history)


def settings_of(params: Mapping[str, Any], ranges: Space) -> dict[str, Any]:
    """What Optuna keeps of a trial, as a config holds it."""
    return {
        path: json.loads(params[path]) if isinstance(each, Choices) else params[path]
        for path, each in ranges.items()
        if path in params
    }


def _study(
    optuna: Any, path: Path, base: Mapping[str, Any], ranges: Space, data: Dataset, seed: int
) -> tuple[optuna.Study, str]:
    """The search of a storage: a new one, or the one that is in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    metric = Trainer(**base["train"]).monitor(data.schema.task)
    if path.exists() and path.stat().st_size and path.read_bytes()[:15] != b"SQLite format 3":
        raise ValueError(f"{path}: wanted the SQLite file of a search, it is another kind of file")
    path.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="tune",
        storage=f"sqlite:///{path.resolve()}",
        direction="minimize" if metric in LOWER_IS_BETTER else "maximize",
        pruner=optuna.pruners.PercentilePruner(75.0, n_startup_trials=_FIRST, n_warmup_steps=_EPOCHS),
        load_if_exists=True,
    )
    facts = {"model": base["model"], "train": {k: v for k, v in base["train"].items() if k != "threads"}}
    facts |= {"space": {key: each.to_json() for key, each in ranges.items()}, "metric": metric, "seed": seed}
    facts |= {"data": data.digest, "split": data.split_digest}
    digest = {key: hashlib.sha256(json.dumps(value).encode()).hexdigest() for key, value in facts.items()}
    before = study.user_attrs.get("digest")
    if before is None:
        study.set_user_attr("digest", digest)
    elif differ := [key for key in digest if before.get(key) != digest[key]]:
        raise ValueError(
            f"{path}: holds a search of another {', '.join(differ)}; leave these as they were, or name another storage"
        )
    return study, metric


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that count: all but those that were stopped."""
    return [each for each in study.get_trials(deepcopy=False) if "seconds" in each.user_attrs]


def _run(study: Any, objective: _Trial, trials: int, seed: int, metric: str, on_trial: Any) -> None:
    import optuna

    for each in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(each.number, state=optuna.trial.TrialState.FAIL)  # left by a process that was ended
    distributions = {path: each.distribution() for path, each in objective.ranges.items()}
    while (done := len(_ended(study))) < trials:
        # A sampler of its own for each trial: the same trials whether the search was stopped before or not.
        study.sampler = optuna.samplers.TPESampler(seed=seed + 1000 * done, n_startup_trials=_FIRST)
        if done == 0:
            study.enqueue_trial(_own(objective.base, objective.ranges), skip_if_exists=False)
        trial = study.ask(distributions)
        wall, cpu = time.perf_counter(), time.process_time()
        state, value, told = optuna.trial.TrialState.COMPLETE, None, ""
        try:
            value, epochs = objective(trial)
            trial.set_user_attr("epochs", epochs)
        except optuna.TrialPruned:
            state = optuna.trial.TrialState.PRUNED
        except (ValueError, RuntimeError) as error:
            state, told = optuna.trial.TrialState.FAIL, str(error).split("\nException raised from", 1)[0]
            trial.set_user_attr("error", told)
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        trial.set_user_attr("seconds", round(time.perf_counter() - wall, 3))
        trial.set_user_attr("cpu_seconds", round(time.process_time() - cpu, 3))
        study.tell(trial, value, state=state)
        if on_trial is not None:
            on_trial(
                _record(study.get_trials(deepcopy=False)[trial.number], done, objective.ranges) | {"metric": metric}
            )
    if not any(each.state == optuna.trial.TrialState.COMPLETE for each in _ended(study)):
        errors = [each.user_attrs.get("error", "") for each in _ended(study)]
        raise ValueError(f"tune: none of {len(errors)} trials gave a value; the last said: {errors[-1]}")


def _own(base: Mapping[str, Any], ranges: Space) -> dict[str, Any]:
    """The config's own values where the space holds them, as Optuna has them."""
    own = {path: base[path.split(".")[0]][path.partition(".")[2]] for path in ranges}
    kept = {path: value for path, value in own.items() if ranges[path].holds(value)}
    return {path: json.dumps(v) if isinstance(ranges[path], Choices) else v for path, v in kept.items()}


def _record(trial: Any, number: int, ranges: Space) -> dict[str, Any]:
    kept = trial.user_attrs
    out = {"number": number, "state": {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())}
    best = list(trial.intermediate_values.values())
    out |= {"value": trial.value if trial.value is not None else best[-1] if best else None}
    out |= {"settings": settings_of(trial.params, ranges), "epochs": kept.get("epochs")}
    out |= {"seconds": kept["seconds"], "cpu_seconds": kept["cpu_seconds"]}
    return out | ({"error": kept["error"]} if "error" in kept else {})


def _found(
    study: Any, base: dict[str, Any], ranges: Space, path: Path, metric: str, trials: int, seed: int, prune: bool
) -> Search:
    records = [_record(each, number, ranges) for number, each in enumerate(_ended(study)[:trials])]
    whole = [each for each in records if each["state"] == "complete"]
    best = (min if metric in LOWER_IS_BETTER else max)(whole, key=lambda each: each["value"])
    config = _with(base, best["settings"])
    states = [each["state"] for each in records]
    config["tune"] = {
        "trials": trials,
        "seed": seed,
        "prune": prune,
        "space": {key: each.to_json() for key, each in ranges.items()},
        "found": {
            "metric": metric,
            "value": best["value"],
            "trial": best["number"],
            "trials": len(records),
            "pruned": states.count("pruned"),
            "failed": states.count("failed"),
            "epochs": sum(each["epochs"] or 0 for each in records),
            "cpu_seconds": round(sum(each["cpu_seconds"] for each in records), 1),
        },
    }
    return Search(path, config, metric, records)
