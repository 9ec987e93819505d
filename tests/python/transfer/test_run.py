"""``polyscene run`` with a transfer: what it leaves, and that it goes on after a kill."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import commands
import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene import runs
from polyscene.cli import main
from polyscene.transfer import _mechanisms, rows_of, state_of
from pyarrow import csv

DATA = {"name": "simulator", "users": 500, "events": 16, "items": 60, "interests": 5, "scenes": 3}
DATA |= {"sparse_scene": 2, "sparsity": 0.1}
TRANSFER = {"mechanism": "migrate", "target": "scene_2"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    train = commands.TINY["train"] | {"epochs": 4, "patience": 2}
    return commands.write_config(folder / "config.json", dataset=DATA, transfer=TRANSFER, train=train, report=None)


@pytest.fixture(scope="module")
def run(config: Path) -> Path:
    folder = config.parent / "run"
    assert main(["run", str(config), "--out", str(folder)]) == 0
    return folder


def test_run_folder_tells_of_the_transfer(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    verdict = metrics["transfer"]
    assert verdict["target"] == "scene_2" and verdict["sources"] == ["scene_0", "scene_1"]
    assert set(metrics["scenes"]) == {"scene_0", "scene_1", "scene_2"}
    model = ps.load(run / "model.safetensors")
    assert model.name == "specialist" and model.options["scenes"] == ["scene_2"]
    history = commands.history(run)
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert history[-1]["phase"] == "joint, continued"
    page = (run / "report.html").read_text()
    assert verdict["message"].split(": ")[0] in page and "joint, continued" in page
    assert len(list((run / "stages").glob("*.safetensors"))) == 6


def test_verdict_is_printed(run: Path, config: Path, capsys: Any) -> None:
    done = commands.command(capsys, "run", config, "--out", run.parent / "again")
    assert done.code == 0
    assert "migrating scene_0, scene_1 into scene_2" in " ".join(done.out.split())
    assert (run.parent / "again" / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()


def test_killed_run_goes_on_to_the_same_bits(run: Path, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = commands.start("run", config, "--out", folder, cwd=tmp_path)
    deadline = time.time() + 120
    while not list(folder.glob("stages/joint*.safetensors")) and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    assert main(["run", str(config), "--out", str(folder), "--resume"]) == 0
    for name in ("metrics.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()


def test_wrong_transfer_block(config: Path, tmp_path: Path, capsys: Any) -> None:
    wrong = commands.command(capsys, "run", config, "--out", tmp_path / "a", "--set", "transfer.fusion=mean")
    assert (
        wrong.code == 2
        and "transfer.fusion must be one of rows, uniform, fisher, greedy, arithmetic, learned, got 'mean'" in wrong.err
    )
    scene = commands.command(capsys, "run", config, "--out", tmp_path / "b", "--set", "transfer.target=scene_7")
    assert scene.code == 2 and "scene_7" in scene.err and "scene_2" in scene.err


def labelled(folder: Path, garbled: np.ndarray | None = None) -> None:
    """Writes a config with a table of which a fifth of the target's labels are known; ``garbled`` are other ones."""
    draw = np.random.default_rng(3)
    age, item, scene = draw.normal(size=900), draw.integers(0, 20, 900), draw.choice(["few", "many"], 900, p=[0.4, 0.6])
    label = (age + item / 10 + draw.normal(0, 0.5, 900) > 1).astype(int)
    if garbled is not None:
        label[garbled] = 1 - label[garbled]
    rows = {"user_id": draw.integers(0, 50, 900), "item_id": item, "age": age, "scene": scene, "label": label}
    csv.write_csv(pa.table(rows), folder / "rows.csv")
    text = {
        "dataset": {
            "name": "table",
            "data": str(folder / "rows.csv"),
            "numeric": ["age"],
            "clean": {"duplicates": "keep"},
        },
        "model": {"name": "wide_deep", "dim": 4, "hidden": [8]},
        "transfer": {"mechanism": "pseudo_labels", "target": "few", "labels": 0.2},
        "train": {"lr": 0.02, "batch_size": 64, "epochs": 2, "threads": 1},
        "report": {"html": False},
    }
    (folder / "config.json").write_text(json.dumps(text))


@pytest.mark.parametrize("mechanism", ["pseudo_labels", "mean_teacher", "dann"])
def test_labels_that_are_not_known_are_never_read(
    mechanism: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, wrap, states = [], _mechanisms.wrap, []
    monkeypatch.setattr(_mechanisms, "wrap", lambda *given: (shown.append(given[3].unlabelled), wrap(*given))[1])
    settings = {"threshold": 0.6} if mechanism == "pseudo_labels" else {}
    chosen = [f"transfer.mechanism={mechanism}", f"transfer.settings={json.dumps(settings)}"]
    hidden = whole = None
    for name in ("true", "garbled"):
        folder = tmp_path / name
        folder.mkdir()
        labelled(folder, hidden)
        config = runs.resolve(folder / "config.json", chosen)
        run = runs.execute(config, folder)
        states.append(state_of(run.model))
        data, everything = (
            run.data,
            runs.load_data(runs.resolve(folder / "config.json", [*chosen, "transfer.labels=1"])),
        )
        if hidden is None:
            whole = {part: set(table.rows.tolist()) for part, table in everything.tables.items()}
            known = {part: set(table.rows.tolist()) for part, table in data.tables.items()}
            hidden = np.array(sorted(set.union(*(whole[part] - known[part] for part in whole))))
            assert known["test"] == whole["test"]
        mine = rows_of(everything.train, ["few"]).rows
        assert data.unlabelled.rows.tolist() == mine.tolist() and data.unlabelled.history is data.train.history
        assert len(rows_of(data.train, ["few"])) == round(0.2 * len(mine))
        assert all(each.rows.tolist() == mine.tolist() for each in shown) and shown
        assert {everything.columns.scene_names[s] for s in everything.columns.scene[torch.tensor(hidden)]} == {"few"}
    assert len(hidden) > 150
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][each], states[1][each]) for each in states[0])


def test_few_labels_are_of_scenes_each_named_once() -> None:
    data = ps.testing.tiny_data()
    for targets in ([], ["tablet", "tablet"], "tablet"):
        with pytest.raises(ValueError, match=r"few_labels: targets must be a list of different scenes, got"):
            ps.transfer.few_labels(data, targets, 0.5)  # type: ignore[arg-type]


def test_runs_are_carried_into_data_of_few_labels(tmp_path: Path) -> None:
    labelled(tmp_path)
    plain = runs.resolve(tmp_path / "config.json", ["transfer={}"])
    source = runs.execute(plain, runs.folder_for(plain, tmp_path / "source", resume=False))
    assert source.data.unlabelled is None
    config = runs.resolve(tmp_path / "config.json", ["transfer.target=", "transfer.mechanism=mean_teacher"])
    folder = runs.folder_for(config, tmp_path / "target", resume=False)
    run = runs.execute(config, folder, sources=[tmp_path / "source"])
    assert len(run.data.unlabelled) == len(source.data.train)  # all scenes are the target
    assert len(run.data.train) == pytest.approx(0.2 * len(source.data.train), abs=1)
    assert run.result.transfer["rows"]["train"] == len(run.data.train)


def test_a_share_of_labels_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    labelled(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json: transfer\.labels must be in \(0, 1\], got 0"):
        runs.resolve(tmp_path / "config.json", ["transfer.labels=0"])
    config = runs.resolve(tmp_path / "config.json")
    whole = ps.read_table(tmp_path / "rows.csv", numeric=["age"])
    with pytest.raises(
        ValueError, match=r"transfer\.labels leaves out labels before there is a model; call few_labels"
    ):
        ps.transfer.plan(ps.models.WideDeep(whole.schema), whole, config)
    config = runs.resolve(tmp_path / "config.json", ["transfer.mechanism="])
    with pytest.raises(ValueError, match=r"transfer\.labels is for a transfer, and there is no transfer\.mechanism"):
        runs.load_data(config)
