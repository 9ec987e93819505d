"""What every transfer mechanism gains over the target's own model, by the share of the target's labels.

MovieLens 100k, scenes by the age of the user (under 25, 25 to 34, from 35); two of them are the sources, the third is
the target and keeps 1, 5, 20 or 100 % of its training and validation rows. Split, choice of rows, initialisation and
training move with the seed; the test rows of the target are all of its test rows. For each seed and share:

- target alone: trained on the target's rows;
- joint: trained on the rows of both sources, not on the target's; fused: the two source models in one;
- each mechanism: the joint model goes on with the target's rows (`uncertainty` and `pcgrad` train on the rows of all
  three scenes, `reptile` and `fomaml` start from the sources as tasks);
- fusion of two migrated models: each source model continued by the migration loss, then the two fused.

Epochs are chosen on the target's validation rows. Gains are AUC on the target's test rows less that of the target
alone, with 95 % intervals over the seeds (Student's t).

    python experiments/migration/mechanisms.py --data FOLDER [--seeds 5] [--shares 0.01 0.05 0.2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import polyscene as ps
import torch
from polyscene.transfer._mechanisms import TOGETHER, WARM
from polyscene.transfer.fusing import FUSIONS, fuse_sources

LABEL = {"column": "rating", "at_least": 4}
MODEL = {"dim": 16, "embedding_l2": 0.05, "dropout": 0.5, "norm": "none"}
TRAIN = {"optimizer": "adam", "lr": 0.005, "batch_size": 1024, "epochs": 30, "patience": 3, "weight_decay": 1e-4}
ALONE = "target alone"


def load(folder: Path, target: int, share: float, seed: int) -> tuple[Any, str, Any]:
    """Data with few rows of the target, its name, and its test rows."""
    data = ps.datasets.load(
        "ml-100k",
        root=folder,
        scenes={"by": "age", "edges": [25, 35]},
        label=LABEL,
        split={"by": "random", "ratios": [8, 1, 1], "seed": seed},
    )
    name = data.schema.scenes[target]
    if share < 1:
        data = data.thin(name, share, seed=seed)
    return data, name, ps.transfer.rows_of(data.test, [name])


def run(folder: Path, target: int, share: float, seed: int, threads: int, wanted: list[str]) -> dict[str, Any]:
    """Test AUC in the target of everything that is compared, one seed."""
    start = time.time()
    data, name, test = load(folder, target, share, seed)
    ps.seed_everything(seed)
    model = ps.models.DeepFM(data.schema, **MODEL)
    train = TRAIN | {"seed": seed, "threads": threads}
    flow = ps.transfer.plan(model, data, target=name, trainer=train)

    def auc(state: Any, of: Any = None) -> float:
        of = model if of is None else of
        of.load_state_dict(state)
        return ps.evaluate(of, test, ["auc"]).overall["auc"]

    starts = flow.migrated()
    own = flow.stages.fit(ALONE, flow.initial, flow.rows, flow.valid)
    out = {ALONE: auc(own.state), **{key: auc(state) for key, state in starts.items()}}
    for mechanism in wanted:
        flow.options |= {"mechanism": mechanism, "settings": ps.transfer.mechanisms()[mechanism].options}
        begun = {} if mechanism in (*TOGETHER, *WARM) else {"joint": starts["joint"]}
        found = [each for each in flow.continued(begun) if each.stage is not None]
        out[mechanism] = auc(found[-1].state, found[-1].model)
    flow.options |= {"mechanism": "migrate"}
    trained, tie = {}, {key: flow.options[key] for key in ("strength", "lr_scale", "frozen")}
    for source, (state, rows) in flow.trained.items():
        trained[source] = (flow.stages.fit(f"{source}, continued", state, flow.rows, flow.valid, tie).state, rows)
        out[f"{source}, migrated"] = auc(trained[source][0])
    for fusion in FUSIONS:
        fused, _ = fuse_sources(fusion, model, flow.initial, trained, flow.validation_score, seed, flow.rows)
        out[f"two migrated, fused by {fusion}"] = auc(fused)
    rows = {"train": len(flow.rows), "valid": 0 if flow.valid is None else len(flow.valid), "test": len(test)}
    return {"seed": seed, "share": share, "target": name, "rows": rows, "auc": out, "seconds": time.time() - start}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean AUC, mean gain over the target alone with its 95 % interval, and in how many seeds it gained."""
    from scipy.stats import t

    out = {}
    for name in runs[0]["auc"]:
        gains = [each["auc"][name] - each["auc"][ALONE] for each in runs]
        half = 0.0
        if len(gains) > 1:
            half = float(t.ppf(0.975, len(gains) - 1)) * statistics.stdev(gains) / len(gains) ** 0.5
        mean = statistics.fmean(gains)
        out[name] = {
            "auc": statistics.fmean(each["auc"][name] for each in runs),
            "gain": mean,
            "interval": [mean - half, mean + half],
            "gained": sum(gain > 0 for gain in gains),
        }
    migrated = [name for name in runs[0]["auc"] if name.endswith(", migrated")]
    fusions = [name for name in runs[0]["auc"] if name.startswith("two migrated")]
    for name in fusions:
        out[name]["at least the better of the two"] = sum(
            each["auc"][name] >= max(each["auc"][one] for one in migrated) for each in runs
        )
    return out


def main() -> None:
    """Runs all seeds and shares, prints a table of gains, and writes everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ml-100k")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=2022)
    parser.add_argument("--target", type=int, default=2, help="which scene is the target; the others are sources")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05, 0.2, 1.0])
    parser.add_argument("--only", nargs="+", default=list(ps.transfer.mechanisms()), help="mechanisms")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures there, after every seed")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    out: dict[str, Any] = {"model": "deep_fm", "options": MODEL, "train": TRAIN, "target": given.target, "shares": {}}
    for share in given.shares:
        runs = []
        for seed in range(given.first, given.first + given.seeds):
            runs.append(run(given.data, given.target, share, seed, given.threads, given.only))
            out["shares"][str(share)] = {"runs": runs, "results": summarise(runs)}
            if given.json:
                given.json.write_text(json.dumps(out, indent=1) + "\n")
        print(f"\n{share:.0%} of the rows of {runs[0]['target']}, {len(runs)} seeds; rows {runs[0]['rows']}")
        for name, row in out["shares"][str(share)]["results"].items():
            low, high = row["interval"]
            print(f"  {name:34}{row['auc']:.4f}  {row['gain']:+.4f} [{low:+.4f}, {high:+.4f}]  {row['gained']} up")


if __name__ == "__main__":
    main()
