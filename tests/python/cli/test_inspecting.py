"""``models``, ``datasets`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polyscene as ps
import pytest


def test_models(cli: Any) -> None:
    assert cli("models", "list").out.split() == ps.models.list()
    assert cli("models", "list", "--task", "rating").out.split() == ps.models.list("rating")
    shown = cli("models", "show", "mf")
    assert shown.code == 0
    for name, about in ps.models.options("mf").items():
        line = next(line for line in shown.out.splitlines() if line.split()[:1] == [name])
        assert about.type in line and line.endswith(about.doc)


def test_model_that_is_not_there(cli: Any) -> None:
    done = cli("models", "show", "interest_migratoin")
    assert done.code == 2 and done.err.endswith("did you mean 'interest_migration'?\n")
    assert done.err.startswith(
        "polyscene: models: unknown model 'interest_migratoin'; known models: interest_migration"
    )
    wrong = cli("models", "list", "--task", "crt")
    assert wrong.code == 2
    known = "ctr, ranking, rating, sequence, text, image"
    assert wrong.err == f"polyscene: models list: --task must be one of {known}, got 'crt'; did you mean 'ctr'?\n"


def test_datasets(cli: Any) -> None:
    assert [line.split()[0] for line in cli("datasets", "list").out.splitlines()] == ps.datasets.list()
    shown = cli("datasets", "show", "ml-100k")
    assert shown.code == 0 and "sha256" in shown.out and "GroupLens" in shown.out
    wrong = cli("datasets", "show", "ml-100")
    assert wrong.code == 2 and wrong.err.count("\n") == 1 and "did you mean 'ml-100k'?" in wrong.err


def test_check(cli: Any, tables: Path, tmp_path: Path) -> None:
    roles = ("--label", "bought", "--scene", "place", "--user", "who", "--item", "what")
    fine = cli("datasets", "check", tables / "train.csv", *roles)
    assert fine.code == 0, fine.out
    lines = (tables / "train.csv").read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0]
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    done = cli("datasets", "check", tmp_path / "bad.csv", *roles)
    assert done.code == 1 and "row 3 (line 4)" in done.out and done.err == ""


def test_check_takes_times_and_tasks(cli: Any, tmp_path: Path) -> None:
    cells = [f"{i % 3},{i % 5},{i % 5 / 2},{1_700_000_000_000 + i}" for i in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["user_id,item_id,label,when", *cells]))
    done = cli("datasets", "check", tmp_path / "a.csv", "--time", "when")
    assert done.code == 1 and "no label of 0 or 1 (task ctr)" in done.out
    assert "note: column 'when': the numbers are taken as times in ms" in done.out
    assert cli("datasets", "check", tmp_path / "a.csv", "--time", "when", "--task", "rating").code == 0
    wrong = cli("datasets", "check", tmp_path / "a.csv", "--task", "click")
    assert wrong.code != 0 and "task" in wrong.out + wrong.err


def test_get_from_file(cli: Any, tmp_path: Path) -> None:
    done = cli("datasets", "get", "ml-100k", "--root", tmp_path, "--from-file", tmp_path / "a.zip")
    assert done.code == 2 and done.err == f"polyscene: ml-100k: no file {tmp_path / 'a.zip'}\n"
    offline = cli("datasets", "get", "ml-100k", "--root", tmp_path, "--offline")
    assert offline.code == 2 and "offline" in offline.err


def test_doctor(cli: Any) -> None:
    done = cli("doctor")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == ["polyscene", ps.__version__]
    assert done.out.splitlines()[-1] == "trained, saved and loaded a model: all well"


@pytest.mark.parametrize(
    "command",
    ["", "run", "evaluate", "predict", "recommend", "report", "compare", "models", "datasets", "doctor"],
)
def test_help(cli: Any, command: str) -> None:
    done = cli(*command.split(), "--help")
    assert done.code == 0 and "Usage: polyscene" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "No such command 'rnu'."),
        (["run", "--sets", "a=b"], "No such option: --sets"),
        (["run", "--seeds", "two"], "Invalid value for '--seeds'"),
        (["run", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["predict"], "Missing argument"),
    ],
)
def test_wrong_usage(cli: Any, arguments: list[str], message: str) -> None:
    done = cli(*arguments)
    assert done.code == 2 and done.out == "" and message in done.err
    assert "Usage: polyscene" in done.err


def test_version(cli: Any) -> None:
    import polyscene

    done = cli("--version")
    assert (done.code, done.out) == (0, f"polyscene {polyscene.__version__}\n")
