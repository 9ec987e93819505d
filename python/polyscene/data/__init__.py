"""Data: readers, roles, scenes, splits and preprocessing."""

from polyscene import _extension  # noqa: F401  torch must be loaded before the compiled part
from polyscene._C.data import Batch, Columns, History, Schema, Table
from polyscene.data.checking import CheckReport, Finding, check
from polyscene.data.dataset import Dataset, open_data
from polyscene.data.reading import read
from polyscene.data.table_data import encode, read_table

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
