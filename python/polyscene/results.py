"""The outcome of an evaluation: metrics over all rows, as a mean over scenes and per scene, with the rows behind it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyscene._result_rows import PerUser, Predictions

if TYPE_CHECKING:
    import pandas

__all__ = [
    "COUNTS",
    "LOWER_IS_BETTER",
    "PerUser",
    "Predictions",
    "Result",
    "main_metric",
    "metric_order",
    "metric_title",
    "needs_pandas",
    "nulls",
    "read_json",
]

LOWER_IS_BETTER = frozenset({"log_loss", "rmse", "mae"})
COUNTS = ("rows", "positives", "users")
_ORDER = (
    "auc",
    "gauc",
    "log_loss",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "hit",
    "ndcg",
    "mrr",
    "map",
    "head_recall",
    "tail_recall",
    "coverage",
    "pop_rank",
    "rmse",
    "mae",
)
_TITLES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "log_loss": "Log loss",
    "f1": "F1",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "map": "MAP",
    "rmse": "RMSE",
    "mae": "MAE",
}
_MAIN = {"ctr": "auc", "ranking": "ndcg@10", "sequence": "ndcg@10", "rating": "rmse", "text": "f1", "image": "f1"}


def needs_pandas(what: str) -> Any:
    """pandas, or a message that says how to get it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{what} needs pandas: pip install pandas") from error
    return pandas


def metric_title(name: str) -> str:
    """The name of a metric as a person writes it: ``log_loss`` is "Log loss", ``ndcg@10`` is "NDCG@10"."""
    base, at, k = name.partition("@")
    return _TITLES.get(base, base.replace("_", " ").capitalize()) + at + k


def metric_order(names: Iterable[str]) -> list[str]:
    """Metric names without repeats in reading order: by kind, then by k, unknown ones last."""

    def key(name: str) -> tuple[int, int, str]:
        base, _, k = name.partition("@")
        return (int(k) if k.isdigit() else 0, _ORDER.index(base) if base in _ORDER else len(_ORDER), name)

    return sorted(dict.fromkeys(names), key=key)


def main_metric(task: str) -> str:
    """The metric that a task is monitored by unless a run says otherwise."""
    return _MAIN.get(task, "auc")


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: math.nan if v is None else float(v) for k, v in values.items() if k not in COUNTS}


def nulls(values: Mapping[str, float]) -> dict[str, float | None]:
    return {k: float(v) if math.isfinite(v) else None for k, v in values.items()}


@dataclass(repr=False)
class Result:
    """Metrics of one model on one table.

    A metric that has no value (AUC of a scene with one class) is ``nan`` here and ``null`` in JSON; ``undefined`` holds
    the reason under its path, as in ``{"scenes.night.auc": "one class"}``.

    Attributes:
        overall: metric -> value over all rows.
        macro: metric -> mean over scenes.
        scenes: scene -> metric -> value.
        counts: scene -> {"rows": ..., "positives": ...}.
        undefined: path -> reason.
        threshold: score from which a row counts as predicted positive.
        valid: the same metrics on validation data, if known.
        transfer: what came of migrating, if the run migrated.
        split_digest: digest of the split that the rows come from; results of other splits cannot be compared.

    Example:
        >>> result = Result.from_dict({"overall": {"auc": 0.8}, "scenes": {"a": {"auc": None, "rows": 4}}})
        >>> result.overall["auc"], result.scenes["a"]["auc"], result.counts["a"]
        (0.8, nan, {'rows': 4})
    """

    overall: dict[str, float] = field(default_factory=dict)
    macro: dict[str, float] = field(default_factory=dict)
    scenes: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    task: str = "ctr"
    model: str = ""
    best_epoch: int | None = None
    threshold: float = 0.5
    valid: Result | None = None
    transfer: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    split_digest: str | None = None
    _predictions: Predictions | Path | Callable[[], Predictions] | None = field(default=None, repr=False, compare=False)
    _per_user: PerUser | Path | None = field(default=None, repr=False, compare=False)

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics in reading order."""
        return metric_order([*self.overall, *self.macro, *(m for values in self.scenes.values() for m in values)])

    @property
    def predictions(self) -> Predictions | None:
        """The rows behind the metrics; read from the folder, or computed, when first asked for. None if not kept."""
        if isinstance(self._predictions, Path):
            self._predictions = Predictions.read(self._predictions) if self._predictions.exists() else None
        elif callable(self._predictions):
            self._predictions = self._predictions()
        return self._predictions

    @predictions.setter
    def predictions(self, value: Predictions | Callable[[], Predictions] | None) -> None:
        self._predictions = value

    @property
    def per_user(self) -> PerUser | None:
        """What each user's ranking is worth; read from the folder when first asked for. None for other tasks."""
        if isinstance(self._per_user, Path):
            self._per_user = PerUser.read(self._per_user) if self._per_user.exists() else None
        return self._per_user

    @per_user.setter
    def per_user(self, value: PerUser | None) -> None:
        self._per_user = value

    def __getstate__(self) -> dict[str, Any]:
        # What is computed on demand holds a table.
        return vars(self) | {"_predictions": self.predictions if callable(self._predictions) else self._predictions}

    def reason(self, metric: str, scene: str | None = None, part: str = "overall") -> str:
        """Why a metric has no value, in words; "" if nothing is recorded."""
        return self.undefined.get(f"{part}.{metric}" if scene is None else f"scenes.{scene}.{metric}", "")

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Any],
        predictions: Predictions | None = None,
        *,
        name: str = "",
        split_digest: str | None = None,
    ) -> Result:
        """Makes a result from the content of ``metrics.json``.

        Args:
            values: ``overall``, ``macro``, ``scenes``, ``undefined``; where known ``task``, ``model``, ``valid``, ...
            predictions: the rows behind the metrics.
            name: how tables call this result; the model's name if empty.
            split_digest: digest of the split.

        Raises:
            ValueError: a part is not an object of numbers.
        """
        rest = dict(values)

        def part(key: str) -> Mapping[str, Any]:
            content = rest.pop(key, None) or {}
            if not isinstance(content, Mapping):
                raise ValueError(f"metrics: {key} must be an object, got {type(content).__name__}")
            return content

        overall, macro, scenes, undefined = part("overall"), part("macro"), part("scenes"), part("undefined")
        valid, threshold, best_epoch = part("valid"), rest.pop("threshold", None), rest.pop("best_epoch", None)
        counts = {s: {k: int(v[k]) for k in COUNTS if v.get(k) is not None} for s, v in scenes.items()}
        task, model = str(rest.pop("task", "ctr")), str(rest.pop("model", ""))
        return cls(
            overall=_numbers(overall),
            macro=_numbers(macro),
            scenes={s: _numbers(v) for s, v in scenes.items()},
            counts=counts,
            undefined={str(k): str(v) for k, v in undefined.items()},
            task=task,
            model=model,
            best_epoch=best_epoch,
            threshold=0.5 if threshold is None else float(threshold),
            valid=cls.from_dict({"task": task, "model": model, **valid}) if valid else None,
            transfer=rest.pop("transfer", None),
            extra=rest,
            name=name or model,
            split_digest=split_digest,
            _predictions=predictions,
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of ``metrics.json``: plain numbers, ``None`` where a metric has no value."""
        values: dict[str, Any] = {"task": self.task, "model": self.model, "best_epoch": self.best_epoch}
        values |= {"overall": nulls(self.overall), "macro": nulls(self.macro)}
        values["scenes"] = {s: {**nulls(v), **self.counts.get(s, {})} for s, v in self.scenes.items()}
        values |= {"undefined": dict(self.undefined), "threshold": self.threshold}
        if self.valid is not None:
            inner = self.valid.to_dict()
            values["valid"] = {k: inner[k] for k in ("overall", "macro", "scenes", "undefined")}
        if self.transfer is not None:
            values["transfer"] = self.transfer
        return values | self.extra

    @classmethod
    def load(cls, run: str | Path) -> Result:
        """Reads the test result of a run folder.

        Raises:
            ValueError: the folder holds no readable ``metrics.json``.
        """
        folder = Path(run)
        metrics = read_json(folder / "metrics.json")
        if metrics is None:
            raise ValueError(f"{folder}: wanted the folder of a finished run, found no metrics.json")
        environment = read_json(folder / "environment.json") or {}
        result = cls.from_dict(metrics, name=folder.resolve().name, split_digest=environment.get("split_digest"))
        result._predictions = folder / "predictions.parquet"
        result._per_user = folder / "per_user.parquet"
        return result

    def frame(self) -> pandas.DataFrame:
        """A pandas frame: one row a scene, then ``macro`` and ``overall``; columns metrics, then counts."""
        pandas = needs_pandas("Result.frame")
        rows: dict[str, dict[str, float]] = {s: {**v, **self.counts.get(s, {})} for s, v in self.scenes.items()}
        present = [c for c in COUNTS if any(c in v for v in self.counts.values())]
        totals = {c: sum(v.get(c, 0) for v in self.counts.values()) for c in present if c != "users"}
        table = [*rows.values(), self.macro, {**self.overall, **totals}]
        index = pandas.Index([*rows, "macro", "overall"], name="scene")
        return pandas.DataFrame(table, index=index, columns=[*self.metrics, *present])

    def text(self, width: int | None = None) -> str:
        """A plain per-scene table.

        Args:
            width: columns of the terminal; a table that is wider is split into several. None: never split.
        """
        from polyscene.display import tables_as_text

        return tables_as_text(self, width)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        values = [f"{name}={self.overall[name]:.4f}" for name in self.metrics if name in self.overall]
        return f"Result({(self.name or self.model)!r}, {len(self.scenes)} scenes, {', '.join(values)})"

    def html(self) -> str:
        """An HTML fragment with the per-scene table; all names are escaped."""
        metrics = self.metrics
        counts = [c for c in ("rows", "positives") if any(c in v for v in self.counts.values())]

        def cell(value: float, why: str) -> str:
            if math.isfinite(value):
                return f'<td style="text-align:right">{value:.4f}</td>'
            return f'<td style="text-align:right" title="{html.escape(why or "undefined")}">–</td>'

        def line(name: str, values: Mapping[str, float], scene: str | None, part: str, n: Mapping[str, int]) -> str:
            cells = "".join(cell(values.get(m, math.nan), self.reason(m, scene, part)) for m in metrics)
            cells += "".join(f'<td style="text-align:right">{n[c]:,}</td>' if c in n else "<td></td>" for c in counts)
            return f'<tr><th style="text-align:left">{html.escape(name)}</th>{cells}</tr>'

        total = {c: sum(v.get(c, 0) for v in self.counts.values()) for c in counts}
        titles = [*map(metric_title, metrics), *map(str.capitalize, counts)]
        head = "".join(f"<th>{html.escape(t)}</th>" for t in titles)
        body = "".join(line(s, v, s, "", self.counts.get(s, {})) for s, v in self.scenes.items())
        body += line("Mean of scenes", self.macro, None, "macro", {}) if self.macro else ""
        body += line("All rows", self.overall, None, "overall", total)
        return f"<table><thead><tr><th>Scene</th>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _repr_html_(self) -> str:
        return self.html()


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if there is no such file.

    Raises:
        ValueError: the file is not JSON; the message names it.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: wanted JSON, {error}") from None
