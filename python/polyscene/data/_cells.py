"""Arrow columns to codes, numbers, times and lists, the same from whatever file or frame they came.

Every function takes the chunks of one column and raises `BadCell` for a cell that is not what is wanted; the caller
knows the file and adds it to the message.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UNITS = ("s", "ms", "us", "ns")
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
NOTHING = {"nan", "na", "n/a", "null", "none", "nil", "-", "?", "inf", "infinity"}


class BadCell(ValueError):
    """A cell that is not what is wanted; ``row`` counts from 0."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row


@dataclass
class Codes:
    """Ids of a column: ``codes`` int32 [n], position in ``ids`` in order of first appearance, -1 for an empty cell."""

    codes: np.ndarray
    ids: pa.Array


@dataclass
class Lists:
    """Lists of ids: list i is ``codes[offsets[i]:offsets[i + 1]]``, int32 positions in ``ids``."""

    codes: np.ndarray
    offsets: np.ndarray
    ids: pa.Array


def is_list(kind: pa.DataType) -> bool:
    """Whether cells of this type hold several values."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether cells of this type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with dictionaries and text views replaced by plain values."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def _integral_text(values: np.ndarray) -> np.ndarray:
    """Decimal text of integral floats; float64 holds integers up to 2^53 exactly, beyond that Python's int is asked."""
    if (np.abs(values) < 2**53).all():
        return values.astype(np.int64).astype(str)
    return np.array([str(int(value)) for value in values])


def _texts(values: pa.Array) -> pa.Array:
    """Text of distinct values: integers and integral floats become decimal text, NaN becomes null."""
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.string())
    if is_text(kind):
        return values
    if pa.types.is_floating(kind):
        known = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        bad = np.flatnonzero(np.isinf(known))
        if bad.size:
            raise BadCell(int(bad[0]), f"wanted an id, got {known[bad[0]]}")
        out = np.asarray(values.cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)
        out[np.isnan(known)] = None
        integral = np.flatnonzero(known == np.floor(known))
        out[integral] = _integral_text(known[integral])
        return pa.array(out, pa.string())
    if pa.types.is_decimal(kind):
        return pa.array([None if v is None else format(v.normalize(), "f") for v in values.to_pylist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise BadCell(0, "wanted UTF-8 text, got other bytes") from error
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return values.cast(pa.string())
    raise BadCell(0, f"wanted ids (text or integers), got values of type {kind}")


def encode(column: pa.ChunkedArray) -> Codes:
    """Ids as text, never inferred; only an empty cell (null, NaN or an empty text) is missing.

    Raises:
        BadCell: the column holds lists, structs, infinities or bytes that are not UTF-8.
    """
    if pa.types.is_dictionary(column.type):
        return _encode_dictionary(column)
    column = decoded(column)
    if is_list(column.type):
        raise BadCell(0, f"wanted one id in a cell, got a list ({column.type}); name it in multi_hot or sequence")
    if pa.types.is_nested(column.type) or column.type == pa.null():
        return Codes(np.full(len(column), -1, np.int32), _texts(pa.array([], column.type)))
    coded = _one_chunk(column.dictionary_encode())
    return _with_texts(_filled(coded.indices), coded.dictionary)


def _encode_dictionary(column: pa.ChunkedArray) -> Codes:
    """Keeps the codes of a dictionary column; only their order and unused ids change."""
    coded = _one_chunk(column.unify_dictionaries())
    indices = coded.indices
    used = pc.drop_null(pc.unique(indices))
    rank = np.full(len(coded.dictionary) + 1, -1, np.int32)
    rank[used.to_numpy()] = np.arange(len(used), dtype=np.int32)
    return _with_texts(rank[_filled(indices)], coded.dictionary.take(used))


def _one_chunk(coded: pa.ChunkedArray) -> pa.DictionaryArray:
    merged = coded.combine_chunks()
    if isinstance(merged, pa.ChunkedArray):  # a column without chunks stays one
        return merged.chunk(0) if merged.num_chunks else pa.array([], coded.type)
    return merged


def _with_texts(codes: np.ndarray, values: pa.Array) -> Codes:
    try:
        return _compact(codes, _texts(values))
    except BadCell as error:
        raise BadCell(int(np.argmax(codes == error.row)), str(error)) from error


def _filled(indices: pa.Array) -> np.ndarray:
    if indices.null_count:
        indices = pc.fill_null(indices, pa.scalar(-1, indices.type))
    return np.asarray(indices.to_numpy(zero_copy_only=False), np.int32)


def _compact(codes: np.ndarray, texts: pa.Array) -> Codes:
    """Joins ids of equal text (0.0 and -0.0) and turns empty texts into missing cells; keeps the order."""
    texts = texts.cast(pa.large_string())
    empty = pc.fill_null(pc.equal(texts, ""), True)
    distinct = pc.if_else(empty, pa.scalar(None, pa.large_string()), texts).dictionary_encode()
    to_distinct = _filled(distinct.indices)
    if not np.array_equal(to_distinct, np.arange(len(to_distinct))):
        codes = np.append(to_distinct, np.int32(-1))[codes]
    return Codes(codes, distinct.dictionary)


def joined(parts: list[Codes]) -> Codes:
    """One column out of those of several files, ids in order of first appearance."""
    if len(parts) == 1:
        return parts[0]
    ids = pa.chunked_array([part.ids for part in parts], pa.large_string()).dictionary_encode().combine_chunks()
    to_joined, at, codes = _filled(ids.indices), 0, []
    for part in parts:
        here = to_joined[at : at + len(part.ids)]
        at += len(part.ids)
        codes.append(np.append(here, np.int32(-1))[part.codes])
    return Codes(np.concatenate(codes), ids.dictionary)


def numbers(column: pa.ChunkedArray, bad_rows: list[int] | None = None) -> np.ndarray:
    """Numbers as float32 [n], NaN where the cell is empty.

    Args:
        column: text, integers, floats, decimals or truth values.
        bad_rows: takes the rows of bad cells, which become NaN, in the place of an error.

    Raises:
        BadCell: a text is no number, a number is infinite or too large for float32, or the type holds no numbers.
    """
    column = decoded(column)
    kind = column.type
    text = is_text(kind)
    if text:
        column = _parsed(column, bad_rows)
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise BadCell(0, f"wanted a number, got a value of type {kind}")
    wide = column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column
    values = wide.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        out: np.ndarray = values.astype(np.float32)
    bad = np.flatnonzero(np.isinf(out))
    if bad.size and bad_rows is not None:
        bad_rows.extend(bad.tolist())
        out[bad] = np.nan
    elif bad.size:
        raise BadCell(int(bad[0]), f"wanted a number up to 3.4e38, got {values[bad[0]]:g}")
    out[np.isnan(out)] = np.nan  # one bit pattern, so that digests agree
    return out


def _parsed(column: pa.ChunkedArray, bad_rows: list[int] | None) -> pa.ChunkedArray:
    """Text to float64. "nan" and "inf" are no numbers: an empty cell says that a value is missing."""
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    try:
        values = column.cast(pa.float64())
        if not pc.any(pc.invert(pc.is_finite(values))).as_py():
            return values
    except pa.ArrowInvalid:
        pass
    column = pc.utf8_trim_whitespace(column)
    fine = pc.fill_null(pc.match_substring_regex(column, NUMBER), True)
    bad = pc.index(fine, False).as_py()
    if bad >= 0 and bad_rows is not None:
        bad_rows.extend(np.flatnonzero(~fine.to_numpy()).tolist())
        column = pc.if_else(fine, column, pa.scalar(None, column.type))
    elif bad >= 0:
        cell = column[bad].as_py()
        hint = "; leave the cell empty if the value is missing" if cell.strip("+-").lower() in NOTHING else ""
        raise BadCell(bad, f"wanted a number, got {cell!r}{hint}")
    return column.cast(pa.float64())


def times(column: pa.ChunkedArray, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Times as int64 [n] in ``unit`` since 1970 (UTC), and where they are known.

    Integers and integral numbers are taken as they are; dates and ISO 8601 texts are converted, without a zone they
    are UTC.

    Raises:
        BadCell: a cell is neither a whole number nor a date.
    """
    column = decoded(column)
    kind = column.type
    if is_text(kind):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, kind), column)
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            column = _dates(column)
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(column.type):
        known = pc.is_valid(column).to_numpy()
        ticks = column.cast(pa.int64()).fill_null(0).to_numpy()
        return _converted(ticks, column.type.unit, unit), known
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        wide = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        known = ~np.isnan(wide)
        bad = np.flatnonzero(known & (wide != np.floor(wide)))
        if bad.size:
            raise BadCell(int(bad[0]), f"wanted a whole number of {unit} or a date, got {float(wide[bad[0]])!r}")
        return np.where(known, wide, 0).astype(np.int64), known
    if not pa.types.is_integer(column.type) and not pa.types.is_null(column.type):
        raise BadCell(0, f"wanted a whole number of {unit} or a date, got a value of type {column.type}")
    known = pc.is_valid(column).to_numpy()
    return column.cast(pa.int64()).fill_null(0).to_numpy(), known


def _converted(ticks: np.ndarray, given: str, wanted: str) -> np.ndarray:
    have, want = PER_SECOND[given], PER_SECOND[wanted]
    return ticks * (want // have) if want >= have else ticks // (have // want)


# Nanoseconds, as pandas writes them, last: they end in the year 2262.
_DATES = (pa.float64(), *(pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")))


def _dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO 8601 text to timestamps; text of integral numbers ("881250949.0") to float64."""
    for kind in _DATES:
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    for row, cell in enumerate(column.to_pylist()):  # some cell is bad, or zones are mixed: find the first
        if cell is not None and not _is_date(cell):
            raise BadCell(row, f"wanted a whole number or a date such as 2024-05-01T12:00:00, got {cell!r}")
    raise BadCell(0, "wanted dates of one form, got some with and some without a zone")


def _is_date(cell: str) -> bool:
    for kind in _DATES:
        try:
            pa.scalar(cell).cast(kind)
            return True
        except pa.ArrowInvalid:
            continue
    return False


def lists(column: pa.ChunkedArray, separator: str) -> Lists:
    """Lists of ids: list cells as they are, text split by ``separator``, another cell as a list of one.

    Empty parts are dropped.

    Raises:
        BadCell: an element is no id.
    """
    column = decoded(column)
    if is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
        try:
            inner = encode(pc.list_flatten(column))
        except BadCell as error:
            row = int(np.searchsorted(np.cumsum(lengths), error.row, side="right"))
            raise BadCell(row, str(error)) from error
        return _without_empty(inner, lengths)
    cells = encode(column)
    if not is_text(column.type):
        return _without_empty(cells, np.ones(len(column), np.int64))
    parts = pc.split_pattern(cells.ids, separator)  # each distinct text once
    inner = encode(pa.chunked_array([parts.flatten()]))
    each = _without_empty(inner, pc.list_value_length(parts).to_numpy().astype(np.int64))
    known = cells.codes >= 0
    codes, offsets = take_lists(each.codes, each.offsets, cells.codes[known])
    lengths = np.zeros(len(cells.codes), np.int64)
    lengths[known] = np.diff(offsets)
    return Lists(codes, _offsets(lengths), each.ids)


def joined_lists(parts: list[Lists]) -> Lists:
    """One list column out of those of several files."""
    if len(parts) == 1:
        return parts[0]
    inner = joined([Codes(part.codes, part.ids) for part in parts])
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Lists(inner.codes, _offsets(lengths), inner.ids)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    out = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out


def _without_empty(inner: Codes, lengths: np.ndarray) -> Lists:
    filled = inner.codes >= 0
    if not filled.all():
        lengths = np.diff(np.concatenate(([0], np.cumsum(filled)))[_offsets(lengths)])
    return Lists(inner.codes[filled], _offsets(lengths), inner.ids)


def take_lists(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists ``rows`` (int [m]) in their order: values and offsets int64 [m + 1]."""
    lengths = np.diff(offsets)[rows]
    out = _offsets(lengths)
    position = np.arange(out[-1]) - np.repeat(out[:-1], lengths) + np.repeat(offsets[:-1][rows], lengths)
    return values[position], out
