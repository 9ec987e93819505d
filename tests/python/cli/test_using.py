"""Commands on a finished run: evaluate, predict, recommend, report, compare."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import commands
import numpy as np
import polyscene as ps
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn import metrics as oracle


def csv(text: str) -> pa.Table:
    types = pyarrow.csv.ConvertOptions(column_types={"user": pa.string(), "item": pa.string(), "scene": pa.string()})
    return pa.csv.read_csv(io.BytesIO(text.encode()), convert_options=types)


def test_evaluate_repeats_the_run(cli: Any, own: Path, tables: Path) -> None:
    """The test file, read with the model's schema, has the metrics of the run; so do its folder and its model file."""
    metrics = json.loads((own / "metrics.json").read_text())
    for run in (own, own / "model.safetensors"):
        for ending in ("csv", "parquet"):
            done = cli("evaluate", run, tables / f"test.{ending}", "--json")
            assert done.code == 0 and done.err == ""
            found = json.loads(done.out)
            assert found["overall"] == metrics["overall"] and found["scenes"] == metrics["scenes"]


def test_evaluate_some_metrics(cli: Any, own: Path, tables: Path) -> None:
    done = cli(
        "evaluate", own, tables / "test.csv", "--metric", "f1", "--metric", "auc", "--threshold", "0.3", "--json"
    )
    found = json.loads(done.out)
    rows = ps.Predictions.read(own / "predictions.parquet")
    assert sorted(found["overall"]) == ["auc", "f1"] and found["threshold"] == 0.3
    assert found["overall"]["f1"] == pytest.approx(oracle.f1_score(rows.label, rows.score >= 0.3), abs=1e-12)
    shown = cli("evaluate", own, tables / "test.csv", "--metric", "f1")
    assert "All rows" in shown.out and "AUC" not in shown.out


def test_predict(cli: Any, own: Path, tables: Path, tmp_path: Path) -> None:
    wanted = ps.Predictions.read(own / "predictions.parquet").score.astype(np.float32)
    done = cli("predict", own, tables / "test.csv")
    assert done.code == 0
    printed = csv(done.out)
    assert printed.column_names == ["row", "score"] and printed.column("row").to_pylist() == list(range(1, 201))
    np.testing.assert_array_equal(printed.column("score").to_numpy().astype(np.float32), wanted)
    for name in ("scores.csv", "scores.parquet"):
        assert cli("predict", own, tables / "test.parquet", "--out", tmp_path / name).code == 0
    read = pa.parquet.read_table(tmp_path / "scores.parquet")
    np.testing.assert_array_equal(read.column("score").to_numpy().astype(np.float32), wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.parquet"]


def test_predict_rows_without_labels(cli: Any, own: Path, tables: Path, tmp_path: Path) -> None:
    bare = pa.parquet.read_table(tables / "test.parquet").drop(["bought"])
    pa.parquet.write_table(bare, tmp_path / "bare.parquet")
    with_labels = cli("predict", own, tables / "test.parquet")
    assert cli("predict", own, tmp_path / "bare.parquet").out == with_labels.out
    done = cli("evaluate", own, tmp_path / "bare.parquet")
    assert done.code == 2 and done.err == "polyscene: evaluate: the table has no label column\n"


def test_recommend(cli: Any, own: Path, tables: Path, tmp_path: Path) -> None:
    done = cli("recommend", own, "003", "017", "-k", "4")
    assert done.code == 0 and done.err == ""
    table = csv(done.out).to_pydict()
    assert table["user"] == ["003"] * 4 + ["017"] * 4 and table["rank"] == [1, 2, 3, 4] * 2
    assert table["score"][:4] == sorted(table["score"][:4], reverse=True)
    seen = {row["what"] for row in pa.parquet.read_table(tables / "train.parquet").to_pylist() if row["who"] == "003"}
    assert not seen & set(map(int, table["item"][:4]))
    again = csv(cli("recommend", own, "003", "-k", "50", "--keep-seen", "--scene", "NA").out).to_pydict()
    assert seen & set(map(int, again["item"])) and set(again["scene"]) == {"NA"}
    assert cli("recommend", own, "003", "--out", tmp_path / "r.parquet").code == 0
    assert pa.parquet.read_table(tmp_path / "r.parquet").column("item").to_pylist()[:4] == table["item"][:4]


def test_recommend_after_events(cli: Any, own: Path, tmp_path: Path) -> None:
    """What happened since training is seen, and is not recommended again."""
    first = csv(cli("recommend", own, "003", "-k", "1").out).to_pydict()["item"][0]
    (tmp_path / "events.json").write_text(json.dumps([{"user": "003", "item": first, "scene": "NA", "time": 5}]))
    done = cli("recommend", own, "003", "-k", "50", "--events", tmp_path / "events.json")
    assert done.code == 0
    assert first not in csv(done.out).to_pydict()["item"]


def test_recommend_after_events_of_an_unknown_item(own: Path) -> None:
    model = ps.load(own)  # the folder of a run will do
    user = model.schema.categorical[model.schema.field(model.schema.user)].ids[0]
    with pytest.warns(UserWarning, match="recommend: nothing is known of item 'nowhere' in the events"):
        model.recommend([user], k=2, events=[{"user": user, "item": "nowhere"}])


def test_frames_say_how_to_get_pandas(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for frame in (ps.load(own).recommend(["u1"], k=2).frame, ps.Result.load(own).frame):
        with pytest.raises(ImportError, match=r"frame needs pandas: pip install pandas"):
            frame()


def test_recommend_to_a_stranger(cli: Any, own: Path) -> None:
    done = cli("recommend", own, "nobody", "-k", "3")
    assert done.code == 0 and len(csv(done.out)) == 3
    said = "recommend: nothing is known of nobody, served by popularity; give events or profile"
    assert done.err == f"polyscene: {said}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"user": "003"', "{path}: line 1, column 16: Expecting ',' delimiter"),
        ('{"user": "003"}', '{path}: wanted a JSON list of objects, such as [{{"user": "1", "item": "2"}}]'),
        ('[{"user": "003"}]', "recommend: event 1 must have 'item', got user"),
        (
            '[{"user": "003", "item": "1", "scen": "NA"}]',
            "recommend: event 1 has an unknown key 'scen'; known: user, item, scene, label, time, interest; "
            "did you mean 'scene'?",
        ),
        (
            '[{"user": "003", "item": "1", "scene": "na"}]',
            "recommend: event 1: unknown scene 'na'; known scenes: 1.0, NA",
        ),
        (
            '[{"user": "003", "item": "1", "label": "yes"}]',
            "recommend: event 1: label must be a number, got 'yes'",
        ),
        ('[{"user": "003", "item": "1", "time": "now"}]', "recommend: event 1: time must be a whole number, got 'now'"),
    ],
)
def test_bad_events(cli: Any, own: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "events.json"
    path.write_text(text)
    done = cli("recommend", own, "003", "--events", path)
    assert done.code == 2 and done.out == ""
    assert done.err == f"polyscene: {message.format(path=path)}\n"


def test_report(cli: Any, run: Path, tmp_path: Path) -> None:
    done = cli("report", run)
    assert done.code == 0 and done.out == f"report: {run / 'report.html'}\n"
    assert "scene_1" in (run / "report.html").read_text()
    (run / "report.html").unlink()
    missing = cli("report", tmp_path / "none")
    assert missing.code == 2
    assert (
        missing.err == f"polyscene: {tmp_path / 'none'}: wanted the folder of a finished run, found no metrics.json\n"
    )


def test_compare(cli: Any, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert cli("run", run / "config.json", "--set", "train.lr=0.1", "--out", other).code == 0
    done = cli("compare", run, other, "--metric", "auc")
    assert done.code == 0
    values = [json.loads((folder / "metrics.json").read_text())["overall"]["auc"] for folder in (run, other)]
    assert f"{abs(values[1] - values[0]):.4f}" in done.out
    alone = cli("compare", run)
    assert alone.code == 2 and alone.err == "polyscene: compare: wanted two or more runs, got 1\n"


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_run_that_is_not_there(cli: Any, tables: Path, tmp_path: Path, command: str) -> None:
    done = cli(command, tmp_path, tables / "test.csv")
    assert done.code == 2
    wanted = "wanted the folder of a finished run or a model file, found no model.safetensors"
    assert done.err == f"polyscene: {tmp_path}: {wanted}\n"


def test_output_that_cannot_be_written(cli: Any, own: Path, tables: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "x.csv", tmp_path / "none" / "x.parquet"):
        done = cli("predict", own, tables / "test.csv", "--out", target)
        assert done.code == 1 and done.err.startswith(f"polyscene: {target}: cannot be written: ")
        assert done.err.count("\n") == 1


def test_a_reader_that_goes_away(own: Path, tables: Path, tmp_path: Path) -> None:
    """``polyscene predict ... | head -1`` ends without a word."""
    big = pa.concat_tables([pa.parquet.read_table(tables / "test.parquet")] * 50)
    pa.parquet.write_table(big, tmp_path / "big.parquet")
    process = commands.start("predict", own, "big.parquet", cwd=tmp_path)
    assert process.stdout is not None and process.stdout.readline() == '"row","score"\n'
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) in (0, 1)
