"""Paired tests between the runs of a table: over its seeds, and over the rows behind them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyscene import _statistics as stats
from polyscene.results import Predictions, nulls

METRICS = ("auc", "log_loss")


def paired_tests(
    figures: Sequence[Mapping[str, Any]],
    references: Sequence[str],
    folder: Path,
    draws: int = 1000,
    metrics: Sequence[str] = METRICS,
) -> list[dict[str, Any]]:
    """Differences of every run of a part from each reference, in every scene and overall.

    Two tests of the same difference, a mean over seeds: a paired t-test of its values at the seeds, and a bootstrap
    that draws test rows again, the same rows for both runs. Seeds on the same test rows get the same draws, seeds of
    other splits their own; their standard deviation is the error of a normal test. Each kind of test is corrected by
    Holm over all runs and scenes, one metric and reference at a time.

    Args:
        figures: the runs of one part, as `Outcome.runs` holds them.
        references: names of the runs to compare with.
        folder: that of the table, where the predictions lie.
        draws: resamples of the rows.
        metrics: of "auc" and "log_loss".

    Returns:
        One a reference, run, scene and metric: ``part``, ``against``, ``run``, ``scene``, ``metric``, ``difference``
        (run less reference), ``sd`` over seeds, ``p_seeds``, ``p_seeds_holm``, ``low`` and ``high`` (95 % of the
        resamples), ``p_rows``, ``p_rows_holm``; None where a test cannot be made.
    """
    names = list(dict.fromkeys(each["run"] for each in figures))
    scenes = [name for name in figures[0]["scenes"] if name != "macro"]
    drawn = _resampled(figures, scenes, folder, draws, metrics)
    out: list[dict[str, Any]] = []
    for reference in (name for name in references if name in names):
        tests = [
            _one(figures, drawn, (run, reference), scene, metric)
            for run in names
            for scene in scenes
            for metric in metrics
            if run != reference
        ]
        for metric, kind in itertools.product(metrics, ("p_seeds", "p_rows")):
            family = [test for test in tests if test["metric"] == metric]
            found = np.array([math.nan if test[kind] is None else test[kind] for test in family])
            for test, p in zip(family, stats.holm(found), strict=True):
                test[f"{kind}_holm"] = None if math.isnan(p) else float(p)
        out += tests
    return out


def _one(
    figures: Sequence[Mapping[str, Any]],
    drawn: Mapping[tuple[str, int, str, str], np.ndarray],
    pair: tuple[str, str],
    scene: str,
    metric: str,
) -> dict[str, Any]:
    values = [
        {each["seed"]: each["scenes"].get(scene, {}).get(metric) for each in figures if each["run"] == run}
        for run in pair
    ]
    shared = [seed for seed in values[0] if values[0][seed] is not None and values[1].get(seed) is not None]
    gaps = [values[0][seed] - values[1][seed] for seed in shared]
    test: dict[str, Any] = {"part": figures[0]["part"], "against": pair[1], "run": pair[0], "scene": scene}
    test |= {"metric": metric, "difference": statistics.fmean(gaps) if gaps else None}
    test |= {
        "sd": statistics.stdev(gaps) if len(gaps) > 1 else None,
        "p_seeds": stats.paired_t(np.array(gaps))[0] if len(gaps) > 1 else None,
    }
    draws = [[drawn.get((run, seed, scene, metric)) for run in pair] for seed in shared]
    known = [one - other for one, other in draws if one is not None and other is not None]
    low = high = p = math.nan
    if known and len(known) == len(shared):
        mean = np.mean(known, axis=0)
        p, (low, high) = stats.normal_p(statistics.fmean(gaps), _spread(mean)), np.nanquantile(mean, [0.025, 0.975])
    return test | nulls({"low": float(low), "high": float(high), "p_rows": p})


def _spread(draws: np.ndarray) -> float:
    known = draws[~np.isnan(draws)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan


def _resampled(
    figures: Sequence[Mapping[str, Any]], scenes: Iterable[str], folder: Path, draws: int, metrics: Sequence[str]
) -> dict[tuple[str, int, str, str], np.ndarray]:
    """(run, seed, scene, metric) -> the metric under each resample, [draws]."""
    out = {}
    for seed in dict.fromkeys(each["seed"] for each in figures):
        mine = [each for each in figures if each["seed"] == seed]
        paths = [folder / each["folder"] / "predictions.parquet" for each in mine]
        rows = {each["run"]: _sorted(path) for each, path in zip(mine, paths, strict=True) if path.exists()}
        if not rows:
            continue
        first = next(iter(rows.values()))
        same = {run: each for run, each in rows.items() if np.array_equal(each.row, first.row)}
        split = int((mine[0]["split_digest"] or "0")[:8], 16)
        for number, scene in enumerate(scenes):
            at = np.ones(len(first), bool) if scene == "overall" else first.scene == scene
            label, n = first.label[at] > 0.5, int(at.sum())
            if not n:
                continue
            scorers = {
                (run, metric): _scorer(metric, label, each.score[at])
                for run, each in same.items()
                for metric in metrics
            }
            found: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in scorers}
            for weights in stats.resamples(n, draws, np.random.default_rng([split, number]), n):
                for key, score in scorers.items():
                    found[key].append(score(weights))
            out.update({(run, seed, scene, metric): np.concatenate(f) for (run, metric), f in found.items()})
    return out


def _sorted(path: Path) -> Predictions:
    rows = Predictions.read(path)
    return rows.take(np.argsort(rows.row, kind="stable"))


def _scorer(metric: str, label: np.ndarray, score: np.ndarray) -> Any:
    """Weights of rows, [R, N] -> the metric, [R]."""
    if metric == "auc":
        return stats.WeightedAuc(label, score, np.arange(len(label)))
    safe = np.clip(score, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    loss = -np.where(label, np.log(safe), np.log1p(-safe))
    return lambda weights: weights @ loss / weights.sum(1)
