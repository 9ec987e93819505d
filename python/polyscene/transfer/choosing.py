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
        variance: of the gain, over the draw of the rows.
        rows: how many rows.
    """

    first: float
    second: float
    gain: float
    variance: float
    rows: int


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


def compare(label: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str = "auc") -> Comparison:
    """Compares two models, row by row.

    The variance of a difference of auc is DeLong's (Biometrics, 1988): each row's own part in both values, paired. Of
    log_loss and rmse it is that of the mean difference of the rows' losses, of ndcg@10 that of the values,
    wider by what Student's t has over the normal distribution for so many queries; rmse is compared by its square.

    Args:
        label: observed labels, [N].
        first: probabilities or ratings of the first model, [N]; of classes those of each, [N, C]; of rankings the
            metric's value of each query.
        second: those of the second.
        metric: "auc", "log_loss", "rmse" or "ndcg@10".
    """
    if metric == "auc":
        a_positive, a_negative = _placements(label, first)
        b_positive, b_negative = _placements(label, second)
        variance = np.var(b_positive - a_positive, ddof=1) / len(a_positive)
        variance += np.var(b_negative - a_negative, ddof=1) / len(a_negative)
        a, b = float(a_positive.mean()), float(b_positive.mean())
        return Comparison(a, b, b - a, float(variance), len(label))
    if metric == OF_RANKINGS:
        wider = stats.reach(1.0, len(first)) / _Z if len(first) > 1 else math.inf
        variance = np.var(second - first, ddof=1) / len(first) * wider**2
        a, b = float(first.mean()), float(second.mean())
        return Comparison(a, b, b - a, float(variance), len(first))
    a_loss, b_loss = _losses(label, first, metric), _losses(label, second, metric)
    a, b = float(a_loss.mean()), float(b_loss.mean())
    variance = np.var(a_loss - b_loss, ddof=1) / len(label)
    gain = a - b
    if metric == "rmse":
        a, b = math.sqrt(a), math.sqrt(b)
    return Comparison(a, b, gain, float(variance), len(label))


def pool(parts: list[Comparison]) -> Comparison:
    """The mean over groups of rows, each by its rows: validation rows and folds, each scored by models of its own."""
    rows = sum(part.rows for part in parts)
    share = [part.rows / rows for part in parts]
    weighted = list(zip(share, parts, strict=True))
    return Comparison(
        first=sum(s * p.first for s, p in weighted),
        second=sum(s * p.second for s, p in weighted),
        gain=sum(s * p.gain for s, p in weighted),
        variance=sum(s * s * p.variance for s, p in weighted),
        rows=rows,
    )


def _placements(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each positive the share of negatives below it, of each negative that of positives above it; ties half."""
    positive, negative = score[label > 0.5], score[label <= 0.5]
    low, high = np.sort(negative), np.sort(positive)
    below = np.searchsorted(low, positive, "left") + np.searchsorted(low, positive, "right")
    above = np.searchsorted(high, negative, "left") + np.searchsorted(high, negative, "right")
    return below / (2 * len(negative)), 1 - above / (2 * len(positive))


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
