"""Metrics with row weights, and the paired tests that :mod:`polyscene.comparison` is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LINEAR = ("log_loss", "accuracy", "precision", "recall", "f1", "rmse", "mae", "gauc")
METRICS = ("auc", *LINEAR)


@dataclass
class Paired:
    """Two models' scores for the same rows.

    Attributes:
        label: [N].
        score: [2, N].
        threshold: score from which a row counts as predicted positive, one a model.
        unit: what is resampled: number of the row's unit (itself or its user), int64 [N], in 0 .. units - 1.
        user: number of the row's user, int64 [N], or None.
        weight: what each row counts, [N], or None for 1 each.
        given: of classes, the likeliest class that each model gives, int64 [2, N]; ``score`` is then the probability of
            the row's own class, and precision, recall and F1 are means over classes.
    """

    label: np.ndarray
    score: np.ndarray
    threshold: tuple[float, float]
    unit: np.ndarray
    user: np.ndarray | None = None
    weight: np.ndarray | None = None
    given: np.ndarray | None = None

    @cached_property
    def units(self) -> int:
        return int(self.unit.max()) + 1 if len(self.unit) else 0

    @cached_property
    def positive(self) -> np.ndarray:
        return self.label > 0.5

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each model is right about each row, bool [2, N]."""
        if self.given is not None:
            return self.given == self.label
        return (self.score >= np.asarray(self.threshold)[:, None]) == self.positive

    def sums(self, metric: str, model: int) -> np.ndarray:
        """What a metric needs of each unit, float64 [units, k]; sums over units are enough to compute the metric."""
        score, label, ones = self.score[model], self.label, np.ones(len(self.label))
        weight = ones if self.weight is None else self.weight
        if metric == "gauc":
            return self._user_sums(score)
        if metric == "log_loss":
            safe = np.clip(score, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
            parts = [-np.where(self.positive, np.log(safe), np.log1p(-safe)), ones]
            if self.given is not None:
                parts = [-np.log(np.maximum(score, np.finfo(np.float64).tiny)), ones]
        elif metric in ("rmse", "mae"):
            error = np.abs(score - label)
            parts = [error if metric == "mae" else error**2, ones]
        elif metric == "accuracy":
            parts = [self.correct[model].astype(float), ones]
        elif self.given is not None:
            return self._class_sums(label, self.given[model], weight)
        else:
            said = score >= self.threshold[model]
            parts = [said & self.positive, said & ~self.positive, ~said & self.positive]
        return self._by_unit([p * weight for p in parts])

    def _by_unit(self, parts: list[np.ndarray]) -> np.ndarray:
        return np.stack([np.bincount(self.unit, weights=part, minlength=self.units) for part in parts], axis=1)

    def _class_sums(self, label: np.ndarray, given: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Of each class its hits, what is called it and what is it, by weight, and the rows of either, by number."""
        assert self.given is not None
        parts = []
        for number in range(int(max(1, label.max(initial=0), self.given.max(initial=0))) + 1):
            mine, said = label == number, given == number
            parts += [(mine & said) * weight, said * weight, mine * weight, (mine | said).astype(float)]
        return self._by_unit(parts)

    def _user_sums(self, score: np.ndarray) -> np.ndarray:
        if self.user is None:
            raise ValueError("compare: gauc needs the user of each row; the predictions have no column user")
        value, rows = user_aucs(self.user, self.positive, score, self.weight)
        known = ~np.isnan(value)
        unit_of_user = np.zeros(len(value), dtype=np.int64)
        unit_of_user[self.user] = self.unit
        parts = [np.where(known, value, 0) * rows, known * rows]
        return np.stack([np.bincount(unit_of_user, weights=p, minlength=self.units) for p in parts], axis=1)


def from_sums(metric: str, sums: np.ndarray) -> np.ndarray:
    """A metric from sums over units, [..., k] -> [...]; nan where it is undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric in ("precision", "recall", "f1") and sums.shape[-1] > 3:
            return _over_classes(metric, sums)
        if metric in ("precision", "recall", "f1"):
            tp, fp, fn = sums[..., 0], sums[..., 1], sums[..., 2]
            return {"precision": tp / (tp + fp), "recall": tp / (tp + fn), "f1": 2 * tp / (2 * tp + fp + fn)}[metric]
        mean = sums[..., 0] / sums[..., 1]
        return np.sqrt(mean) if metric == "rmse" else mean


def _over_classes(metric: str, sums: np.ndarray) -> np.ndarray:
    """The mean over classes that a row has or is given, be its weight 0; one that nothing was divided by counts 0."""
    hit, said, mine, rows = (sums[..., i::4] for i in range(4))
    below = {"precision": said, "recall": mine, "f1": said + mine}[metric]
    value = np.where(below > 0, (2 if metric == "f1" else 1) * hit / below, 0)
    return np.where(mine.sum(-1) > 0, value.sum(-1) / (rows > 0).sum(-1), math.nan)


def user_aucs(
    user: np.ndarray, positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUC and number (or weight) of rows of each user, [U]; nan where a user has one class."""
    order = np.lexsort((score, user))
    who, value = user[order], score[order]
    users = int(user.max()) + 1 if len(user) else 0
    if weight is not None:
        return _weighted_user_aucs(who, value, positive[order], weight[order], users)
    rows = np.bincount(user, minlength=users).astype(float)
    start = np.concatenate([[0], np.cumsum(rows)[:-1]])
    new = np.ones(len(who), dtype=bool)
    new[1:] = (who[1:] != who[:-1]) | (value[1:] != value[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(who)) - 1
    rank = ((first + last) / 2)[np.cumsum(new) - 1] - start[who] + 1  # ties share their mean rank
    up = positive[order]
    m = np.bincount(who, weights=up, minlength=users)
    n = rows - m
    rank_sum = np.bincount(who, weights=rank * up, minlength=users)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((m > 0) & (n > 0), (rank_sum - m * (m + 1) / 2) / (m * n), math.nan), rows


def _weighted_user_aucs(
    who: np.ndarray, value: np.ndarray, positive: np.ndarray, weight: np.ndarray, users: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same for rows sorted by user and score, in groups of equal ones."""
    first = np.flatnonzero(np.append(True, (who[1:] != who[:-1]) | (value[1:] != value[:-1])))
    up, down = (np.add.reduceat(weight * which, first) for which in (positive, ~positive))
    owner = who[first]
    ups, downs = (np.bincount(owner, weights=part, minlength=users) for part in (up, down))
    below = np.cumsum(down) - down / 2 - (np.cumsum(downs) - downs)[owner]
    right = np.bincount(owner, weights=up * below, minlength=users)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((ups > 0) & (downs > 0), right / (ups * downs), math.nan), ups + downs


class WeightedAuc:
    """AUC of fixed scores under many sets of weights of units, times those of rows; the rows are sorted once."""

    def __init__(
        self, positive: np.ndarray, score: np.ndarray, unit: np.ndarray, weight: np.ndarray | None = None
    ) -> None:
        order = np.argsort(score, kind="stable")
        value = score[order]
        self._unit = unit[order]
        self._positive = positive[order].astype(np.float64)
        self._weight = None if weight is None else weight[order]
        self._first = np.flatnonzero(np.append(True, value[1:] != value[:-1])) if len(value) else np.zeros(0, np.int64)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """AUC for weights of units, [R, units] -> [R]; nan where one class has no weight."""
        rows = weights[:, self._unit]
        if self._weight is not None:
            rows = rows * self._weight
        up = rows * self._positive
        down = rows - up
        if len(self._first) < rows.shape[1]:
            up, down = np.add.reduceat(up, self._first, axis=1), np.add.reduceat(down, self._first, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.einsum("rg,rg->r", up, below) / (up.sum(1) * down.sum(1))


def placements(positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """For each row the share of the other class that it is ranked right against (a tie counts half), [N]."""
    from scipy.stats import rankdata

    place = np.empty(len(score))
    m, n = int(positive.sum()), int((~positive).sum())
    rank = rankdata(score)
    place[positive] = (rank[positive] - rankdata(score[positive])) / n
    place[~positive] = 1 - (rank[~positive] - rankdata(score[~positive])) / m
    return place


def delong(data: Paired, clustered: bool) -> tuple[float, float]:
    """Difference of two AUCs (second minus first) and its standard error.

    Rows on their own: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated ROC curves",
    Biometrics 1988. Rows of one user together: the sums of Obuchowski, "Nonparametric analysis of clustered ROC curve
    data", Biometrics 1997.
    """
    up = data.positive
    m, n = int(up.sum()), int((~up).sum())
    if m == 0 or n == 0:
        return math.nan, math.nan
    gap = placements(up, data.score[1]) - placements(up, data.score[0])
    difference = float(gap[up].mean())
    if clustered:
        influence = np.where(up, (gap - difference) / m, (gap - difference) / n)
        unit = np.bincount(data.unit, weights=influence, minlength=data.units)
        return difference, math.sqrt(data.units / (data.units - 1) * float(unit @ unit)) if data.units > 1 else math.nan
    if m < 2 or n < 2:
        return difference, math.nan
    return difference, math.sqrt(float(gap[up].var(ddof=1) / m + gap[~up].var(ddof=1) / n))


def normal_p(difference: float, error: float) -> float:
    """Two-sided p-value of a normal test; nan if the error is unknown, or zero beside a difference."""
    from scipy.stats import norm

    if abs(difference) < 1e-15:
        return 1.0
    return float(2 * norm.sf(abs(difference) / error)) if error > 0 else math.nan


def mcnemar_p(data: Paired, clustered: bool) -> float:
    """McNemar's exact test of equal accuracy; with clusters, the normal test of their sums (Durkalski et al., 2003)."""
    from scipy.stats import binomtest

    gain = data.correct[1].astype(int) - data.correct[0].astype(int)
    if clustered:
        unit = np.bincount(data.unit, weights=gain, minlength=data.units)
        return normal_p(float(unit.sum()), math.sqrt(float(unit @ unit)))
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def bootstrap_p(draws: np.ndarray) -> float:
    """Two-sided p-value from bootstrap differences: how rarely they fall on the other side of zero."""
    draws = draws[~np.isnan(draws)]
    if len(draws) == 0:
        return math.nan
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(draws) + 1))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction; nan entries are not tests and stay nan."""
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, math.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factor = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factor), 1) if len(order) else []
    return adjusted


def resamples(units: int, draws: int, rng: np.random.Generator, rows: int) -> Iterator[np.ndarray]:
    """Bootstrap weights in blocks of [R, units], ``draws`` in all; a block of ``rows`` rows stays within the cache."""
    block = max(1, min(draws, 32_000 // max(rows, 1)))
    for start in range(0, draws, block):
        picks = rng.integers(units, size=(min(block, draws - start), units), dtype=np.int32)
        yield np.stack([np.bincount(draw, minlength=units) for draw in picks]).astype(np.float64)


def resampled_ratio(sums: np.ndarray, counts: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """sum(sums) / sum(counts) over units drawn with replacement, [draws]."""
    out = np.empty(draws)
    units = len(sums)
    for i in range(draws):
        drawn = rng.integers(0, units, units)
        out[i] = sums[drawn].sum() / counts[drawn].sum()
    return out


def paired_t(gaps: np.ndarray) -> tuple[float, float]:
    """Two-sided p-value of a paired t-test on differences, [N] with N of 2 or more, and the error of their mean."""
    from scipy.stats import t

    n, mean = len(gaps), float(gaps.mean())
    error = float(gaps.std(ddof=1)) / math.sqrt(n)
    if error > 1e-15:
        return float(2 * t.sf(abs(mean) / error, n - 1)), error
    return math.nan if math.isnan(mean) else 1.0 if abs(mean) < 1e-15 else 0.0, error


def reach(error: float, n: int, confidence: float = 0.95) -> float:
    """Half of the t interval of a mean of N differences with that error."""
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, n - 1)) * error


def bootstrap(data: Paired, metrics: list[str], draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Differences (second minus first) under resampling of units, the same resamples for every metric, [draws] each."""
    auc = [WeightedAuc(data.positive, s, data.unit, data.weight) for s in data.score] if "auc" in metrics else []
    sums = {m: [data.sums(m, 0), data.sums(m, 1)] for m in metrics if m != "auc"}
    found: dict[str, list[np.ndarray]] = {m: [] for m in metrics}
    for weights in resamples(data.units, draws, rng, len(data.label)):
        for metric in metrics:
            first, second = (
                (a(weights) for a in auc) if metric == "auc" else (from_sums(metric, weights @ s) for s in sums[metric])
            )
            found[metric].append(second - first)
    return {m: np.concatenate(blocks) if blocks else np.zeros(0) for m, blocks in found.items()}


def values(data: Paired, metric: str) -> tuple[float, float]:
    """The metric of both models over all rows; nan where it is undefined."""
    if metric == "auc":
        ones = np.ones((1, data.units))
        first, second = (float(WeightedAuc(data.positive, s, data.unit, data.weight)(ones)[0]) for s in data.score)
    else:
        first, second = (float(from_sums(metric, data.sums(metric, i).sum(0))) for i in (0, 1))
    return first, second
