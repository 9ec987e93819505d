"""Which of several models of a scene with few rows is better? Scores with their uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polyscene import _statistics as stats
from polyscene._extension import _C
from polyscene._model import Model
from polyscene.data.roles import CLASSED, RANKED

if TYPE_CHECKING:
    from polyscene.transfer.flow import Migration

LOWER_IS_BETTER = frozenset({"log_loss", "rmse"})
OF_RANKINGS = "ndcg@10"
"""What rankings are compared by: a value of each user, or of each row of a sequence."""
_Z = 1.959963984540054
QUERIES = 10
"""Fewer queries than these say nothing of a ranking."""


@dataclass
class Comparison:
    """Scores of two models on the same rows.

    Attributes:
        first: score of the first model, by the metric.
        second: score of the second model.
        gain: how much better the second is; positive is better whatever the metric.
        variance: of the gain, over the draw of the rows, or of the units that rows belong to.
        rows: how many rows.
        parts: what each row adds to the gain less its mean, [N].
        unit: numbers of units, int64 [N]; None where every row is one.
    """

    first: float
    second: float
    gain: float
    variance: float
    rows: int
    parts: np.ndarray | None = None
    unit: np.ndarray | None = None


def usable(label: np.ndarray, metric: str) -> bool:
    """Whether the rows say anything: for auc at least two of each class, of rankings 10 queries, else two rows."""
    if metric != "auc":
        return len(label) >= (QUERIES if metric == OF_RANKINGS else 2)
    positive = int((label > 0.5).sum())
    return min(positive, len(label) - positive) >= 2


def metric_of(task: str, label: np.ndarray) -> str:
    """What models of a task are compared by.

    "rmse" (ratings), "log_loss" (classes, labels of one value), "ndcg@10" (rankings, sequences) or "auc".
    """
    if task in RANKED:
        return OF_RANKINGS
    if task == "rating":
        return "rmse"
    return "auc" if task not in CLASSED and usable(label, "auc") else "log_loss"


def chosen_by(rows: Any, valid: Any, target: str) -> str:
    """What models of a target are compared by, from its training rows and its validation rows, if any.

    Raises:
        ValueError: rankings without validation rows.
    """
    if rows.schema.task not in RANKED:
        labels = np.concatenate([table.labels().numpy() for table in (rows, valid) if table is not None])
        return metric_of(rows.schema.task, labels)
    if valid is None:
        raise ValueError(
            f"migrate: models of task {rows.schema.task!r} are compared on validation rows, and {target!r} has none; "
            "split the data with some"
        )
    return OF_RANKINGS


def query_values(model: Model, table: Any, exclude_seen: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@10 of each query of a full ranking: values [Q] and codes of scenes [Q]."""
    metric = OF_RANKINGS
    with model._running() as native:
        found = _C.eval.evaluate_ranking(native, table, [metric], [10], 0, 0, exclude_seen)["queries"]
    return found["values"][metric].numpy(), found["scene"].numpy()


def compare(
    label: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str = "auc", unit: np.ndarray | None = None
) -> Comparison:
    """Compares two models, row by row.

    The variance of a difference of auc is DeLong's (Biometrics, 1988): each row's own part in both values, paired. Of
    log_loss and rmse it is that of the mean difference of the rows' losses, of ndcg@10 that of the values,
    wider by what Student's t has over the normal distribution for so many queries; rmse is compared by its square.
    Where rows share a unit, the parts of its rows count together (for auc Obuchowski, Biometrics, 1997), widened alike.

    Args:
        label: observed labels, [N].
        first: probabilities or ratings of the first model, [N]; of classes those of each, [N, C]; of rankings the
            metric's value of each query.
        second: those of the second.
        metric: "auc", "log_loss", "rmse" or "ndcg@10".
        unit: what rows are not independent within, such as users, int64 [N]; None where all are.
    """
    count = len(label)
    if metric == "auc":
        up = label > 0.5
        a_place, b_place = stats.placements(up, first), stats.placements(up, second)
        a, b = float(a_place[up].mean()), float(b_place[up].mean())
        gap, gain = b_place - a_place, b - a
        variance = sum(np.var(gap[side], ddof=1) / side.sum() for side in (up, ~up))
        parts = (gap - gain) / np.where(up, up.sum(), (~up).sum())
    else:
        if metric == OF_RANKINGS:
            a, b, each = float(first.mean()), float(second.mean()), second - first
        else:
            a_loss, b_loss = _losses(label, first, metric), _losses(label, second, metric)
            a, b, each = float(a_loss.mean()), float(b_loss.mean()), a_loss - b_loss
        gain = float(each.mean())
        variance = np.var(each, ddof=1) / count
        if metric == OF_RANKINGS:
            variance *= _wider(count)
        if metric == "rmse":
            a, b = math.sqrt(a), math.sqrt(b)
        parts = (each - gain) / count
    if unit is not None and len(np.unique(unit)) < count:
        variance = _by_unit(parts, unit)
    return Comparison(a, b, gain, float(variance), count, parts, unit)


def _wider(count: int) -> float:
    """What a variance of ``count`` values is widened by, since it is itself estimated."""
    return float(stats.reach(1.0, count) / _Z) ** 2 if count > 1 else math.inf


def _by_unit(parts: np.ndarray, unit: np.ndarray) -> float:
    """Variance of a sum whose terms belong together."""
    _, place = np.unique(unit, return_inverse=True)
    sums = np.bincount(place, weights=parts)
    return len(sums) / (len(sums) - 1) * float(sums @ sums) * _wider(len(sums)) if len(sums) > 1 else math.inf


def pool(parts: list[Comparison]) -> Comparison:
    """The mean over groups of rows, each by its rows: validation rows and folds, each scored by models of its own."""
    rows = sum(part.rows for part in parts)
    share = [part.rows / rows for part in parts]
    weighted = list(zip(share, parts, strict=True))
    variance = sum(s * s * p.variance for s, p in weighted)
    if all(part.unit is not None and part.parts is not None for part in parts):  # one may have rows in several groups
        each = np.concatenate([s * p.parts for s, p in weighted])  # type: ignore[operator]
        unit = np.concatenate([part.unit for part in parts])
        if len(np.unique(unit)) < len(unit):
            variance = _by_unit(each, unit)
    return Comparison(
        first=sum(s * p.first for s, p in weighted),
        second=sum(s * p.second for s, p in weighted),
        gain=sum(s * p.gain for s, p in weighted),
        variance=variance,
        rows=rows,
    )


def _losses(label: np.ndarray, score: np.ndarray, metric: str) -> np.ndarray:
    if metric == "rmse":
        return (score - label) ** 2
    p = np.clip(score, 1e-12, 1 - 1e-12)
    if p.ndim == 2:
        return -np.log(p[np.arange(len(p)), label.astype(np.int64)])
    return -np.where(label > 0.5, np.log(p), np.log(1 - p))


def steps_to_score(flow: Migration) -> dict[str, Any]:
    """Epochs and steps until the best validation score of the target's own model, with and without migration."""
    own = flow.candidates[0].stage
    assert own is not None
    lower = flow.metric in LOWER_IS_BETTER
    reached = [row["valid"].get(flow.metric, np.nan) for row in own.history]
    if flow.valid is None or not np.isfinite(reached).any():
        return {}
    goal = float(np.nanmin(reached) if lower else np.nanmax(reached))

    def good(value: float) -> bool:
        return value <= goal if lower else value >= goal

    out: dict[str, Any] = {"metric": flow.metric, "score": goal}
    for candidate in flow.candidates:
        if candidate.stage is None:
            continue
        first = None
        if candidate.tie is not None and candidate.start is not None:
            score = flow.value(candidate.start, flow.valid)
            first = 0 if good(-score if lower else score) else None
        if first is None:
            epochs = (row["epoch"] for row in candidate.stage.history if good(row["valid"].get(flow.metric, np.nan)))
            first = next(epochs, None)
        steps = None if first is None else first * candidate.stage.steps
        out[candidate.name] = None if first is None else {"epochs": first, "steps": steps}
    return out
