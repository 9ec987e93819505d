"""Tables: their configs, and a small one from beginning to end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
from polyscene import reproducing, runs
from polyscene.cli import main
from polyscene.results import Predictions

SMALL = [
    "dataset.users=400",
    "dataset.events=10",
    "dataset.items=40",
    "dataset.interests=4",
    "dataset.sparsity=0.3",
    "train.epochs=2",
    "report.html=false",
]
RUNS = ["attention_transfer", "no_attention", "target_only"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("table") / "out"
    return reproducing.reproduce("interest-migration", out=out, seeds=2, overrides=SMALL)


def test_every_config_resolves() -> None:
    assert set(reproducing.tables()) >= {"interest-migration", "ml100k-scenes"}
    for table in reproducing.tables():
        folder = reproducing._configs() / table
        for path in folder.rglob("*.json"):
            config = runs.resolve(path)
            known = ps.models.options(config["model"].pop("name"))
            assert set(config["model"]) <= set(known)
    for part in ("simulator", "ml-100k"):
        folder = reproducing._configs() / "interest-migration" / part
        assert sorted(path.stem for path in folder.glob("*.json")) == RUNS
        configs = [runs.resolve(folder / f"{run}.json") for run in RUNS]
        assert configs[0]["dataset"] == configs[1]["dataset"] == configs[2]["dataset"]
        assert configs[0]["train"] == configs[1]["train"] == configs[2]["train"]
        full, plain, alone = (config["model"] for config in configs)
        assert plain == full | {"attention": False}
        assert alone == full | {"training": "target"}


def test_four_metrics_of_one_confusion_matrix(made: Any) -> None:
    from sklearn import metrics

    for each in made.runs:
        rows = Predictions.read(made.folder / each["folder"] / "predictions.parquet")
        for scene, values in each["scenes"].items():
            if scene == "macro":
                continue
            mine = rows if scene == "overall" else rows.of(scene)
            label, called = mine.label > 0.5, mine.score >= 0.5
            (tn, fp), (fn, tp) = metrics.confusion_matrix(label, called, labels=[False, True])
            counts = {"true_positive": tp, "false_positive": fp, "false_negative": fn, "true_negative": tn}
            assert values["confusion"] == counts
            assert values["accuracy"] == pytest.approx(metrics.accuracy_score(label, called))
            assert values["auc"] == pytest.approx(metrics.roc_auc_score(label, mine.score), abs=1e-6)
            for name in ("precision", "recall", "f1"):
                score = getattr(metrics, f"{name}_score")(label, called, zero_division=np.nan)
                assert (values[name] is None and math.isnan(score)) or values[name] == pytest.approx(score)
        result = json.loads((made.folder / each["folder"] / "metrics.json").read_text())
        for name in ("accuracy", "precision", "recall", "f1"):
            assert each["scenes"]["overall"][name] == pytest.approx(result["overall"][name])
            assert each["scenes"]["macro"][name] == pytest.approx(result["macro"][name])


def test_mean_and_deviation_over_seeds(made: Any) -> None:
    assert [(each["run"], each["seed"]) for each in made.runs] == [(run, seed) for run in RUNS for seed in (2022, 2023)]
    assert len({each["split_digest"] for each in made.runs}) == 1
    assert {each["target"] for each in made.runs} == {"scene_3"}
    scenes = ["scene_0", "scene_1", "scene_2", "scene_3", "macro", "overall"]
    assert sorted({row["scene"] for row in made.rows}) == sorted(scenes)
    assert len(made.rows) == len(scenes) * len(RUNS) * 5
    for row in made.rows:
        values = [each["scenes"][row["scene"]][row["metric"]] for each in made.runs if each["run"] == row["run"]]
        assert row["values"] == values
        assert made.values("simulator", row["scene"], row["run"], row["metric"]) == values
        if None not in values:
            assert row["mean"] == pytest.approx(np.mean(values))
            assert row["sd"] == pytest.approx(np.std(values, ddof=1))


def test_what_is_written(made: Any) -> None:
    text = (made.folder / "table.md").read_text()
    assert text == made.text() + "\n"
    assert "mean ± standard deviation over 2 seeds" in text
    assert "| Scene " in text
    assert "ml-100k: left out, since no folder of the data was given; add --data DIR for that part." in text
    assert "counted from one confusion matrix a scene, threshold 0.5." in text
    for run in RUNS:
        mean, sd = next(
            (row["mean"], row["sd"])
            for row in made.rows
            if (row["scene"], row["run"], row["metric"]) == ("scene_3", run, "f1")
        )
        cells = f"{mean:.4f} ± {sd:.4f}"
        assert any(line.startswith("| scene_3") and run in line and cells in line for line in text.splitlines())
    first, second = (made.values("simulator", "scene_3", run, "auc") for run in ("attention_transfer", "target_only"))
    steps = np.array(first) - np.array(second)
    said = f"AUC {steps.mean():+.4f} ± {steps.std(ddof=1):.4f}"
    assert any("attention_transfer less target_only in scene_3" in note and said in note for note in made.notes)
    content = json.loads((made.folder / "table.json").read_text())
    assert content["rows"] == made.rows
    assert content["runs"] == made.runs
    assert content["notes"] == made.notes


def test_a_table_goes_on_where_it_stopped(made: Any) -> None:
    with pytest.raises(runs.RunExistsError, match="exists"):
        reproducing.reproduce("interest-migration", out=made.folder, seeds=2, overrides=SMALL)
    (made.folder / "table.md").unlink()
    again = reproducing.reproduce("interest-migration", out=made.folder, seeds=2, overrides=SMALL, resume=True)
    assert again.rows == made.rows
    assert (made.folder / "table.md").exists()


def test_undefined_metrics_are_null() -> None:
    nobody = reproducing.from_confusion(
        {"true_positive": 0, "false_positive": 0, "false_negative": 0, "true_negative": 3}
    )
    assert nobody["accuracy"] == 1
    assert all(math.isnan(nobody[name]) for name in ("precision", "recall", "f1"))


def test_unknown_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reproduce: table must be one of .*; did you mean 'interest-migration'\?"):
        reproducing.reproduce("interest_migration", out=tmp_path)
    with pytest.raises(ValueError, match="seeds must be 1 or more, got 0"):
        reproducing.reproduce("interest-migration", out=tmp_path, seeds=0)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["interest-migration", "--seeds", "1", "--out", str(tmp_path / "table")]
    assert main(["reproduce", *given, *(part for each in SMALL for part in ("--set", each))]) == 0
    said = capsys.readouterr().out
    assert said.index("simulator: no_attention\nseed 2022\n") < said.index("simulator: target_only\nseed 2022\n")
    assert said.endswith((tmp_path / "table" / "table.md").read_text() + f"table: {tmp_path / 'table' / 'table.md'}\n")
    assert main(["reproduce", *given]) == 2
    assert capsys.readouterr().err == (
        f"polyscene: {tmp_path / 'table'} exists; choose another --out, or go on with it by --resume\n"
    )
    assert main(["reproduce", "ml-100k"]) == 2
    assert "reproduce: table must be one of interest-migration, ml100k-scenes" in capsys.readouterr().err
