"""Curves and counts from predictions: ROC, calibration and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polyscene.results import Predictions


@dataclass
class Roc:
    """False and true positive rates from (0, 0) to (1, 1), thinned for drawing, and the area of the whole curve."""

    fpr: np.ndarray
    tpr: np.ndarray
    auc: float


@dataclass
class Calibration:
    """Mean score and share of positives in bins of equally many rows, and the expected calibration error."""

    score: np.ndarray
    rate: np.ndarray
    rows: np.ndarray
    error: float


@dataclass
class Confusion:
    """How many rows were positive or not, and were called so or not."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def rows(self) -> int:
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative


def is_binary(p: Predictions) -> bool:
    """Whether all labels are 0 or 1."""
    return bool(np.isin(p.label, (0, 1)).all())


def finite(p: Predictions) -> Predictions:
    """The rows whose label and score are numbers."""
    return p.take(np.isfinite(p.label) & np.isfinite(p.score))


def roc(p: Predictions, points: int = 120) -> Roc | None:
    """The ROC curve, None where there is one class.

    Args:
        p: rows with labels 0 and 1.
        points: about how many points are kept, evenly spaced along the curve.
    """
    positives = p.label.sum()
    if not 0 < positives < len(p):
        return None
    order = np.argsort(-p.score, kind="stable")
    score, label = p.score[order], p.label[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(p) - 1)
    up = np.cumsum(label)[last]
    tpr = np.append(0, up / positives)
    fpr = np.append(0, (last + 1 - up) / (len(p) - positives))
    auc = float(np.trapezoid(tpr, fpr))
    step = np.floor((tpr + fpr) * points / 2)
    keep = np.append(True, np.diff(step) > 0)
    keep[-1] = True
    return Roc(fpr[keep], tpr[keep], auc)


def calibration(p: Predictions, bins: int = 10) -> Calibration | None:
    """Scores against observed labels in bins of equally many rows; None without rows."""
    bins = min(bins, len(p) // 5)
    if bins < 1:
        return None
    parts = np.array_split(np.argsort(p.score, kind="stable"), bins)
    score = np.array([p.score[part].mean() for part in parts])
    rate = np.array([p.label[part].mean() for part in parts])
    rows = np.array([len(part) for part in parts])
    return Calibration(score, rate, rows, float(np.average(np.abs(score - rate), weights=rows)))


def confusion(p: Predictions, threshold: float) -> Confusion:
    """Counts at a threshold; a score that reaches it is called positive."""
    said, is_so = p.score >= threshold, p.label > 0.5
    pairs = ((said & is_so), (said & ~is_so), (~said & is_so), (~said & ~is_so))
    return Confusion(*(int(pair.sum()) for pair in pairs))
