"""The k-core of rows: users and items that are left when all with too few rows are gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from polyscene.data._errors import mapping, unknown_key


def core_spec(given: Any, owner: str) -> tuple[int, int]:
    """Rows that a user and an item must have in a scene; 0 for no such rule.

    Raises:
        ValueError: an unknown key or a number below 1.
        TypeError: it is of another kind.
    """
    if given is None:
        return 0, 0
    if isinstance(given, int) and not isinstance(given, bool):
        given = {"user": given, "item": given}
    if not isinstance(given, Mapping):
        raise TypeError(f'{owner}: core must be a whole number or {{"user": 5, "item": 5}}, got {given!r}')
    given = mapping(f"{owner}: core", given)
    unknown_key(f"{owner}: core", given, ("user", "item"))
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner}: core: {key} must be a whole number of at least 1, got {value!r}")
    return int(given.get("user", 0)), int(given.get("item", 0))


def core_rows(user: np.ndarray, item: np.ndarray, scene: np.ndarray, least: tuple[int, int]) -> np.ndarray:
    """Positions of the rows that stay, ascending: in each scene every user and item has its least number of them.

    Args:
        user: int32 [n] codes; rows with an empty cell (-1) do not stay.
        item: int32 [n] codes.
        scene: int32 [n].
        least: rows of a user and of an item in a scene.
    """
    rows = np.flatnonzero((user >= 0) & (item >= 0))
    width = [int(each.max(initial=0)) + 1 for each in (user, item)]
    keys = [scene.astype(np.int64) * size + each for each, size in zip((user, item), width, strict=True)]
    while True:
        keep = np.ones(len(rows), bool)
        for key, enough in zip(keys, least, strict=True):
            mine = key[rows]
            keep &= np.bincount(mine)[mine] >= enough if len(mine) else keep
        if keep.all():
            return rows
        rows = rows[keep]
