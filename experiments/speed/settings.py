"""What the fast settings cost in accuracy, and what they gain: lazy Adam and bf16 beside plain Adam in float32.

Every setting trains the same models on the same rows of ml-100k with several seeds; the epoch is chosen on validation
rows, AUC is of test rows. Speeds are medians of the epochs, settings in turn within a seed.

    python experiments/speed/settings.py --data ML_100K_FOLDER [--models shared_bottom mmoe] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import polyscene as ps
import torch
from scene_models import TRAINING, movielens

SETTINGS: dict[str, dict[str, Any]] = {
    "adam, float32": {"optimizer": "adam", "precision": "float32"},
    "lazy_adam, float32": {"optimizer": "lazy_adam", "precision": "float32"},
    "lazy_adam, bf16": {"optimizer": "lazy_adam", "precision": "bf16"},
}


def run(name: str, data: Any, seed: int, setting: dict[str, Any]) -> tuple[float, float]:
    """Test AUC and rows per second of one training."""
    ps.seed_everything(seed)
    model = ps.models.create(name, data.schema)
    history = ps.Trainer(**TRAINING, **setting, epochs=60, patience=4, threads=1, seed=seed).fit(model, data)
    speed = statistics.median(row["rows_per_s"] for row in history)
    return ps.evaluate(model, data.test, ["auc"]).overall["auc"], speed


def main() -> None:
    """Prints a line for each model and setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of ml-100k")
    parser.add_argument("--models", nargs="*", default=["shared_bottom", "mmoe", "star"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = movielens(given.data)
    results = []
    for name in given.models:
        found: dict[str, list[tuple[float, float]]] = {setting: [] for setting in SETTINGS}
        for seed in range(2022, 2022 + given.seeds):
            for setting, options in SETTINGS.items():
                found[setting].append(run(name, data, seed, options))
        for setting, runs in found.items():
            auc, speed = zip(*runs, strict=True)
            mean, spread = statistics.fmean(auc), statistics.stdev(auc) if len(auc) > 1 else 0.0
            results.append({"model": name, "setting": setting, "auc": list(auc), "rows_per_s": list(speed)})
            print(
                f"{name:16}{setting:20}AUC {mean:.4f} ± {spread:.4f}{statistics.median(speed):12,.0f} rows/s",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps({"torch": torch.__version__, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
