"""What `check` finds, and what it sees in a column by itself, whatever its role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyscene.data import _cells
from polyscene.data._errors import counted
from polyscene.data.frame import Frame

_INTEGRAL_FLOAT = r"^-?[0-9]+\.0+$"
_FRACTION = r"\.[0-9]*[1-9]"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd.

    Attributes:
        severity: "error" (the file cannot be used so), "warning" (it can, but look), or "note".
        column: where, "" for the whole file.
        row: first data row concerned, from 1; None when no single row is.
        what: the finding in words.
        example: a cell that shows it.
        count: rows concerned.
    """

    severity: str
    column: str
    row: int | None
    what: str
    example: str = ""
    count: int = 0


class Findings:
    """Collects findings; errors of readers become findings."""

    def __init__(self, frame: Frame, into: list[Finding]) -> None:
        self.frame = frame
        self.into = into

    def add(self, severity: str, column: str, rows: np.ndarray | None, what: str, example: str = "") -> None:
        first = int(rows[0]) + 1 if rows is not None and len(rows) else None
        self.into.append(Finding(severity, column, first, what, example, 0 if rows is None else len(rows)))

    def attempt(self, work: Callable[[], Any]) -> Any:
        """The result of ``work``, or None when it raised; its message is then a finding."""
        try:
            return work()
        except (ValueError, TypeError) as error:
            self.into.append(Finding("error", "", None, str(error)))
            return None


def look(frame: Frame, column: str, found: Findings, number: bool) -> str:
    """Looks at a column by itself, as numbers or as ids; returns a line on it."""
    kinds = {str(piece.table.column(column).type) for piece in frame.pieces}
    if len(kinds) > 1:
        found.add("warning", column, None, f"has different types in different files: {', '.join(sorted(kinds))}")
        return "mixed types"
    kind = _cells.decoded(frame.pieces[0].table.column(column)).type
    if _cells.is_list(kind):
        parts = frame.lists(column, " ")
        return f"lists of {counted(len(parts.ids), 'id')}, {int((np.diff(parts.offsets) == 0).sum()):,} empty"
    ids = found.attempt(lambda: frame.ids(column))
    if ids is None:
        return "not readable"
    missing = np.flatnonzero(ids.codes < 0)
    n, distinct = frame.rows, len(ids.ids)
    empty = f", {len(missing):,} empty" if len(missing) else ""
    if len(missing) == n:
        found.add("warning", column, None, "every cell is empty")
        return "empty"
    if distinct == 1 and n > 1 and not len(missing):
        found.add("note", column, None, "has one value only, so it tells a model nothing", ids.ids[0].as_py())
    if not _cells.is_text(kind):
        return f"{counted(distinct, 'value')} of type {kind}{empty}"
    return _look_at_text(column, ids, found, number) + empty


def _look_at_text(column: str, ids: _cells.Codes, found: Findings, number_column: bool) -> str:
    def rows(mask: pa.Array) -> tuple[np.ndarray, str]:
        chosen = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
        return np.flatnonzero(np.isin(ids.codes, chosen)), (ids.ids[int(chosen[0])].as_py() if len(chosen) else "")

    texts = ids.ids
    trimmed = pc.utf8_trim_whitespace(texts)
    concerned, example = rows(pc.not_equal(trimmed, texts))
    if len(concerned):
        found.add(
            "warning", column, concerned, "cells begin or end with blanks, so they are other ids than without", example
        )
    number = pc.match_substring_regex(trimmed, _cells.NUMBER)
    share = pc.mean(number.cast(pa.float64())).as_py()
    nothing = pc.is_in(
        pc.utf8_lower(pc.utf8_trim(trimmed, "+-")), value_set=pa.array(sorted(_cells.NOTHING), texts.type)
    )
    concerned, example = rows(nothing)
    if len(concerned):
        what = "cells look like missing values but are text; leave them empty if they are"
        found.add("warning", column, concerned, what, example)
    odd = pc.invert(pc.or_(number, nothing))
    if 0.9 <= share < 1:
        concerned, example = rows(odd)
        if len(concerned):
            found.add("warning", column, concerned, "nearly every cell is a number, but some are not", example)
    if number_column:
        return _kind(len(texts), share)
    concerned, example = rows(pc.match_substring_regex(texts, _INTEGRAL_FLOAT))
    if len(concerned) and not pc.any(pc.match_substring_regex(texts, _FRACTION)).as_py():
        what = "integers are written as floats; as an id '7.0' is another one than '7'"
        found.add("warning", column, concerned, what, example)
    zero = pc.and_(pc.match_substring_regex(texts, r"^0[0-9]+$"), pc.is_in(pc.utf8_ltrim(texts, "0"), value_set=texts))
    concerned, example = rows(zero)
    if len(concerned):
        found.add(
            "warning", column, concerned, "ids differ from others in leading zeros only; they are other ids", example
        )
    lower = pc.utf8_lower(trimmed)
    if share < 0.5 and len(pc.unique(lower)) < len(pc.unique(trimmed)):
        first = lower.dictionary_encode().indices.to_numpy()
        twice = np.bincount(first)[first] > 1
        concerned, example = rows(pa.array(twice))
        found.add("note", column, concerned, "ids differ from others in upper and lower case only", example)
    return _kind(len(texts), share)


def _kind(distinct: int, numbers: float) -> str:
    return f"{distinct:,} different text" if numbers < 1 else counted(distinct, "different number")
