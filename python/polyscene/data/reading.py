"""Files and frames to columns: CSV, Parquet, Arrow, RecBole's atomic files, anything with ``__arrow_c_stream__``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyscene.data._delimited import COMPRESSED, Layout, line_of, read_delimited, read_first_line, read_header
from polyscene.data._errors import suggestion

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}
ATOMIC = (".inter", ".user", ".item")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")


@dataclass
class Piece:
    """One file or frame of a source.

    ``part`` is "train", "valid", "test" or "", ``scene`` the only scene it holds, ``folder`` where the file lies, from
    which paths in its cells go out; None for a frame.
    """

    name: str
    names: tuple[str, ...]
    load: Callable[[Sequence[str]], pa.Table]
    part: str = ""
    scene: str | None = None
    types: dict[str, str] = field(default_factory=dict)
    line: Callable[[int], int] | None = None
    table: Any = None
    start: int = 0
    folder: Path | None = None

    def where(self, row: int) -> str:
        """Names data row ``row`` (from 0) of this piece, counted from 1, with its line if the file has lines."""
        line = f" (line {self.line(row + 1)})" if self.line is not None else ""
        return f"{self.name}: row {row + 1}{line}"


def read(source: Any, *, delimiter: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    r"""Reads a whole source as it is: text files as text, other sources with their own types.

    Args:
        source: a path, a list of paths, or anything with ``__arrow_c_stream__`` (Arrow, pandas >= 2.2, polars, duckdb).
        delimiter: what separates cells of a text file; the suffix decides if it is None (``.csv``: a comma, else a
            tab).
        columns: names of the columns of text files that have no header line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read; the message names file, row and line.
        TypeError: the source is of another kind.

    Example:
        >>> with open("a.csv", "w") as file:
        ...     _ = file.write("item_id,price\n007,1.5\n")
        >>> read("a.csv").to_pylist()
        [{'item_id': '007', 'price': '1.5'}]
    """
    tables = [piece.load(piece.names) for piece in pieces(source, "read", delimiter, columns=columns)]
    return pa.concat_tables(tables, promote_options="default") if len(tables) > 1 else tables[0]


def pieces(
    source: Any, owner: str, delimiter: str | None = None, *, part: str = "", columns: Sequence[str] | None = None
) -> list[Piece]:
    """Opens a source without reading its rows. A dict maps scene names to sources."""
    if isinstance(source, Mapping):
        if not source:
            raise ValueError(f"{owner}: wanted a source for each scene, got an empty dict")
        out = []
        for scene, each in source.items():
            try:
                mine = pieces(each, owner, delimiter, part=part, columns=columns)
            except (FileNotFoundError, TypeError) as error:
                if _is_path(each):
                    raise
                raise type(error)(
                    f"{error}; a dict maps scenes to sources (here {scene!r}), columns belong into a pyarrow.table"
                ) from error
            for piece in mine:
                piece.scene = str(scene)
                out.append(piece)
        return out
    if isinstance(source, (str, PathLike)):
        piece = _open(Path(source), owner, delimiter, part, _column_names(owner, columns))
        piece.folder = Path(source).parent
        return [piece]
    if hasattr(source, "__arrow_c_stream__"):
        return [_frame(source, part or "data", part)]
    if isinstance(source, (list, tuple)):
        if not source:
            raise ValueError(f"{owner}: wanted at least one file, got an empty list")
        return [piece for each in source for piece in pieces(each, owner, delimiter, part=part, columns=columns)]
    raise TypeError(
        f"{owner}: wanted a path, a list of paths, or a frame with __arrow_c_stream__ (Arrow, pandas >= 2.2, polars), "
        f"got {type(source).__name__}"
    )


def _is_path(source: Any) -> bool:
    """Whether a source is surely meant as paths, not as the cells of a column."""
    if isinstance(source, (list, tuple)):
        return all(map(_is_path, source))
    return isinstance(source, PathLike) or (isinstance(source, str) and Path(source).suffix[1:2].isalpha())


def _frame(source: Any, name: str, part: str) -> Piece:
    try:
        table = pa.table(source)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{name}: the frame has no Arrow form ({error}); give each column one type") from error
    names = tuple(column for column in table.column_names if not column.startswith("__index_level_"))
    _distinct(name, names)
    return Piece(name, names, lambda columns: table.select(list(columns)), part)


def _distinct(name: str, names: Sequence[str]) -> None:
    for i, column in enumerate(names):
        if column in names[:i]:
            raise ValueError(f"{name}: the column {column!r} appears twice")


def suffix(path: Path) -> str:
    """The suffix that says what a file is: ``.csv`` for ``a.csv.gz``."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return inner.suffix.lower()


def _column_names(owner: str, columns: Sequence[str] | None) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not all(isinstance(name, str) and name for name in columns) or not columns:
        raise TypeError(f"{owner}: columns must be a list of names, got {columns!r}")
    _distinct(f"{owner}: columns", columns)
    return tuple(columns)


def _between(path: Path, owner: str) -> str:
    """What separates the cells of a file without a header: a tab, a comma or a space, whichever its first row has."""
    first = read_first_line(path)
    for delimiter in ("\t", ",", " "):
        if delimiter in first:
            return delimiter
    raise ValueError(f"{owner}: {path}: line 1 has one cell alone, {first!r}; give a delimiter")


def _open(path: Path, owner: str, delimiter: str | None, part: str, columns: tuple[str, ...] | None) -> Piece:
    if path.is_dir():
        raise ValueError(f"{owner}: wanted a file, got the folder {path}; name the file, or give a list of files")
    if not path.exists():
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FileNotFoundError(f"{owner}: no file {path}{suggestion(path.name, near)}")
    kind = suffix(path)
    if columns is not None and kind not in ATOMIC + PARQUET + ARROW:
        between = delimiter or _between(path, owner)
        return delimited(path, Layout(between, '"' if between == "," else "", names=columns), part)
    if kind in ATOMIC:
        return _atomic(path, part)
    if kind in DELIMITERS or (delimiter is not None and kind not in PARQUET + ARROW):
        delimiter = delimiter or DELIMITERS[kind]
        if len(delimiter.encode()) != 1:
            raise ValueError(f"{owner}: delimiter must be one character, got {delimiter!r}")
        return delimited(path, Layout(delimiter), part)
    if kind in PARQUET:
        return _parquet(path, part)
    if kind in ARROW:
        return _arrow(path, part)
    known = [*DELIMITERS, *PARQUET, *ARROW, *ATOMIC]
    raise ValueError(f"{owner}: {path} is of an unknown kind; known endings: {', '.join(known)}; or give a delimiter")


def delimited(path: Path, layout: Layout, part: str = "") -> Piece:
    """Opens a text file whose cells lie as ``layout`` says."""
    header = read_header(path, layout)

    def load(columns: Sequence[str]) -> pa.Table:
        return read_delimited(path, layout, header, columns)

    return Piece(str(path), header.names, load, part, types=header.types, line=lambda row: line_of(path, layout, row))


def _parquet(path: Path, part: str) -> Piece:
    import pyarrow.parquet as pq

    def guarded(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise ValueError(f"{path}: not a readable Parquet file, cut off or damaged ({error})") from error

    names = tuple(guarded(lambda: pq.read_schema(path)).names)
    _distinct(str(path), names)
    return Piece(str(path), names, lambda columns: guarded(lambda: pq.read_table(path, columns=list(columns))), part)


def _arrow(path: Path, part: str) -> Piece:
    try:
        with pa.memory_map(str(path)) as file:
            start = file.read(6)
            file.seek(0)
            opened = pa.ipc.open_file(file) if start == b"ARROW1" else pa.ipc.open_stream(file)
            table = opened.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a readable Arrow file, cut off or damaged ({error})") from error
    return _frame(table, str(path), part)


def _atomic(path: Path, part: str) -> Piece:
    """A RecBole ``.inter`` file with the columns of the ``.user`` and ``.item`` files of the same name."""
    layout = Layout("\t", "", typed=True)
    main = delimited(path, layout, part)
    if path.suffix != ".inter":
        return main
    stem = path.name.split(".")[0]
    sides = [delimited(beside, layout) for end in (".user", ".item") if (beside := path.parent / (stem + end)).exists()]
    names, types = list(main.names), dict(main.types)
    for side in sides:
        names += [name for name in side.names[1:] if name not in names]
        types |= {name: kind for name, kind in side.types.items() if name not in types}

    def load(columns: Sequence[str]) -> pa.Table:
        keys = [side.names[0] for side in sides if side.names[0] in main.names]
        own = [name for name in main.names if name in columns or name in keys]
        table = main.load(own)
        for side in sides:
            wanted = [name for name in side.names[1:] if name in columns and name not in table.column_names]
            if wanted and side.names[0] in own:
                table = join(table, side.load([side.names[0], *wanted]), side.names[0], side.name)
        return table.select(list(columns))

    return Piece(main.name, tuple(names), load, part, types=types, line=main.line)


def join(table: pa.Table, side: pa.Table, key: str, name: str) -> pa.Table:
    """Adds the other columns of ``side`` to the rows of ``table`` with the same ``key``; null where there is none.

    Raises:
        ValueError: a key appears twice in ``side``.
    """
    keys = side.column(key).combine_chunks().cast(pa.large_string())
    distinct = keys.dictionary_encode()
    if len(distinct.dictionary) < len(keys):
        codes = distinct.indices.to_numpy()
        row = 1 + int(np.argmax(codes[1:] <= np.maximum.accumulate(codes)[:-1]))
        raise ValueError(f"{name}: row {row + 1}: the {key} {keys[row].as_py()!r} appears twice")
    at = pc.index_in(table.column(key).cast(pa.large_string()), value_set=keys)
    for column in side.column_names:
        if column != key:
            table = table.append_column(column, side.column(column).take(at))
    return table


def separate(sources: list[Piece], item: str | None, owner: str) -> None:
    """Puts the scene of a source before its items: item "7" of scene a becomes "a:7".

    Raises:
        ValueError: a source is of no scene, or has no item column.
    """
    for piece in sources:
        if piece.scene is None or item is None or item not in piece.names:
            raise ValueError(f"{owner}: separate_items needs a dict from scene to source, and an item column in each")

        def load(columns: Sequence[str], scene: str = piece.scene, inner: Any = piece.load) -> pa.Table:
            table = inner(columns)
            if item not in columns:
                return table
            at = table.column_names.index(item)
            named = pc.binary_join_element_wise(scene, table.column(at).cast(pa.string()), ":")
            return table.set_column(at, item, named)

        piece.load = load
