"""Preprocessing that needs other rows: outliers dropped or interpolated, missing values from the nearest neighbours.

Everything is learned from training rows. Scaling, filling and clipping are numbers of the schema, applied in C++.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from polyscene._extension import _C
from polyscene.data.roles import Roles

DONORS = 1_000
NEIGHBOURS = 5


def fences(values: np.ndarray) -> tuple[float, float]:
    """Quartiles -/+ 1.5 interquartile ranges; NaN is left out. A column without values has open fences."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not known.size:
        return -np.inf, np.inf
    low, high = np.quantile(known, [0.25, 0.75])
    return float(low - 1.5 * (high - low)), float(high + 1.5 * (high - low))


def fit_apply(
    roles: Roles,
    numbers: np.ndarray,
    part: np.ndarray,
    user: np.ndarray | None,
    time: np.ndarray | None,
    seed: int,
    owner: str,
) -> tuple[Roles, np.ndarray, np.ndarray, dict[str, Any]]:
    """Drops and interpolates outliers, and imputes from neighbours.

    Args:
        roles: the roles, with the wanted preprocessing of each numeric column.
        numbers: float32 [N, M]; not changed.
        part: int8 [N], 0 for training rows; not changed.
        user: int32 [N] or None.
        time: int64 [N] or None.
        seed: chooses the donors among complete training rows.
        owner: what messages call the caller.

    Returns:
        The roles with what was fitted, the numbers, the parts (-1 for dropped training rows), and counts by column.

    Raises:
        ValueError: no training row is left, or none is complete where neighbours are wanted.
    """
    report: dict[str, Any] = {}
    fitted: dict[str, Any] = {}
    wanted = [each for each in roles.numeric if each.outliers in ("drop", "interpolate") or each.missing == "knn"]
    if not wanted:
        return roles, numbers, part, report
    numbers, part = numbers.copy(), part.copy()
    train = part == 0
    for i, each in enumerate(roles.numeric):
        if each.outliers not in ("drop", "interpolate"):
            continue
        low, high = fences(numbers[train, i])
        fitted.setdefault("fences", {})[each.name] = [low, high] if np.isfinite(low) else None
        outside = (numbers[:, i] < low) | (numbers[:, i] > high)
        if each.outliers == "drop":
            part[outside & train] = -1
            report.setdefault("outliers_dropped", {})[each.name] = int((outside & train).sum())
        else:
            numbers[:, i] = interpolated(numbers[:, i], outside, train, user, time)
            report.setdefault("outliers_interpolated", {})[each.name] = int(outside.sum())
    train = part == 0
    if not train.any():
        raise ValueError(f"{owner}: dropping outliers leaves no training rows")
    if any(each.missing == "knn" for each in roles.numeric):
        complete = np.flatnonzero(train & ~np.isnan(numbers).any(1))
        if not complete.size:
            raise ValueError(f"{owner}: missing='knn' needs a training row in which every numeric column has a value")
        chosen = _C.core.permutation(len(complete), seed, "donors", 0).numpy()[:DONORS]
        donors = numbers[np.sort(complete[chosen])]
        scale = np.nanstd(numbers[train].astype(np.float64), axis=0)
        fitted["donors"] = donors.tolist()
        fitted["scale"] = np.where(scale > 0, scale, 1).tolist()
        names = [each.name for each in roles.numeric if each.missing == "knn"]
        report["imputed"] = {
            each.name: int(np.isnan(numbers[:, i]).sum()) for i, each in enumerate(roles.numeric) if each.name in names
        }
        numbers = impute(roles, fitted, numbers)
    return replace(roles, fitted=fitted), numbers, part, report


def apply(roles: Roles, numbers: np.ndarray) -> np.ndarray:
    """Treats new numbers with what was fitted: outliers to interpolate become missing, neighbours impute."""
    known = roles.fitted.get("fences", {})
    for i, each in enumerate(roles.numeric):
        if each.outliers == "interpolate" and known.get(each.name):
            low, high = known[each.name]
            outside = (numbers[:, i] < low) | (numbers[:, i] > high)
            if outside.any():
                numbers = numbers.copy()
                numbers[outside, i] = np.nan
    return impute(roles, roles.fitted, numbers) if "donors" in roles.fitted else numbers


def impute(roles: Roles, fitted: dict[str, Any], numbers: np.ndarray) -> np.ndarray:
    """Fills NaN by the mean of the nearest donors, near in all numeric columns, each divided by its deviation."""
    from sklearn.impute import KNNImputer

    columns = [i for i, each in enumerate(roles.numeric) if each.missing == "knn"]
    rows = np.flatnonzero(np.isnan(numbers[:, columns]).any(1))
    if not rows.size:
        return numbers
    scale = np.asarray(fitted["scale"])
    imputer = KNNImputer(n_neighbors=NEIGHBOURS).fit(np.asarray(fitted["donors"], np.float64) / scale)
    filled = imputer.transform(numbers[rows].astype(np.float64) / scale) * scale
    numbers = numbers.copy()
    for i in columns:
        missing = np.isnan(numbers[rows, i])
        numbers[rows[missing], i] = filled[missing, i]
    return numbers


def interpolated(
    values: np.ndarray, outside: np.ndarray, train: np.ndarray, user: np.ndarray | None, time: np.ndarray | None
) -> np.ndarray:
    """Replaces outliers by the line between the same user's training values before and after, in the order of time.

    Without times the place in the source stands for them. At the ends the nearest value is taken; a user without any
    gets NaN, a missing value.
    """
    rows = np.flatnonzero(outside | (train & ~np.isnan(values)))
    who = np.zeros(len(values), np.int64) if user is None else user
    when = np.arange(len(values)) if time is None else time
    rows = rows[np.lexsort((rows, when[rows], who[rows]))]
    known, place = ~outside[rows], np.arange(len(rows))
    before = np.maximum.accumulate(np.where(known, place, -1))
    after = np.minimum.accumulate(np.where(known, place, len(rows))[::-1])[::-1]
    at = np.flatnonzero(~known)
    a, b = before[at], after[at]
    same_a = (a >= 0) & (who[rows[a]] == who[rows[at]])
    same_b = (b < len(rows)) & (who[rows[np.minimum(b, len(rows) - 1)]] == who[rows[at]])
    a, b = np.where(same_a, a, np.where(same_b, b, 0)), np.where(same_b, b, np.where(same_a, a, 0))
    left, right = values[rows[a]].astype(np.float64), values[rows[b]].astype(np.float64)
    span = (when[rows[b]] - when[rows[a]]).astype(np.float64)
    share = np.where(span > 0, (when[rows[at]] - when[rows[a]]) / np.where(span > 0, span, 1), 0)
    out = values.copy()
    out[rows[at]] = np.where(same_a | same_b, left + share * (right - left), np.nan)
    return out
