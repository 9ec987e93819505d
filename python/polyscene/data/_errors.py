"""Wording of errors about unknown names and wrong values, the same as in C++."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from polyscene._extension import _C


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for the member of ``known`` that is nearest to ``name``, else an empty text."""
    return str(_C.core.suggestion(name, list(known)))


def listed(names: Iterable[str], most: int = 20) -> str:
    """Returns the names joined with commas, at most ``most`` of them."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, noun: str) -> str:
    """Returns the number and its noun: "1 user", "2,000 users"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
