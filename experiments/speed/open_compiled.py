"""Anonymous memory that a compiled data set takes: opening it, and one epoch of batches without a model.

Columns are memory-mapped: what they take of memory belongs to the page cache and is given back when others need it.
What is measured is RssAnon of /proc/self/status, in a process of its own, beyond what `import polyscene` took.

    python experiments/speed/open_compiled.py --rows 10000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def make(folder: Path, rows: int, fields: int = 8, seed: int = 0) -> None:
    """Writes a compiled data set: ``fields`` categorical columns (user_id and item_id too), two numbers, time."""
    import numpy as np
    import torch
    from polyscene._extension import _C
    from polyscene.data.dataset import assemble
    from polyscene.data.roles import LabelRole, NumericRole, Roles, TimeRole
    from polyscene.data.scenes import SceneRole
    from polyscene.data.splits import Split

    draw = np.random.default_rng(seed)
    names = ["user_id", "item_id", *(f"field_{i}" for i in range(fields - 2))]
    sizes = [max(rows // 100, 10), max(rows // 1000, 10), *(50 for _ in range(fields - 2))]
    codes = np.empty((rows, fields), np.int32)
    for i, size in enumerate(sizes):
        codes[:, i] = draw.integers(0, size, rows, dtype=np.int32)
    columns = _C.data.Columns(
        categorical=names,
        codes=torch.from_numpy(codes),
        ids=[_C.data.Strings([f"{name}{k}" for k in range(size)]) for name, size in zip(names, sizes, strict=True)],
        numeric=["age", "price"],
        numbers=torch.from_numpy(draw.random((rows, 2), dtype=np.float32)),
        lists=[],
        list_codes=[],
        list_ids=[],
        scene=torch.from_numpy(draw.integers(0, 4, rows, dtype=np.int32)),
        scene_names=["a", "b", "c", "d"],
        label=torch.from_numpy(draw.integers(0, 2, rows).astype(np.float32)),
        time=torch.arange(rows),
    )
    roles = Roles(
        label=LabelRole("label"),
        scene=SceneRole("columns", ("scene",)),
        user="user_id",
        item="item_id",
        time=TimeRole("time"),
        categorical=tuple(names),
        numeric=(NumericRole("age"), NumericRole("price")),
    )
    part = np.zeros(rows, np.int8)
    part[-rows // 10 :] = 2
    report = {"rows_read": rows, "rows": rows, "dropped": {}, "duplicates": 0, "missing": {}}
    assemble("large", columns, roles, Split(), part, report, history=False).save(folder)


def anonymous() -> int:
    """RssAnon of this process in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    raise RuntimeError("/proc/self/status has no RssAnon")


def measure(folder: Path, history: bool, batch_size: int = 4096) -> dict[str, float]:
    """Opens the data set and walks one epoch; MB beyond the import."""
    from polyscene._extension import _C
    from polyscene.data import open_data

    start, clock = anonymous(), time.perf_counter()
    data = open_data(folder, history=history)
    opened, opened_after = anonymous(), time.perf_counter() - clock
    highest, rows, clock = opened, 0, time.perf_counter()
    for number, batch in enumerate(_C.data.Batches(data.train, batch_size, shuffle=True, seed=1, epoch=1)):
        rows += len(batch)
        if number % 20 == 0:
            highest = max(highest, anonymous())
    if rows != len(data.train):
        raise RuntimeError(f"an epoch has {rows} rows, the table {len(data.train)}")
    seconds = time.perf_counter() - clock
    return {
        "rows": rows,
        "import_mb": round(start / 1024, 1),
        "open_mb": round((opened - start) / 1024, 1),
        "epoch_mb": round((max(highest, anonymous()) - start) / 1024, 1),
        "open_s": round(opened_after, 2),
        "rows_per_s": round(rows / seconds),
    }


def main() -> None:
    """Makes the data set in one process, measures in others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="a compiled data set that is there already")
    parser.add_argument("--step", choices=("make", "measure", "measure-history"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step == "make":
        make(given.folder, given.rows)
    elif given.step:
        print(json.dumps(measure(given.folder, given.step == "measure-history")))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = given.folder or Path(scratch) / "data"

            def step(name: str) -> None:
                command = [sys.executable, __file__, "--step", name, "--folder", str(folder), "--rows", str(given.rows)]
                subprocess.run(command, check=True)

            if not folder.exists():
                step("make")
            for name in ("measure", "measure-history"):
                print(f"{name}: ", end="", flush=True)
                step(name)


if __name__ == "__main__":
    main()
