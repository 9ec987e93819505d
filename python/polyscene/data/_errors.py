"""Wording of errors about unknown names and wrong values, the same as in C++."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def _distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for the member of ``known`` that is nearest to ``name``, else an empty text."""
    best, best_distance = "", max(1, (len(name) + 2) // 3) + 1
    for candidate in known:
        near = 1 if len(name) >= 3 and candidate.startswith(name) else _distance(name, candidate)
        if near < best_distance:
            best, best_distance = candidate, near
    return f"; did you mean '{best}'?" if best else ""


def listed(names: Iterable[str], most: int = 20) -> str:
    """Returns the names joined with commas, at most ``most`` of them."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unknown_key(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for the first member of ``given`` that is not in ``known``.

    Raises:
        ValueError: names the owner, the key, the known keys and the nearest of them.
    """
    known = list(known)
    for key in given:
        if key not in known:
            raise ValueError(f"{owner}: unknown key {key!r}; known keys: {listed(known)}{suggestion(str(key), known)}")


def choice(owner: str, given: Any, known: Iterable[str]) -> str:
    """Returns ``given`` when it is one of ``known``.

    Raises:
        ValueError: lists what is known and the nearest name.
    """
    known = list(known)
    if given not in known:
        near = suggestion(given, known) if isinstance(given, str) else ""
        raise ValueError(f"{owner} must be one of {', '.join(known)}, got {given!r}{near}")
    return str(given)


def mapping(owner: str, given: Any) -> Mapping[str, Any]:
    """Returns ``given`` when it is a mapping with text keys.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{owner} must be a name or a dict, got {type(given).__name__}")
    return given


def name(owner: str, given: Any) -> str:
    """Returns ``given`` when it is a text that is not empty.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(given, str) or not given:
        raise TypeError(f"{owner} must be the name of a column, got {given!r}")
    return given
