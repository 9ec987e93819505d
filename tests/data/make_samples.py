"""Writes the samples of file formats that later versions must go on reading; only when a format gets a new number.

python tests/data/make_samples.py
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polyscene as ps
import torch

FOLDER = Path(__file__).parent
ROLES = {
    "categorical": ["city"],
    "numeric": ["age", {"name": "price", "scaling": "min_max", "missing": "category", "outliers": "clip"}],
    "multi_hot": ["tags"],
    "sequence": [{"name": "clicked", "shares": "item_id", "max_length": 3}],
    "time": "time",
    "interest": "tags",
}


def rows(n: int = 120) -> str:
    """A CSV of rows with every kind of column, some cells empty."""
    draw = np.random.default_rng(0)
    lines = ["user_id,item_id,scene,label,time,city,age,price,tags,clicked"]
    for i in range(n):
        user, item = draw.integers(0, 8), draw.integers(0, 10)
        tags = " ".join(draw.choice(["new", "café", "old"], draw.integers(0, 3), replace=False))
        clicked = " ".join(str(each) for each in draw.integers(0, 10, draw.integers(0, 5)))
        cells = [f"{user:03d}", item, draw.choice(["web", "app"]), draw.integers(0, 2), 1_700_000_000 + 60 * i]
        cells += [draw.choice(["", "Köln", "Oslo"]), draw.choice(["", "31", "47"]), round(draw.random() * 9, 2)]
        cells += [tags, clicked]
        lines.append(",".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the samples."""
    source = FOLDER / "rows_v1.csv"
    source.write_text(rows(), encoding="utf-8")
    data = ps.read_table(source, **ROLES)
    shutil.rmtree(FOLDER / "dataset_v1", ignore_errors=True)
    data.save(FOLDER / "dataset_v1")
    ps.seed_everything(0)
    model = ps.models.Logistic(data.schema)
    ps.Trainer(epochs=3, batch_size=16, lr=0.05, seed=1, threads=1).fit(model, data)
    ps.save(model, FOLDER / "model_v1.safetensors", {"threshold": "0.4"})
    batch = data.test.batch(torch.arange(len(data.test)))
    expected = {
        "options": model.options,
        "scores": [float(score) for score in model.predict(source)],
        "digest": data.digest,
        "split_digest": data.split_digest,
        "schema_digest": data.schema.digest,
        "categorical": batch.categorical.tolist(),
        "numeric": [[float(value) for value in row] for row in batch.numeric],
        "label": batch.label.tolist(),
        "recommended": model.recommend(["003", "007"], k=3).items.tolist(),
    }
    (FOLDER / "expected_v1.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
