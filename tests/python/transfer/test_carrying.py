"""``polyscene transfer``: finished runs carried into another data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import commands
import polyscene as ps
import pytest
from polyscene.cli import main

SIMULATOR = {"name": "simulator", "items": 40, "interests": 5, "scenes": 2, "seed": 1}
MODEL = {"name": "wide_deep", "hidden": [8], "dim": 4}
TRAIN = {**commands.TINY["train"], "epochs": 2, "patience": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: Any) -> list[Path]:
    """Two runs on worlds with more users than the target's; the items are the same."""
    folder, out = tmp_path_factory.mktemp("sources"), []
    for number in range(2):
        data = {**SIMULATOR, "users": 200 + number, "events": 16}
        path = commands.write_config(folder / f"{number}.json", dataset=data, model=MODEL, train=TRAIN, report=None)
        out.append(folder / f"run{number}")
        assert main(["run", str(path), "--out", str(out[-1])]) == 0
    return out


@pytest.fixture(scope="module")
def target(tmp_path_factory: Any) -> Path:
    data = {**SIMULATOR, "users": 60, "events": 12}
    path = tmp_path_factory.mktemp("target") / "target.json"
    return commands.write_config(path, dataset=data, model=MODEL, train=TRAIN, report=None)


@pytest.mark.parametrize("mechanism", ["migrate", "lora", "adapters", "distillation"])
def test_runs_are_carried_and_told(mechanism: str, runs: list[Path], target: Path, tmp_path: Path, capsys: Any) -> None:
    done = commands.command(
        capsys,
        "transfer",
        *runs,
        "--target",
        target,
        "--out",
        tmp_path / "out",
        "--set",
        f"transfer.mechanism={mechanism}",
    )
    assert done.code == 0, done.err
    verdict = json.loads((tmp_path / "out" / "metrics.json").read_text())["transfer"]
    assert set(verdict["carried"]) == {"run0", "run1"}
    for told in verdict["carried"].values():
        assert "embedding.weight" in told["by_id"] and "deep.layer0_weight" in told["copied"]
        assert told["rows"]["embedding.weight"] > 40
    name = "carried, continued" if mechanism == "migrate" else f"carried, {mechanism}"
    assert list(verdict["candidates"]) == ["target alone", "carried", name]
    assert verdict["estimate"]["rows"] > 0 and verdict["estimate"]["leep"] <= 0
    assert set(verdict["harm"]["scenes"]) <= {"scene_0", "scene_1"} and verdict["harm"]["overall"]["rows"] > 0
    assert "run0: carried" in done.out and "against the target alone: worse in" in " ".join(done.out.split())
    kept = {"adapters": {"adapted", "wide_deep"}}.get(mechanism, {"wide_deep"})
    assert ps.load(tmp_path / "out").name in kept
    environment = json.loads((tmp_path / "out" / "environment.json").read_text())
    assert environment["source_runs"] == [str(run) for run in runs]


def test_what_cannot_be_carried_is_told(runs: list[Path], target: Path, tmp_path: Path, capsys: Any) -> None:
    wrong = commands.command(
        capsys, "transfer", runs[0], "--target", target, "--out", tmp_path / "a", "--set", "transfer.mechanism=ewc"
    )
    assert wrong.code == 2 and "transfer: ewc needs the rows that the sources were trained on" in wrong.err
    none = commands.command(capsys, "transfer", tmp_path / "no", "--target", target, "--out", tmp_path / "b")
    assert none.code == 2 and "no file" in none.err
    other = commands.command(
        capsys, "transfer", runs[0], "--target", target, "--out", tmp_path / "c", "--set", 'model={"name":"mf"}'
    )
    assert other.code == 2 and "run0: nothing could be carried into mf" in other.err
    assert not any((tmp_path / name).exists() for name in "abc")  # nothing is in the way of another try
