"""``polyscene run`` with a transfer: what it leaves, and that it goes on after a kill."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import commands
import polyscene as ps
import pytest
from polyscene.cli import main

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
