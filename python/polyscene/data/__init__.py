"""Data: readers, roles, scenes, splits and preprocessing."""

from polyscene._extension import _C
from polyscene.data._findings import Finding
from polyscene.data._images import images
from polyscene.data.checking import CheckReport, check
from polyscene.data.dataset import Dataset
from polyscene.data.opening import open_data
from polyscene.data.reading import read
from polyscene.data.table_data import encode, read_table

Batch = _C.data.Batch
Columns = _C.data.Columns
History = _C.data.History
Schema = _C.data.Schema
Table = _C.data.Table


def _schema_text(self: Schema) -> str:
    fields = [f"{field.name} ({field.rows:,} rows)" for field in self.categorical]
    fields += [column.name for column in self.numeric] + [column.name for column in self.lists]
    return f"Schema({self.task!r}, {len(self.scenes)} scenes, {', '.join(fields)})"


def _table_text(self: Table) -> str:
    return f"Table({self.role!r}, {len(self):,} rows, {len(self.schema.scenes)} scenes)"


def _batch_text(self: Batch) -> str:
    return f"Batch({len(self):,} rows, categorical {list(self.categorical.shape)}, numeric {list(self.numeric.shape)})"


Schema.__repr__ = _schema_text  # type: ignore[method-assign]
Table.__repr__ = _table_text  # type: ignore[method-assign]
Batch.__repr__ = _batch_text  # type: ignore[method-assign]

__all__ = [
    "Batch",
    "CheckReport",
    "Columns",
    "Dataset",
    "Finding",
    "History",
    "Schema",
    "Table",
    "check",
    "encode",
    "images",
    "open_data",
    "read",
    "read_table",
]
