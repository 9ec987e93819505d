"""Runs of rankings: what the folder holds, comparison by users, and what a config may say."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import commands
import numpy as np
import polyscene as ps
import pytest
from polyscene import runs
from polyscene.display import tables_as_text
from scipy import stats


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of four groups of users who like the same items."""
    folder = tmp_path_factory.mktemp("ranking")
    draw, rows = np.random.default_rng(0), []
    for user in range(80):
        for scene in ("a", "b"):
            for item in draw.choice(40, 8, False, np.where(np.arange(40) % 4 == user % 4, 12.0, 1.0) / 150):
                rows.append(f"u{user},{scene}{item},{scene}\n")
    (folder / "all.csv").write_text("user_id,item_id,scene\n" + "".join(rows))
    dataset = {"name": "table", "data": str(folder / "all.csv"), "task": "ranking", "label": None}
    dataset["split"] = {"by": "user", "ratios": [6, 2, 2]}
    train = {"lr": 0.02, "batch_size": 128, "epochs": 6, "patience": 0, "threads": 1}
    text = {"dataset": dataset, "model": {"name": "bpr_mf", "dim": 8}, "train": train, "evaluate": {"k": [5, 10]}}
    (folder / "config.json").write_text(json.dumps(text))
    return folder / "config.json"


@pytest.fixture(scope="module")
def folders(config: Path) -> dict[str, Path]:
    out = {}
    for name in ("bpr_mf", "ease", "popularity"):
        resolved = runs.resolve(config, [] if name == "bpr_mf" else [f'model={{"name": "{name}"}}'])
        out[name] = config.parent / name
        runs.execute(resolved, runs.folder_for(resolved, out[name], resume=False))
    return out


def test_the_folder_holds_the_values_of_users(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        result = ps.Result.load(folder)
        users = result.per_user
        assert users is not None
        assert not (folder / "predictions.parquet").exists()
        assert (folder / "report.html").stat().st_size > 1000
        for name in ("ndcg@5", "recall@10", "mrr@10"):
            assert result.overall[name] == pytest.approx(users.values[name].mean())
            for scene in ("a", "b"):
                assert result.scenes[scene][name] == pytest.approx(users.values[name][users.scene == scene].mean())
        assert result.valid is not None
        assert result.counts["a"]["users"] == (users.scene == "a").sum()
    best = ps.Result.load(folders["bpr_mf"])
    assert best.overall["ndcg@10"] > 1.3 * ps.Result.load(folders["popularity"]).overall["ndcg@10"]


def test_groups_of_users_stand_in_the_folder_and_the_report(folders: dict[str, Path]) -> None:
    result = ps.Result.load(folders["ease"])
    slices = result.extra["slices"]
    assert slices["metric"] == "ndcg@10"
    means = result.per_user.means("ndcg@10")
    assert set(slices["groups"]) == {name for name, values in means.items() if values["users"]} and slices["groups"]
    for name, group in slices["groups"].items():
        assert group["users"] == means[name]["users"]
        assert group["overall"] == pytest.approx(means[name]["overall"])
        assert group["scenes"] == pytest.approx({scene: means[name][scene] for scene in ("a", "b")})
    some = f"{slices['groups']['few']['overall']:.4f}"
    for shown in (tables_as_text(result), (folders["ease"] / "report.html").read_text()):
        assert "1 to 5 training items in the scene" in shown and "known here alone" not in shown and some in shown


def test_evaluate_takes_cut_offs_and_candidates(cli: Any, folders: dict[str, Path], config: Path) -> None:
    rows = config.parent / "held_out.csv"
    rows.write_text("user_id,item_id,scene\nu1,a1,a\nu1,b3,b\nu2,a0,a\n")
    done = cli("evaluate", folders["ease"], rows, "-k", "2", "-k", "3", "--candidates", "5", "--json")
    found = json.loads(done.out)
    assert done.code == 0 and found["candidates"] == 5
    assert {"ndcg@2", "ndcg@3", "recall@3"} <= set(found["overall"]) and "ndcg@10" not in found["overall"]
    done = cli("evaluate", folders["ease"], rows, "--candidates", "few")
    assert done.code == 2 and "candidates must be 'all' or a positive whole number, got 'few'" in done.err


def test_comparison_is_paired_over_users(folders: dict[str, Path]) -> None:
    found = ps.compare(folders["popularity"], folders["bpr_mf"], metric=["ndcg@10", "recall@10"], draws=500)
    assert found.unit == "user"
    first, second = (ps.Result.load(folders[name]).per_user for name in ("popularity", "bpr_mf"))
    assert (first.user == second.user).all()
    assert (first.scene == second.scene).all()
    mine = first.scene == "b"
    gap = (second.values["ndcg@10"] - first.values["ndcg@10"])[mine]
    row = found.row("ndcg@10", "b")
    assert row.difference == pytest.approx(gap.mean())
    assert row.p == pytest.approx(stats.ttest_1samp(gap, 0).pvalue, rel=1e-6)  # one query a user in a scene
    assert row.low < row.difference < row.high
    overall = found.row("ndcg@10")
    both = second.values["ndcg@10"] - first.values["ndcg@10"]
    assert overall.difference == pytest.approx(both.mean())
    assert overall.better == "bpr_mf"
    naive = stats.ttest_1samp(both, 0).pvalue
    assert overall.p != pytest.approx(naive, rel=1e-6)  # a user's two scenes are not independent
    same = ps.compare(folders["ease"], folders["ease"], metric="ndcg@10", draws=50)
    assert same.row("ndcg@10").p == 1.0
    assert not same.row("ndcg@10").better


def test_comparison_refuses_other_users_and_metrics(folders: dict[str, Path]) -> None:
    first, second = (ps.Result.load(folders[name]) for name in ("ease", "popularity"))
    with pytest.raises(ValueError, match="unknown metric 'auc'; metrics of both: precision@5, "):
        ps.compare(first, second, metric="auc")
    second.per_user.user = np.roll(second.per_user.user, 1)
    with pytest.raises(ValueError, match="wanted rankings of the same users and rows"):
        ps.compare(first, second)
    second.per_user = None
    second._per_user = None
    with pytest.raises(ValueError, match="popularity has no values of users"):
        ps.compare(first, second)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('evaluate.metrics=["ndgc"]', "evaluate: evaluate: unknown metric 'ndgc' of task ranking"),
        ("evaluate.k=[0]", "evaluate: evaluate: k must be positive, got 0"),
        ('evaluate.candidates="few"', "evaluate.candidates must be 'all' or a positive number, got 'few'"),
        ("train.monitor=auc", "train.monitor: evaluate: unknown metric 'auc' of task ranking"),
        ("dataset.core=three", "dataset: core must be a whole number or"),
        ("model.loss=hinge", "BPRMF: loss must be one of bpr, bce, mse, got 'hinge'"),
    ],
)
def test_configs_are_checked_before_training(config: Path, override: str, message: str, tmp_path: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        resolved = runs.resolve(config, [override])
        runs.execute(resolved, runs.folder_for(resolved, tmp_path / "run", resume=False))
    assert message in str(caught.value)
    left = {path.name for path in (tmp_path / "run").rglob("*")}
    assert not left, left


def test_sampled_candidates_stand_in_the_metrics(config: Path, tmp_path: Path) -> None:
    resolved = runs.resolve(config, ['evaluate.candidates="9"', 'model={"name": "popularity"}'])
    run = runs.execute(resolved, runs.folder_for(resolved, tmp_path / "run", resume=False))
    assert json.loads((run.folder / "metrics.json").read_text())["candidates"] == 9


def test_a_stopped_run_goes_on_to_the_same_bits(config: Path, tmp_path: Path) -> None:
    """Negatives, too, are those of a run that was never stopped."""
    data = runs.load_data(runs.resolve(config))
    whole, parts = (ps.models.create("bpr_mf", data.schema, dim=8) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    options = {"lr": 0.02, "batch_size": 128, "patience": 0, "threads": 1, "seed": 3}
    ps.Trainer(epochs=4, **options).fit(whole, data)
    stopped: list[int] = []

    def stop(row: dict[str, Any]) -> None:
        stopped.append(row["epoch"])
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    path = tmp_path / "last.safetensors"
    with pytest.raises(KeyboardInterrupt):
        ps.Trainer(epochs=4, **options).fit(parts, data, callbacks=stop, checkpoint=path)
    history = ps.Trainer(epochs=4, **options).fit(parts, data, checkpoint=path, resume=True)
    assert stopped == [1, 2]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    for name, tensor in whole.state_dict().items():
        assert (tensor == parts.state_dict()[name]).all()


def test_recommending_from_the_command_line(capsys: pytest.CaptureFixture[str], folders: dict[str, Path]) -> None:
    def table(*arguments: str) -> list[list[str]]:
        done = commands.command(capsys, *arguments)
        assert done.code == 0 and done.err == ""
        return list(csv.reader(done.out.splitlines()))

    folder = str(folders["bpr_mf"])
    model = ps.load(folder)
    liked = ["a0", "a4", "b8"]
    flags = [part for item in liked for part in ("--items", item)]
    head, *rows = table("recommend", folder, *flags, "--scene", "b", "-k", "4", "--explain")
    found = model.recommend(items=liked, scene="b", k=4, explain=True)
    assert head == ["user", "rank", "item", "scene", "score", "because"]
    assert [row[2] for row in rows] == found.items[0].tolist() and {row[0] for row in rows} == {"new user"}
    assert rows[0][5] == ", ".join(map(str, found.because[0, 0]))
    head, *rows = table("similar", folder, "a0", "-k", "3")
    assert head == ["rank", "item", "scene", "score"]
    assert [(row[1], row[2]) for row in rows] == [(each.item, each.scene) for each in model.similar_items("a0", k=3)]
    assert {row[2] for row in table("similar", folder, "a0", "--scene", "b")[1:]} == {"b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recommend",), "recommend: wanted user ids, or --items of a new user, got neither"),
        (("recommend", "u1", "--items", "a0"), "recommend: give users, or the items of one new user"),
        (("recommend", "--items", "a0x"), "recommend: unknown item 'a0x'; it must have rows in training"),
        (("similar", "a0x"), "similar_items: unknown item 'a0x'; it must have rows in training"),
    ],
)
def test_what_the_command_line_asks_wrongly(
    capsys: pytest.CaptureFixture[str], folders: dict[str, Path], arguments: tuple[str, ...], message: str
) -> None:
    done = commands.command(capsys, arguments[0], str(folders["bpr_mf"]), *arguments[1:])
    assert done.code != 0 and done.err.startswith(f"polyscene: {message}")


def test_a_model_of_ratings_names_those_of_rankings(config: Path) -> None:
    resolved = runs.resolve(config, ['model={"name": "mf"}'])
    with pytest.raises(ValueError, match=r"mf: made for task ctr or rating, .*'ranking'; models for it: .*bpr_mf"):
        runs.execute(resolved, runs.folder_for(resolved, config.parent / "mf", resume=False))
