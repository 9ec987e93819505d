"""A finished run, and files of rows that its model can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from polyscene.cli import main


@pytest.fixture
def cli(capsys: Any) -> Callable[..., commands.Outcome]:
    return lambda *arguments: commands.command(capsys, *arguments)


@pytest.fixture(scope="session")
def run(tmp_path_factory: Any) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    config = commands.write_config(folder.parent / "config.json")
    assert main(["run", str(config), "--out", str(folder)]) == 0
    return folder


def rows(n: int, seed: int) -> pa.Table:
    """Own data with what goes wrong between formats: ids that look like numbers, empty cells, floats of all sizes."""
    draw = np.random.default_rng(seed)
    user, item = draw.integers(0, 30, n), draw.integers(0, 20, n)
    amount = draw.normal(0, 1, n) * 10.0 ** draw.integers(-6, 6, n)
    taste = np.random.default_rng(99).normal(0, 1.5, (30, 20))
    label = (taste[user, item] + draw.normal(0, 0.5, n) > 0).astype(int)
    holes = draw.random((2, n)) < 0.1
    return pa.table(
        {
            "who": pa.array([f"{u:03d}" for u in user]),
            "what": pa.array(item),
            "place": pa.array(np.where(draw.random(n) < 0.6, "1.0", "NA")),
            "bought": pa.array(label),
            "colour": pa.array([None if hole else f"c,{c}" for hole, c in zip(holes[0], item % 4, strict=True)]),
            "amount": pa.array([None if hole else float(a) for hole, a in zip(holes[1], amount, strict=True)]),
            "count": pa.array(draw.integers(0, 9, n)),
        }
    )


ROLES = {
    "name": "table", "label": "bought", "scene": "place", "user": "who", "item": "what",
    "categorical": ["colour"], "numeric": ["amount", "count"],
}  # fmt: skip


@pytest.fixture(scope="session")
def tables(tmp_path_factory: Any) -> Path:
    """``train``, ``valid`` and ``test`` as .csv and .parquet."""
    folder = tmp_path_factory.mktemp("tables")
    for seed, (part, n) in enumerate({"train": 600, "valid": 200, "test": 200}.items()):
        table = rows(n, seed)
        pa.csv.write_csv(table, folder / f"{part}.csv")
        pa.parquet.write_table(table, folder / f"{part}.parquet")
    return folder


@pytest.fixture(scope="session")
def own(tables: Path, tmp_path_factory: Any) -> Path:
    """The folder of a run on the CSV files."""
    return run_on(tables, "csv", "mf", tmp_path_factory.mktemp("own"))


def run_on(tables: Path, ending: str, model: str, folder: Path) -> Path:
    """Runs a model on the files of one format."""
    files = {part: f"{part}.{ending}" for part in ("train", "valid", "test")}
    config = commands.write_config(folder / f"{model}-{ending}.json", dataset=ROLES | files, model={"name": model})
    out = folder / f"{model}-{ending}"
    assert main(["run", str(config), "--data", str(tables), "--out", str(out)]) == 0
    return out
