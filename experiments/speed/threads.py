"""Training speed with two threads beside one, epochs of both in turn on the same generated rows.

python experiments/speed/threads.py [--rows 2000000] [--models shared_bottom mmoe star] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import polyscene as ps
import torch
from scene_models import FAST, generated


def speed(name: str, data: Any, threads: int, epochs: int) -> float:
    """Median rows per second of the epochs after the first."""
    torch.set_num_threads(threads)
    ps.seed_everything(0)
    model = ps.models.create(name, data.schema)
    history = ps.Trainer(**FAST, epochs=epochs + 1, threads=threads).fit(model, data.train)
    return statistics.median(row["rows_per_s"] for row in history[1:])


def main() -> None:
    """Prints a line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--models", nargs="*", default=["shared_bottom", "mmoe", "star"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    data = generated(given.rows)
    results = []
    for name in given.models:
        found: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(given.repeats):
            for threads in found:
                found[threads].append(speed(name, data, threads, given.epochs))
        one, two = statistics.median(found[1]), statistics.median(found[2])
        results.append({"model": name, "one": one, "two": two})
        print(f"{name:16}{one:12,.0f} rows/s, two threads {two:12,.0f}: {two / one:.2f} x", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"torch": torch.__version__, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
