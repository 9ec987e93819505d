"""Tables of rankings: a small one from beginning to end, against slow counts of one's own."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from polyscene import _ranking_tables as ranked
from polyscene import reproducing, runs
from polyscene.cli import main
from polyscene.results import PerUser, Result

TOP = Path(__file__).resolve().parents[2]
NEUTRAL = {
    "recency": 1.0,
    "nearness": 1.0,
    "elsewhere": 1.0,
}  # options that came after the records, where they change nothing; others: 0
PART, RUNS, SEEDS = "amazon-sport-phone", ("popularity", "ease", "ease_overall", "cmf"), (2022, 2023)
SLICES = {"cold": (0, 0), "few": (1, 5), "some": (6, 20), "many": (21, 10**9)}


def small_data(path: Path) -> None:
    """40 users of two scenes; item t of "sport" and item T of "phone" have the same users: twins."""
    draw = np.random.default_rng(3)
    lines = ["user_id\titem_id\tscene"]
    for user in range(40):
        for scene in ("sport", "phone"):
            if (user + len(scene)) % 10 == 0:
                continue
            weight = np.where(np.arange(30) % 3 == (user if scene == "sport" else user // 3) % 3, 6.0, 1.0)
            items = draw.choice(30, 8 + 3 * (user % 6), False, weight / weight.sum())
            lines += [f"u{user}\t{scene[0]}{item}\t{scene}" for item in items]
        if user % 3 == 0:
            lines += [f"u{user}\tt\tsport", f"u{user}\tT\tphone"]
    path.write_text("\n".join(lines) + "\n")


def small_table(top: Path) -> None:
    """Configs of a table of that data."""
    folder = top / "configs" / "cdr-amazon" / PART
    folder.mkdir(parents=True)
    small_data(top / "rows.tsv")
    dataset = {
        "name": "table", "data": str(top / "rows.tsv"), "task": "ranking", "label": None, "scene": "scene",
        "user": "user_id", "item": "item_id", "split": {"by": "random", "ratios": [6, 2, 2], "seed": 5},
    }  # fmt: skip
    options: dict[str, dict[str, Any]] = {
        "ease": {"l2": 5},
        "ease_overall": {"name": "ease", "scope": "overall", "l2": 5},
    }
    options |= {"popularity": {}, "cmf": {"dim": 8}}
    for run, given in options.items():
        config = {"dataset": dataset, "model": {"name": run} | given, "report": {"html": False}}
        config["train"] = {"epochs": 3, "lr": 0.02, "batch_size": 64, "threads": 1}
        (folder / f"{run}.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    top = tmp_path_factory.mktemp("ranked")
    small_table(top)
    with pytest.MonkeyPatch.context() as patch:
        small(patch, top)
        return reproducing.reproduce("cdr-amazon", out=top / "out", seeds=len(SEEDS)), top


def small(patch: pytest.MonkeyPatch, top: Path) -> None:
    patch.setattr(reproducing, "_configs", lambda: top / "configs")
    # Nobody has 999 items that he never met here.
    patch.setattr(ranked, "TABLES", ranked.TABLES | {"cdr-amazon": ("5 candidates", "without twins")})


def per_user(folder: Path, each: dict[str, Any]) -> PerUser:
    return PerUser.read(folder / each["folder"] / "per_user.parquet")


def test_the_parts_are_evaluations_of_one_training(made: Any) -> None:
    table, _ = made
    parts = [PART, f"{PART}, 5 candidates", f"{PART}, without twins"]
    assert list(dict.fromkeys(row["part"] for row in table.rows)) == parts
    assert sorted((e["part"], e["run"], e["seed"]) for e in table.runs) == sorted(
        (part, run, seed) for part in parts for run in RUNS for seed in SEEDS
    )
    for each in table.runs:
        assert bool(each["training"]) == (each["part"] == PART)
    # One ranking a user and scene in full, one a wanted item among candidates.
    full, sampled, _ = (
        next(e for e in table.runs if (e["part"], e["run"], e["seed"]) == (part, "ease", 2022)) for part in parts
    )
    positives = per_user(table.folder, full).facts["positives"]
    assert len(per_user(table.folder, sampled)) == positives.sum() > len(positives)
    assert table.values(parts[1], "overall", "ease", "ndcg@10")[0] > table.values(PART, "overall", "ease", "ndcg@10")[0]


def test_twins_are_left_out_of_the_test_rows(made: Any) -> None:
    table, top = made
    config = runs.resolve(top / "configs" / "cdr-amazon" / PART / "ease.json")
    data = runs.load_data(config)
    lines = [line.split("\t") for line in (top / "rows.tsv").read_text().splitlines()[1:]]
    users: dict[str, set[str]] = {}
    for user, item, _ in lines:
        users.setdefault(item, set()).add(user)
    sides = ([item for item in users if item[0] in start] for start in ("st", "pT"))
    pairs = [(users[a] & users[b], users[a] | users[b], a, b) for a, b in itertools.product(*sides)]
    twins = {item for both, either, *two in pairs if len(both) > 1 and len(both) >= len(either) / 2 for item in two}
    assert {"t", "T"} <= twins
    dropped = sum(lines[row][1] in twins for row in data.test.rows.tolist())
    assert 0 < dropped < data.test.size
    left = ranked.without_twins(data)
    assert left.size == data.test.size - dropped
    assert not {lines[row][1] for row in left.rows.tolist()} & twins
    each = next(e for e in table.runs if e["part"].endswith("without twins"))
    assert sum(each["rows"].values()) == left.size


def test_slices_of_users(made: Any) -> None:
    table, _ = made
    filled = set()
    for each in table.runs:
        rankings = per_user(table.folder, each)
        for scene in ("sport", "phone", "overall"):
            for name, (low, high) in SLICES.items():
                known = [
                    value
                    for value, here, where in zip(
                        rankings.values["ndcg@10"], rankings.facts["known_here"], rankings.scene, strict=True
                    )
                    if low <= here <= high and scene in (where, "overall")
                ]
                assert each["users"][scene][name] == len(known)
                found = each["scenes"][scene][f"ndcg@10 {name}"]
                assert found is None if not known else found == pytest.approx(np.mean(known))
                filled |= {name} if known else set()
    assert {"few", "some"} <= filled
    row = next(r for r in table.rows if (r["run"], r["scene"], r["metric"]) == ("cmf", "sport", "ndcg@10 some"))
    assert row["mean"] == pytest.approx(np.mean(row["values"]))


def test_references_are_chosen_on_validation_rows(made: Any) -> None:
    table, _ = made
    full = [each for each in table.runs if each["part"] == PART]
    for scene in ("sport", "phone", "overall"):
        judged = {}
        for run in RUNS[:3]:
            results = [Result.load(table.folder / e["folder"]) for e in full if e["run"] == run]
            values = [(r.valid.overall if scene == "overall" else r.valid.scenes[scene])["ndcg@10"] for r in results]
            judged[run] = np.mean(values)
        wanted = {max(("popularity", "ease"), key=judged.__getitem__), max(judged, key=judged.__getitem__)}
        for part in dict.fromkeys(e["part"] for e in table.runs):
            assert {t["against"] for t in table.tests if (t["part"], t["scene"]) == (part, scene)} == wanted
    assert all(test["run"] != test["against"] for test in table.tests)


def test_test_rows_do_not_choose_the_reference() -> None:
    def figure(valid: float, test: float) -> list[dict[str, Any]]:
        return [{"valid_scenes": {"a": valid}, "scenes": {"a": {"ndcg@10": test}}}]

    figures = {"ease": figure(0.2, 0.1), "popularity": figure(0.1, 0.9), "bpr_mf": figure(0.3, 0.0)}
    assert ranked.best(figures | {"cmf": figure(0.9, 0.9)}, "a") == ["ease", "bpr_mf"]
    assert ranked.best({"ease": figures["ease"], "popularity": figures["popularity"]}, "a") == ["ease"]
    assert ranked.best({"cmf": figures["ease"]}, "a") == []


def test_paired_tests_over_users_and_seeds(made: Any) -> None:
    from scipy import stats

    table, _ = made
    assert {test["metric"] for test in table.tests} == set(ranked.TESTED)
    seen = 0
    for test in table.tests:
        if test["metric"] not in ("ndcg@10", "ndcg@10 few") or test["scene"] == "overall":
            continue
        gaps: dict[str, list[float]] = {}
        for seed in SEEDS:
            one, other = (
                per_user(
                    table.folder,
                    next(e for e in table.runs if (e["part"], e["run"], e["seed"]) == (test["part"], test[key], seed)),
                )
                for key in ("run", "against")
            )
            theirs = {
                (u, r): v for u, r, v in zip(other.user, other.facts["row"], other.values["ndcg@10"], strict=True)
            }
            for user, row, scene, here, value in zip(
                one.user, one.facts["row"], one.scene, one.facts["known_here"], one.values["ndcg@10"], strict=True
            ):
                if scene == test["scene"] and ("few" not in test["metric"] or 1 <= here <= 5):
                    gaps.setdefault(user, []).append(value - theirs[user, row])
        everything = [gap for mine in gaps.values() for gap in mine]
        assert test["rankings"] == len(everything)
        if len(gaps) < 2:
            assert test["p_rows"] is None
            continue
        assert test["difference"] == pytest.approx(np.mean(everything), abs=1e-12)
        if "candidates" not in test["part"] and any(everything):  # a ranking a user and seed: the plain t-test
            p = stats.ttest_1samp([np.mean(mine) for mine in gaps.values()], 0).pvalue
            assert test["p_rows"] == pytest.approx(p)
            assert test["low"] <= test["difference"] <= test["high"]
            seen += 1
    assert seen >= 8


def test_tests_are_corrected_within_a_part_and_metric(made: Any) -> None:
    table, _ = made
    for part in dict.fromkeys(each["part"] for each in table.runs):
        family = [t for t in table.tests if (t["part"], t["metric"]) == (part, "ndcg@10") and t["p_rows"] is not None]
        order = sorted(family, key=lambda t: t["p_rows"])
        assert order[0]["p_rows_holm"] == pytest.approx(min(1, len(order) * order[0]["p_rows"]))
        assert [t["p_rows_holm"] for t in order] == sorted(t["p_rows_holm"] for t in order)
    # Popularity and EASE have no chance in them.
    sure = [t for t in table.tests if {t["run"], t["against"]} <= {"popularity", "ease", "ease_overall"}]
    assert sure and all(t["p_seeds"] is None for t in sure)
    assert any(t["p_seeds"] is not None for t in table.tests if t["run"] == "cmf")


def test_what_is_written(made: Any) -> None:
    table, _ = made
    text = (table.folder / "table.md").read_text()
    assert text == table.text() + "\n"
    for words in (
        "NDCG@10 few",
        "p (users)",
        f"### {PART}, cost of training",
        "without twins, less",
        "Sampled candidates",
    ):
        assert words in text
    assert "5 candidates, cost of training" not in text
    assert "bootstrap of the test rows" not in text
    report = (table.folder / "report.html").read_text()
    assert report.count("Cost of training") == 1
    assert "p (users)" in report
    content = json.loads((table.folder / "table.json").read_text())
    assert content["runs"] == table.runs
    assert content["tests"] == table.tests


def test_a_table_goes_on_and_grows(made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table, top = made
    ran = []
    evaluate, execute = ranked.evaluate, runs.execute
    small(monkeypatch, top)
    monkeypatch.setattr(ranked, "evaluate", lambda *a, **k: ran.append("further") or evaluate(*a, **k))
    monkeypatch.setattr(runs, "execute", lambda *a, **k: ran.append(a[1].name) or execute(*a, **k))
    again = reproducing.reproduce("cdr-amazon", out=table.folder, seeds=2, resume=True)
    assert ran == []
    assert (again.rows, again.tests) == (table.rows, table.tests)
    # What was trained anew is evaluated anew.
    folder = table.folder / PART / "cmf" / "seed-2023"
    (folder / "model.safetensors").unlink()
    (folder / "metrics.json").write_text("{}")
    assert reproducing.reproduce("cdr-amazon", out=table.folder, seeds=2, resume=True).rows == table.rows
    assert ran[0] == "seed-2023"
    ran.clear()
    for given in (["popularity"], [f"{PART}/popularity", "ease"]):
        grown = reproducing.reproduce("cdr-amazon", out=tmp_path / "t", seeds=1, resume=True, only=given)
        assert {each["run"] for each in grown.runs} == {each.split("/")[-1] for each in given}
    assert ran.count("seed-2022") == 2
    with pytest.raises(ValueError, match="only must be one of .*; did you mean 'ease'"):
        reproducing.reproduce("cdr-amazon", out=tmp_path / "u", only=["eas"])
    arguments = ["reproduce", "cdr-amazon", "--out", str(tmp_path / "t"), "--resume", "--seeds", "1", "--only", "ease"]
    assert main(arguments) == 0
    assert {row["run"] for row in json.loads((tmp_path / "t" / "table.json").read_text())["rows"]} == {"ease"}


def test_configs_of_the_tables() -> None:
    top = reproducing._configs()
    names = {*ranked.ALONE, *ranked.POOLED}
    across = {"cmf", "clfm", "dtcdr", "deep_apf", "natr", "co_net", "emcdr", "sscdr", "dcdcsr", "bi_tgcf", "ptupcdr"}
    by = {"cdr-douban": "user", "cdr-amazon": "files", "cdr-cold": "cold_scene", "cdr-warm": "user"}
    of_sequences = {"sequences-movie-book": {"given", "last"}, "sequences-ml100k": {"hours"}}
    assert {*by, *of_sequences} == set(ranked.TABLES)
    for table, parts in of_sequences.items():
        assert {folder.name for folder in (top / table).iterdir()} == parts
        for part in parts:
            found = {path.stem: runs.resolve(path) for path in (top / table / part).glob("*.json")}
            alone = {"popularity", "item_knn", *ranked.OF_SEQUENCES}
            neural = {"sasrec", "gru4rec", "bert4rec", "c2dsr", "tri_cdr", "interest_sequence"}
            assert set(found) == alone | {"item_knn_cross", *neural}
            for name, config in found.items():
                scope = config["model"].get("scope", "scene" if config["model"]["name"] == "popularity" else None)
                assert (scope == "scene") == (name in alone), name
    for table, split in by.items():
        for folder in (top / table).iterdir():
            configs = {path.stem: runs.resolve(path) for path in folder.glob("*.json")}
            closed = {"popularity", "item_knn", "item_knn_overall", "ease", "ease_overall", "cross_ease"}
            few = closed | {"bpr_mf", "light_gcn", "cmf", "emcdr"}
            all_models = names | across | {"disen_cdr", "cdrib", "uni_cdr", "cross_ease"}
            assert set(configs) == (few if table == "cdr-warm" else all_models)
            assert {c["dataset"]["name"] for c in configs.values()} == {folder.name}
            assert {c["dataset"]["split"]["by"] for c in configs.values()} == {split}
            assert {c["train"]["threads"] for c in configs.values()} == {1}


def script() -> Any:
    path = TOP / "experiments" / "cdr.py"
    if not path.exists():
        pytest.skip("no checkout")
    spec = importlib.util.spec_from_file_location("cdr", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_a_record(made: Any) -> None:
    table, _ = made
    module = script()
    assert (module.ALONE, module.POOLED) == (ranked.ALONE, ranked.POOLED)
    content = json.loads((table.folder / "table.json").read_text())
    page = module.page({"cdr-amazon": module.Record(content)})
    assert page.count("**No record yet**") == len(module.TABLES) - 1
    assert "**Not in this record**" in page and "`disen_cdr`" in page
    for run in RUNS:
        mean = next(
            r["mean"]
            for r in content["rows"]
            if (r["part"], r["run"], r["scene"], r["metric"]) == (PART, run, "sport", "recall@10")
        )
        assert any(line.startswith(f"| `{run}` |") and f"{mean:.4f}" in line for line in page.splitlines())
    test = next(t for t in content["tests"] if (t["part"], t["run"], t["metric"]) == (PART, "cmf", "ndcg@10"))
    assert f"{test['difference']:+.4f}" in page
    assert not math.isnan(test["difference"])


def test_the_page_in_the_documentation_is_that_of_the_records() -> None:
    module = script()
    assert module.written() == (TOP / "docs" / "cdr.md").read_text()
    for name in module.TABLES:
        path = TOP / "experiments" / "results" / f"{name}.json"
        for part, configs in (json.loads(path.read_text())["configs"] if path.exists() else {}).items():
            for run, config in configs.items():
                now = runs.resolve(reproducing._configs() / name / part / f"{run}.json")
                for block in ("dataset", "model", "train"):
                    then = config[block]
                    assert {key: now[block][key] for key in then} == then, (name, part, run, block)
                    newer = {key: now[block][key] for key in now[block].keys() - then.keys()}
                    assert newer == {key: NEUTRAL.get(key, 0) for key in newer}, (name, part, run, block)
