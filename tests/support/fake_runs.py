"""Run folders made from seeded numbers, as a training would leave them: for tests of what reads run folders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from polyscene.results import Predictions
from sklearn import metrics as oracle

AGES = ("age<25", "25<=age<35", "age>=35")
GENRES = ("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
          "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western", "Biography",
          "Sport & <Games>")  # fmt: skip


def predictions(scenes: tuple[str, ...] = AGES, rows: int = 9000, skill: float = 1.1, seed: int = 0) -> Predictions:
    """Rows whose labels and users depend on ``seed`` alone, scores on ``skill`` too: runs that can be compared."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(len(scenes), 8.0))
    scene = np.array(scenes)[rng.choice(len(scenes), rows, p=share)]
    user = rng.integers(0, max(rows // 12, 2), rows)
    logit = rng.normal(0.25, 1.0, rows) + rng.normal(0, 0.5, user.max() + 1)[user]
    label = (rng.random(rows) < 1 / (1 + np.exp(-1.4 * logit))).astype(float)
    noise = np.random.default_rng([seed, int(skill * 1000)]).normal(0, 1, rows)
    score = 1 / (1 + np.exp(-(skill * logit + 0.7 * noise)))
    return Predictions(rng.permutation(rows), scene, label, score, user)


def measure(p: Predictions, threshold: float = 0.5) -> tuple[dict[str, float | None], dict[str, str]]:
    """All metrics by scikit-learn, null and a reason where undefined."""
    said, why = p.score >= threshold, {}
    values: dict[str, float | None] = {
        "log_loss": oracle.log_loss(p.label, p.score, labels=[0, 1]) if len(p) else None,
        "accuracy": oracle.accuracy_score(p.label, said) if len(p) else None,
        "precision": oracle.precision_score(p.label, said, zero_division=np.nan),
        "recall": oracle.recall_score(p.label, said, zero_division=np.nan),
        "f1": oracle.f1_score(p.label, said, zero_division=np.nan),
    }
    if 0 < p.label.sum() < len(p):
        values = {"auc": oracle.roc_auc_score(p.label, p.score), **values}
    else:
        values, why = {"auc": None, **values}, {"auc": "one class"}
    for name, value in values.items():
        if value is None or math.isnan(value):
            values[name] = None
            why.setdefault(name, "no row of it")
        else:
            values[name] = float(value)
    return values, why


def metrics(p: Predictions, scenes: tuple[str, ...], threshold: float = 0.5) -> dict[str, Any]:
    """The content of ``metrics.json`` for these rows."""
    overall, undefined = measure(p, threshold)
    undefined = {f"overall.{k}": v for k, v in undefined.items()}
    found: dict[str, dict[str, Any]] = {}
    for scene in scenes:
        part = p.of(scene)
        values, why = measure(part, threshold)
        found[scene] = {**values, "rows": len(part), "positives": int(part.label.sum())}
        undefined |= {f"scenes.{scene}.{k}": v for k, v in why.items()}
    names = [k for k in overall if any(v[k] is not None for v in found.values())]
    macro = {k: float(np.mean([v[k] for v in found.values() if v[k] is not None])) for k in names}
    return {"overall": overall, "macro": macro, "scenes": found, "undefined": undefined}


def history(epochs: int = 14, seed: int = 0, metric: str = "auc") -> list[dict[str, Any]]:
    """Rows of ``history.jsonl``: a validation metric that rises, then falls a little."""
    rng = np.random.default_rng([seed, 7])
    rows = []
    for epoch in range(1, epochs + 1):
        auc = 0.79 - 0.13 * math.exp(-epoch / 2.2) - 0.0011 * max(epoch - 8, 0) + rng.normal(0, 0.0008)
        loss = 0.53 + 0.16 * math.exp(-epoch / 2.6) - 0.0045 * epoch
        valid = {
            metric: auc,
            "log_loss": loss + 0.02 + 0.0022 * epoch,
            "accuracy": auc - 0.072,
            "f1": auc - 0.04,
            "precision": auc - 0.06 + rng.normal(0, 0.002),
            "recall": auc - 0.03 + rng.normal(0, 0.002),
        }
        rows.append({"epoch": epoch, "phase": "train", "train_loss": loss, "valid": valid,
                     "seconds": 1.9 + rng.normal(0, 0.1), "rows_per_s": 42_000 + rng.normal(0, 900),
                     "best": False})  # fmt: skip
    best = -math.inf
    for row in rows:
        row["best"], best = row["valid"][metric] > best, max(best, row["valid"][metric])
    return rows


def explain(scenes: tuple[str, ...] = AGES, interests: tuple[str, ...] = GENRES, seed: int = 0) -> dict[str, Any]:
    """The content of ``explain.json``: attention of three rows and a transition matrix for each pair of scenes."""
    rng = np.random.default_rng([seed, 9])
    k = len(interests)
    pairs = [(a, b) for a in scenes for b in scenes]
    matrices = {}
    for a, b in pairs:
        matrix = rng.dirichlet(np.full(k, 0.3), size=k) * 0.7 + 0.3 * np.eye(k)
        matrices[f"{a} -> {b}"] = matrix.tolist()
    examples = []
    for number, length in enumerate((24, 17, 9)):
        weights = rng.dirichlet(np.full(length, 0.5))
        events = [f"{interests[i]} · {scenes[j]}" for i, j in zip(rng.integers(0, k, length),
                  rng.integers(0, len(scenes), length), strict=True)]  # fmt: skip
        title = f"user {100 + number} in {scenes[number % len(scenes)]}"
        examples.append({"title": title, "events": events, "weights": weights.tolist()})
    share = rng.dirichlet(np.full(k, 1.2), size=len(scenes)).T
    return {
        "attention": {"rows": [f"t-{23 - i}" for i in range(24)], "heads": 2, "examples": examples},
        "transition": {"interests": list(interests), "scenes": list(scenes), "matrices": matrices},
        "interest_scene": {"interests": list(interests), "scenes": list(scenes), "matrix": share.tolist()},
        "unseen_scene": {
            "scenes": ["new"],
            "unseen": {"auc": 0.7312, "f1": 0.701, "accuracy": 0.664},
            "seen": {"auc": 0.7719, "f1": 0.713, "accuracy": 0.702},
        },
        "left_out_scene": {
            "scene": scenes[0],
            "rows": 1800,
            "unseen": {"auc": 0.7312, "f1": 0.701, "accuracy": 0.664},
            "seen": {"auc": 0.7611, "f1": 0.72, "accuracy": 0.69},
        },
    }


def environment(p: Predictions, scenes: tuple[str, ...], seed: int = 0, split: str = "") -> dict[str, Any]:
    """The content of ``environment.json``."""
    counts = {s: {"train": 8 * n, "valid": n, "test": n} for s in scenes if (n := int((p.scene == s).sum())) or True}
    data = {"name": "ml-100k", "rows": {"train": 8 * len(p), "valid": len(p), "test": len(p)}, "scenes": counts,
            "users": 943, "items": 1682, "fields": ["user_id", "item_id", "gender", "occupation", "age"],
            "licence": "GroupLens research licence: no redistribution, cite Harper & Konstan 2015"}  # fmt: skip
    return {
        "versions": {"polyscene": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.2", "pyarrow": "26.0.1"},
        "threads": 2, "cpu": "Example CPU @ 2.50GHz (2 cores)", "seeds": {"train": 2022 + seed, "split": 2022 + seed},
        "data_digest": "9a1f" * 16, "split_digest": split or f"{seed:04x}" * 16, "started": "2030-01-02T03:04:05Z",
        "seconds": 27.4, "data": data,
    }  # fmt: skip


def make_run(
    folder: Path,
    *,
    scenes: tuple[str, ...] = AGES,
    rows: int = 9000,
    skill: float = 1.1,
    seed: int = 0,
    model: str = "interest_migration",
    edit: Any = None,
    with_explain: bool = True,
    transfer: bool = True,
) -> Path:
    """Writes a whole run folder; ``edit(predictions)`` may change the rows before the metrics are computed."""
    folder.mkdir(parents=True)
    p = predictions(scenes, rows, skill, seed)
    p = (edit(p) or p) if edit else p
    epochs = history(seed=seed)
    best = [row["epoch"] for row in epochs if row["best"]][-1]
    values: dict[str, Any] = {"task": "ctr", "model": model, "best_epoch": best, **metrics(p, scenes), "threshold": 0.5}
    values["valid"] = metrics(predictions(scenes, rows, skill, seed + 1000), scenes)
    if transfer:
        values["transfer"] = {"helped": True,
                              "message": "Migrating from 2 scenes raised AUC by 0.0210 (0.7421 -> 0.7631).",
                              "sources": list(scenes[:-1]), "target": scenes[-1],
                              "candidates": {"target only": 0.7421, "migrated": 0.7588, "fused": 0.7631}}  # fmt: skip
    config = {"dataset": {"name": "ml-100k", "scenes": {"by": "age", "edges": [25, 35]},
                          "split": {"seed": 2022 + seed}},
              "model": {"name": model, "heads": 2, "hidden": 64}, "report": {},
              "train": {"optimizer": "lazy_adam", "lr": 1e-3, "monitor": "auc", "epochs": 50,
                        "seed": 2022 + seed}}  # fmt: skip
    written = {"config": config, "environment": environment(p, scenes, seed), "metrics": values}
    if with_explain:
        written["explain"] = explain(scenes[:6], seed=seed)
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in epochs)
    (folder / "history.jsonl").write_text(lines, encoding="utf-8")
    p.write(folder / "predictions.parquet")
    return folder
