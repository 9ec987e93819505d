"""Training from a compiled file that is larger than what should be in memory: speed and anonymous memory.

Generates rows with ten categorical fields (among them a million users and 200,000 items) straight into the compiled
form, a part after the other, then trains ``shared_bottom`` on them twice, in a process of its own each: streamed from
the file in windows, and with the same columns copied into memory and shuffled all at once. RssAnon is watched from
outside, ten times a second; what the tables and the state of their optimiser take is told apart.

    python experiments/speed/out_of_core.py --rows 100000000 --folder SCRATCH --json FILE
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 4_096
PART = 1 << 20  # rows that are generated at a time
SIZES = {"user_id": 1_000_000, "item_id": 200_000} | {
    f"f{i}": n for i, n in enumerate((2, 7, 21, 50, 100, 1000, 3000, 20))
}
SCENES = ("a", "b", "c")


def generate(folder: Path, rows: int, seed: int = 0) -> None:
    """Writes a compiled data set of ``rows`` rows; 98 of 100 train, the others validate and test."""
    import torch
    from polyscene._extension import _C
    from polyscene.data.dataset import assemble
    from polyscene.data.roles import LabelRole, Roles
    from polyscene.data.scenes import SceneRole
    from polyscene.data.splits import PARTS, Split

    sizes = {name: min(size, max(2, rows // 20)) for name, size in SIZES.items()}
    draw = np.random.default_rng(seed)
    effect = {name: draw.normal(0, 1, sizes[name]).astype(np.float32) for name in ("f2", "f3", "f5")}
    scratch = folder.with_name(folder.name + ".parts")
    scratch.mkdir(parents=True)

    def column(name: str, dtype: Any, *shape: int) -> Any:
        return np.lib.format.open_memmap(scratch / f"{name}.npy", "w+", dtype, shape)

    codes = column("codes", np.int32, rows, len(sizes))
    scene, label = column("scene", np.int32, rows), column("label", np.float32, rows)
    chosen = {part: column(part, np.int64, rows) for part in PARTS}
    count = dict.fromkeys(PARTS, 0)
    for first in range(0, rows, PART):
        here = slice(first, min(first + PART, rows))
        n = here.stop - first
        score = draw.normal(0, 1, n).astype(np.float32)
        for f, (name, size) in enumerate(sizes.items()):
            codes[here, f] = drawn = draw.integers(0, size, n, dtype=np.int32)
            if name in effect:
                score += effect[name][drawn]
        scene[here] = np.searchsorted((0.5, 0.8), draw.random(n), side="right")
        label[here] = score > 0
        part = np.searchsorted((0.98, 0.99), draw.random(n), side="right")
        for code, name in enumerate(PARTS):
            mine = np.flatnonzero(part == code) + first
            chosen[name][count[name] : count[name] + len(mine)] = mine
            count[name] += len(mine)
    columns = _C.data.Columns(
        categorical=list(sizes),
        codes=torch.from_numpy(codes),
        ids=[_C.data.Strings([f"{name}{k}" for k in range(size)]) for name, size in sizes.items()],
        numeric=[],
        numbers=torch.empty((rows, 0)),
        lists=[],
        list_codes=[],
        list_ids=[],
        scene=torch.from_numpy(scene),
        scene_names=list(SCENES),
        label=torch.from_numpy(label),
    )
    roles = Roles(
        label=LabelRole("label"),
        scene=SceneRole("columns", ("scene",)),
        user="user_id",
        item="item_id",
        categorical=tuple(sizes),
        min_count=1,
    )
    report = {"rows_read": rows, "rows": rows, "dropped": {}, "duplicates": 0, "missing": {}}
    parts = {name: torch.from_numpy(chosen[name][: count[name]]) for name in PARTS}
    split = Split(ratios=(98, 1, 1), seed=seed)
    assemble("generated", columns, roles, split, parts, report, history=False).save(folder)
    shutil.rmtree(scratch)


def in_memory(data: Any) -> Any:
    """The training table with copies of its columns."""
    from polyscene._extension import _C

    source, rows = data.columns, data.train.rows.clone()
    kept = ("categorical", "ids", "numeric", "lists", "list_codes", "list_ids", "scene_names")
    columns = _C.data.Columns(
        **{name: getattr(source, name) for name in kept},
        **{name: getattr(source, name).clone() for name in ("codes", "numbers", "scene", "label")},
    )
    table = _C.data.Table(columns, data.schema, rows=rows, role="train")
    table.history = data.train.history
    return table


class Clock:
    """Stops the training after some steps; rows per second after a tenth of them."""

    def __init__(self, steps: int) -> None:
        self.rows = steps * BATCH
        self.seen: list[tuple[float, int]] = []

    def on_progress(self, epoch: int, done: int, rows: int, loss: float) -> None:
        """Ends the run with Stop."""
        self.seen.append((time.perf_counter(), done))
        if done >= self.rows:
            self.loss = loss
            raise Stop

    def speed(self) -> float:
        """Rows per second, without the start."""
        (start, before), (end, after) = next(x for x in self.seen if x[1] >= self.rows // 10), self.seen[-1]
        return (after - before) / (end - start)


class Stop(Exception):
    """Enough steps."""


def train(folder: Path, memory: bool, steps: int, threads: int, window: int) -> dict[str, Any]:
    """Opens the data set and trains; what took how long, and what the tables take."""
    import polyscene as ps
    import torch

    torch.set_num_threads(threads)
    start = time.perf_counter()
    data = ps.open_data(folder)
    table = in_memory(data) if memory else data.train
    opened = time.perf_counter() - start
    ps.seed_everything(0)
    model = ps.models.create("shared_bottom", data.schema)
    clock = Clock(steps)
    trainer = ps.Trainer(
        optimizer="lazy_adam", lr=1e-3, batch_size=BATCH, epochs=1, threads=threads, seed=1, shuffle_window=window
    )
    # A mark for who watches: from here on the tables are there.
    print(json.dumps({"training": True}), flush=True)
    start = time.perf_counter()
    try:
        trainer.fit(model, table, callbacks=clock)
    except Stop:
        pass
    else:
        raise RuntimeError(f"{len(table)} rows end before {steps} steps of {BATCH}")
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    return {
        "rows": len(table),
        "threads": threads,
        "steps": clock.seen[-1][1] // BATCH,
        "rows_per_s": round(clock.speed()),
        "train_loss": round(clock.loss, 4),
        "open_s": round(opened, 1),
        "first_step_s": round(clock.seen[0][0] - start, 1),
        # The parameters, two moments of each, and the copy of the best epoch.
        "tables_mb": round(4 * parameters / 2**20),
    }


def anonymous(process: int) -> float:
    """RssAnon of a process in MB; 0 once it has ended."""
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def measure(folder: Path, mode: str, given: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Runs one training in a process of its own and watches its memory."""
    command = [sys.executable, __file__, "--step", mode, "--folder", str(folder), "--steps", str(given.steps)]
    command += ["--threads", str(threads), "--window", str(given.window)]
    highest = {"opening": 0.0, "training": 0.0}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError(f"{mode} has no output")
        descriptor, phase, text = process.stdout.fileno(), "opening", ""
        while True:
            ready, _, _ = select.select([descriptor], [], [], 0.1)
            highest[phase] = max(highest[phase], anonymous(process.pid))
            if not ready:
                continue
            piece = os.read(descriptor, 65536).decode()
            if not piece:
                break
            text += piece
            if '"training"' in text:
                phase = "training"
    if process.returncode:
        raise RuntimeError(f"{mode} ended with {process.returncode}")
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    found |= {f"{phase}_mb": round(value) for phase, value in highest.items()}
    return found | {"beyond_tables_mb": found["training_mb"] - found["tables_mb"]}


def main() -> None:
    """Generates once, then measures the sides in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sides", nargs="*", default=["streamed", "in_memory"], choices=("streamed", "in_memory"))
    parser.add_argument("--window", type=int, default=0, help="rows of a window; 0: as the trainer chooses")
    parser.add_argument("--folder", type=Path, help="where the data set goes, or where it is already")
    parser.add_argument("--json", type=Path, help="also write the figures there, beside those it holds")
    parser.add_argument("--step", choices=("generate", "streamed", "in_memory"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step == "generate":
        generate(given.folder, given.rows)
        return
    if given.step:
        memory = given.step == "in_memory"
        print(json.dumps(train(given.folder, memory, given.steps, given.threads[0], given.window)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch) / "data"
        if not (folder / "dataset.json").exists():
            command = [
                sys.executable,
                __file__,
                "--step",
                "generate",
                "--folder",
                str(folder),
                "--rows",
                str(given.rows),
            ]
            subprocess.run(command, check=True)
        record: dict[str, Any] = {"rows": given.rows, "fields": len(SIZES), "batch": BATCH, "model": "shared_bottom"}
        record["torch"] = importlib.metadata.version("torch")
        record["file_mb"] = round((folder / "columns.safetensors").stat().st_size / 2**20)
        if given.json and given.json.exists():
            record = json.loads(given.json.read_text())
        for threads in given.threads:
            runs: dict[str, list[dict[str, Any]]] = {side: [] for side in given.sides}
            for _ in range(given.repeats):
                for side in given.sides:
                    runs[side].append(measure(folder, side, given, threads))
                    print(f"{side}, {threads} threads: {json.dumps(runs[side][-1])}", flush=True)
            found = record.setdefault("threads", {}).setdefault(str(threads), {})
            for side, each in runs.items():
                found[side] = found.get(side, []) + each
            sides = {side: found[side] for side in ("streamed", "in_memory") if side in found}
            if len(sides) == 2:
                speed = {side: statistics.median(run["rows_per_s"] for run in each) for side, each in sides.items()}
                found["ratio"] = round(speed["streamed"] / speed["in_memory"], 3)
                print(f"streamed / in memory: {found['ratio']:.2f}")
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
