"""Scenes that training never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import commands
import polyscene as ps
import pyarrow as pa
import pyarrow.compute
import pytest
import torch
from polyscene import generalising, runs
from polyscene.cli import main


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.datasets.load("simulator", users=200, events=10, items=40, interests=4, scenes=3, seed=5)


def test_data_without_a_scene(data: Any) -> None:
    without = data.without("scene_1")
    before, after = data.counts(), without.counts()
    for part in ("train", "valid"):
        assert after[part] == {scene: n for scene, n in before[part].items() if scene != "scene_1"}
    assert after["test"] == before["test"]
    assert list(without.schema.scenes) == ["scene_0", "scene_2"]
    assert without.schema.unseen_scene == "nearest"
    assert without.schema.scene_rows.tolist() == [before["train"]["scene_0"], before["train"]["scene_2"]]
    assert data.counts() == before


def test_unseen_is_a_model_that_was_trained_on_the_other_rows(data: Any) -> None:
    train = {"epochs": 2, "seed": 3, "batch_size": 64, "threads": 1}
    found = generalising.unseen(data, "scene_1", "mf", {"dim": 4}, train)
    without = data.without("scene_1")
    ps.seed_everything(3)
    model = ps.models.MF(without.schema, dim=4)
    ps.Trainer(**train).fit(model, without)
    names = data.columns.scene_names
    rows = [i for i, row in enumerate(data.test.rows.tolist()) if names[int(data.columns.scene[row])] == "scene_1"]
    wanted = ps.evaluate(model, without.test.take(torch.tensor(rows)))
    assert found.overall == wanted.overall
    assert 0 < found.overall["auc"] < 1
    assert sum(count["rows"] for count in found.counts.values()) == len(rows) == data.counts()["test"]["scene_1"]


def test_what_cannot_be_measured(data: Any) -> None:
    with pytest.raises(ValueError, match=r"Dataset\.without: unknown scene 'scene_9'; did you mean 'scene_0'"):
        generalising.check_unseen(data, "scene_9")
    alone = ps.datasets.load("simulator", users=50, scenes=1)
    with pytest.raises(ValueError, match=r"Dataset\.without: no scene but 'scene_0' has training rows"):
        generalising.check_unseen(alone, "scene_0")
    both = pa.table(
        {"user_id": ["1", "2"] * 4, "item_id": ["1"] * 8, "scene": ["a", "b"] * 4, "label": [0, 0, 1, 1] * 2}
    )
    one = both.filter(pa.compute.equal(both["scene"], "a"))
    gone = ps.read_table(train=both, valid=both, test=one)
    with pytest.raises(ValueError, match=r"evaluate\.unseen_scene: scene 'b' has no test rows"):
        generalising.unseen(gone, "b", "mf", {}, {})


def test_a_run_reports_it(tmp_path: Path, capsys: Any) -> None:
    config = commands.write_config(
        tmp_path / "c.json", evaluate={"unseen_scene": "scene_1", "metrics": ["auc", "f1"]}, report={"html": True}
    )
    assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 0
    said = json.loads((tmp_path / "run" / "explain.json").read_text())["left_out_scene"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert said["scene"] == "scene_1"
    seen = metrics["scenes"]["scene_1"]
    assert said["seen"] == {key: seen[key] for key in ("auc", "f1")}
    resolved = runs.resolve(config)
    data = runs.load_data(resolved)
    options = {key: value for key, value in resolved["model"].items() if key != "name"}
    found = generalising.unseen(data, "scene_1", "mf", options, resolved["train"], metrics=["auc", "f1"])
    assert said["unseen"] == found.overall
    assert said["rows"] == data.counts()["test"]["scene_1"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "If training had never seen scene_1" in page
    assert f"{found.overall['auc']:.4f}" in page
    capsys.readouterr()
    other = tmp_path / "other"
    assert main(["run", str(config), "--set", "evaluate.unseen_scene=scene_7", "--out", str(other)]) == 2
    assert "unknown scene 'scene_7'" in capsys.readouterr().err
    assert not other.exists()
