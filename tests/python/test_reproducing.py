"""Tables: their configs, and a small one from beginning to end."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
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
    assert "table must be one of cdr-amazon, cdr-cold, cdr-douban, cdr-warm, interest-migration, mechanisms, " in (
        capsys.readouterr().err
    )


def small_table(folder: Path) -> None:
    """A table in two parts, of the simulator: one with a split that stays, one with a split that moves."""
    dataset = {"name": "simulator", "users": 150, "events": 10, "items": 30}
    for part, names in (("paper", ("shared_bottom", "logistic")), ("interaction", ("mf", "logistic"))):
        (folder / "ml100k-scenes" / part).mkdir(parents=True)
        for name in names:
            config = {"dataset": dataset, "model": {"name": name}, "train": {"epochs": 2, "lr": 0.01, "threads": 1}}
            config["report"] = {"html": False}
            if name == "mf":
                config["tune"] = {"trials": 3, "found": {"trials": 3}}
            (folder / "ml100k-scenes" / part / f"{name}.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Any:
    top = tmp_path_factory.mktemp("paired")
    small_table(top / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproducing, "_configs", lambda: top / "configs")
        return reproducing.reproduce("ml100k-scenes", out=top / "out", seeds=3), top


def test_the_split_moves_only_where_it_should(paired: Any) -> None:
    made, _ = paired
    digests = {
        part: [each["split_digest"] for each in made.runs if each["part"] == part and each["run"] == "logistic"]
        for part in ("paper", "interaction")
    }
    assert len(set(digests["paper"])) == 1
    assert len(set(digests["interaction"])) == 3
    assert digests["paper"][0] == digests["interaction"][0]


def test_a_run_of_one_part_alone(paired: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, top = paired
    monkeypatch.setattr(reproducing, "_configs", lambda: top / "configs")
    for only, kept in (
        (["paper/logistic"], {("paper", "logistic")}),
        (["logistic"], {("paper", "logistic"), ("interaction", "logistic")}),
        (["paper/logistic", "mf"], {("paper", "logistic"), ("interaction", "mf")}),
    ):
        made = reproducing.reproduce("ml100k-scenes", out=tmp_path / "t", seeds=1, resume=True, only=only)
        assert {(each["part"], each["run"]) for each in made.runs} == kept
    for wrong, near in (("paper/logistc", "paper/logistic"), ("paper/mf", "")):
        said = f"only must be one of .*, got '{wrong}'" + (f"; did you mean '{near}'" if near else "")
        with pytest.raises(ValueError, match=said):
            reproducing.reproduce("ml100k-scenes", out=tmp_path / "u", only=[wrong])


def test_paired_tests_of_a_table(paired: Any) -> None:
    from scipy.stats import ttest_rel

    made, _ = paired
    kept = [("paper", "shared_bottom", "logistic"), ("interaction", "mf", "logistic")]
    assert list(dict.fromkeys((t["part"], t["against"], t["run"]) for t in made.tests)) == kept
    for test in made.tests:
        place = test["part"], test["scene"]
        one, other = (made.values(*place, test[key], test["metric"]) for key in ("run", "against"))
        if not one:  # a metric that is not among the table's columns
            continue
        assert test["difference"] == pytest.approx(np.mean(np.subtract(one, other)))
        assert test["sd"] == pytest.approx(np.std(np.subtract(one, other), ddof=1))
        assert test["p_seeds"] == pytest.approx(ttest_rel(one, other).pvalue)
        assert test["low"] <= test["high"]
        assert 0 < test["p_rows"] <= test["p_rows_holm"] <= 1
    for part, _, _ in kept:
        mine = [test for test in made.tests if test["part"] == part and test["metric"] == "auc"]
        p = sorted((test["p_seeds"], test["p_seeds_holm"]) for test in mine)
        assert p[0][1] == pytest.approx(min(1, len(p) * p[0][0]))  # Holm: the smallest times their number
        assert [corrected for _, corrected in p] == sorted(corrected for _, corrected in p)


def test_bootstrap_of_rows_is_that_of_a_plain_loop(paired: Any) -> None:
    from polyscene import _significance
    from sklearn.metrics import roc_auc_score

    made, _ = paired
    mine = [each for each in made.runs if each["part"] == "interaction"]
    drawn = _significance._resampled(mine, ["overall"], made.folder, 300, ("auc",))
    gaps = np.mean(
        [drawn["logistic", s, "overall", "auc"] - drawn["mf", s, "overall", "auc"] for s in (2022, 2023, 2024)], 0
    )
    slow, rng = [], np.random.default_rng(0)
    rows = {
        (each["run"], each["seed"]): Predictions.read(made.folder / each["folder"] / "predictions.parquet")
        for each in mine
    }
    for _ in range(300):
        found = []
        for seed in (2022, 2023, 2024):
            one, other = rows["logistic", seed], rows["mf", seed]
            assert np.array_equal(np.sort(one.row), np.sort(other.row))
            one, other = (each.take(np.argsort(each.row)) for each in (one, other))
            at = rng.integers(len(one), size=len(one))
            found.append(roc_auc_score(one.label[at], one.score[at]) - roc_auc_score(one.label[at], other.score[at]))
        slow.append(np.mean(found))
    assert gaps.mean() == pytest.approx(np.mean(slow), abs=4 * np.std(slow) / math.sqrt(150))
    assert gaps.std() == pytest.approx(np.std(slow), rel=0.25)


def test_what_training_took(paired: Any) -> None:
    made, _ = paired
    for each in made.runs:
        took = each["training"]
        assert took["seconds"] > 0
        assert took["cpu_seconds"] > 0
        assert took["parameters"] > 0
        assert took.get("peak_memory_mb", 100) > 10
        assert each["epochs"] == 2
    text = made.text()
    assert "### paper, cost of training" in text
    assert "interaction: options from 3 trials on validation rows of the first seed: mf." in text
    assert "interaction: the split moves with the seed" in text
    page = (made.folder / "report.html").read_text()
    (made.folder / "report.html").unlink()
    assert main(["report", str(made.folder)]) == 0
    assert (made.folder / "report.html").read_text() == page
    assert "<h2>interaction</h2>" in page
    mean = next(r["mean"] for r in made.rows if (r["part"], r["scene"], r["run"]) == ("interaction", "overall", "mf"))
    assert f"{mean:.4f}" in page


def test_finished_runs_are_not_run_again(paired: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, top = paired
    monkeypatch.setattr(reproducing, "_configs", lambda: top / "configs")
    (made.folder / "paper" / "logistic" / "seed-2023" / "metrics.json").unlink()
    before = {p: p.stat().st_mtime_ns for p in made.folder.rglob("environment.json")}
    ran, execute = [], runs.execute

    def watched(config: Any, folder: Path, **options: Any) -> Any:
        ran.append(folder.relative_to(made.folder).as_posix())
        return execute(config, folder, **options)

    monkeypatch.setattr(runs, "execute", watched)
    again = reproducing.reproduce("ml100k-scenes", out=made.folder, seeds=3, resume=True)
    assert ran == ["paper/logistic/seed-2023"]
    assert again.rows == made.rows
    assert [p.parent.name for p, at in before.items() if p.stat().st_mtime_ns != at] == ["seed-2023"]
    # Another config is not taken for the finished one.
    with pytest.raises(ValueError, match=r"train.lr was 0.01, is 0.02"):
        reproducing.reproduce("ml100k-scenes", out=made.folder, seeds=3, resume=True, overrides=["train.lr=0.02"])


def test_the_rows_that_others_measured() -> None:
    root = os.environ.get("POLYSCENE_TEST_DATA")
    if root is None or not (Path(root) / "ml-100k").is_dir():
        pytest.skip("POLYSCENE_TEST_DATA holds no ml-100k")
    config = runs.resolve(
        reproducing._configs() / "ml100k-scenes" / "paper" / "mmoe.json", (), str(Path(root) / "ml-100k")
    )
    data = runs.load_data(config)
    assert list(data.counts()["test"].values()) == [2597, 3563, 3840]
    assert data.test is not None
    # The row numbers of torch.utils.data.random_split after torch.manual_seed(2022), of 100,000 rows.
    torch.manual_seed(2022)
    wanted = torch.utils.data.random_split(range(100_000), (80_000, 10_000, 10_000))[2].indices
    assert sorted(data.test.rows.tolist()) == sorted(wanted)
    assert [field.name for field in data.schema.lists] == []


def test_the_page_in_the_documentation_is_that_of_the_record() -> None:
    top = Path(__file__).resolve().parents[2]
    script, page = top / "experiments" / "ml100k_scenes.py", top / "docs" / "ml100k-scenes.md"
    if not script.exists():
        pytest.skip("no checkout")
    import importlib.util

    spec = importlib.util.spec_from_file_location("ml100k_scenes", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.written() == page.read_text()
    record = json.loads((top / "experiments" / "results" / "ml100k-scenes.json").read_text())
    # The record is of the configs as they are now.
    for part, configs in record["configs"].items():
        for run, config in configs.items():
            now = runs.resolve(reproducing._configs() / "ml100k-scenes" / part / f"{run}.json")
            for section in ("dataset", "model", "train"):
                then = config[section]
                assert {key: now[section][key] for key in then} == then, (part, run, section)
                assert not any(now[section][key] for key in now[section].keys() - then.keys())  # newer, and off
