"""How near training comes to what the machine can do: time that a step must take, beside the time that it takes.

Measured in turn with the models, on one thread: the rate of matrix products (float32, the shapes of the model), copying
of large arrays, and reading and updating random rows of the model's own table. A step of 4,096 rows must then

- multiply: for every dense weight one product forward and two backward;
- look up the table rows of each batch row, and write as much of gradients;
- update each distinct row: weight and both moments are read and written;
- pass each layer's activations through memory: written and read forward; gradients written and read backward, with the
  activations read once more; a normalised layer reads them once more in each direction for its statistics.

What must be done divided by the rates, added up, is the roof; its share of the measured time is printed, and what the
rest goes to is best seen with `perf`. Caches hold part of the activations, so the roof of those passes is not strict.

    python experiments/speed/roofline.py [--rows 2000000] [--rounds 3] [--models shared_bottom mmoe star] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polyscene as ps
import torch
from polyscene._extension import _C
from scene_models import BATCH, FAST, generated

FLOAT = 4  # bytes


def seconds(body: Callable[[], Any], repeats: int = 15) -> float:
    """Median time of a call."""
    body()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine(rows: int, width: int) -> dict[str, float]:
    """Rates of this machine: flop/s, and bytes/s of copies, of reading and of updating random rows of a table."""
    a, b = torch.randn(BATCH, 160), torch.randn(160, 128)
    large = torch.randn(32_000_000)
    other = torch.empty_like(large)
    table = torch.randn(rows, width)
    picked = torch.randint(0, rows, (BATCH * 10,))
    out = torch.empty(len(picked), width)
    distinct = torch.from_numpy(np.unique(picked.numpy()))
    added = torch.randn(len(distinct), width)
    product, copied = seconds(lambda: _C.nn.product(a, b), 60), seconds(lambda: other.copy_(large), 7)
    read = seconds(lambda: torch.index_select(table, 0, picked, out=out))
    moved = seconds(lambda: table.index_add_(0, distinct, added))
    return {
        "flops": 2 * BATCH * 160 * 128 / product,
        "copy": 2 * large.nbytes / copied,
        "lookup": 2 * out.nbytes / read,
        "update": 3 * added.nbytes / moved,
    }


def dense_work(model: Any) -> list[tuple[int, int, bool]]:
    """(inputs, outputs, normalised) of the products that each row passes."""
    set_to = SimpleNamespace(**{name: default for name, _, default, _ in _C.models.options(model.name)})
    size = model.schema.num_fields * set_to.dim + model.schema.numeric_width
    layers: list[tuple[int, int, bool]] = []
    if model.name == "shared_bottom":
        widths, tower = [size, *set_to.bottom], [*set_to.tower]
        layers += [(i, o, True) for i, o in itertools.pairwise(widths)]
        widths = [widths[-1], *tower]
    elif model.name == "mmoe":
        layers += [
            (size, (set_to.experts or model.schema.num_scenes) * set_to.expert[0], True),
            (size, set_to.experts or model.schema.num_scenes, False),
        ]
        widths = [set_to.expert[0], *set_to.tower]
    elif model.name == "star":
        widths = [size, *set_to.hidden]
        layers += [(size, set_to.auxiliary[0], False), (set_to.auxiliary[0], 1, False)]
    else:
        raise ValueError(f"roofline: no count of the work of {model.name}; shared_bottom, mmoe and star have one")
    layers += [(i, o, model.name != "star") for i, o in itertools.pairwise(widths)]
    return [*layers, (widths[-1], 1, False)]


def roof(model: Any, data: Any, rates: dict[str, float]) -> dict[str, float]:
    """Seconds that a step must take, by what it does."""
    fields, width = data.schema.num_fields, model.embedding.weight.size(1)
    distinct = statistics.fmean(
        sum(
            len(column.unique())
            for column in data.train.batch(torch.randint(0, len(data.train), (BATCH,))).categorical.T
        )
        for _ in range(5)
    )
    layers = dense_work(model)
    looked_up, row = BATCH * fields * width * FLOAT, width * FLOAT
    passes = sum(BATCH * o * FLOAT * (10 if normed else 7) for _, o, normed in layers)
    return {
        "products": sum(6 * BATCH * i * o for i, o, _ in layers) / rates["flops"],
        "lookup": 2 * looked_up / rates["lookup"],
        "gradient of the table": (2 * looked_up + distinct * row) / rates["copy"],
        "update": distinct * row * (3 * 2 + 1) / rates["update"],
        "activations": passes / rates["copy"],
        "batch": BATCH * (2 * fields + 8) * FLOAT / rates["copy"],
    }


def main() -> None:
    """Prints the rates, then for each model the roof, the measured step and the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--models", nargs="*", default=["shared_bottom", "mmoe", "star"])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = generated(given.rows)
    table = sum(field.rows for field in data.schema.categorical)
    measured, steps, models = [], {name: [] for name in given.models}, {}
    for _ in range(given.rounds):
        for name in given.models:
            measured.append(machine(table, 16))
            ps.seed_everything(0)
            models[name] = ps.models.create(name, data.schema)
            history = ps.Trainer(**FAST, epochs=given.epochs, threads=1).fit(models[name], data.train)
            steps[name].append(BATCH / statistics.median(row["rows_per_s"] for row in history[1:]))
    rates = {name: statistics.median(each[name] for each in measured) for name in measured[0]}
    print(", ".join(f"{name} {rate / 1e9:.1f} G/s" for name, rate in rates.items()))
    results = []
    for name, model in models.items():
        step = statistics.median(steps[name])
        parts = roof(model, data, rates)
        share = sum(parts.values()) / step
        results.append({"model": name, "step": step, "roof": parts, "share": share})
        text = ", ".join(f"{part} {1e3 * value:.2f}" for part, value in parts.items())
        print(
            f"{name:16}{1e3 * step:6.2f} ms, roof {1e3 * sum(parts.values()):5.2f} ms ({text}): {share:.0%}", flush=True
        )
    if given.json:
        record = {"torch": torch.__version__, "rows": len(data.train), "rates": rates, "results": results}
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
