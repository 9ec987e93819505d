"""What three scenes of texts teach a fourth of which few labels are known.

Each scene of text-sentiment is the target once. It keeps 5 % of its training and validation rows; the other scenes keep
all. Whole documents are in one part, and vocabulary and tokens come from the rows that train. All test rows of the
target are scored: F1 is the mean over both classes.

- source_only: all sources together; target_only: the target's few rows, from the same initialisation
- together: all these rows as one
- fine_tune, migrate: source_only continued on the target's rows, freely or tied to where it starts
- dann, mmd, coral: source_only continued on all rows, with hidden layers aligned over the scenes, where the target
  shows all its training texts, without labels
- pseudo_labels: source_only continued on the target's rows with its confident answers to those texts
- tfidf_sources, tfidf_target, tfidf_together: logistic regression on tf-idf of words and pairs of words (scikit-learn)

    python experiments/texts.py --root DIR [--seeds 3] [--first 2022] [--share 0.05] [--encoder mean] [--epochs 12]
        [--out FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import torch
from polyscene.transfer import Aligned, Anchored, FineTuned, PseudoLabelled, rows_of
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

SPLIT = {"by": "group", "column": "document", "within": "scene"}
MODEL = {"dim": 64, "width": 64, "hidden": [64], "dropout": 0.3}
TRAIN = {"optimizer": "lazy_adam", "lr": 2e-3, "batch_size": 128, "epochs": 12, "patience": 3, "threads": 1}
CONTINUED = {"lr": 5e-4, "batch_size": 32}
FEW = {"batch_size": 32, "epochs": 60, "patience": 10}  # enough steps for the target's few rows alone


def words_of(data: Any, rows: Any) -> list[str]:
    """The tokens of each row, rare ones too, one text a row."""
    codes, ids = data.columns.list_codes[0], data.columns.list_ids[0].list()
    offsets, values = codes.offsets.tolist(), codes.values.tolist()
    return [" ".join(ids[code] for code in values[offsets[row] : offsets[row + 1]]) for row in rows.tolist()]


def tfidf(data: Any, train: Any, test: Any) -> float:
    """Macro F1 of logistic regression on tf-idf of one and two words."""
    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\S+")
    model = LogisticRegression(C=10, max_iter=1000)
    model.fit(vectors.fit_transform(words_of(data, train.rows)), train.labels().numpy())
    given = model.predict(vectors.transform(words_of(data, test.rows)))
    return float(f1_score(test.labels().numpy(), given, average="macro"))


def run(root: str, target: str, seed: int, share: float, encoder: str) -> dict[str, float]:
    """Macro F1 on the target's test rows, one a way."""
    whole = ps.datasets.load("text-sentiment", root, split=SPLIT | {"seed": seed})
    data = whole.thin(target, share, seed=seed)
    sources = [scene for scene in data.schema.scenes if scene != target]
    parts = {"sources": sources, "target": [target], "all": [*sources, target]}
    train = {name: rows_of(data.train, scenes) for name, scenes in parts.items()}
    valid = {name: rows_of(data.valid, scenes) for name, scenes in parts.items()}
    test = rows_of(data.test, [target])
    texts = ps.data.Table(data.columns, data.schema, rows=rows_of(whole.train, [target]).rows, role="train")
    shown = ps.data.Table(data.columns, data.schema, rows=torch.cat([train["sources"].rows, texts.rows]), role="train")
    ps.seed_everything(seed)
    first = ps.models.TextClassifier(data.schema, encoder=encoder, **MODEL)

    def trained(model: Any, rows: str, watched: str, **further: Any) -> float:
        ps.Trainer(**(TRAIN | further | {"seed": seed})).fit(model, train[rows], valid[watched])
        return float(ps.evaluate(model, test, ["f1"]).overall["f1"])

    joint = copy.deepcopy(first)
    out = {"source_only": trained(joint, "sources", "sources")}
    out["target_only"] = trained(copy.deepcopy(first), "target", "target", **FEW)
    out["together"] = trained(copy.deepcopy(first), "all", "target")
    state = {name: tensor.clone() for name, tensor in joint.state_dict().items()}
    continued: dict[str, tuple[Callable[[Any], Any], str]] = {
        "fine_tune": (FineTuned, "target"),
        "migrate": (lambda model: Anchored(model, [state], strength=1e-2), "target"),
        "pseudo_labels": (lambda model: PseudoLabelled(model, texts, rows=64, seed=seed), "target"),
    }
    for kind in ("dann", "mmd", "coral"):
        continued[kind] = (partial(Aligned, table=shown, kind=kind, rows=128, seed=seed), "all")
    for name, (around, rows) in continued.items():
        batch = CONTINUED if rows == "target" else {"lr": CONTINUED["lr"]}
        out[name] = trained(around(copy.deepcopy(joint)), rows, "target", **batch)
    for name, key in (("sources", "sources"), ("target", "target"), ("together", "all")):
        out[f"tfidf_{name}"] = tfidf(data, train[key], test)
    return out


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """The figures in Markdown: a row a way, a column a target."""
    ways = list(next(iter(results.values()))[0])
    lines = ["| | " + " | ".join([*results, "mean"]) + " |", "| --- |" + " ---: |" * (len(results) + 1)]
    for way in ways:
        cells = []
        for runs in results.values():
            values = [each[way] for each in runs]
            sd = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.4f}{sd}")
        mean = np.mean([[each[way] for each in runs] for runs in results.values()])
        lines.append(f"| {way} | " + " | ".join([*cells, f"{mean:.4f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs every target and seed and prints the table; ``--out`` also writes all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=2022)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--encoder", default="mean", choices=["mean", "bilstm", "cnn", "transformer"])
    parser.add_argument("--epochs", type=int, default=TRAIN["epochs"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    TRAIN["epochs"] = given.epochs
    start = time.time()
    results = {
        target: [
            run(given.root, target, seed, given.share, given.encoder)
            for seed in range(given.first, given.first + given.seeds)
        ]
        for target in ("movie", "amazon", "nyt", "tweets")
    }
    print(table(results))
    if given.out is not None:
        settings = {
            "model": MODEL | {"encoder": given.encoder},
            "train": TRAIN,
            "continued": CONTINUED,
            "few": FEW,
            "split": SPLIT,
        }
        facts = {"share": given.share, "first": given.first, "seconds": round(time.time() - start)}
        given.out.write_text(json.dumps(facts | settings | {"f1": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
