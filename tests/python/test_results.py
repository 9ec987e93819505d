"""Results, their tables and the progress display."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_runs import AGES, history, make_run
from polyscene.display import TrainingProgress, epoch_line, print_result, print_summary
from polyscene.results import Predictions, Result, main_metric, metric_order, metric_title

UNDEFINED = {
    "task": "ctr",
    "model": "mf",
    "best_epoch": 3,
    "overall": {"auc": 0.75, "log_loss": 0.5},
    "macro": {"auc": 0.75, "log_loss": 0.55},
    "scenes": {
        "a.b": {"auc": None, "log_loss": 0.6, "rows": 4, "positives": 4},
        "<b>&": {"auc": 0.75, "log_loss": 0.5, "rows": 1200, "positives": 300},
    },
    "undefined": {"scenes.a.b.auc": "one class"},
    "threshold": 0.4,
}


def test_dict_round_trip_keeps_every_key_and_null():
    values = UNDEFINED | {"valid": {k: UNDEFINED[k] for k in ("overall", "macro", "scenes", "undefined")}, "note": "x"}
    again = Result.from_dict(values).to_dict()
    assert again == values
    assert json.loads(json.dumps(again, allow_nan=False)) == values


def test_predictions_are_made_when_somebody_asks_and_travel_with_a_copy():
    import copy
    import pickle

    import polyscene as ps

    data = ps.testing.tiny_data()
    model = ps.models.MF(data.schema, history=3)
    model.prepare(data.train)
    result = ps.evaluate(model, data.test)
    copies = [pickle.loads(pickle.dumps(result)), copy.deepcopy(result)]
    rows = result.predictions
    assert rows is result.predictions
    np.testing.assert_allclose(rows.score, ps.evaluation.predict(model, data.test))
    for each in copies:
        np.testing.assert_array_equal(each.predictions.score, rows.score)
        np.testing.assert_array_equal(each.predictions.scene, rows.scene)
    unread = Result.from_dict(UNDEFINED)
    unread._predictions = Path("nowhere") / "predictions.parquet"
    assert copy.copy(unread)._predictions == unread._predictions  # a file is not read for a copy


def test_undefined_metric_is_nan_with_its_reason():
    result = Result.from_dict(UNDEFINED)
    assert math.isnan(result.scenes["a.b"]["auc"])
    assert result.reason("auc", "a.b") == "one class"
    assert result.reason("auc", "<b>&") == ""
    assert result.counts["<b>&"] == {"rows": 1200, "positives": 300}
    assert "rows" not in result.scenes["<b>&"]


def test_text_has_every_number_and_a_dash_for_undefined():
    lines = Result.from_dict(UNDEFINED).text().splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.strip() and not line.startswith("─")}
    assert cells["a.b"] == ["–", "0.6000", "4", "4"]
    assert cells["<b>&"] == ["0.7500", "0.5000", "1,200", "300"]
    assert cells["All"] == ["rows", "0.7500", "0.5000", "1,204", "304"]
    assert lines[-1] == "– scenes.a.b.auc: one class"


def test_narrow_terminal_splits_the_table_instead_of_cutting_numbers(tmp_path):
    result = Result.load(make_run(tmp_path / "run", rows=600))
    text = result.text(width=60)
    assert max(map(len, text.splitlines())) <= 60
    for values in result.scenes.values():
        assert all(f"{value:.4f}" in text for value in values.values())
    assert text.count("Scene") > 1
    assert result.text().count("Scene") == 1


def test_html_escapes_names_and_carries_reasons():
    html = Result.from_dict(UNDEFINED).html()
    assert "&lt;b&gt;&amp;" in html and "<b>&" not in html
    assert 'title="one class">–' in html
    assert Result.from_dict(UNDEFINED)._repr_html_() == html


def test_frame_has_scenes_then_macro_then_overall():
    frame = Result.from_dict(UNDEFINED).frame()
    assert list(frame.index) == ["a.b", "<b>&", "macro", "overall"]
    assert list(frame.columns) == ["auc", "log_loss", "rows", "positives"]
    assert math.isnan(frame.loc["a.b", "auc"])
    assert frame.loc["overall", "rows"] == 1204


def test_load_reads_metrics_predictions_and_split(tmp_path):
    result = Result.load(make_run(tmp_path / "run-1", rows=500, seed=3))
    assert (result.name, result.model) == ("run-1", "interest_migration")
    assert result.best_epoch == [row["epoch"] for row in history(seed=3) if row["best"]][-1]
    assert result.split_digest == "0003" * 16
    assert list(result.scenes) == list(AGES)
    assert result.predictions is not None and len(result.predictions) == 500
    part = result.predictions.of(AGES[0])
    assert len(part) == result.counts[AGES[0]]["rows"]
    assert part.label.sum() == result.counts[AGES[0]]["positives"]
    assert result.valid is not None and result.valid.overall["auc"] != result.overall["auc"]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="wanted the folder of a finished run, found no metrics.json"):
        Result.load(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json: wanted JSON"):
        Result.load(tmp_path)


def test_predictions_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"Predictions: label must have the shape of row \(2,\), got \(3,\)"):
        Predictions(np.arange(2), np.array(["a", "a"]), np.zeros(3), np.zeros(2))


def test_metric_names_in_reading_order():
    assert metric_order(["ndcg@20", "x", "f1", "recall@10", "auc", "auc"]) == ["auc", "f1", "x", "recall@10", "ndcg@20"]
    assert [metric_title(m) for m in ("auc", "log_loss", "ndcg@10", "precision")] == [
        "AUC",
        "Log loss",
        "NDCG@10",
        "Precision",
    ]
    assert main_metric("rating") == "rmse"


def drive(progress: TrainingProgress, epochs: int = 3) -> None:
    progress.on_start(epochs, 1000)
    for row in history(epochs):
        progress.on_progress(row["epoch"], 500, 1000, 0.7)
        progress.on_progress(row["epoch"], 1000, 1000, 0.6)
        progress.on_epoch(row)
    progress.on_end()
    progress.on_end()


def test_progress_without_a_terminal_is_one_plain_line_an_epoch():
    out = io.StringIO()
    drive(TrainingProgress(file=out))
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert f"auc {history(3)[1]['valid']['auc']:.4f}" in lines[1]
    assert "rows/s" in lines[0] and lines[0].endswith("best")
    assert "\x1b" not in out.getvalue()


def test_progress_in_a_terminal_shows_speed_and_time_left():
    out = io.StringIO()
    progress = TrainingProgress(file=out, live=True)
    progress.on_start(3, 1000)
    progress.on_progress(2, 250, 1000, 0.654321)
    task = progress._progress.tasks[0]
    assert (task.description, task.completed, task.total) == ("epoch 2/3", 250, 1000)
    assert task.fields["speed"].endswith("rows/s") and task.fields["eta"].startswith("up to ")
    assert "loss 0.6543" in task.fields["state"]
    progress.on_epoch(history(1)[0])
    progress.on_progress(3, 1, 1000, 0.6)
    assert "best auc" in progress._progress.tasks[0].fields["state"]
    progress.on_end()
    assert "epoch 1/3" in out.getvalue()


def test_progress_in_a_narrow_terminal_keeps_an_epoch_on_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "66")
    out = io.StringIO()
    drive(TrainingProgress(file=out, live=True), 2)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.startswith("epoch 1/2  loss")]
    assert len(lines) == 1
    assert "auc" in lines[0] and lines[0].rstrip().endswith("best") and len(lines[0].rstrip()) <= 66


def test_epoch_line_survives_missing_and_undefined_values():
    line = epoch_line({"epoch": 2, "phase": "target", "train_loss": math.nan, "valid": {"auc": None}}, None, "auc")
    assert line == "epoch 2  target  loss –  auc –"


def test_epoch_line_of_a_closed_form_has_no_epoch():
    line = epoch_line({"epoch": 1, "phase": "closed_form", "train_loss": 0.0, "valid": {"auc": 0.5}, "best": True}, 30)
    assert line == "fitted in closed form  auc 0.5000  best"


def test_print_result_shows_the_transfer_verdict(tmp_path):
    from rich.console import Console

    out = io.StringIO()
    print_result(Result.load(make_run(tmp_path / "run", rows=300)), Console(file=out, width=70))
    assert "Migrating from 2 scenes raised AUC" in out.getvalue()


def test_print_result_into_a_file_cuts_nothing_off(tmp_path):
    from rich.console import Console

    result, out = Result.load(make_run(tmp_path / "run", rows=300)), io.StringIO()
    print_result(result, Console(file=out))
    assert out.getvalue().startswith(result.text())
    assert "…" not in out.getvalue()


def test_print_summary_fits_the_terminal_and_cuts_nothing_off_in_a_file():
    from rich.console import Console

    values = {"auc": (0.75, 0.01), "f1": (0.5, 0.0), "recall": (math.nan, 0.0)}
    summary = {"home": values, "macro": values, "overall": values}
    narrow = Console(file=io.StringIO(), width=40, force_terminal=True)
    for console, tables in ((Console(file=io.StringIO()), 1), (narrow, 3)):
        print_summary(summary, 3, console)
        text = console.file.getvalue()
        assert "mean ± standard deviation over 3 runs" in text
        assert text.count("0.7500 ± 0.0100") == 3 and text.count("All rows") == tables
        assert "…" not in text and "nan" not in text


def test_importing_results_needs_no_optional_package():
    modules = ("results", "comparison", "display", "report")
    heavy = ("scipy", "pandas", "matplotlib", "rich", "jinja2", "sklearn")
    code = "import sys\n" + "".join(f"import polyscene.{name}\n" for name in modules)
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
