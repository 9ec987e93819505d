"""Delimited text to Arrow, every cell as text, with errors that name the row and the line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_HEAD = 1 << 20  # bytes that the header must fit in
_BLOCK = 1 << 23


@dataclass(frozen=True)
class Layout:
    """How cells lie in a text file. ``names`` is given for files without a header line."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    names: tuple[str, ...] | None = None
    typed: bool = False  # RecBole's `name:type` headers


@dataclass(frozen=True)
class Header:
    """Names of the columns as users know them, as they stand in the file, and their declared types."""

    names: tuple[str, ...]
    raw: tuple[str, ...]
    types: dict[str, str]


def _stream(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression=COMPRESSED.get(path.suffix.lower()))


def _cut(path: Path, error: BaseException) -> ValueError:
    return ValueError(f"{path}: the compressed file ends early or is damaged ({error}); copy or download it again")


def read_first_line(path: Path) -> str:
    """The first line that is not empty, without its end; "" for an empty file."""
    try:
        with _stream(path) as stream:
            head = stream.read(_HEAD)
    except (OSError, pa.ArrowInvalid) as error:
        raise _cut(path, error) from error
    lines = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.strip()), "")


def read_header(path: Path, layout: Layout) -> Header:
    """Reads the names of the columns.

    Raises:
        ValueError: the file is empty, is UTF-16, repeats a name, or its compressed data are damaged.
    """
    try:
        with _stream(path) as stream:
            head = stream.read(_HEAD)
    except (OSError, pa.ArrowInvalid) as error:
        raise _cut(path, error) from error
    if not head.strip():
        raise ValueError(f"{path}: the file is empty; wanted a header line and rows")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path}: the file is UTF-16; save it as UTF-8")
    if head[:4] == b"PAR1":
        raise ValueError(f"{path}: the file is Parquet but its name says text; rename it to .parquet")
    if layout.names is not None:
        return Header(layout.names, layout.names, {})
    text = head.removeprefix(b"\xef\xbb\xbf").decode(layout.encoding, errors="replace")
    rows = csv.reader(io.StringIO(text, newline=""), **_dialect(layout))
    raw = tuple(next(row for row in rows if row))
    types: dict[str, str] = {}
    names = raw
    if layout.typed:
        types = dict(cell.rsplit(":", 1) for cell in raw if ":" in cell)
        names = tuple(cell.rsplit(":", 1)[0] for cell in raw)
        if len(types) != len(raw):
            untyped = next(cell for cell in raw if ":" not in cell)
            raise ValueError(f"{path}: line 1: wanted typed names such as 'user_id:token', got {untyped!r}")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f"{path}: the column {name!r} appears twice (columns {names.index(name) + 1} and {i + 1})")
    return Header(names, raw, types)


def _dialect(layout: Layout) -> dict[str, Any]:
    quoting = csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE
    return {"delimiter": layout.delimiter, "quotechar": layout.quote or None, "quoting": quoting}


def read_delimited(path: Path, layout: Layout, header: Header, columns: Sequence[str]) -> pa.Table:
    """Reads ``columns`` as text; an empty cell is null.

    Raises:
        ValueError: a row has too few or too many cells, a cell is not in the layout's encoding, a quotation mark is
            never closed, or the compressed data are damaged. The message names file, row (from 1, without the header)
            and line.
    """
    odd = _odd_quotes(path, layout)
    last = header.names[-1]
    wanted = [*columns, last] if (odd or not columns) and last not in columns else list(columns)
    table = _read(path, layout, header, wanted)
    if odd and table.num_rows and "\n" in (table.column(last)[-1].as_py() or ""):
        row = table.num_rows  # an opening quotation mark swallowed the rest of the file into one cell
        where = f"{path}: row {row} (line {line_of(path, layout, row)})"
        raise ValueError(f"{where}: a quotation mark is opened and never closed")
    return table.select(list(columns))


def _read(path: Path, layout: Layout, header: Header, columns: Sequence[str]) -> pa.Table:
    raw = dict(zip(header.names, header.raw, strict=True))
    convert = pa.csv.ConvertOptions(
        column_types={raw[name]: pa.string() for name in columns},
        include_columns=[raw[name] for name in columns],
        null_values=[""],
        strings_can_be_null=True,
    )
    parse = pa.csv.ParseOptions(
        delimiter=layout.delimiter, quote_char=layout.quote or False, newlines_in_values=bool(layout.quote)
    )
    options = pa.csv.ReadOptions(
        block_size=_BLOCK,
        encoding=layout.encoding,
        column_names=list(layout.names) if layout.names is not None else None,
    )
    try:
        with _stream(path) as stream:
            table = pa.csv.read_csv(stream, read_options=options, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise _diagnose(path, layout, header, columns, error) from error
    except OSError as error:
        raise _cut(path, error) from error
    return table.rename_columns(list(columns))


def _odd_quotes(path: Path, layout: Layout) -> bool:
    if not layout.quote:
        return False
    count, mark = 0, layout.quote.encode()
    try:
        with _stream(path) as stream:
            while block := stream.read(_BLOCK):
                count += block.count(mark)
    except OSError as error:
        raise _cut(path, error) from error
    return count % 2 == 1


def _lines(path: Path, layout: Layout) -> Iterator[str]:
    with _stream(path) as stream:
        yield from io.TextIOWrapper(stream, encoding=layout.encoding, errors="replace", newline="")


def _records(path: Path, layout: Layout) -> Iterator[tuple[int, int, list[str]]]:
    """Row (from 1), line where it begins, cells; blank lines are passed over as the reader does."""
    reader = csv.reader(_lines(path, layout), **_dialect(layout))
    row, end = 0 if layout.names is None else 1, 0
    for cells in reader:
        begin, end = end + 1, reader.line_num
        if cells:
            if row > 0:
                yield row, begin, cells
            row += 1


def line_of(path: Path, layout: Layout, row: int) -> int:
    """Line of the file (from 1) on which data row ``row`` (from 1) begins."""
    for number, line, _ in _records(path, layout):
        if number == row:
            return line
    return 0


def _diagnose(path: Path, layout: Layout, header: Header, columns: Sequence[str], error: Exception) -> ValueError:
    width = len(header.names)
    try:
        for row, line, cells in _records(path, replace(layout, encoding="utf-8")):
            where = f"{path}: row {row} (line {line})"
            if len(cells) != width and "\n" in cells[-1] and _odd_quotes(path, layout):
                return ValueError(f"{where}: a quotation mark is opened and never closed")
            if len(cells) != width:
                wanted = "the header has" if layout.names is None else "wanted"
                return ValueError(f"{where} has {len(cells)} cells, {wanted} {width}")
            for name, cell in zip(header.names, cells, strict=True):
                if "\ufffd" in cell and name in columns:
                    return ValueError(f"{where}, column {name!r}: {cell!r} is not UTF-8 text; save the file as UTF-8")
    except (csv.Error, OSError):
        pass  # the reader's own words are all there is
    return ValueError(f"{path}: {error}")
