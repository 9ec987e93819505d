"""Training speed of a dense network: plain PyTorch with pre-stacked tensors against polyscene's trainer.

Both sides train the same network on the same rows, on one thread: 8 fields in one table of 3,538 rows of width 16, a
hidden layer of 128, Adam dense and fused over all parameters, batches of 4,096 rows, shuffled anew every epoch. The
plain side holds all rows as two tensors with the table's rows ready to be looked up. The sides take turns, an epoch
each, so that whatever else the machine does meets both.

    python experiments/speed/dense_network.py [--epochs 20] [--json FILE]

The speed of polyscene should be at least that of the plain side, the losses the same to two digits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import torch
from torch import nn

ROWS, BATCH, WIDTH, HIDDEN, LR = 80_000, 4_096, 16, 128, 1e-3
# Each field has two rows more than it has ids: for unknown ids and for empty cells.
IDS = {"user": 941, "item": 1_680, "gender": 2, "job": 19, "postcode": 793, "genre": 17, "year": 69, "device": 1}


class DenseNetwork(ps.Model):
    """Embedding and one hidden layer, on polyscene's blocks."""

    def __init__(self, schema: Any, *, dim: int = WIDTH, hidden: int = HIDDEN) -> None:
        super().__init__(schema)
        self.embedding = ps.nn.FeatureEmbedding(schema, dim=dim)
        self.mlp = ps.nn.MLP(self.embedding.output_size, hidden=[hidden], output=1)

    def forward(self, batch: Any) -> torch.Tensor:
        """Returns logits [B]."""
        return self.mlp(self.embedding.flat(batch)).squeeze(1)


class PlainNetwork(nn.Module):
    """The same network in plain PyTorch, started at the same values."""

    def __init__(self, like: DenseNetwork) -> None:
        super().__init__()
        state = like.state_dict()
        self.table = nn.Embedding.from_pretrained(state["embedding.weight"].clone(), freeze=False)
        self.hidden, self.output = nn.Linear(len(IDS) * WIDTH, HIDDEN), nn.Linear(HIDDEN, 1)
        self.hidden.load_state_dict({name: state[f"mlp.linears.0.{name}"] for name in ("weight", "bias")})
        self.output.load_state_dict({name: state[f"mlp.output.{name}"] for name in ("weight", "bias")})

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns logits [B] of the table's rows [B, F]."""
        return self.output(self.hidden(self.table(rows).flatten(1)).relu()).squeeze(1)


def make_data(seed: int) -> Any:
    """Rows whose label depends on every field; each id occurs, frequent ids far more often than others."""
    draw = np.random.default_rng(seed)
    columns, score = {}, draw.normal(0, 1, ROWS)
    for name, count in IDS.items():
        codes = (count * draw.uniform(0, 1, ROWS) ** 2).astype(np.int64)
        codes[:count] = np.arange(count)
        columns[name] = draw.permutation(codes)
        score += draw.normal(0, 1, count)[columns[name]]
    columns["label"] = (score > 0).astype(np.int64)
    return ps.read_table(train=pa.table(columns), categorical=list(IDS), user=None, item=None, scene=None, min_count=1)


def stacked(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """All training rows as int64 rows of the fused table [N, F], and labels [N]."""
    batch = data.train.batch(torch.arange(len(data.train)))
    offsets = np.cumsum([0] + [field.rows for field in data.schema.categorical])
    assert offsets[-1] == 3_538
    return batch.categorical.long() + torch.from_numpy(offsets[:-1]), batch.label


def plain_epoch(model: nn.Module, optimizer: Any, rows: torch.Tensor, label: torch.Tensor) -> tuple[float, float]:
    """One epoch in plain PyTorch; returns rows per second and the mean loss."""
    start, total = time.perf_counter(), 0.0
    order = torch.randperm(len(rows))
    for first in range(0, len(rows), BATCH):
        chosen = order[first : first + BATCH]
        loss = nn.functional.binary_cross_entropy_with_logits(model(rows[chosen]), label[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(chosen)
    return len(rows) / (time.perf_counter() - start), total / len(rows)


def turns(data: Any, epochs: int) -> dict[str, list[tuple[float, float]]]:
    """Epochs of both sides in turn, as (rows per second, mean loss)."""
    model = DenseNetwork(data.schema)
    plain = PlainNetwork(model)
    optimizer = torch.optim.Adam(plain.parameters(), lr=LR, fused=True)
    rows, label = stacked(data)
    out: dict[str, list[tuple[float, float]]] = {"plain": [], "polyscene": []}

    def after(row: Any) -> None:
        out["polyscene"].append((row["rows_per_s"], row["train_loss"]))
        out["plain"].append(plain_epoch(plain, optimizer, rows, label))

    trainer = ps.Trainer(optimizer="adam", lr=LR, batch_size=BATCH, epochs=epochs, threads=1, seed=1)
    trainer.fit(model, data, callbacks=after)
    return out


def main() -> None:
    """Runs the benchmark and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each side; the first is not counted")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = turns(make_data(0), max(2, arguments.epochs))
    result: dict[str, Any] = {"rows": ROWS, "batch": BATCH, "threads": 1, "torch": torch.__version__}
    print(f"{'':12}{'rows/s, median':>16}{'best':>12}{'loss, last epoch':>20}")
    for side, epochs in found.items():
        speeds = [speed for speed, _ in epochs[1:]]
        result[side] = {"median": statistics.median(speeds), "best": max(speeds), "loss": epochs[-1][1]}
        print(f"{side:12}{result[side]['median']:16,.0f}{result[side]['best']:12,.0f}{result[side]['loss']:20.4f}")
    ratios = [a[0] / b[0] for a, b in zip(found["polyscene"][1:], found["plain"][1:], strict=True)]
    result["ratio"] = statistics.median(ratios)
    print(f"polyscene / plain: {result['ratio']:.2f} (median of {len(ratios)} pairs of epochs)")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
