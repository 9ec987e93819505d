"""SASRec and C2DSR against plain PyTorch on the movie and book sequences, and the cost of following one person.

Training: the plain side (`plain_sequences.py`) is the same equations written on padded windows as users write them,
with causal `scaled_dot_product_attention` and dense fused Adam; it starts from polyscene's parameters, walks the same
windows in batches of the same size, and draws its negatives from the items of the scene. It comes in two forms: windows
padded to `max_length`, and sorted and padded to the longest of the batch. The sides take turns, an epoch each. In the
end the plain parameters are put into polyscene's model, so that one evaluation ranks for both. Of SASRec `--loss bce`
is the paper's, `--loss ce` the softmax over the items of the scene, which C2DSR has.

Following: one more event of a person with 200, as `model.session()` takes it, against all events computed again.

    python experiments/speed/sequences.py --data FOLDER [--model sasrec] [--loss bce] [--epochs 6] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import torch
from plain_sequences import PlainC2DSR, PlainSASRec, windows_of

PLAIN = {"c2dsr": PlainC2DSR, "sasrec": PlainSASRec}
T, DIM, LAYERS, BATCH, LR, DROPOUT = 50, 50, 2, 128, 1e-3, 0.5


class Side:
    """A plain side: its model, optimiser and way of padding."""

    def __init__(self, model: Any, data: Any, loss: str, trimmed: bool) -> None:
        self.net = PLAIN[model.name](model, data, loss, DROPOUT)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR, betas=(0.9, 0.999), fused=True)
        self.items, self.scenes = windows_of(data, T)
        self.length = (self.items > 0).sum(1) - 1
        self.trimmed = trimmed

    def batches(self) -> Any:
        order = torch.randperm(len(self.items))
        if not self.trimmed:
            yield from order.split(BATCH)
            return
        for pool in order.split(64 * BATCH):
            by_length = pool[self.length[pool].argsort()]
            yield from (list(by_length.split(BATCH))[n] for n in torch.randperm(-(-len(pool) // BATCH)))

    def epoch(self) -> tuple[float, float]:
        """Seconds and mean loss."""
        self.net.train()
        start, total, seen = time.perf_counter(), 0.0, 0
        for chosen in self.batches():
            longest = int(self.length[chosen].max()) if self.trimmed else T
            loss, steps = self.net(self.items[chosen, -longest - 1 :], self.scenes[chosen, -longest - 1 :])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total, seen = total + loss.item() * steps, seen + steps
        return time.perf_counter() - start, total / seen


def ndcg(model: Any, data: Any) -> dict[str, float]:
    found = ps.evaluate(model, data.valid, k=[10])
    return {scene: round(values["ndcg@10"], 5) for scene, values in found.scenes.items()}


def training(name: str, data: Any, loss: str, epochs: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, dim=DIM, max_length=T, layers=LAYERS, dropout=DROPOUT, loss=loss)
    model.prepare(data.train)
    sides = {"padded": Side(model, data, loss, False), "trimmed": Side(model, data, loss, True)}
    seconds: dict[str, list[float]] = {"polyscene": [], **{name: [] for name in sides}}
    last: dict[str, float] = {}
    windows = len(sides["padded"].items)

    def after(row: Any) -> None:
        seconds["polyscene"].append(windows / row["rows_per_s"])  # without validation
        last["polyscene"] = row["train_loss"]
        for name, side in sides.items():
            took, last[name] = side.epoch()
            seconds[name].append(took)
        print(f"epoch {row['epoch']}: " + ", ".join(f"{name} {each[-1]:.1f} s" for name, each in seconds.items()))

    options = {"optimizer": "lazy_adam", "lr": LR, "batch_size": BATCH, "epochs": epochs, "patience": 0}
    ps.Trainer(threads=1, seed=1, **options).fit(model, data, callbacks=after)
    out: dict[str, Any] = {"windows": windows, "events": int(sides["padded"].length.sum())}
    for name, each in seconds.items():
        warm = each[1:]
        out[name] = {"seconds": statistics.median(warm), "least": min(warm), "most": max(warm), "loss": last[name]}
        scored = model
        if name in sides:
            scored = copy.deepcopy(model)
            with torch.no_grad():
                for key, parameter in scored.named_parameters():
                    parameter.copy_(sides[name].net.of(key))
        out[name]["ndcg@10"] = ndcg(scored, data)
        if name in sides:
            ratios = [plain / own for plain, own in zip(each[1:], seconds["polyscene"][1:], strict=True)]
            out[name]["ratio"] = statistics.median(ratios)
    return out


def _step(one: Any, item: int) -> None:
    one.add(item, 0)
    one.state(0)


def _seconds(call: Any, *arguments: Any) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        call(*arguments)
    return time.perf_counter() - start


def following(events: int, repeats: int) -> dict[str, Any]:
    """Seconds of one more event after `events`, and of all events computed again."""
    data = ps.testing.tiny_data("sequence")
    items = list(data.schema.categorical[data.schema.field(data.schema.item)].ids)
    draw = np.random.default_rng(0)
    out = {}
    for name, options in {
        "gru4rec": {},
        "sasrec": {"positions": "oldest", "heads": 2},
        "sasrec, norm post": {"positions": "oldest", "norm": "post", "heads": 2},
    }.items():
        model = ps.models.create(name.split(",")[0], data.schema, dim=64, max_length=2 * events + repeats, **options)
        model.prepare(data.train)
        native = model.eval()._impl
        one = ps._extension._C.models.Follower(native)
        for _ in range(events):
            one.add(int(draw.integers(2, len(items) + 2)), 0)
        batch = data.test.batch(torch.tensor([0]), history=1)
        several = ps._extension._C.data.Events
        batch.history = several(
            torch.tensor([0, events]), one.items().int(), torch.zeros(events, dtype=torch.int64), torch.ones(events),
            torch.zeros(events, dtype=torch.int64),
        )  # fmt: skip
        batch.scene = torch.zeros(1, dtype=torch.int64)
        more = draw.integers(2, len(items) + 2, repeats).tolist()
        passes = [_seconds(native.represent, batch) for _ in range(repeats)]
        steps = [_seconds(_step, one, item) for item in more]
        whole, step = statistics.median(passes), statistics.median(steps)
        out[name] = {"whole": whole, "step": step, "ratio": whole / step}
    return out


def main() -> None:
    """Runs the benchmark and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds movie-book; without it following alone")
    parser.add_argument("--model", default="sasrec", choices=sorted(PLAIN))
    parser.add_argument("--loss", default="bce", choices=["bce", "ce"])
    parser.add_argument("--epochs", type=int, default=6, help="of each side; the first is not counted")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"torch": torch.__version__, "threads": 1, "following": following(200, 200)}
    for name, row in result["following"].items():
        print(f"{name:20} step {1e6 * row['step']:.0f} us, whole pass {1e6 * row['whole']:.0f} us: {row['ratio']:.1f}")
    if arguments.data:
        data = ps.datasets.load("movie-book", root=arguments.data, split={"by": "files"})
        loss = arguments.loss if arguments.model == "sasrec" else "ce"
        key = f"{arguments.model}, {loss}"
        result[key] = training(arguments.model, data, loss, max(2, arguments.epochs))
        for name in ("polyscene", "padded", "trimmed"):
            row = result[key][name]
            ratio = f", polyscene is {row['ratio']:.2f} times as fast" if "ratio" in row else ""
            print(f"{name:10} {row['seconds']:.2f} s an epoch, loss {row['loss']:.4f}, ndcg@10 {row['ndcg@10']}{ratio}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
