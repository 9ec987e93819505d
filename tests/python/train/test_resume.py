"""Runs that end before their time, and go on: killed, interrupted, out of disk, with damaged files."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import commands
import limits
import pytest
from polyscene.cli import main

# Dropout, moments by row, a schedule over all epochs: everything that a checkpoint must hold. Epochs of half a second.
LONG = {
    "dataset": {"name": "simulator", "users": 220, "events": 16, "items": 60, "interests": 5, "scenes": 2},
    "model": {"name": "interest_migration", "max_length": 4, "dropout": 0.2, "interests": 4},
    "train": {
        "optimizer": "lazy_adam", "lr": 0.01, "batch_size": 32, "epochs": 4, "patience": 0, "schedule": "cosine",
        "threads": 1, "clip_norm": 1.0,
    },
    "report": {"html": False},
}  # fmt: skip
SAME = ("metrics.json", "model.safetensors", "explain.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: Any) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "c.json").write_text(json.dumps(LONG))
    assert main(["run", str(folder / "c.json"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def cli(capsys: Any) -> Callable[..., commands.Outcome]:
    return lambda *arguments: commands.command(capsys, *arguments)


def stop_in_second_epoch(tmp_path: Path, number: int) -> commands.Outcome:
    """Runs until one epoch is done, then sends a signal while the second is under way."""
    (tmp_path / "c.json").write_text(json.dumps(LONG))
    process = commands.start("run", "c.json", "--out", "run", cwd=tmp_path, before=limits.interruptible)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("epoch 1/4")
    time.sleep(0.15)
    process.send_signal(number)
    done = commands.finish(process)
    assert "epoch 4/4" not in done.out and not (tmp_path / "run" / "metrics.json").exists()
    return done


def check_same(run: Path, whole: Path) -> None:
    for name in SAME:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert commands.history(run) == commands.history(whole)
    assert not [path.name for path in run.iterdir() if path.name.endswith(".part")]


def test_killed_run_goes_on_to_the_same_bits(cli: Any, whole: Path, tmp_path: Path) -> None:
    assert stop_in_second_epoch(tmp_path, signal.SIGKILL).code == -signal.SIGKILL
    assert len(commands.history(tmp_path / "run")) < 4
    done = cli("run", tmp_path / "c.json", "--out", tmp_path / "run", "--resume")
    assert done.code == 0 and "epoch 1/4" not in done.out
    check_same(tmp_path / "run", whole)


def test_interrupted_run_goes_on_to_the_same_bits(cli: Any, whole: Path, tmp_path: Path) -> None:
    """Ctrl-C ends with 130 and one line; the config of the run need not be named again."""
    done = stop_in_second_epoch(tmp_path, signal.SIGINT)
    assert done.code == 130
    lines = done.err.splitlines()
    assert lines[-1] == "polyscene: interrupted; the same command with --resume --out run goes on with it"
    assert "Traceback" not in done.err
    assert cli("run", "--out", tmp_path / "run", "--resume").code == 0
    check_same(tmp_path / "run", whole)


def test_killed_before_the_first_epoch_ends(cli: Any, tmp_path: Path) -> None:
    """There is nothing to go on from: the run starts anew, with what is asked for now."""
    config = commands.write_config(tmp_path / "c.json")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"model": {"name": "logistic"}}))
    (run / "history.jsonl").write_text('{"epoch": 1, "valid": {}}\n')
    assert cli("run", config, "--out", run, "--resume").code == 0
    assert [row["epoch"] for row in commands.history(run)] == [1, 2, 3]


def test_finished_run(cli: Any, whole: Path) -> None:
    """Nothing is trained again; what the last steps write is written again."""
    before = {name: (whole / name).read_bytes() for name in SAME}
    (whole / "metrics.json").unlink()
    done = cli("run", "--out", whole, "--resume")
    assert done.code == 0 and "epoch" not in done.out
    assert {name: (whole / name).read_bytes() for name in SAME} == before


@pytest.fixture(scope="module")
def short(tmp_path_factory: Any) -> Path:
    """A finished run of two epochs, with its config beside it."""
    folder = tmp_path_factory.mktemp("short")
    config = commands.write_config(folder / "c.json")
    assert main(["run", str(config), "--set", "train.epochs=2", "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def copy(short: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in (short / "run").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_more_epochs(cli: Any, short: Path, copy: Path, tmp_path: Path) -> None:
    assert cli("run", short / "c.json", "--out", copy, "--resume").code == 0
    assert cli("run", short / "c.json", "--out", tmp_path / "whole").code == 0
    for name in ("metrics.json", "model.safetensors"):
        assert (copy / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert commands.history(copy) == commands.history(tmp_path / "whole")


def test_seeds(cli: Any, short: Path, tmp_path: Path) -> None:
    """Of several runs the missing ones are made, the others stay."""
    arguments = ("run", short / "c.json", "--seeds", 2, "--out", tmp_path / "s")
    assert cli(*arguments).code == 0
    before = [(tmp_path / "s" / f"seed-{seed}" / "model.safetensors").read_bytes() for seed in (3, 4)]
    for path in (tmp_path / "s" / "seed-4").iterdir():
        path.unlink()
    assert cli(*arguments, "--resume").code == 0
    assert before == [(tmp_path / "s" / f"seed-{seed}" / "model.safetensors").read_bytes() for seed in (3, 4)]


@pytest.mark.parametrize(
    ("settings", "differences"),
    [
        (["model.dim=8", "train.lr=0.5"], "model.dim was 4, is 8; train.lr was 0.02, is 0.5"),
        (["dataset.seed=7"], "dataset.seed was 2022, is 7"),
        (["dataset.split.seed=7"], "dataset.split.seed was 2022, is 7"),
        (["model.name=logistic", "model.dim=null"], None),
        (["train.seed=4"], "train.seed was 3, is 4"),
    ],
)
def test_another_run_is_refused(
    cli: Any, short: Path, copy: Path, settings: list[str], differences: str | None
) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    done = cli("run", short / "c.json", "--out", copy, "--resume", *(x for each in settings for x in ("--set", each)))
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1
    if differences is not None:
        assert done.err == (
            f"polyscene: {copy}: cannot resume, these are not those of the run: {differences}; "
            "leave them as they were, or start anew with another --out\n"
        )
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_options_that_came_later_have_their_defaults(cli: Any, short: Path, copy: Path) -> None:
    # A run of an earlier version: it goes on where a newer one has more to set.
    config = json.loads((copy / "config.json").read_text())
    assert config["transfer"].pop("labels") == 1.0
    (copy / "config.json").write_text(json.dumps(config))
    assert cli("run", short / "c.json", "--out", copy, "--resume").code == 0
    config["transfer"]["labels"] = 0.5
    (copy / "config.json").write_text(json.dumps(config))
    done = cli("run", short / "c.json", "--out", copy, "--resume")
    assert done.code == 2 and "transfer.labels was 0.5, is 1.0" in done.err


def test_files_that_changed_are_refused(cli: Any, tmp_path: Path) -> None:
    lines = ["user_id,item_id,label", *(f"{i % 9},{i % 7},{i % 2}" for i in range(300))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    config = commands.write_config(tmp_path / "c.json", dataset={"name": "table", "data": str(tmp_path / "a.csv")})
    assert cli("run", config, "--out", tmp_path / "run").code == 0
    lines[5] = "100,5,0"
    (tmp_path / "a.csv").write_text("\n".join(lines))
    done = cli("run", config, "--out", tmp_path / "run", "--resume")
    assert done.code == 2
    assert "cannot resume, these are not those of the run: the data (its digest)" in done.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("half", lambda b: b[: len(b) // 2], "tensor '*' ends at byte * of the data, the file has *: it was cut off"),
        ("header", lambda b: b[:1000], "header takes * bytes, the file has 992 after the length: it was cut off"),
        ("empty", lambda b: b"", "not a safetensors file: it has 0 bytes, at least 8 are needed"),
        ("zeros", lambda b: bytes(len(b)), "not a safetensors file: its header is not valid JSON"),
        ("a later format", lambda b: b.replace(b'"polyscene_format":"1"', b'"polyscene_format":"2"'),
         "model format must be 1, got 2; a newer polyscene wrote it"),
        ("no run", lambda b: b.replace(b'"identity"', b'"identify"'), "holds a model but no run to resume"),
        ("no position", lambda b: b.replace(rb'\"waited\"', rb'\"wanted\"'),
         "cannot resume, its record of the run is damaged (*key 'waited' not found*"),
        ("no schema", lambda b: b.replace(b'"schema":', b'"scheme":'),
         "not a polyscene model, its metadata has no 'schema'"),
    ],
)  # fmt: skip
def test_damaged_checkpoint(cli: Any, short: Path, copy: Path, name: str, content: Any, message: str) -> None:
    path = copy / "last.safetensors"
    before = path.read_bytes()
    path.write_bytes(content(before))
    assert path.read_bytes() != before
    done = cli("run", short / "c.json", "--out", copy, "--resume")
    assert done.code == 2 and done.err.count("\n") == 1 and "json.exception" not in done.err
    given = done.err.removeprefix(f"polyscene: {path}: ")
    for part in message.split("*"):
        assert part in given, given
        given = given[given.index(part) + len(part) :]


def full_disk(cwd: Path, size: int, *arguments: Any) -> commands.Outcome:
    return commands.finish(commands.start("run", *arguments, cwd=cwd, before=partial(limits.small_files, size)))


def test_full_disk(cli: Any, short: Path, copy: Path, tmp_path: Path) -> None:
    """One line; the checkpoint of the epoch before is whole, and the run goes on from it when there is room."""
    path = copy / "last.safetensors"
    before = path.read_bytes()
    done = full_disk(tmp_path, len(before) // 2, short / "c.json", "--out", copy, "--resume")
    assert done.code == 1
    assert done.err == f"polyscene: cannot write '{path}': File too large\n"
    assert path.read_bytes() == before
    assert not [each.name for each in copy.iterdir() if each.name.startswith(".")]
    assert cli("run", short / "c.json", "--out", copy, "--resume").code == 0
    assert [row["epoch"] for row in commands.history(copy)] == [1, 2, 3]


def test_nothing_to_resume_is_said(cli: Any, short: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert cli("run", short / "c.json", "--out", tmp_path / "new", "--resume").code == 0
    assert f"{tmp_path / 'new'}: nothing to resume, starting from the beginning" in caplog.messages


def test_full_disk_from_the_start(short: Path, tmp_path: Path) -> None:
    done = full_disk(tmp_path, 100, short / "c.json", "--out", "run")
    assert done.code == 1
    assert done.err == "polyscene: run/config.json: cannot be written: File too large\n"
    assert not (tmp_path / "run").exists()


def test_folder_that_cannot_be_made(cli: Any, short: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out, why in ((tmp_path / "file" / "run", "Not a directory"), (tmp_path / "file", "File exists")):
        done = cli("run", short / "c.json", "--out", out)
        assert done.code == 1 and done.out == ""
        assert done.err == f"polyscene: {out}: cannot make the run folder: {why}\n"


def test_folder_that_cannot_be_written_into(short: Path, copy: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o555)
    os.chmod(copy, 0o555)
    try:
        start = partial(commands.start, "run", short / "c.json", "--out", cwd=tmp_path, before=limits.no_capabilities)
        new, old = start(closed / "run"), start(copy, "--resume")
        done, again = commands.finish(new), commands.finish(old)
    finally:
        os.chmod(copy, 0o755)
    assert done.code == 1
    assert done.err == f"polyscene: {closed / 'run'}: cannot make the run folder: Permission denied\n"
    assert again.code == 1
    assert again.err == f"polyscene: {copy / 'config.json'}: cannot be written: Permission denied\n"
