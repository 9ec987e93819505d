"""Scenes of rows: from columns, edges of a number, the time of day, the day of the week, or one file a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyscene.data._errors import listed, name, suggestion, unknown_key

if TYPE_CHECKING:
    from polyscene.data.frame import Frame

CLOCK = ("time_of_day", "day_of_week")
MOST = 10_000  # scenes
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class SceneRole:
    """Where scenes come from: ``kind`` is "columns", "edges", "time_of_day", "day_of_week" or "files"."""

    kind: str
    columns: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    tz: str = "UTC"


def scene_role(frame: Frame, given: Any, time: str | None, owner: str) -> SceneRole | None:
    """Checks what was given as scenes.

    Args:
        frame: the source.
        given: None, a column, a list of columns, ``{"by": column, "edges": [25, 35]}``,
            ``{"by": "time_of_day", "edges": [6, 12, 18], "tz": "UTC"}`` or ``{"by": "day_of_week", "tz": "UTC"}``.
        time: name of the time column.
        owner: what messages call the caller.

    Raises:
        ValueError: it names no column, edges do not rise, or there is no time column or no such time zone.
        TypeError: it is of another kind.
    """
    owner = f"{owner}: scene"
    if any(piece.scene is not None for piece in frame.pieces):
        if given is not None:
            raise ValueError(f"{owner}: the source has one file a scene already; leave scene out, got {given!r}")
        return SceneRole("files")
    if given is None:
        return None
    if isinstance(given, str):
        given = [given]
    if isinstance(given, (list, tuple)):
        if not given:
            raise ValueError(f"{owner} must name at least one column, got []")
        return SceneRole("columns", tuple(frame.require(name(owner, each), "scene") for each in given))
    if not isinstance(given, Mapping):
        raise TypeError(f"{owner} must be a column, a list of columns or a dict, got {type(given).__name__}")
    unknown_key(owner, given, ("by", "edges", "tz"))
    by = given.get("by")
    if isinstance(by, (list, tuple)) and "edges" not in given:
        return scene_role(frame, list(by), time, owner.removesuffix(": scene"))
    by = name(f"{owner}: by", by)
    if by in CLOCK and by not in frame.names:
        if time is None:
            raise ValueError(f"{owner}: {by!r} needs a time column; give time=")
        zone = given.get("tz", "UTC")
        _check_zone(owner, zone)
        edges = _edges(owner, given.get("edges", (6, 12, 18))) if by == "time_of_day" else ()
        return SceneRole(by, (time,), edges, zone)
    if by not in frame.names:
        known = [*frame.names, *CLOCK]
        raise ValueError(f"{owner}: by names no column {by!r}; known: {listed(known)}{suggestion(by, known)}")
    if "edges" in given:
        return SceneRole("edges", (by,), _edges(owner, given["edges"]))
    return SceneRole("columns", (by,))


def _check_zone(owner: str, zone: Any) -> None:
    try:
        pc.hour(pa.scalar(0, pa.timestamp("s", tz=zone)))
    except (pa.ArrowInvalid, TypeError) as error:
        raise ValueError(f"{owner}: no time zone {zone!r}; wanted a name such as 'Europe/Berlin'") from error


def _edges(owner: str, given: Any) -> tuple[float, ...]:
    numbers = isinstance(given, (list, tuple)) and all(
        isinstance(edge, (int, float)) and not isinstance(edge, bool) and np.isfinite(edge) for edge in given
    )
    if not numbers or not given or any(b <= a for a, b in pairwise(given)):
        raise ValueError(f"{owner}: edges must be numbers that rise, got {given!r}")
    return tuple(float(edge) for edge in given)


def edge_names(column: str, edges: tuple[float, ...]) -> list[str]:
    """Names of the left-closed intervals: ``age<25``, ``25<=age<35``, ``age>=35``."""
    text = [str(int(edge)) if edge == int(edge) else repr(edge) for edge in edges]
    between = [f"{low}<={column}<{high}" for low, high in pairwise(text)]
    return [f"{column}<{text[0]}", *between, f"{column}>={text[-1]}"]


def scene_codes(
    frame: Frame, role: SceneRole | None, times: tuple[np.ndarray, np.ndarray] | None = None, unit: str = "s"
) -> tuple[np.ndarray, list[str]]:
    """The scene of each row: int32 [n] positions in the names, -1 where it is unknown, and the names.

    Scenes of columns are sorted (as numbers if all are integers); intervals and days have their natural order.
    """
    if role is None:
        return np.zeros(frame.rows, np.int32), ["all"]
    if role.kind == "files":
        names = list(dict.fromkeys(str(piece.scene) for piece in frame.pieces))
        lengths = [piece.table.num_rows for piece in frame.pieces]
        codes = [names.index(str(piece.scene)) for piece in frame.pieces]
        return np.repeat(np.array(codes, np.int32), lengths), names
    if role.kind == "columns":
        return _of_columns(frame, role.columns)
    if role.kind == "edges":
        return _of_numbers(frame.numbers(role.columns[0]), role.columns[0], role.edges)
    if times is None:
        raise ValueError(f"{frame.owner}: scene: {role.kind!r} needs a time column; give time=")
    ticks, known = times
    local = pa.array(ticks, pa.timestamp(unit, tz="UTC")).cast(pa.timestamp(unit, tz=role.tz))
    if role.kind == "day_of_week":
        return np.where(known, pc.day_of_week(local).to_numpy(), -1).astype(np.int32), list(DAYS)
    hour = pc.hour(local).to_numpy() + pc.minute(local).to_numpy() / 60
    return _of_numbers(np.where(known, hour, np.nan), "hour", role.edges)


def _of_numbers(values: np.ndarray, column: str, edges: tuple[float, ...]) -> tuple[np.ndarray, list[str]]:
    codes = np.searchsorted(np.array(edges, values.dtype), values, side="right")
    return np.where(np.isnan(values), -1, codes).astype(np.int32), edge_names(column, edges)


def _of_columns(frame: Frame, columns: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    codes, names = _of_column(frame, columns[0])
    names = names if len(columns) == 1 else [f"{columns[0]}={text}" for text in names]
    for column in columns[1:]:
        more, texts = _of_column(frame, column)
        pair = np.where((codes < 0) | (more < 0), -1, codes.astype(np.int64) * len(texts) + more)
        seen = np.unique(pair[pair >= 0])
        names = [f"{names[code // len(texts)]},{column}={texts[code % len(texts)]}" for code in seen]
        codes = np.where(pair < 0, -1, np.searchsorted(seen, pair)).astype(np.int32)
        _check_count(frame, ", ".join(columns), len(names))
    return codes, names


def _of_column(frame: Frame, column: str) -> tuple[np.ndarray, list[str]]:
    ids = frame.ids(column)
    _check_count(frame, column, len(ids.ids))
    texts = ids.ids.to_pylist()
    order = sorted(range(len(texts)), key=lambda i: _sort_key(texts[i]))
    rank = np.full(len(texts) + 1, -1, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[ids.codes], [texts[i] for i in order]


def _check_count(frame: Frame, column: str, count: int) -> None:
    if count > MOST:
        raise ValueError(
            f"{frame.owner}: scene: {column!r} has {count:,} values, wanted at most {MOST:,} scenes; "
            "give the edges of a number, or another column"
        )


def _sort_key(text: str) -> tuple[bool, int, str]:
    number = text.lstrip("-").isdecimal()
    return (not number, int(text) if number else 0, text)
