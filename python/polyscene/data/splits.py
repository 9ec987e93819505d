"""Splits into training, validation and test rows, a function of (data, seed) alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene.data._errors import choice, mapping, name, unknown_key

PARTS = ("train", "valid", "test")
ALL_PARTS = (*PARTS, "context")
BY = ("random", "torch_random", "user", "scene", "time", "leave_one_out", "cold_user", "cold_scene", "group", "files")
WITHIN = ("user", "scene")


@dataclass(frozen=True)
class Split:
    """How rows are divided.

    ``by``: "random" rows, the same ratios within each "user" or "scene", the newest rows last ("time"), the last row of
    each user ("leave_one_out"), users never seen in training ("cold_user"), or as given ("files"). "cold_scene" takes
    from shares of the users with rows in several scenes all their rows of one of these, in turn the first, second, ...
    of each: known elsewhere, new there, in every direction. "torch_random" are
    the rows that ``torch.utils.data.random_split`` gives after ``torch.manual_seed(seed)``, to compare with what others
    measured on them. "group" keeps rows with the same id in ``column`` (documents, sessions) together: shares of the
    groups, an empty cell being a group of its own.
    ``within`` applies "random", "time" or "leave_one_out" to each user or scene by itself, "group" to each scene (that
    of a group's first row).
    """

    by: str = "random"
    ratios: tuple[float, float, float] = (8, 1, 1)
    seed: int = 2022
    within: str | None = None
    column: str | None = None

    def json(self) -> dict[str, Any]:
        """The split as a configuration holds it."""
        out = asdict(self) | {"ratios": list(self.ratios)}
        if self.column is None:
            del out["column"]
        return out


def split_spec(given: Any, owner: str) -> Split:
    """Checks a split as it stands in a configuration: None, a name, or a dict of the fields of `Split`.

    Raises:
        ValueError: unknown keys or names, ratios that are not three numbers of which the first is positive.
        TypeError: it is of another kind.
    """
    owner = f"{owner}: split"
    if given is None:
        return Split()
    if isinstance(given, str):
        given = {"by": given}
    given = mapping(owner, given)
    unknown_key(owner, given, ("by", "ratios", "seed", "within", "column"))
    spec = Split(**given)
    choice(f"{owner}: by", spec.by, BY)
    if spec.within is not None:
        choice(f"{owner}: within", spec.within, WITHIN)
        if spec.by not in ("random", "time", "leave_one_out", "group"):
            raise ValueError(f"{owner}: within goes with random, time, leave_one_out or group, got by={spec.by!r}")
        if spec.by == "group" and spec.within != "scene":
            raise ValueError(f"{owner}: groups are drawn within 'scene' or over all rows, got within={spec.within!r}")
    if (spec.by == "group") != (spec.column is not None):
        fix = "give column, whose ids stay together" if spec.column is None else "column goes with group"
        raise ValueError(f"{owner}: {fix}, got by={spec.by!r}")
    if spec.column is not None:
        name(f"{owner}: column", spec.column)
    ratios = spec.ratios
    fine = isinstance(ratios, (list, tuple)) and len(ratios) == 3
    fine = fine and all(isinstance(r, (int, float)) and not isinstance(r, bool) and 0 <= r < 1e9 for r in ratios)
    if not fine or ratios[0] <= 0:
        raise ValueError(
            f"{owner}: ratios must be three numbers (train, valid, test) such as [8, 1, 1], got {ratios!r}"
        )
    if isinstance(spec.seed, bool) or not isinstance(spec.seed, int) or not 0 <= spec.seed < 2**63:
        raise ValueError(f"{owner}: seed must be a whole number of 0 or more, got {spec.seed!r}")
    return Split(spec.by, (ratios[0], ratios[1], ratios[2]), spec.seed, spec.within, spec.column)


def assign(
    spec: Split,
    scene: np.ndarray,
    user: np.ndarray | None,
    time: np.ndarray | None,
    owner: str,
    group: np.ndarray | None = None,
) -> np.ndarray:
    """The part of each row: int8 [n], 0 train, 1 valid, 2 test.

    Shares of valid and test are rounded down (in each group, if there are groups); the rest trains. Rows are ordered by
    time, equal times by their place in the source; without a time column by their place alone.

    Args:
        spec: the split.
        scene: int32 [n].
        user: int32 [n] codes, -1 for an empty cell, which is a user of its own; None without a user column.
        time: int64 [n] or None.
        owner: what messages call the caller.
        group: int32 [n] codes of the column of split by "group", -1 for an empty cell.

    Raises:
        ValueError: the split needs a column that is not there, or a part stays empty.
    """
    n = len(scene)
    by, within = spec.by, spec.within
    if by in ("user", "scene"):
        by, within = "random", by
    if by == "leave_one_out" and within is None:
        within = "user"
    if ("user" in (within, by.removeprefix("cold_")) or by == "cold_scene") and user is None:
        raise ValueError(f"{owner}: split by {spec.by!r} needs a user column; give user=")
    if by == "time" and time is None:
        raise ValueError(f"{owner}: split by 'time' needs a time column; give time=")
    if by == "cold_user" and user is not None:
        part = _groups(spec, user)
    elif by == "cold_scene" and user is not None:
        part = _cold_scenes(spec, user, scene, owner)
    elif by == "group" and group is not None:
        part = _whole_groups(spec, group, scene)
    else:
        if by == "group":
            raise ValueError(f"{owner}: split by 'group' needs the column {spec.column!r}, which is not there")
        each = {None: None, "user": user, "scene": scene}[within]
        if by == "leave_one_out" and spec.within == "scene":
            each = _pairs(user, scene) if user is not None else scene
        rank = (
            {"random": _permutation, "torch_random": _torch_permutation}[by](n, spec.seed) if "random" in by else time
        )
        part = _ranked(spec, rank, each, by == "leave_one_out", n)
    for code, each_part in enumerate(PARTS):
        if spec.ratios[code] > 0 and not (part == code).any():
            raise ValueError(
                f"{owner}: split by {spec.by!r} leaves no {each_part} rows ({n} rows, ratios {list(spec.ratios)}); "
                "give more rows or other ratios"
            )
    return part


def _permutation(n: int, seed: int) -> np.ndarray:
    return np.asarray(_C.core.permutation(n, seed, "split", 0))


def _torch_permutation(n: int, seed: int) -> np.ndarray:
    """The place of each row in the order of torch's own generator, int64 [n]."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    return rank


def _pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(first.astype(np.int64) * (int(second.max(initial=0)) + 2) + second)


def _counts(spec: Split, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of valid and test in groups of these sizes; 1e-9 keeps 0.1 * 10 from falling to 0."""
    total = sum(spec.ratios)
    valid = np.floor(sizes * (spec.ratios[1] / total) + 1e-9).astype(np.int64)
    test = np.floor(sizes * (spec.ratios[2] / total) + 1e-9).astype(np.int64)
    return valid, test


def _ranked(spec: Split, rank: np.ndarray | None, group: np.ndarray | None, last: bool, n: int) -> np.ndarray:
    """Within each group in the order of ``rank``: train, then valid, then test."""
    keys = [key for key in (np.arange(n), rank, group) if key is not None]
    order = np.lexsort(keys)
    if group is None:
        sizes = np.array([n])
    else:
        sorted_group = group[order]
        starts = np.flatnonzero(np.concatenate(([True], sorted_group[1:] != sorted_group[:-1])))
        sizes = np.diff(np.append(starts, n))
    if last:  # the last row tests, the one before it validates, a user's only row trains
        test = (sizes >= 2).astype(np.int64) * (spec.ratios[2] > 0)
        valid = (sizes >= 2 + test).astype(np.int64) * (spec.ratios[1] > 0)
    else:
        valid, test = _counts(spec, sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - 1 - np.arange(n)  # rows of the group that come later
    valid, test = np.repeat(valid, sizes), np.repeat(test, sizes)
    part = np.empty(n, np.int8)
    part[order] = np.where(left < test, 2, np.where(left < test + valid, 1, 0))
    return part


def _groups(spec: Split, user: np.ndarray) -> np.ndarray:
    codes, position = np.unique(user, return_inverse=True)
    shuffled = Split("random", spec.ratios, spec.seed)
    return _ranked(shuffled, _permutation(len(codes), spec.seed), None, False, len(codes))[position]


def _whole_groups(spec: Split, group: np.ndarray, scene: np.ndarray) -> np.ndarray:
    alone = np.flatnonzero(group < 0)
    own = group.astype(np.int64)
    own[alone] = int(group.max(initial=0)) + 1 + np.arange(len(alone))
    _, first, position = np.unique(own, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # groups in the order of the source, which no other code of ids changes
    shuffled = Split("random", spec.ratios, spec.seed)
    drawn = _permutation(len(first), spec.seed)[order]
    within = scene[first] if spec.within == "scene" else None
    return _ranked(shuffled, drawn, within, False, len(first))[position]


def _cold_scenes(spec: Split, user: np.ndarray, scene: np.ndarray, owner: str) -> np.ndarray:
    places = np.unique(np.stack([user, scene], 1)[user >= 0], axis=0)  # ascending
    users, first, count = np.unique(places[:, 0], return_index=True, return_counts=True)
    several = np.flatnonzero(count > 1)
    if not len(several):
        raise ValueError(f"{owner}: split by 'cold_scene' needs users with rows in several scenes, there are none")
    several = several[np.argsort(_permutation(len(several), spec.seed), kind="stable")]
    valid, test = (int(share[0]) for share in _counts(spec, np.array([len(several)])))
    part = np.zeros(len(user), np.int8)
    for code, chosen in ((2, several[:test]), (1, several[test : test + valid])):
        which = places[first[chosen] + np.arange(len(chosen)) % count[chosen], 1]
        cold = np.full(int(user.max()) + 1, -1, np.int64)
        cold[users[chosen]] = which
        part[(user >= 0) & (cold[np.maximum(user, 0)] == scene)] = code
    return part


def digest_of(parts: list[str]) -> str:
    """sha256 over the digests of the parts: the identity of a split."""
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def no_overlap(parts: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError when a row is in two parts."""
    rows = np.concatenate([np.asarray(part) for part in parts.values()])
    if len(np.unique(rows)) < len(rows):
        raise ValueError("split: a row is in two parts")
