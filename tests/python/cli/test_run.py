"""``polyscene run``: what it leaves, what it refuses, how it ends."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import commands
import numpy as np
import polyscene as ps
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from commands import CONTENT, TINY, write_config
from sklearn import metrics as oracle

from .conftest import ROLES, run_on


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_run_folder(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= CONTENT | {"last.safetensors"}
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    config, metrics = read(run / "config.json"), read(run / "metrics.json")
    assert config["model"] == {"name": "mf"} | ps.load(run / "model.safetensors").options
    assert config["train"]["patience"] == 4 and config["dataset"]["overlap"] == 0.5
    environment = read(run / "environment.json")
    assert environment["seeds"] == {"train": 3, "split": 2022} and len(environment["data_digest"]) == 64
    history = commands.history(run)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    best = max(history, key=lambda row: row["valid"]["auc"])["epoch"]
    assert metrics["best_epoch"] == best == [row["epoch"] for row in history if row["best"]][-1]
    assert metrics["valid"]["overall"]["auc"] == history[best - 1]["valid"]["auc"]


def test_metrics_are_those_of_the_predictions(run: Path) -> None:
    metrics, rows = read(run / "metrics.json"), ps.Predictions.read(run / "predictions.parquet")
    assert metrics["overall"]["auc"] == pytest.approx(oracle.roc_auc_score(rows.label, rows.score), abs=1e-12)
    assert metrics["overall"]["f1"] == pytest.approx(oracle.f1_score(rows.label, rows.score >= 0.5), abs=1e-12)
    for scene, values in metrics["scenes"].items():
        mine = rows.of(scene)
        assert values["rows"] == len(mine) and values["positives"] == mine.label.sum()
        assert values["log_loss"] == pytest.approx(oracle.log_loss(mine.label, mine.score), abs=1e-9)
    macro = np.mean([values["auc"] for values in metrics["scenes"].values()])
    assert metrics["macro"]["auc"] == pytest.approx(macro, abs=1e-12)


def test_says_what_came_of_it(cli: Any, tmp_path: Path) -> None:
    done = cli("run", write_config(tmp_path / "c.json"), "--out", tmp_path / "out")
    assert done.code == 0 and done.err == ""
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]
    assert lines[-1] == f"run folder: {tmp_path / 'out'}"
    for name in ("scene_0", "scene_1", "Mean of scenes", "All rows"):
        assert any(line.strip().startswith(name) for line in lines)


@pytest.mark.parametrize("model", ["mf", "interest_migration"])
def test_csv_and_parquet_give_the_same_numbers(model: str, tables: Path, tmp_path: Path) -> None:
    a, b = (run_on(tables, ending, model, tmp_path) for ending in ("csv", "parquet"))
    assert (a / "metrics.json").read_bytes() == (b / "metrics.json").read_bytes()
    assert commands.history(a) == commands.history(b)
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    auc = read(a / "metrics.json")["overall"]["auc"]
    assert auc > 0.6 or model == "interest_migration"
    assert list(read(a / "metrics.json")["scenes"]) == ["1.0", "NA"]


def test_the_same_seed_gives_the_same_bits(cli: Any, run: Path, tmp_path: Path) -> None:
    assert cli("run", run / "config.json", "--out", tmp_path / "again").code == 0
    assert read(tmp_path / "again" / "config.json") == read(run / "config.json")
    for name in ("metrics.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()
    other = tmp_path / "other"
    assert cli("run", run / "config.json", "--set", "train.seed=4", "--out", other).code == 0
    assert (other / "metrics.json").read_bytes() != (run / "metrics.json").read_bytes()
    digests = [read(folder / "environment.json")["split_digest"] for folder in (run, other)]
    assert digests[0] == digests[1]


def test_sets_values(cli: Any, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.json")
    given = [
        "model.dim=6",
        "train.optimizer=adam",
        "train.betas=[0.8, 0.99]",
        "dataset.split.seed=7",
        "train.epochs=1.0",
    ]
    sets = [part for each in given for part in ("--set", each)]
    assert cli("run", config, *sets, "--out", tmp_path / "out").code == 0
    resolved = read(tmp_path / "out" / "config.json")
    assert resolved["model"]["dim"] == 6 and resolved["train"]["optimizer"] == "adam"
    assert resolved["train"]["betas"] == [0.8, 0.99] and resolved["train"]["epochs"] == 1
    assert resolved["dataset"]["split"] == {"by": "random", "ratios": [8.0, 1.0, 1.0], "seed": 7}


def test_comments_and_byte_order_mark(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    text = json.dumps(TINY, indent=1).replace('"train": {', '// more follows\n"train": { /* here */')
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert cli("run", path, "--out", tmp_path / "out").code == 0


def test_quickstart_with_another_model(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of the quickstart's own model do not stand in the way; runs are numbered."""
    monkeypatch.chdir(tmp_path)
    small = ["dataset.users=60", "dataset.items=40", "train.epochs=1", "report.html=false", "model.name=logistic"]
    for _ in range(2):
        assert cli("run", *(part for each in small for part in ("--set", each))).code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "logistic-simulator-1",
        "logistic-simulator-2",
    ]


def test_out_that_exists(cli: Any, run: Path, tmp_path: Path) -> None:
    before = (run / "metrics.json").read_bytes()
    done = cli("run", run / "config.json", "--out", run)
    assert done.code == 2
    assert done.err == f"polyscene: {run} exists; choose another --out, or go on with it by --resume\n"
    assert (run / "metrics.json").read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert cli("run", run / "config.json", "--out", tmp_path / "empty").code == 0


def test_seeds(cli: Any, run: Path, tmp_path: Path) -> None:
    done = cli("run", run / "config.json", "--seeds", 2, "--out", tmp_path / "seeds")
    assert done.code == 0
    folders = [tmp_path / "seeds" / f"seed-{seed}" for seed in (3, 4)]
    assert (folders[0] / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()
    values = [read(folder / "metrics.json")["overall"]["auc"] for folder in folders]
    assert values[0] != values[1]
    wanted = f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
    assert wanted in next(line for line in done.out.splitlines() if "All rows" in line)
    splits = {read(folder / "environment.json")["split_digest"] for folder in folders}
    assert len(splits) == 1


def test_split_seeds(cli: Any, run: Path, tmp_path: Path) -> None:
    sets = ("--set", "train.epochs=1", "--set", "report.html=true")
    assert cli("run", run / "config.json", *sets, "--seeds", 2, "--split-seeds", "--out", tmp_path / "s").code == 0
    folders = [tmp_path / "s" / f"seed-{seed}" for seed in (3, 4)]
    assert [read(folder / "config.json")["dataset"]["split"]["seed"] for folder in folders] == [2022, 2023]
    assert len({read(folder / "environment.json")["split_digest"] for folder in folders}) == 2
    assert (tmp_path / "s" / "report.html").stat().st_size > 10_000


def test_summary_leaves_out_what_has_no_value() -> None:
    from polyscene.runs import summary

    results = [ps.Result(overall={"auc": value}, scenes={"a": {"auc": math.nan}}) for value in (0.5, 0.7, math.nan)]
    found = summary(results)
    assert found["overall"]["auc"] == pytest.approx((0.6, np.std([0.5, 0.7], ddof=1)))
    assert math.isnan(found["a"]["auc"][0])


def test_tuned_threshold(cli: Any, run: Path, tmp_path: Path) -> None:
    """The threshold has the best F1 of all on validation rows, and is the one of the test metrics."""
    out = tmp_path / "out"
    assert cli("run", run / "config.json", "--set", "evaluate.tune_threshold=true", "--out", out).code == 0
    metrics = read(out / "metrics.json")
    threshold = metrics["threshold"]
    config = read(out / "config.json")
    data = ps.datasets.from_config(dict(config["dataset"]))
    model = ps.load(out / "model.safetensors")
    score, label = model.predict(data.valid), data.valid.labels().numpy()
    every = [oracle.f1_score(label, score >= t) for t in np.unique(score)]
    assert metrics["valid"]["overall"]["f1"] == pytest.approx(max(every), abs=1e-12)
    assert oracle.f1_score(label, score >= threshold) == pytest.approx(max(every), abs=1e-12)
    rows = ps.Predictions.read(out / "predictions.parquet")
    assert metrics["overall"]["f1"] == pytest.approx(oracle.f1_score(rows.label, rows.score >= threshold), abs=1e-12)
    assert threshold != 0.5


def test_tensorboard(cli: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "out"
    assert cli("run", run / "config.json", "--set", "report.tensorboard=true", "--out", out).code == 0
    events = accumulator.EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    history, metrics = commands.history(out), read(out / "metrics.json")
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(row["epoch"], pytest.approx(row["train_loss"], rel=1e-6)) for row in history]
    assert [e.value for e in events.Scalars("valid/auc")] == [pytest.approx(row["valid"]["auc"]) for row in history]
    assert events.Scalars("test_scene_1/auc")[0].value == pytest.approx(metrics["scenes"]["scene_1"]["auc"])


def test_tensorboard_that_is_not_there(cli: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = cli("run", run / "config.json", "--set", "report.tensorboard=true", "--out", tmp_path / "out")
    assert done.code == 1 and done.out == ""  # told before anything is trained
    assert done.err == (
        "polyscene: report.tensorboard: TensorBoard is not installed; run `pip install 'polyscene[tracking]'`, "
        "or set report.tensorboard to false\n"
    )


def test_another_number_of_threads(cli: Any, run: Path, tmp_path: Path) -> None:
    """The same split, the same batches, and numbers that differ by rounding at most."""
    out = tmp_path / "out"
    before = torch.get_num_threads()
    assert cli("run", run / "config.json", "--set", "train.threads=2", "--out", out).code == 0
    assert torch.get_num_threads() == before
    for key in ("split_digest", "data_digest", "schema_digest"):
        assert read(out / "environment.json")[key] == read(run / "environment.json")[key]
    for row, other in zip(commands.history(run), commands.history(out), strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)


def test_validation_without_a_value(cli: Any, tables: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One class in the validation rows: no epoch is the best by AUC, and the trained weights remain."""
    valid = pa.parquet.read_table(tables / "valid.parquet")
    pa.csv.write_csv(valid.filter(pc.equal(valid["bought"], 1)), tmp_path / "one.csv")
    files = {"train": str(tables / "train.csv"), "valid": str(tmp_path / "one.csv"), "test": str(tables / "test.csv")}
    config = write_config(tmp_path / "c.json", dataset=ROLES | files)
    with caplog.at_level(logging.WARNING, "polyscene"):
        assert cli("run", config, "--out", tmp_path / "out").code == 0
    assert "auc of the validation rows has no value in epoch 1; the newest epoch is kept" in caplog.text
    metrics = read(tmp_path / "out" / "metrics.json")
    assert metrics["best_epoch"] == 3 and metrics["valid"]["overall"]["auc"] is None
    assert metrics["overall"]["auc"] > 0.6


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    write_config(tmp_path / "c.json")
    done = commands.finish(commands.start("run", "c.json", "--out", "out", cwd=tmp_path, POLYSCENE_LOG="debug"))
    assert done.code == 0 and done.err == "" and "All rows" in done.out
    assert (tmp_path / "out" / "metrics.json").exists()
    wrong = commands.finish(commands.start("run", "c.json", "--set", "model.dims=3", cwd=tmp_path))
    assert wrong.code == 2 and wrong.out == ""
    known = "name, dim, init_std, embedding_l2, history"
    assert wrong.err == f"polyscene: c.json: unknown key 'model.dims'; known keys: {known}; did you mean 'dim'?\n"


def test_a_run_that_cannot_start_leaves_no_folder(cli: Any, tmp_path: Path) -> None:
    config = commands.write_config(tmp_path / "config.json", dataset={"name": "table", "data": "nowhere.csv"})
    done = cli("run", config, "--out", tmp_path / "run")
    assert done.code == 2 and "nowhere.csv" in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_corrected_run_takes_the_folder(cli: Any, tmp_path: Path, seeds: int) -> None:
    config, out = write_config(tmp_path / "c.json"), tmp_path / "run"
    further = ("--seeds", seeds, "--set", "train.epochs=1")
    wrong = cli("run", config, "--set", 'model={"name": "bpr_mf"}', *further, "--out", out)
    assert wrong.code == 2 and "bpr_mf: made for task ranking, the data's task is 'ctr'" in wrong.err
    assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")  # nothing of others is taken away
    assert cli("run", config, *further, "--out", out).code == 2
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    assert cli("run", config, *further, "--out", out).code == 0


def test_what_was_trained_stays(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = write_config(tmp_path / "c.json"), tmp_path / "run"

    def fail(*_: Any) -> None:
        raise ValueError("no metrics today")

    monkeypatch.setattr("polyscene.runs.measure", fail)
    assert cli("run", config, "--out", out).code == 2
    assert {"config.json", "history.jsonl", "last.safetensors"} <= {path.name for path in out.iterdir()}
    monkeypatch.undo()
    assert cli("run", config, "--resume", "--out", out).code == 0


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"name": "m2m", "history": 4}, False),
        ({"name": "sar_net", "attention": True, "max_length": 4}, True),
        ({"name": "din", "max_length": 4}, True),
    ],
    ids=["of experts", "of events", "without heads"],
)
def test_attention_is_told_where_it_is_of_events(cli: Any, tmp_path: Path, model: dict[str, Any], told: bool) -> None:
    dataset = {"name": "simulator", "users": 60, "events": 8, "items": 20}
    config = {"dataset": dataset, "model": model, "train": {"epochs": 1}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = cli("run", tmp_path / "c.json", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    explained = json.loads((tmp_path / "run" / "explain.json").read_text())
    assert explained["timeline"]["by"] == ("attention" if told else "left_out")
    if not told:
        assert "attention" not in explained
        return
    found = explained["attention"]
    assert found["heads"] == (2 if model["name"] == "sar_net" else 1)  # the scene and the item
    assert found["examples"]
    for example in found["examples"]:
        assert len(example["events"]) == len(example["weights"]) <= 4
        total = sum(example["weights"])
        assert total == pytest.approx(1, abs=1e-5) or (model["name"] == "din" and total == 0)  # all of them negative


def test_run_of_compiled_data(cli: Any, tmp_path: Path) -> None:
    """A folder of Dataset.save stands for a table: its roles are known, "files" is the split that was saved."""
    saved = ps.datasets.load("simulator", users=60, scenes=2, split={"by": "time", "seed": 3})
    saved.save(tmp_path / "data")
    config = {"dataset": {"name": "table", "data": str(tmp_path / "data"), "split": "files"}}
    config |= {"model": {"name": "mf"}, "train": {"epochs": 2, "batch_size": 100, "shuffle_window": 200}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = cli("run", tmp_path / "c.json", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert saved.split_digest in json.dumps(facts)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["shuffle_window"] == 200
    wrong = cli("run", tmp_path / "c.json", "--set", "dataset.label=label", "--out", tmp_path / "other")
    assert wrong.code == 2 and "is compiled, with the roles of its columns; leave label out" in wrong.err
