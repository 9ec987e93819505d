"""The differences that :func:`polyscene.compare` reports: over the rows of two results, and over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyscene import _statistics as stats
from polyscene.data.roles import CLASSED
from polyscene.results import Predictions, Result, metric_order

_OF_CLASSES: tuple[str, ...] = ("f1", "accuracy", "precision", "recall", "log_loss")
_DEFAULT: dict[str, tuple[str, ...]] = {"rating": ("rmse", "mae"), "ranking": ("ndcg", "recall")}
_DEFAULT |= dict.fromkeys(CLASSED, _OF_CLASSES)


@dataclass
class ComparisonRow:
    """One difference: ``second - first`` of one metric in one scene (``scene`` None: over all rows).

    ``low`` and ``high`` bound the difference at the comparison's confidence. ``p`` is the test's own p-value,
    ``p_holm`` the one corrected for all tests of the comparison. ``better`` names the better result if it rejects
    equality, else it is "". ``note`` says why numbers are missing; ``n`` counts rows, or seeds.
    """

    first: str
    second: str
    scene: str | None
    metric: str
    first_value: float
    second_value: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    test: str
    n: int
    better: str = ""
    note: str = ""


def _same_split(first: Result, second: Result, names: tuple[str, str]) -> None:
    a, b = first.split_digest, second.split_digest
    if a and b and a != b:
        raise ValueError(
            f"compare: wanted results on one split, got split {a[:12]} ({names[0]}) and {b[:12]} ({names[1]}); "
            "evaluate both on the same data with the same split seed"
        )


def _rows_of(result: Result, name: str) -> Predictions:
    predictions = result.predictions
    if predictions is None:
        raise ValueError(f"compare: {name} has no predictions (predictions.parquet of a run folder); evaluate it again")
    rows, first = np.unique(predictions.row, return_index=True)
    if len(rows) != len(predictions):
        raise ValueError(f"compare: {name} predicts {len(predictions) - len(rows)} rows more than once")
    return predictions.take(first)


def unit_of(first: Result, second: Result, unit: str) -> str:
    named = all(r.predictions is not None and r.predictions.user is not None for r in (first, second))
    if unit == "user" and not named:
        raise ValueError("compare: unit 'user' wants predictions with a column user; use unit='row'")
    return ("user" if named else "row") if unit == "auto" else unit


def _paired(first: Result, second: Result, names: tuple[str, str]) -> tuple[Predictions, Predictions]:
    """The rows of both results in the same order, after checking that they are the same rows."""
    _same_split(first, second, names)
    a, b = _rows_of(first, names[0]), _rows_of(second, names[1])
    if not np.array_equal(a.row, b.row):
        both = len(np.intersect1d(a.row, b.row))
        raise ValueError(
            f"compare: wanted the same rows on both sides, got {len(a)} rows ({names[0]}) and {len(b)} rows "
            f"({names[1]}), {both} of them shared; evaluate both on the same table"
        )
    if (a.weight is None) != (b.weight is None):
        raise ValueError(f"compare: the rows of {names[a.weight is None]} have weights, the others none")
    for column in ("scene", "label", "weight"):
        if getattr(a, column) is None:
            continue
        differ = np.flatnonzero(getattr(a, column) != getattr(b, column))
        if len(differ):
            at = differ[0]
            raise ValueError(
                f"compare: the {column} differs in {len(differ)} rows; row {a.row[at]} has {getattr(a, column)[at]} "
                f"({names[0]}) and {getattr(b, column)[at]} ({names[1]}); these are different data"
            )
    return a, b


def _row_metrics(task: str, metric: str | Sequence[str] | None) -> list[str]:
    if metric is None:
        return list(_DEFAULT.get(task, ("auc", "log_loss", "accuracy", "f1")))
    names = [metric] if isinstance(metric, str) else list(metric)
    known, what = (_OF_CLASSES, "classes") if task in CLASSED else (stats.METRICS, "rows")
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        listed = ", ".join(known)
        raise ValueError(f"compare: unknown metric '{unknown[0] if unknown else ''}'; metrics of {what}: {listed}")
    return names


def over_rows(
    first: Result,
    second: Result,
    names: tuple[str, str],
    metric: str | Sequence[str] | None,
    confidence: float,
    by_user: bool,
    draws: int,
    seed: int,
) -> list[ComparisonRow]:
    a, b = _paired(first, second, names)
    metrics = _row_metrics(first.task, metric)
    given = None
    if first.task in CLASSED:
        for side, name in ((a, names[0]), (b, names[1])):
            if side.classes is None:
                raise ValueError(
                    f"compare: the predictions of {name} lack the probabilities of classes; evaluate it again"
                )
        given = np.stack([side.classes.argmax(1) for side in (a, b)])  # type: ignore[union-attr]
    binary = [m for m in metrics if m not in ("rmse", "mae")] if given is None else []
    if binary and not np.isin(a.label, (0, 1)).all():
        raise ValueError(f"compare: {binary[0]} wants labels 0 and 1, got {a.label[~np.isin(a.label, (0, 1))][0]}")
    found = []
    present = [str(s) for s in np.unique(a.scene)]
    scenes = [s for s in first.scenes if s in present]
    scenes += [s for s in present if s not in first.scenes]
    for number, scene in enumerate([None, *scenes]):
        rows = np.ones(len(a), dtype=bool) if scene is None else a.scene == scene
        user = None if a.user is None else np.unique(_named(a.user)[rows], return_inverse=True)[1]
        data = stats.Paired(
            label=a.label[rows],
            score=np.stack([a.score[rows], b.score[rows]]),
            threshold=(first.threshold, second.threshold),
            unit=user if by_user and user is not None else np.arange(rows.sum()),
            user=user,
            weight=None if a.weight is None else a.weight[rows],
            given=None if given is None else given[:, rows],
        )
        rng = np.random.default_rng([seed, number])
        found += _one_scene(data, scene, names, metrics, confidence, by_user, draws, rng)
    order = {m: i for i, m in enumerate(metrics)}
    return sorted(found, key=lambda row: order[row.metric])


def over_users(
    first: Result,
    second: Result,
    names: tuple[str, str],
    metric: str | Sequence[str] | None,
    confidence: float,
    draws: int,
    seed: int,
) -> list[ComparisonRow]:
    """Differences of rankings: users are resampled with all their scenes; t-test of a user's mean difference.

    A query without a value on either side (recall of the tail for users who want nothing of it) stays out.
    """
    from scipy.stats import t

    _same_split(first, second, names)
    _same_candidates(first, second, names)
    a, b = first.per_user, second.per_user
    for side, name in ((a, names[0]), (b, names[1])):
        if side is None:
            raise ValueError(f"compare: {name} has no values of users (per_user.parquet); evaluate it again")
    assert a is not None
    assert b is not None
    keys = [list(zip(each.scene, each.user, each.facts["row"].tolist(), strict=True)) for each in (a, b)]
    if sorted(keys[0], key=str) != sorted(keys[1], key=str):
        raise ValueError(
            f"compare: wanted rankings of the same users and rows, got {len(a)} ({names[0]}) and {len(b)} "
            f"({names[1]}), {len(set(keys[0]) & set(keys[1]))} of them shared; evaluate both on the same table"
        )
    place = {key: i for i, key in enumerate(keys[1])}
    match = np.array([place[key] for key in keys[0]], np.int64)
    shared = metric_order([name for name in a.values if name in b.values])
    if not shared:
        have = [", ".join(metric_order(each.values)) or "none" for each in (a, b)]
        raise ValueError(
            f"compare: the results have no metric in common: {names[0]} has {have[0]}; {names[1]} has {have[1]}; "
            "evaluate both with the same k"
        )
    wanted = [metric] if isinstance(metric, str) else list(metric or _main_metrics(shared))
    unknown = [name for name in wanted if name not in shared]
    if unknown:
        raise ValueError(f"compare: unknown metric '{unknown[0]}'; metrics of both: {', '.join(metric_order(shared))}")
    users = np.unique(a.user.astype(str), return_inverse=True)[1]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = []
    for name in wanted:
        one, two = a.values[name], b.values[name][match]
        known = ~(np.isnan(one) | np.isnan(two))
        for number, scene in enumerate([None, *first.scenes]):
            rows = known & ((a.scene == scene) if scene is not None else True)
            n = int(rows.sum())
            low = high = p = math.nan
            gap, mine = (two - one)[rows], np.unique(users[rows], return_inverse=True)[1]
            if n > 1 and mine.max() > 0:
                sums, counts = np.bincount(mine, gap), np.bincount(mine).astype(float)
                p = _clustered_p(sums, counts, t)
                spread = stats.resampled_ratio(sums, counts, draws, np.random.default_rng([seed, number]))
                low, high = np.quantile(spread, tails)
            first_value, second_value = (float(v[rows].mean()) if n else math.nan for v in (one, two))
            found.append(
                ComparisonRow(
                    *names,
                    scene,
                    name,
                    first_value,
                    second_value,
                    second_value - first_value,
                    float(low),
                    float(high),
                    p,
                    math.nan,
                    "t, by user",
                    n,
                    note="" if n > 1 else "fewer than two users",
                )
            )
    return found


def _same_candidates(first: Result, second: Result, names: tuple[str, str]) -> None:
    """Refuses figures of which one ranks among sampled items, or among another number of them."""
    among = [each.extra.get("candidates", "all") for each in (first, second)]
    if among[0] != among[1]:
        raise ValueError(
            f"compare: {names[0]} ranks among {among[0]} candidates, {names[1]} among {among[1]}: such figures cannot "
            "be compared; evaluate both with the same candidates"
        )


def _main_metrics(shared: list[str]) -> list[str]:
    """NDCG and recall at 10 of the metrics that both sides have, or at the least other cut-off."""
    cuts = sorted({int(name.split("@")[1]) for name in shared}, key=lambda k: (k != 10, k))
    for k in cuts:
        found = [f"{name}@{k}" for name in _DEFAULT["ranking"] if f"{name}@{k}" in shared]
        if found:
            return found
    return shared[:1]


def _clustered_p(sums: np.ndarray, counts: np.ndarray, t: Any) -> float:
    """p-value of a mean of 0 from each user's sum of differences and their number (robust to what a user shares)."""
    mean = sums.sum() / counts.sum()
    users = len(sums)
    error = math.sqrt(float(((sums - mean * counts) ** 2).sum()) * users / (users - 1)) / counts.sum()
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * t.sf(abs(mean / error), users - 1))


def _named(user: np.ndarray) -> np.ndarray:
    """Users with one of its own for each row that has none (-1)."""
    return np.where(user < 0, -1 - np.arange(len(user)), user) if user.dtype.kind == "i" else user


def _one_scene(
    data: stats.Paired,
    scene: str | None,
    names: tuple[str, str],
    metrics: list[str],
    confidence: float,
    by_user: bool,
    draws: int,
    rng: np.random.Generator,
) -> list[ComparisonRow]:
    spread = stats.bootstrap(data, metrics, draws, rng)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = []
    for metric in metrics:
        one, two = stats.values(data, metric)
        known = spread[metric][~np.isnan(spread[metric])]
        low, high = np.quantile(known, tails) if len(known) >= draws / 2 else (math.nan, math.nan)
        p, test = math.nan, "bootstrap"
        if data.weight is not None:
            pass  # the tests below count rows
        elif metric == "auc":
            p, test = stats.normal_p(*stats.delong(data, by_user)), "DeLong, by user" if by_user else "DeLong"
        elif metric == "accuracy":
            p, test = stats.mcnemar_p(data, by_user), "McNemar, by user" if by_user else "McNemar"
        note = ""
        if math.isnan(two - one):
            p, low, high = math.nan, math.nan, math.nan
            alike = data.given is None and (data.positive.all() or not data.positive.any())
            note = "one class" if alike else "undefined"
        elif math.isnan(p):
            p, test = stats.bootstrap_p(spread[metric]), "bootstrap"
        found.append(
            ComparisonRow(
                *names,
                scene,
                metric,
                one,
                two,
                two - one,
                float(low),
                float(high),
                p,
                math.nan,
                test,
                len(data.label),
                note=note,
            )
        )
    return found


def _matched(first: list[Result], second: list[Result], names: tuple[str, str]) -> list[tuple[Result, Result]]:
    """Pairs of runs: by the digests of their splits where both sides know them, else in order."""
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(
            f"compare: wanted the same number of seeds on both sides and at least two, got {len(first)} ({names[0]}) "
            f"and {len(second)} ({names[1]})"
        )
    digests = [[run.split_digest or "" for run in side] for side in (first, second)]
    if not all(d for side in digests for d in side):
        return list(zip(first, second, strict=True))
    if sorted(digests[0]) != sorted(digests[1]):
        raise ValueError(f"compare: the splits of {names[0]} and {names[1]} differ; run both with the same split seeds")
    by_split = [sorted(side, key=lambda run: run.split_digest or "") for side in (first, second)]
    return list(zip(*by_split, strict=True))


def over_seeds(
    first: list[Result],
    second: list[Result],
    names: tuple[str, str],
    metric: str | Sequence[str] | None,
    confidence: float,
) -> list[ComparisonRow]:
    pairs = _matched(first, second, names)
    shared = [m for m in first[0].metrics if m in second[0].metrics]
    usual = [m for m in _row_metrics(first[0].task, None) if m in shared] or metric_order(shared)
    wanted = [metric] if isinstance(metric, str) else list(metric or usual)
    unknown = [m for m in wanted if m not in shared]
    if unknown or not wanted:
        raise ValueError(f"compare: unknown metric '{''.join(unknown[:1])}'; metrics of both: {', '.join(shared)}")
    scenes = [s for s in first[0].scenes if all(s in run.scenes for pair in pairs for run in pair)]
    found = []
    for name in wanted:
        for scene in [None, *scenes]:
            values = np.array([[_value(run, name, scene) for run in pair] for pair in pairs])  # [seeds, 2]
            gap = values[:, 1] - values[:, 0]
            n, mean = len(gap), float(gap.mean())
            p, error = stats.paired_t(gap)
            reach = stats.reach(error, n, confidence)
            one, two = (float(v) for v in values.mean(0))
            found.append(
                ComparisonRow(
                    *names,
                    scene,
                    name,
                    one,
                    two,
                    mean,
                    mean - reach,
                    mean + reach,
                    p,
                    math.nan,
                    "paired t",
                    n,
                    note="undefined" if math.isnan(mean) else "",
                )
            )
    return found


def _value(run: Result, metric: str, scene: str | None) -> float:
    return (run.overall if scene is None else run.scenes[scene]).get(metric, math.nan)
