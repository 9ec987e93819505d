"""Runs of task text from a config: end to end, with a transfer, measured again and predicted from."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import classed
import numpy as np
import polyscene as ps
import pytest
from polyscene import runs


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of three sentences in three scenes; each class has words of its own."""
    folder = tmp_path_factory.mktemp("texts")
    draw = np.random.default_rng(0)
    words = {
        "bad": ["poor", "dull", "broken"],
        "fair": ["plain", "usual", "okay"],
        "good": ["fine", "bright", "superb"],
    }
    with open(folder / "rows.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["text", "label", "scene", "document"])
        for row in range(540):
            label = str(draw.choice(list(words)))
            said = [*draw.choice(words[label], 2), *draw.choice(["the", "a", "it", "was"], int(draw.integers(0, 5)))]
            out.writerow([" ".join(draw.permutation(said)), label, "abc"[row % 9 // 3], f"d{row // 3}"])
    split = {"by": "group", "column": "document", "within": "scene", "ratios": [3, 1, 1]}
    dataset = {"name": "table", "task": "text", "data": str(folder / "rows.csv"), "text": ["text"], "split": split}
    train = {"optimizer": "lazy_adam", "lr": 0.02, "batch_size": 32, "epochs": 3, "threads": 1}
    model = {"name": "text_classifier", "encoder": "cnn", "dim": 16, "width": 16, "hidden": [16], "dropout": 0.1}
    (folder / "config.json").write_text(json.dumps({"dataset": dataset, "model": model, "train": train}))
    return folder / "config.json"


def test_a_run_end_to_end(config: Path, cli: Any) -> None:
    out = config.parent / "run"
    assert cli("run", str(config), "--out", str(out)).code == 0
    result = ps.Result.load(out)
    assert set(result.overall) == {"f1", "accuracy", "precision", "recall", "log_loss"}
    assert result.task == "text" and result.overall["f1"] > 0.9 and set(result.scenes) == {"a", "b", "c"}
    assert result.valid is not None
    rows = result.predictions
    assert rows is not None and rows.classes is not None and rows.classes.shape == (len(rows), 3)
    assert np.mean(rows.classes.argmax(1) == rows.label) == pytest.approx(result.overall["accuracy"], abs=1e-12)
    assert rows.classes.sum(1) == pytest.approx(np.ones(len(rows)))
    assert rows.score.tolist() == [rows.classes[i, int(y)] for i, y in enumerate(rows.label)]
    page = (out / "report.html").read_text()
    assert "F1" in page and "ROC" not in page
    new = config.parent / "new.csv"
    new.write_text("text,scene\nit was superb,a\npoor,b\n,c\n")
    lines = cli("predict", str(out), str(new)).out.splitlines()
    assert lines[0] == '"row","label","score_bad","score_fair","score_good"'
    assert lines[1].startswith('1,"good",') and lines[2].startswith('2,"bad",') and len(lines) == 4
    assert sum(map(float, lines[3].split(",")[2:])) == pytest.approx(1)
    again = json.loads(cli("evaluate", str(out), str(config.parent / "rows.csv"), "--metric", "f1", "--json").out)
    assert again["overall"]["f1"] > 0.9


def test_a_stopped_run_goes_on_to_the_same_bits(config: Path) -> None:
    classed.check_resumed(config, ["report.html=false"])


def test_a_run_that_migrates(config: Path) -> None:
    classed.check_migrated(config, 3)


def test_what_a_config_may_say(config: Path) -> None:
    with pytest.raises(ValueError, match="evaluate.metrics: unknown metric 'auc' for task text; known metrics: f1"):
        runs.resolve(config, ['evaluate.metrics=["auc"]'])
    with pytest.raises(ValueError, match="train.monitor must be a metric of task text, got 'auc'"):
        runs.resolve(config, ["train.monitor=auc"])
    with pytest.raises(ValueError, match="split: give column, whose ids stay together, got by='group'"):
        runs.load_data(runs.resolve(config, ["dataset.split.column="]))
