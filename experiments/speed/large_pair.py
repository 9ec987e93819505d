"""Graph models on a generated pair of scenes: 200,000 users, 100,000 items, 10 million interactions.

Every user has rows in both scenes and its taste (one of 50) in common between them; items are met in proportion to
their place^-0.8. Each model trains three epochs of large batches and ranks all items of a scene for 10,000 users, in a
process of its own; written are seconds and the peak memory of the process, reading the rows included.

    python experiments/speed/large_pair.py [--models light_gcn bi_tgcf] [--interactions N] [--threads T] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

USERS, ITEMS, TASTES = 200_000, 100_000, 50
RANKED = 5_000  # users a scene whose last item is ranked


def generate(interactions: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Arrow tables of both scenes: ``train`` and ``test``."""
    import pyarrow as pa

    draw = np.random.default_rng(seed)
    taste = draw.integers(0, TASTES, USERS)
    each = ITEMS // 2
    parts: dict[str, dict[str, Any]] = {"train": {}, "test": {}}
    for s, scene in enumerate(("left", "right")):
        kind = draw.integers(0, TASTES, each)  # of each item
        popularity = np.arange(1, each + 1) ** -0.8
        of_kind = [np.flatnonzero(kind == k) for k in range(TASTES)]
        n = interactions // 2
        user = np.concatenate([np.arange(USERS), draw.integers(0, USERS, n - USERS)])
        item = draw.choice(each, n, p=popularity / popularity.sum())
        likes = draw.random(n) < 0.6  # the others are met without a taste
        for k in range(TASTES):
            rows = np.flatnonzero(likes & (taste[user] == k))
            weight = popularity[of_kind[k]]
            item[rows] = draw.choice(of_kind[k], len(rows), p=weight / weight.sum())
        ranked = np.zeros(n, bool)
        ranked[draw.permutation(USERS)[:RANKED]] = True  # of the first rows, which are one for each user
        for part, rows in (("train", ~ranked), ("test", ranked)):
            columns = {"user_id": user[rows].astype(np.int32), "item_id": (item[rows] + s * each).astype(np.int32)}
            parts[part][scene] = pa.table(columns)
    return parts


def measure(name: str, interactions: int, batch: int, threads: int, send: Any) -> None:
    """Trains and ranks with one model; sends a line of the record."""
    import polyscene as ps

    start = time.perf_counter()
    data = ps.read_table(**generate(interactions), task="ranking", label=None)
    read = time.perf_counter() - start
    ps.seed_everything(0)
    model = ps.models.create(name, data.schema)
    trainer = ps.Trainer(optimizer="lazy_adam", lr=0.01, batch_size=batch, epochs=3, patience=0, threads=threads)
    history = trainer.fit(model, data.train)
    trained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = ps.evaluate(model, data.test, ["ndcg@10", "recall@10"])
    ranked = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chance = ps.evaluate(fitted(ps.models.create("popularity", data.schema), data), data.test, ["ndcg@10"])
    send.send(
        {
            "model": name,
            "training_rows": data.train.size,
            "users_ranked": 2 * RANKED,
            "read_s": read,
            "epoch_s": [line["seconds"] for line in history],
            "evaluation_s": ranked,
            "peak_mb_training": trained // 1024,
            "peak_mb": peak // 1024,
            "ndcg@10": result.overall["ndcg@10"],
            "ndcg@10_of_popularity": chance.overall["ndcg@10"],
        }
    )


def fitted(model: Any, data: Any) -> Any:
    """A model after training."""
    import polyscene as ps

    ps.Trainer().fit(model, data.train)
    return model


def main() -> None:
    """Prints a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["light_gcn", "bi_tgcf"])
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=1 << 18)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    context, results = multiprocessing.get_context("spawn"), []
    for name in given.models:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=measure, args=(name, given.interactions, given.batch, given.threads, send))
        process.start()
        send.close()
        line = receive.recv()
        process.join()
        results.append(line)
        print(
            f"{name:12}{line['training_rows']:,} rows, epochs of {', '.join(f'{s:.0f}' for s in line['epoch_s'])} s, "
            f"evaluation {line['evaluation_s']:.1f} s, peak {line['peak_mb']:,} MB, NDCG@10 {line['ndcg@10']:.4f} "
            f"(popularity {line['ndcg@10_of_popularity']:.4f})",
            flush=True,
        )
    record = {"users": USERS, "items": ITEMS, "batch": given.batch, "threads": given.threads, "results": results}
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
