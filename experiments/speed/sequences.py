"""SASRec against plain PyTorch on the movie and book sequences, and the cost of following one person.

Training: the plain side is the same equations (the paper's form: only queries are normalised) written on padded windows
as users write them, with causal `scaled_dot_product_attention` and dense fused Adam; it starts from polyscene's
parameters, walks the same windows in batches of the same size, and draws its negatives from the items of the scene.
It comes in two forms: windows padded to `max_length`, and sorted and padded to the longest of the batch. The sides take
turns, an epoch each. In the end the plain parameters are put into polyscene's model, so that one evaluation ranks for
both. `--loss bce` is the paper's, `--loss ce` the softmax over the items of the scene.

Following: one more event of a person with 200, as `model.session()` takes it, against all events computed again.

    python experiments/speed/sequences.py --data FOLDER [--loss bce] [--epochs 6] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import torch
import torch.nn.functional as F
from torch import nn

T, DIM, LAYERS, BATCH, LR, DROPOUT = 50, 50, 2, 128, 1e-3, 0.5


class PlainSASRec(nn.Module):
    """The paper's form on windows padded on the left."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({name.replace(".", "/"): nn.Parameter(w.clone()) for name, w in state.items()})

    def of(self, name: str) -> torch.Tensor:
        return self.weights[name.replace(".", "/")]

    def linear(self, name: str, n: int, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.of(f"{name}.{n}.weight"), self.of(f"{name}.{n}.bias"))

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (DIM,), self.of(f"{name}.weight"), self.of(f"{name}.bias"), 1e-8)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """States after each event, [B, L, D], of items [B, L] padded with 0 on the left."""
        length, here = items.shape[1], items > 0
        x = F.embedding(items, self.of("item.weight")) * DIM**0.5 + self.of("positions")[-length:]
        x = F.dropout(x, DROPOUT, self.training) * here.unsqueeze(2)
        allowed = torch.ones(length, length, dtype=torch.bool).tril() & here.unsqueeze(1)
        allowed = (allowed | torch.eye(length, dtype=torch.bool)).unsqueeze(1)
        for n in range(LAYERS):
            u = self.norm(f"attention_norm.{n}", x)
            q, (k, v) = self.linear("query", n, u), self.linear("key_value", n, x).chunk(2, -1)
            q, k, v = (each.unsqueeze(1) for each in (q, k, v))
            drop = DROPOUT if self.training else 0.0
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=drop).squeeze(1)
            y = self.norm(f"feedforward_norm.{n}", u + attended)
            inner = F.dropout(self.linear("inner", n, y).relu(), DROPOUT, self.training)
            x = (y + F.dropout(self.linear("outer", n, inner), DROPOUT, self.training)) * here.unsqueeze(2)
        return self.norm("norm", x)


def windows_of(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Training windows of T + 1 events, the newest first: items and scenes, [N, T + 1], padded with 0 on the left."""
    known = data.train.history
    offsets, item, scene = known.tensors()["offsets"].tolist(), known.tensors()["item"], known.tensors()["scene"]
    items, scenes = [], []
    for first, last in itertools.pairwise(offsets):
        end = last
        while end - first >= 2:
            begin = max(first, end - T - 1)
            pad = (T + 1 - (end - begin), 0)
            items.append(F.pad(item[begin:end].long(), pad))
            scenes.append(F.pad(scene[begin:end], pad))
            end = begin + 1
    return torch.stack(items), torch.stack(scenes)


class Plain:
    """One plain side: its model, optimiser and way of padding."""

    def __init__(self, model: Any, data: Any, loss: str, trimmed: bool) -> None:
        self.net = PlainSASRec(dict(model.named_parameters()))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR, betas=(0.9, 0.999), fused=True)
        self.items, self.scenes = windows_of(data)
        self.length = (self.items > 0).sum(1) - 1
        known = data.train.history.interactions()
        self.candidates = [known.scene(s).candidates for s in range(len(data.schema.scenes))]
        self.place = torch.zeros(len(self.candidates), int(self.items.max()) + 1, dtype=torch.int64)
        for s, mine in enumerate(self.candidates):
            self.place[s, mine] = torch.arange(len(mine))
        self.loss, self.trimmed = loss, trimmed

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
            items, scenes = self.items[chosen, -longest - 1 :], self.scenes[chosen, -longest - 1 :]
            h = self.net(items[:, :-1])
            at = items[:, :-1] > 0
            h, target, scene = h[at], items[:, 1:][at], scenes[:, 1:][at]
            table = self.net.of("item.weight")
            if self.loss == "bce":
                draw = torch.rand(len(target))
                drawn = torch.empty_like(target)
                for s, mine in enumerate(self.candidates):
                    drawn[scene == s] = mine[(draw[scene == s] * len(mine)).long()]
                positive = (h * F.embedding(target, table)).sum(1)
                negative = (h * F.embedding(drawn, table)).sum(1)
                loss = (F.softplus(-positive) + F.softplus(negative)).mean()
            else:
                parts = []
                for s, mine in enumerate(self.candidates):
                    some = scene == s
                    if bool(some.any()):
                        logits = h[some] @ table[mine].T
                        parts.append(F.cross_entropy(logits, self.place[s, target[some]], reduction="sum"))
                loss = torch.stack(parts).sum() / len(target)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total, seen = total + loss.item() * len(target), seen + len(target)
        return time.perf_counter() - start, total / seen


def ndcg(model: Any, data: Any) -> dict[str, float]:
    found = ps.evaluate(model, data.valid, k=[10])
    return {scene: round(values["ndcg@10"], 5) for scene, values in found.scenes.items()}


def training(data: Any, loss: str, epochs: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = ps.models.SASRec(data.schema, dim=DIM, max_length=T, layers=LAYERS, dropout=DROPOUT, loss=loss)
    model.prepare(data.train)
    sides = {"padded": Plain(model, data, loss, False), "trimmed": Plain(model, data, loss, True)}
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
        result[arguments.loss] = training(data, arguments.loss, max(2, arguments.epochs))
        for name in ("polyscene", "padded", "trimmed"):
            row = result[arguments.loss][name]
            ratio = f", polyscene is {row['ratio']:.2f} times as fast" if "ratio" in row else ""
            print(f"{name:10} {row['seconds']:.2f} s an epoch, loss {row['loss']:.4f}, ndcg@10 {row['ndcg@10']}{ratio}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
