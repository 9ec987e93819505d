"""Runs of task image from a config: end to end, resumed, with a transfer, measured again and predicted from."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import classed
import numpy as np
import polyscene as ps
import pytest
from PIL import Image
from polyscene import runs


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of bars in three scenes, of other contrast each, in files beside a table of their paths."""
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    with open(folder / "rows.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["image", "label", "scene"])
        for row in range(360):
            label, scene = str(draw.choice(["across", "down"])), "abc"[row % 3]
            pixels = draw.integers(0, 40, (8, 8), dtype=np.uint8)
            at = int(draw.integers(0, 7))
            bar = (slice(at, at + 2), slice(None)) if label == "across" else (slice(None), slice(at, at + 2))
            pixels[bar] += np.uint8(90 + 50 * (row % 3))
            Image.fromarray(pixels).save(folder / f"{row}.png")
            out.writerow([f"{row}.png", label, scene])
    split = {"by": "random", "within": "scene", "ratios": [3, 1, 1]}
    image = [{"name": "image", "size": [8, 8]}]
    dataset = {"name": "table", "task": "image", "data": str(folder / "rows.csv"), "image": image, "split": split}
    train = {"lr": 0.02, "batch_size": 32, "epochs": 4, "threads": 1}
    model = {"name": "image_classifier", "widths": [8, 8], "hidden": [8], "dropout": 0.1, "shift": 1}
    (folder / "config.json").write_text(json.dumps({"dataset": dataset, "model": model, "train": train}))
    return folder / "config.json"


def test_a_run_end_to_end(config: Path, cli: Any) -> None:
    out = config.parent / "run"
    assert cli("run", str(config), "--out", str(out)).code == 0
    result = ps.Result.load(out)
    assert set(result.overall) == {"f1", "accuracy", "precision", "recall", "log_loss"}
    assert result.task == "image" and result.overall["f1"] > 0.9 and set(result.scenes) == {"a", "b", "c"}
    held = result.predictions
    assert result.valid is not None and held is not None and held.classes is not None
    assert np.mean(held.classes.argmax(1) == held.label) == pytest.approx(result.overall["accuracy"], abs=1e-12)
    page = (out / "report.html").read_text()
    assert "F1" in page and "ROC" not in page
    new = config.parent / "new.csv"
    lines = (config.parent / "rows.csv").read_text().splitlines()
    new.write_text("\n".join(["image,scene", *(",".join(line.split(",")[::2]) for line in lines[1:3]), ",c"]) + "\n")
    rows = cli("predict", str(out), str(new)).out.splitlines()
    assert rows[0] == '"row","label","score_across","score_down"' and len(rows) == 4
    for row, line in zip(rows[1:3], lines[1:3], strict=True):
        assert row.split(",")[1] == f'"{line.split(",")[1]}"'
    assert sum(map(float, rows[3].split(",")[2:])) == pytest.approx(1)
    again = json.loads(cli("evaluate", str(out), str(config.parent / "rows.csv"), "--metric", "f1", "--json").out)
    assert again["overall"]["f1"] > 0.9


def test_a_stopped_run_goes_on_to_the_same_bits(config: Path) -> None:
    classed.check_resumed(config, ["report.html=false", "train.epochs=3"])


def test_a_run_that_migrates(config: Path) -> None:
    classed.check_migrated(config, 2)


def test_what_a_config_may_say(config: Path, cli: Any) -> None:
    with pytest.raises(ValueError, match="evaluate.metrics: unknown metric 'auc' for task image; known metrics: f1"):
        runs.resolve(config, ['evaluate.metrics=["auc"]'])
    with pytest.raises(ValueError, match="train.monitor must be a metric of task image, got 'auc'"):
        runs.resolve(config, ["train.monitor=auc"])
    assert "image_classifier" in cli("models", "list", "--task", "image").out
