"""Does migrating two rich scenes into a poor one help, and does the run notice when it cannot?

Settings (the tests and the documentation name the same): 4 scenes, 20 interests, 20,000 users with 30 events on
average, half of them in several scenes, transition rows from Dirichlet(0.3), 10 % noise. The last scene keeps 2 % of
its training and validation rows (about 2,080 and 300); scene_0 and scene_1 migrate into it; 20,000 of its test rows
are scored. The target's own model is trained on the target's rows alone, from the same initialisation and with the
same events of users in front of each row. With ``unrelated`` the target has permuted interests and tastes of its own.

F1 is given at the threshold with the best F1 on the target's validation rows, tuned for each model alike, and at 0.5.

    python experiments/migration/transfer.py [--seeds 10] [--first 2022] [--threads 1] [--only related|unrelated]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import polyscene as ps
import torch

SETTINGS = {"scenes": 4, "interests": 20, "users": 20_000, "events": 30}
SETTINGS |= {"overlap": 0.5, "concentration": 0.3, "noise": 0.1}
SOURCES, TARGET, SHARE, TEST_ROWS = ["scene_0", "scene_1"], "scene_3", 0.02, 20_000
MODEL = {"max_length": 5, "hidden": 32, "dim": 16}
TRAIN = {"optimizer": "lazy_adam", "lr": 5e-3, "batch_size": 4096, "epochs": 20, "patience": 3}
TRANSFER = {"source_epochs": 2}


def threshold_of(label: np.ndarray, score: np.ndarray) -> float:
    """The threshold with the best F1 on these rows."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(label[order] > 0.5)
    f1 = 2 * hits / (np.arange(1, len(label) + 1) + hits[-1])
    return float(np.clip(score[order][int(f1.argmax())], 1e-6, 1 - 1e-6))


def measure(model: ps.Model, valid: Any, test: Any) -> dict[str, float]:
    """AUC and F1 on the test rows; the threshold is tuned on the validation rows."""
    threshold = threshold_of(valid.labels().numpy(), model.predict(valid))
    tuned = ps.evaluate(model, test, ["auc", "f1"], threshold=threshold).overall
    half = ps.evaluate(model, test, ["f1"]).overall["f1"]
    return {"auc": tuned["auc"], "f1": tuned["f1"], "f1_at_half": half, "threshold": threshold}


def run(seed: int, related: bool, threads: int = 1, **settings: Any) -> dict[str, Any]:
    """One seed of one condition: the target's own model and what the transfer kept, on the same test rows."""
    start = time.time()
    torch.set_num_threads(threads)
    split = {"by": "random", "ratios": [7, 1, 2], "seed": seed}
    data = ps.datasets.load("simulator", split=split, seed=seed, related=related, **SETTINGS | settings)
    data = data.thin(TARGET, SHARE, seed=seed)
    test = ps.transfer.rows_of(data.test, [TARGET])
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:TEST_ROWS].sort().values
    test, valid = test.take(chosen), ps.transfer.rows_of(data.valid, [TARGET])
    ps.seed_everything(seed)
    model = ps.models.InterestMigration(data.schema, **MODEL)
    train = TRAIN | {"seed": seed, "threads": threads}
    flow = ps.transfer.plan(model, data, sources=SOURCES, target=TARGET, trainer=train, **TRANSFER)
    final, _, verdict = flow.run()
    kept, scored = measure(final, valid, test), {}
    for candidate in flow.candidates:
        model.load_state_dict(candidate.state)
        scored[candidate.name] = measure(model, valid, test)
    return {
        "seed": seed,
        "target alone": scored.pop("target alone"),
        "kept": kept,
        "helped": verdict["helped"],
        "kept_name": verdict["kept"],
        "others": {name: values["auc"] for name, values in scored.items()},
        "evidence": {name: values["score"] for name, values in verdict["candidates"].items()},
        "steps_to_target_score": verdict["steps_to_target_score"],
        "message": verdict["message"],
        "rows": {"train": verdict["rows"], "test": len(test)},
        "seconds": round(time.time() - start, 1),
    }


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and two-sided p-values of paired t-tests of what was kept against the target alone."""
    from scipy.stats import ttest_rel

    out: dict[str, Any] = {"helped": sum(r["helped"] for r in runs), "seeds": len(runs)}
    for metric in ("auc", "f1", "f1_at_half"):
        own, kept = ([r[who][metric] for r in runs] for who in ("target alone", "kept"))
        same = own == kept
        out[metric] = {
            "target alone": statistics.fmean(own),
            "kept": statistics.fmean(kept),
            "gain": statistics.fmean(b - a for a, b in zip(own, kept, strict=True)),
            "relative_gain": statistics.fmean(b / a - 1 for a, b in zip(own, kept, strict=True) if a),
            "worst_gain": min(b - a for a, b in zip(own, kept, strict=True)),
            "p": 1.0 if same or len(runs) < 2 else float(ttest_rel(kept, own).pvalue),
        }
    return out


def main() -> None:
    """Runs both conditions and prints per-seed numbers, means and p-values as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=2022)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--users", type=int, default=SETTINGS["users"])
    parser.add_argument("--only", choices=["related", "unrelated"])
    given = parser.parse_args()
    out: dict[str, Any] = {
        "settings": SETTINGS | {"users": given.users},
        "model": MODEL,
        "train": TRAIN,
        "transfer": TRANSFER,
    }
    for name in ("related", "unrelated"):
        if given.only in (None, name):
            seeds = range(given.first, given.first + given.seeds)
            runs = [run(seed, name == "related", given.threads, users=given.users) for seed in seeds]
            out[name] = {"runs": runs, "results": summarise(runs)}
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
