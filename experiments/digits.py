"""What 2,000 digits of MNIST teach about the digits of UCI, of which ten a class have labels.

Half of each scene trains, four tenths test. Of UCI's training images ten a class have labels: seven of them train,
three choose the epoch (30 rows). The others may be seen without labels. All test rows of UCI are scored: accuracy, and
F1 as the mean over the ten classes. Every way trains the same model with the same augmentation.

- source_only: 2,000 of MNIST's training rows, whose epoch MNIST's own validation rows choose; target_only: UCI's
  labelled rows, from the same initialisation
- together: both as one, UCI's few rows weighing as much as all of MNIST; so in dann, mmd and coral
- fine_tune, migrate: source_only continued on UCI's labelled rows, freely or tied to where it starts
- dann, mmd, coral: source_only continued on the labelled rows of both, with hidden layers aligned over the scenes,
  where UCI shows all its training images, without labels
- pseudo_labels, mean_teacher: fine_tune with confident answers to UCI's other training images, or with the agreement
  of student and averaged teacher on them

    python experiments/digits.py --root DIR [--seeds 3] [--first 2022] [--rows 2000] [--labels 10] [--encoder cnn]
        [--epochs 20] [--out FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import polyscene as ps
import torch
from polyscene.transfer import Aligned, Anchored, FineTuned, MeanTeacher, PseudoLabelled, rows_of

SPLIT = {"by": "random", "within": "scene", "ratios": [5, 1, 4]}
MODEL = {"widths": [16, 32, 64], "hidden": [64], "dropout": 0.1, "shift": 2, "rotate": 10.0, "scale": 0.3}
TRAIN = {"lr": 2e-3, "batch_size": 64, "epochs": 20, "patience": 5, "monitor": "log_loss", "threads": 1}
CONTINUED = {"lr": 1e-3, "batch_size": 16, "epochs": 100, "patience": 25}
BOTH = {"scene_weight": "balanced"}  # UCI's few rows weigh as much as all of MNIST
ALIGNED = BOTH | {"lr": 1e-3, "epochs": 10}
FEW = {"batch_size": 16, "epochs": 200, "patience": 40}  # enough steps for UCI's few rows alone
SOURCE, TARGET = "mnist", "uci"


def few_of(table: Any, labels: int, seed: int) -> tuple[Any, Any]:
    """Some rows of each class, seven tenths to train and three to choose the epoch."""
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    label, train, valid = table.labels()[order], [], []
    for each in label.unique().tolist():
        mine = order[label == each][:labels]
        train.append(mine[: round(0.7 * labels)])
        valid.append(mine[round(0.7 * labels) :])
    return table.take(torch.cat(train).sort().values), table.take(torch.cat(valid).sort().values)


def run(root: str, seed: int, rows: int, labels: int, encoder: str) -> dict[str, dict[str, float]]:
    """Accuracy and F1 on UCI's test rows, one pair a way."""
    data = ps.datasets.load("digits", root, split=SPLIT | {"seed": seed})
    shown = rows_of(data.train, [TARGET])
    few, few_valid = few_of(shown, labels, seed)
    source = rows_of(data.train, [SOURCE])
    drawn = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))[:rows]
    source = source.take(drawn.sort().values)  # the file holds class after class

    def joined(*tables: Any) -> Any:
        return ps.data.Table(data.columns, data.schema, rows=torch.cat([each.rows for each in tables]), role="train")

    test, source_valid = rows_of(data.test, [TARGET]), rows_of(data.valid, [SOURCE])
    both, pictures = joined(source, few), joined(source, shown)
    ps.seed_everything(seed)
    first = ps.models.ImageClassifier(data.schema, encoder=encoder, **MODEL)

    def trained(model: Any, table: Any, watched: Any, **further: Any) -> dict[str, float]:
        ps.Trainer(**(TRAIN | further | {"seed": seed})).fit(model, table, watched)
        answers = model.averaged() if isinstance(model, MeanTeacher) else model
        overall = ps.evaluate(answers, test, ["accuracy", "f1"]).overall
        return {metric: float(value) for metric, value in overall.items()}

    joint = copy.deepcopy(first)
    out = {"source_only": trained(joint, source, source_valid)}
    out["target_only"] = trained(copy.deepcopy(first), few, few_valid, **FEW)
    out["together"] = trained(copy.deepcopy(first), both, few_valid, **BOTH)
    state = {name: tensor.clone() for name, tensor in joint.state_dict().items()}
    again = lambda: copy.deepcopy(joint)  # noqa: E731
    out["fine_tune"] = trained(FineTuned(again()), few, few_valid, **CONTINUED)
    out["migrate"] = trained(Anchored(again(), [state], strength=1e-2), few, few_valid, **CONTINUED)
    for kind in ("dann", "mmd", "coral"):
        aligned = Aligned(again(), pictures, kind=kind, rows=64, seed=seed)
        out[kind] = trained(aligned, both, few_valid, **ALIGNED)
    taught = PseudoLabelled(again(), shown, threshold=0.9, rows=64, seed=seed)
    out["pseudo_labels"] = trained(taught, few, few_valid, **CONTINUED)
    taught = MeanTeacher(again(), shown, weight=10.0, rows=64, seed=seed)
    out["mean_teacher"] = trained(taught, few, few_valid, **CONTINUED)
    return out


def table(results: list[dict[str, dict[str, float]]]) -> str:
    """The figures in Markdown: a row a way."""
    lines = ["| | accuracy | F1 |", "| --- | ---: | ---: |"]
    for way in results[0]:
        cells = []
        for metric in ("accuracy", "f1"):
            values = [each[way][metric] for each in results]
            sd = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.4f}{sd}")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs every seed and prints the table; ``--out`` also writes all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=2022)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--encoder", default="cnn", choices=["cnn", "resnet"])
    parser.add_argument("--epochs", type=int, default=TRAIN["epochs"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    TRAIN["epochs"] = given.epochs
    start = time.time()
    seeds = range(given.first, given.first + given.seeds)
    results = [run(given.root, seed, given.rows, given.labels, given.encoder) for seed in seeds]
    print(table(results))
    if given.out is not None:
        settings = {
            "model": MODEL | {"encoder": given.encoder},
            "train": TRAIN,
            "continued": CONTINUED,
            "few": FEW,
            "both": BOTH,
            "aligned": ALIGNED,
            "split": SPLIT,
        }
        facts = {"rows": given.rows, "labels": given.labels, "first": given.first}
        facts |= {"seconds": round(time.time() - start)}
        given.out.write_text(json.dumps(facts | settings | {"figures": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
