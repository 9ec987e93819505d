"""Tables of transfer: what they measure, their tests, their quick form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
from polyscene import _quick, _studies, reproducing, runs
from polyscene.cli import main
from polyscene.transfer import rows_of

STUDY = _studies.Study(
    ("scene_2",),
    "auc",
    shares=(0.2, 1.0),
    unlabelled=True,
    fusions=True,
    ways=("target_only", "source_only", "fused", "together", "fine_tune", "dann", "uncertainty", "reptile"),
)
CONFIG = {
    "dataset": {"name": "simulator", "users": 150, "events": 8, "items": 30},
    "model": {"name": "deep_fm", "dim": 4, "hidden": [8]},
    "train": {"epochs": 2, "lr": 0.01, "threads": 1, "seed": 7},
}


CONFIGS, TABLES = reproducing._configs(), dict(_studies.TABLES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    top = tmp_path_factory.mktemp("study")
    (top / "configs" / "transfer-ml100k").mkdir(parents=True)
    (top / "configs" / "transfer-ml100k" / "small.json").write_text(json.dumps(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproducing, "_configs", lambda: top / "configs")
        patch.setitem(_studies.TABLES, "transfer-ml100k", {"small": STUDY})
        yield reproducing.reproduce("transfer-ml100k", out=top / "out", seeds=2), top


def test_every_way_of_every_amount_and_seed_is_there(made: Any) -> None:
    found, _ = made
    parts = ["small, 20% of the labels", "small, 100% of the labels"]
    assert list(dict.fromkeys(each["part"] for each in found.runs)) == parts
    ways = [*STUDY.ways]
    for part in parts:
        mine = [each for each in found.runs if each["part"] == part]
        names = [each["run"] for each in mine if each["seed"] == 7]
        assert names[: len(ways)] == ways
        assert [name for name in names if name.endswith(", migrated")] == [f"scene_{n}, migrated" for n in (0, 1, 3)]
        assert sum(name.startswith("migrated, fused by") for name in names) == 6
        assert {each["seed"] for each in mine} == {7, 8}
        assert all(0 < each["scenes"]["scene_2"]["auc"] < 1 for each in mine)


def test_the_target_alone_is_what_a_trainer_makes_of_its_rows(made: Any) -> None:
    found, top = made
    config = runs.resolve(top / "configs" / "transfer-ml100k" / "small.json")
    config["dataset"]["split"] |= {"seed": 8}
    data = runs.load_data(config).thin("scene_2", 0.2, seed=8)
    ps.seed_everything(8)
    model = ps.models.DeepFM(data.schema, dim=4, hidden=[8])
    train, valid, test = (rows_of(part, ["scene_2"]) for part in (data.train, data.valid, data.test))
    size = config["train"]["batch_size"]
    while len(train) / size < 8 and size > 1:  # small epochs have eight steps
        size //= 2
    options = {key: value for key, value in config["train"].items() if value is not None}
    ps.Trainer(**(options | {"seed": 8, "batch_size": size})).fit(model, train, valid)
    wanted = ps.evaluate(model, test, ["auc"]).overall["auc"]
    got = next(
        each for each in found.runs if (each["run"], each["seed"], each["part"][7:10]) == ("target_only", 8, "20%")
    )
    assert got["scenes"]["scene_2"]["auc"] == wanted
    assert got["rows"] == {"train": len(train), "valid": len(valid), "test": len(test)}


def test_gains_are_paired_by_seed(made: Any) -> None:
    from scipy.stats import ttest_rel

    found, _ = made
    part = "small, 20% of the labels"
    for against in ("target_only", "source_only"):
        family = [test for test in found.tests if (test["part"], test["against"]) == (part, against)]
        assert len(family) == len({each["run"] for each in found.runs}) - 1
        for test in family:
            one, other = (np.array(found.values(part, "scene_2", name, "auc")) for name in (test["run"], against))
            oracle = ttest_rel(one, other)
            assert test["difference"] == pytest.approx((one - other).mean())
            assert test["gained"] == sum(one > other)
            if (one - other).std() > 1e-12:
                assert test["p_seeds"] == pytest.approx(oracle.pvalue)
                low, high = oracle.confidence_interval(0.95)
                assert (test["low"], test["high"]) == pytest.approx((low, high))
            assert test["p_seeds_holm"] >= test["p_seeds"]


def test_what_is_written_and_goes_on(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = made
    text = (found.folder / "table.md").read_text()
    assert text == found.text() + "\n"
    assert "## small, 20% of the labels: scene_2" in text
    mean = np.mean(found.values("small, 20% of the labels", "scene_2", "dann", "auc"))
    assert any(line.startswith("| dann") and f"{mean:.4f}" in line for line in text.splitlines())
    assert "dann" in (found.folder / "report.html").read_text()
    ran = []
    one = _studies._one

    def watched(*given: Any) -> Any:
        ran.append(given[-1])
        return one(*given)

    monkeypatch.setattr(_studies, "_one", watched)
    files = sorted(found.folder.glob("small/*.json"))
    assert len(files) == 4
    files[0].unlink()
    again = reproducing.reproduce("transfer-ml100k", out=found.folder, seeds=2, resume=True)
    assert len(ran) == 1
    assert again.rows == found.rows
    # Another config or other ways are not taken for what was run.
    reproducing.reproduce("transfer-ml100k", out=found.folder, seeds=1, resume=True, only=["fine_tune", "target_only"])
    assert len(ran) == 3


def test_quick_form_tells_what_was_expected(
    made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, top = made
    monkeypatch.setitem(_studies.TABLES, "transfer-ml100k", {"small": replace(STUDY, targets=("scene_1", "scene_2"))})
    place = {"part": "small, 5% of the labels", "scene": "scene_2", "metric": "auc"}
    quick = {
        "set": ["train.epochs=1"],
        "only": ["target_only", "fine_tune"],
        "expected": [
            place | {"run": "target_only", "range": [0, 1]},
            place | {"run": "fine_tune", "range": [1.1, 1.2]},
            place | {"run": "ewc", "range": [0, 1]},
        ],
    }
    (top / "configs" / _quick.FILE).write_text(json.dumps({"transfer-ml100k": quick}))
    assert main(["reproduce", "transfer-ml100k", "--quick", "--seeds", "5", "--out", str(tmp_path / "q")]) == 0
    said = capsys.readouterr().out
    content = json.loads((tmp_path / "q" / "table.json").read_text())
    assert content["seeds"] == 1
    assert content["configs"][""]["small"]["train"]["epochs"] == 1
    assert {each["target"] for each in content["runs"]} == {"scene_2"}
    values = {each["run"]: each["scenes"]["scene_2"]["auc"] for each in content["runs"]}
    assert (
        f"target_only in scene_2 (small, 5% of the labels): {values['target_only']:.4f}, as expected: 0 to 1." in said
    )
    assert f"{values['fine_tune']:.4f}, NOT AS EXPECTED: 1.1 to 1.2." in said
    assert "ewc" not in said.split("Quick:")[-1]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only must be one of target_only, .*; did you mean 'fine_tune'"):
        reproducing.reproduce("transfer-ml100k", tmp_path, tmp_path / "out", only=["finetune"])


def test_every_table_has_a_study_of_each_config() -> None:
    for name, known in TABLES.items():
        assert sorted(known) == sorted(path.stem for path in (CONFIGS / name).glob("*.json")), name


def test_every_quick_form_is_of_a_table() -> None:
    known = json.loads((CONFIGS / _quick.FILE).read_text())
    assert sorted(known) == sorted(path.name for path in CONFIGS.iterdir() if path.is_dir())
    for name, each in known.items():
        assert each["expected"], name
        for figure in each["expected"]:
            assert figure["range"][0] < figure["range"][1]
