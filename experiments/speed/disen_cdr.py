"""Time that DisenCDR takes to its authors' validation score, side by side with their code.

The peer is a checkout of github.com/cjx96/DisenCDR, named with ``--peer`` (it is not part of this project); its
``.cuda()`` calls are answered by the processor. ``--data`` holds RecBole's atomic files, split:
``SCENE/SCENE.train.inter`` and ``.valid.inter``. The peer trains some epochs at its defaults and is then asked for
HR@10 and NDCG@10 of the validation rows among 999 drawn items, by its own code; what it calls test rows are validation
rows here. Ours trains on the same rows, with one setting of our tables after the other, until all four scores are
reached among 999 items of its own drawing. Seconds are those of training alone, on one thread; ours are
measured some times.

    python experiments/speed/disen_cdr.py --data FOLDER --peer DISENCDR [--scenes sport phone] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import torch

DEFAULTS = {
    "model": "DisenCDR", "feature_dim": 128, "hidden_dim": 128, "GNN": 2, "dropout": 0.3, "optim": "adam", "lr": 0.001,
    "leakey": 0.1, "beta": 0.9, "batch_size": 1024, "cuda": False,
}  # fmt: skip
AUTHORS = {"form": "authors", "dim": 128, "dropout": 0.3, "negatives": 1, "warm_up": 9, "divergence": 1.0}
# What ours does, one change after the other: name, options of the model, of the trainer.
STEPS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("the authors' settings", AUTHORS, {"optimizer": "adam", "lr": 0.001, "batch_size": 1024}),
    ("our objective", {"dim": 128, "dropout": 0.3}, {"optimizer": "adam", "lr": 0.001, "batch_size": 1024}),
    ("64 factors, lazy Adam", {"dropout": 0.3}, {"optimizer": "lazy_adam", "lr": 0.001, "batch_size": 1024}),
    ("batches of 8,192, lr 0.01", {"dropout": 0.3}, {"optimizer": "lazy_adam", "lr": 0.01, "batch_size": 8192}),
    ("bf16", {"dropout": 0.3}, {"optimizer": "lazy_adam", "lr": 0.01, "batch_size": 8192, "precision": "bf16"}),
]
Scores = dict[str, list[float]]  # HR@10 and NDCG@10 of each scene


def write_rows(data: Path, scenes: tuple[str, str], folder: Path) -> None:
    """The peer's files: user, item, label, users in one order, since it numbers them as they come."""
    read = {
        (scene, part): [line.split("\t")[:2] for line in path.read_text().splitlines()[1:]]
        for scene in scenes
        for part in ("train", "valid")
        for path in [data / scene / f"{scene}.{part}.inter"]
    }
    users = {name: n for n, name in enumerate(sorted({row[0] for row in read[scenes[0], "train"]}))}
    if users.keys() != {row[0] for row in read[scenes[1], "train"]}:
        raise ValueError(f"{data}: the peer wants every user in both scenes")
    for scene, other in (scenes, scenes[::-1]):
        items: dict[str, int] = {}
        (folder / f"{scene}_{other}").mkdir()
        for part, name in (("train", "train.txt"), ("valid", "test.txt")):
            rows = sorted((users[user], items.setdefault(item, len(items))) for user, item in read[scene, part])
            text = "".join(f"{user}\t{item}\t1\n" for user, item in rows)
            (folder / f"{scene}_{other}" / name).write_text(text)


def peer(checkout: Path, data: Path, scenes: tuple[str, str], epochs: int) -> dict[str, Any]:
    """Seconds of the peer's epochs and its scores after them."""
    sys.path.insert(0, str(checkout / "DisenCDR"))
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[method-assign,assignment]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dataset").mkdir()
        (Path(folder) / "work").mkdir()
        write_rows(data, scenes, Path(folder) / "dataset")
        with contextlib.chdir(Path(folder) / "work"), contextlib.redirect_stdout(io.StringIO()):
            from model.trainer import CrossTrainer
            from utils.GraphMaker import GraphMaker
            from utils.loader import DataLoader

            ps.seed_everything(2040)
            opt, name = dict(DEFAULTS), "_".join(scenes)
            graphs = [GraphMaker(opt, f"../dataset/{each}/train.txt") for each in (name, "_".join(scenes[::-1]))]
            given = [graphs[0].UV, graphs[0].VU, graphs[1].UV, graphs[1].VU, graphs[0].adj, graphs[1].adj]
            train, *dev = (DataLoader(name, opt["batch_size"], opt, evaluation=n) for n in (-1, 1, 2))
            trainer = CrossTrainer(opt)
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        for batch in train:
            trainer.reconstruct_graph(batch, *given, epoch)
        print(f"peer: epoch {epoch}, {time.perf_counter() - start:.1f} s", flush=True)
    seconds = time.perf_counter() - start
    trainer.model.eval()
    trainer.evaluate_embedding(*given)
    scores = {}
    for scene, predict, batches in zip(scenes, (trainer.source_predict, trainer.target_predict), dev, strict=True):
        ranks = torch.cat([(-predict(batch)).argsort(1).argsort(1)[:, 0] for batch in batches]).numpy()
        met = ranks < 10
        scores[scene] = [float(met.mean()), float((met / np.log2(ranks + 2)).mean())]
    return {"seconds": seconds, "epochs": epochs, "scores": scores}


def reaches(scores: Scores, wanted: Scores) -> bool:
    """Whether no score is below the wanted one."""
    return all(a >= b for scene in wanted for a, b in zip(scores[scene], wanted[scene], strict=True))


def ours(data: Any, options: dict[str, Any], given: dict[str, Any], wanted: Scores) -> dict[str, Any]:
    """Seconds, epochs and scores where all wanted scores are reached, or when the epochs are over."""
    ps.seed_everything(0)
    model = ps.models.create("disen_cdr", data.schema, **options)
    out: dict[str, Any] = {"seconds": 0.0}

    class Reached(Exception):
        pass

    def after(row: Any) -> None:
        nonlocal start
        out["seconds"] += time.perf_counter() - start
        met = ps.evaluate(model, data.valid, ["hit", "ndcg"], candidates=999).scenes
        out["epochs"] = row["epoch"]
        out["scores"] = {scene: [met[scene]["hit@10"], met[scene]["ndcg@10"]] for scene in wanted}
        if reaches(out["scores"], wanted):
            raise Reached
        start = time.perf_counter()

    start = time.perf_counter()
    with contextlib.suppress(Reached):
        ps.Trainer(patience=0, threads=1, **given).fit(model, data.train, callbacks=after)
    return out


def main() -> None:
    """Prints a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--scenes", nargs=2, default=["sport", "phone"])
    parser.add_argument("--epochs", type=int, default=4, help="of the peer")
    parser.add_argument("--most", type=int, default=20, help="epochs of ours")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    scenes = (given.scenes[0], given.scenes[1])
    record: dict[str, Any] = {"torch": torch.__version__, "scenes": given.scenes, "repeats": given.repeats}
    folder = given.data.resolve()
    record["peer"] = theirs = peer(given.peer.resolve(), folder, scenes, given.epochs)
    print(f"peer: {theirs['seconds']:.0f} s, {theirs['scores']}", flush=True)
    parts = {part: {scene: folder / scene / f"{scene}.{part}.inter" for scene in scenes} for part in ("train", "valid")}
    data = ps.read_table(**parts, task="ranking", label=None)
    record["steps"] = []
    for name, options, training in STEPS:
        trainer = training | {"epochs": given.most}
        runs = [ours(data, options, trainer, theirs["scores"]) for _ in range(given.repeats)]
        seconds = sorted(run["seconds"] for run in runs)
        median = statistics.median(seconds)
        line = {
            "name": name, "options": options, "training": training, "epochs": runs[0]["epochs"],
            "reached": reaches(runs[0]["scores"], theirs["scores"]), "scores": runs[0]["scores"],
            "seconds": [median, seconds[0], seconds[-1]],
        }  # fmt: skip
        record["steps"].append(line)
        print(
            f"{name:28}{'reached' if line['reached'] else 'not reached'} after {line['epochs']} epochs, {median:.1f} s "
            f"({seconds[0]:.1f} to {seconds[-1]:.1f}): {theirs['seconds'] / median:.1f} x; {line['scores']}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
