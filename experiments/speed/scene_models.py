"""Training and evaluation speed of the multi-scene models, side by side with Scenario-Wise-Rec.

Both sides train the same model on the same rows with batches of 4,096, one epoch each in turn, so that whatever else
the machine does meets both. The peer (a checkout of github.com/Xiaopengli1/Scenario-Wise-Rec, named with ``--peer``; it
is not part of this project) runs in its best case: all columns stacked into tensors beforehand and sliced by a random
permutation, in place of its own loader; with ``--loader own`` as its users get it, with its own loader (in an
environment with the pandas that it pins; no worker processes, which have no cores of their own here). Without
``--peer`` only polyscene is measured.

    python experiments/speed/scene_models.py --data ML_100K_FOLDER --peer SCENARIO_WISE_REC [--models mmoe star]
    python experiments/speed/scene_models.py --rows 2000000 --peer SCENARIO_WISE_REC [--models shared_bottom]

With ``--rows`` the rows are generated: ten fields, among them users (half as many as rows) and items (a tenth).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polyscene as ps
import pyarrow as pa
import torch

BATCH = 4_096
# What all benchmarks train with, and the setting whose speed is measured.
TRAINING: dict[str, Any] = {"lr": 1e-3, "weight_decay": 1e-5, "batch_size": BATCH}
FAST = TRAINING | {"optimizer": "lazy_adam", "patience": 0}
# What does the peer's work: its deviating form where that is lighter.
OPTIONS: dict[str, dict[str, Any]] = {"ep_net": {"reference": True}}


_TOWER, _EXPERT = {"tower_params": {"dims": [8]}}, {"expert_params": {"dims": [16]}}
_TRANSFORMER = {"num_encoder_layers": 2, "num_decoder_layers": 2, "dim_feedforward": 16}
# Class of the peer, which features it takes, and the options of its own script.
PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "shared_bottom": ("SharedBottom", "all", {"bottom_params": {"dims": [128]}} | _TOWER),
    "mmoe": ("MMOE", "all", {"n_expert": 3} | _EXPERT | _TOWER),
    "ple": ("PLE", "all", {"n_level": 1, "n_expert_specific": 2, "n_expert_shared": 1} | _EXPERT | _TOWER),
    "star": ("Star", "all", {"fcn_dims": [128, 64, 32], "aux_dims": [32]}),
    "sar_net": ("Sarnet", "sparse", {"domain_shared_expert_num": 8, "domain_specific_expert_num": 2}),
    "m2m": ("M2M", "m2m", {"num_experts": 4, "expert_output_size": 16, "transformer_dims": _TRANSFORMER}),
    "ada_sparse": (
        "AdaSparse",
        "ada",
        {"form": "Fusion", "epsilon": 1e-2, "alpha": 1.0, "delta_alpha": 1e-4}
        | {"mlp_params": {"dims": [32, 32], "dropout": 0.2, "activation": "relu"}},
    ),
    "adapt_dhm": ("AdaptDHM", "sparse + scene", {"fcn_dims": [64, 64], "cluster_num": 3, "beta": 0.9, "device": "cpu"}),
    "ep_net": ("EPNet", "ep", {"fcn_dims": [128, 64, 32]}),
    "pp_net": ("PPNet", "pp", {"fcn_dims": [128, 64, 32]}),
    "hamur": ("HamurSmall", "all", {"fcn_dims": [256, 128], "hyper_dims": [64], "k": 35}),
    "m3oe": (
        "M3oE",
        "all",
        {"fcn_dims": [128, 64, 64, 32], "expert_num": 4, "exp_d": 1, "exp_t": 1, "bal_d": 1, "bal_t": 1}
        | {"device": "cpu"},
    ),
}


def generated(rows: int, seed: int = 0) -> Any:
    """Rows with large tables of users and items, and labels that depend on a few fields."""
    draw = np.random.default_rng(seed)
    sizes = {"user_id": rows // 2, "item_id": rows // 10} | {
        f"f{i}": n for i, n in enumerate((2, 7, 21, 50, 100, 1000, 3000, 20))
    }
    columns: dict[str, Any] = {name: draw.integers(0, size, rows) for name, size in sizes.items()}
    scene = draw.choice(3, rows, p=[0.5, 0.3, 0.2])
    score = draw.normal(0, 1, rows) + sum(draw.normal(0, 1, sizes[name])[columns[name]] for name in ("f2", "f3", "f5"))
    columns |= {"scene": np.array(["a", "b", "c"])[scene], "label": (score > 0).astype(np.int64)}
    cut = rows * 8 // 10
    table = pa.table(columns)
    parts = {"train": table.slice(0, cut), "valid": table.slice(cut, rows // 10), "test": table.slice(cut + rows // 10)}
    return ps.read_table(**parts, categorical=list(sizes), user="user_id", item="item_id", scene="scene", min_count=1)


def movielens(folder: Path) -> Any:
    """ml-100k (RecBole's atomic files) with the peer script's columns: the first genre alone, and age as a number."""
    rows, users, items = (
        pd.read_csv(folder / f"ml-100k.{part}", sep="\t", dtype=str, quoting=3).rename(
            columns=lambda c: c.split(":")[0]
        )
        for part in ("inter", "user", "item")
    )
    rows = rows.merge(users, on="user_id").merge(items, on="item_id").sample(frac=1, random_state=2022)
    rows = rows.assign(
        age=rows.age.astype(float),
        scene=np.digitize(rows.age.astype(int), [25, 35]).astype(str),
        label=(rows.rating.astype(float) > 3).astype(int),
        genre=rows["class"].str.split(" ").str[0],
    )
    categorical = ["user_id", "item_id", "gender", "occupation", "zip_code", "genre", "release_year"]
    table = pa.Table.from_pandas(rows[[*categorical, "age", "scene", "label"]], preserve_index=False)
    cut, rest = len(rows) * 8 // 10, len(rows) * 9 // 10
    parts = {"train": table.slice(0, cut), "valid": table.slice(cut, rest - cut), "test": table.slice(rest)}
    roles = {"user": "user_id", "item": "item_id", "scene": "scene", "numeric": ["age"]}
    return ps.read_table(**parts, categorical=categorical, min_count=1, **roles)


class Peer:
    """One model of Scenario-Wise-Rec with the settings of its own script, on stacked tensors."""

    def __init__(self, name: str, data: Any, own: bool) -> None:
        self.name, self.schema, self.own = name, data.schema, own
        torch.manual_seed(0)
        self.model = self._build()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=1e-5)
        self.train, self.test = (self._stack(table) for table in (data.train, data.test))

    def _stack(self, table: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        batch = table.batch(torch.arange(len(table)))
        columns = {field.name: batch.categorical[:, f].long() for f, field in enumerate(self.schema.categorical)}
        columns |= {column.name: batch.numeric[:, n] for n, column in enumerate(self.schema.numeric)}
        return columns | {"domain_indicator": batch.scene}, batch.label

    def _build(self) -> torch.nn.Module:
        from scenario_wise_rec.basic.features import DenseFeature, SparseFeature
        from scenario_wise_rec.models import multi_domain

        scenes, ids = self.schema.num_scenes, ("user_id", "item_id")
        made = {f.name: SparseFeature(f.name, vocab_size=f.rows, embed_dim=16) for f in self.schema.categorical}
        sparse, dense = list(made.values()), [DenseFeature(column.name) for column in self.schema.numeric]
        scene = [SparseFeature("domain_indicator", vocab_size=scenes, embed_dim=16)]
        cls, takes, options = PEERS[self.name]
        features = {
            "all": {"features": dense + sparse},
            "sparse": {"features": sparse},
            "sparse + scene": {"features": sparse + scene},
            "m2m": {"features": sparse + scene, "domain_feature": scene},
            "ada": {"sce_features": scene, "agn_features": sparse},
            "ep": {"sce_features": scene, "agn_features": sparse + dense},
            "pp": {
                "id_features": [made[name] for name in ids],
                "agn_features": [f for name, f in made.items() if name not in ids] + dense + scene,
            },
        }[takes]
        make = getattr(multi_domain, cls)
        known = make.__init__.__code__.co_varnames
        features |= {name: scenes for name in ("domain_num", "num_domains") if name in known}
        return make(**features, **options)  # type: ignore[no-any-return]

    def epoch(self, steps: int) -> float:
        """One epoch, or the first steps of it; rows per second."""
        self.model.train()
        criterion = torch.nn.BCELoss()
        batches = self._loaded() if self.own else self._sliced()
        start, rows = time.perf_counter(), 0
        for columns, label in itertools.islice(batches, steps):
            loss = criterion(self.model(columns), label.float())
            self.model.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()
            rows += len(label)
        return rows / (time.perf_counter() - start)

    def _sliced(self) -> Any:
        columns, label = self.train
        for chosen in torch.randperm(len(label)).split(BATCH):
            yield {name: column[chosen] for name, column in columns.items()}, label[chosen]

    def _loaded(self) -> Any:
        from scenario_wise_rec.utils.data import DataGenerator

        columns, label = self.train
        frame, label = (
            pd.DataFrame({name: column.numpy() for name, column in columns.items()}),
            pd.Series(label.numpy()),
        )
        parts = {"x_val": frame[:1], "y_val": label[:1], "x_test": frame[:1], "y_test": label[:1]}
        return iter(DataGenerator(frame, label).generate_dataloader(**parts, batch_size=BATCH, num_workers=0)[0])

    def evaluate(self) -> float:
        """Scores and metrics of the test rows as its trainer makes them; rows per second."""
        from sklearn.metrics import log_loss, roc_auc_score

        columns, label = self.test
        self.model.eval()
        start = time.perf_counter()
        with torch.no_grad():
            pieces = [
                self.model({name: column[first : first + BATCH] for name, column in columns.items()})
                for first in range(0, len(label), BATCH)
            ]
        score, scene = torch.cat(pieces).numpy(), columns["domain_indicator"].numpy()
        for rows in (slice(None), *(scene == s for s in range(self.schema.num_scenes))):
            roc_auc_score(label.numpy()[rows], score[rows])
            log_loss(label.numpy()[rows], score[rows])
        return len(label) / (time.perf_counter() - start)


def compare(name: str, data: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Epochs of both sides in turn; medians of rows per second, and of the ratios of neighbours."""
    torch.set_num_threads(given.threads)
    ps.seed_everything(0)
    model = ps.models.create(name, data.schema, **OPTIONS.get(name, {}))
    other = Peer(name, data, given.loader == "own") if given.peer else None
    train: dict[str, list[float]] = {"polyscene": [], "peer": []}
    test: dict[str, list[float]] = {"polyscene": [], "peer": []}

    def after(row: Any) -> None:
        train["polyscene"].append(row["rows_per_s"])
        for _ in range(3):
            start = time.perf_counter()
            ps.evaluate(model, data.test, ["auc", "log_loss"])
            test["polyscene"].append(len(data.test) / (time.perf_counter() - start))
        model.train()
        if other:
            train["peer"].append(other.epoch(given.steps))
            test["peer"].extend(other.evaluate() for _ in range(3))

    trainer = ps.Trainer(**FAST, epochs=given.epochs + 1, threads=given.threads, seed=1)
    trainer.fit(model, data, callbacks=after)
    out: dict[str, Any] = {"model": name, "threads": given.threads, "loader": given.loader}
    for what, found, cold in (("train", train, 1), ("evaluate", test, 3)):
        for side, speeds in found.items():
            if warm := speeds[cold:]:
                out[f"{what} {side}"] = {"median": statistics.median(warm), "low": min(warm), "high": max(warm)}
        if other:
            ratios = [a / b for a, b in zip(found["polyscene"][cold:], found["peer"][cold:], strict=True)]
            out[f"{what} ratio"] = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    out["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return out


def main() -> None:
    """Measures the models one by one and prints a line each, then the geometric mean of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the files of ml-100k")
    parser.add_argument("--rows", type=int, default=0, help="generate so many rows in the place of ml-100k")
    parser.add_argument("--peer", type=Path, help="checkout of Scenario-Wise-Rec")
    parser.add_argument("--models", nargs="*", help="names; all that the peer has where none is given")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each side after one to warm up")
    parser.add_argument(
        "--steps", type=int, default=10**9, help="steps of the peer's epochs, where a whole one is long"
    )
    parser.add_argument("--loader", choices=["stacked", "own"], default="stacked", help="what feeds the peer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    if given.peer:
        sys.path.insert(0, str(given.peer))
    data = generated(given.rows) if given.rows else movielens(given.data)
    results = []
    for name in given.models or [name for name in PEERS if name in ps.models.list()]:
        found = compare(name, data, given)
        results.append(found)
        line = f"{name:16}{found['train polyscene']['median']:12,.0f} rows/s"
        if given.peer:
            ratio, scored = found["train ratio"], found["evaluate ratio"]
            line += f"{found['train peer']['median']:12,.0f} peer"
            line += f"{ratio['median']:8.2f} x ({ratio['low']:.2f} to {ratio['high']:.2f})"
            line += f", evaluation {scored['median']:.1f} x"
        print(line, flush=True)
    if given.peer and len(results) > 1:
        mean = math.exp(statistics.fmean(math.log(r["train ratio"]["median"]) for r in results))
        print(f"geometric mean {mean:.2f} x")
    if given.json:
        record = {"torch": torch.__version__, "rows": len(data.train), "batch": BATCH, "results": results}
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
