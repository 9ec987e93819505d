"""The columns of all pieces of a source, read once and told by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from polyscene.data import _cells
from polyscene.data._cells import BadCell
from polyscene.data._errors import listed, suggestion
from polyscene.data.reading import Piece

LATEST = 10**11  # seconds: the year 5138


class Frame:
    """All pieces of a source, read: columns by name, rows in the order of the pieces."""

    def __init__(self, parts: list[Piece], owner: str) -> None:
        self.pieces = parts
        self.owner = owner
        self.rows = 0

    @property
    def name(self) -> str:
        """What messages call the source."""
        more = f" and {len(self.pieces) - 1} more" if len(self.pieces) > 1 else ""
        return self.pieces[0].name + more

    @property
    def names(self) -> list[str]:
        """Columns that every piece has."""
        return [name for name in self.pieces[0].names if all(name in piece.names for piece in self.pieces)]

    def require(self, column: str, role: str) -> str:
        """Returns ``column`` when every piece has it.

        Raises:
            ValueError: names the file that lacks it, its columns and the nearest of them.
        """
        for piece in self.pieces:
            if column not in piece.names:
                hint = ""
                if len(piece.names) == 1:
                    near = next((c for c in ";\t|," if c in piece.names[0]), None)
                    hint = f"; the file has a single column: is the delimiter {near!r}?" if near else ""
                raise ValueError(
                    f"{self.owner}: {role} names no column {column!r}; columns of {piece.name}: {listed(piece.names)}"
                    f"{hint or suggestion(column, piece.names)}"
                )
        return column

    def require_common(self) -> None:
        """Does nothing when there is a column that every piece has.

        Raises:
            ValueError: names the files and their columns.
        """
        if self.names:
            return
        each = [f"{piece.name} has {listed(piece.names, 8) or 'none'}" for piece in self.pieces[:4]]
        more = f"; ... ({len(self.pieces)} files)" if len(self.pieces) > 4 else ""
        raise ValueError(
            f"{self.owner}: no column is in all files: {'; '.join(each)}{more}; "
            "for files without a header line give columns, the names"
        )

    def load(self, columns: Sequence[str]) -> None:
        """Reads these columns of every piece."""
        columns = list(dict.fromkeys(columns))
        for piece in self.pieces:
            piece.table = piece.load(columns)
            piece.start = self.rows
            self.rows += piece.table.num_rows
        if self.rows == 0:
            raise ValueError(f"{self.owner}: {self.name} has no rows")

    def where(self, row: int) -> str:
        """Names row ``row`` (from 0) of the source by file, row and line."""
        piece = next(piece for piece in reversed(self.pieces) if piece.start <= row)
        return piece.where(row - piece.start)

    def problem(self, row: int, column: str, text: str) -> ValueError:
        """The error for one cell."""
        return ValueError(f"{self.where(row)}, column {column!r}: {text}")

    def _each(self, column: str, convert: Callable[[pa.ChunkedArray], Any]) -> list[Any]:
        return self.each(column, lambda cells, _: convert(cells))

    def each(self, column: str, convert: Callable[[pa.ChunkedArray, Piece], Any]) -> list[Any]:
        """What ``convert`` makes of a column, piece by piece; a `BadCell` is told with its place."""
        out = []
        for piece in self.pieces:
            try:
                out.append(convert(piece.table.column(column), piece))
            except BadCell as error:
                raise ValueError(f"{piece.where(error.row)}, column {column!r}: {error}") from error
        return out

    def ids(self, column: str) -> _cells.Codes:
        """A categorical column."""
        return _cells.joined(self._each(column, _cells.encode))

    def numbers(self, column: str, bad_rows: list[int] | None = None) -> np.ndarray:
        """A numeric column, float32 [n], NaN where it is empty; ``bad_rows`` takes the rows of bad cells, if given."""
        if bad_rows is None:
            return np.concatenate(self._each(column, _cells.numbers))
        out = []
        for piece in self.pieces:
            bad: list[int] = []
            out.append(_cells.numbers(piece.table.column(column), bad))
            bad_rows.extend(piece.start + row for row in bad)
        return np.concatenate(out)

    def lists(self, column: str, separator: str) -> _cells.Lists:
        """A multi-hot or sequence column."""
        return _cells.joined_lists(self._each(column, lambda cells: _cells.lists(cells, separator)))

    def times(self, column: str, unit: str) -> tuple[np.ndarray, np.ndarray]:
        """A time column: int64 [n] in ``unit``, and where it is known."""
        parts = self._each(column, lambda cells: _cells.times(cells, unit))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def time_unit(self, column: str) -> str:
        """The unit of a time column that nobody named: seconds, or the coarsest in which most rows lie before 5138."""
        time, known = self.times(column, "s")
        typical = float(np.median(time[known])) if known.any() else 0.0
        return next((unit for unit in _cells.UNITS if typical <= LATEST * _cells.PER_SECOND[unit]), "ns")

    def is_bool(self, column: str) -> bool:
        """Whether the column holds truth values."""
        return any(pa.types.is_boolean(piece.table.column(column).type) for piece in self.pieces)
