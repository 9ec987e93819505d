"""Data: readers, roles, scenes, splits and preprocessing."""

from polyscene._extension import _C
from polyscene.data.checking import CheckReport, Finding, check
from polyscene.data.dataset import Dataset, open_data
from polyscene.data.reading import read
from polyscene.data.table_data import encode, read_table

Batch = _C.data.Batch
Columns = _C.data.Columns
History = _C.data.History
Schema = _C.data.Schema
Table = _C.data.Table

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
    "open_data",
    "read",
    "read_table",
]
