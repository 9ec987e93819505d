"""Curves, axes and the summary of several runs, against scikit-learn and numbers by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from fake_runs import AGES, make_run, predictions
from polyscene.report import build_report, build_summary
from polyscene.report.curves import calibration, confusion, roc
from polyscene.report.flow import shown_flows
from polyscene.report.heatmap import level
from polyscene.report.summary import spread, summarise
from polyscene.report.svg import number, shorten, text_width, tick_texts, ticks
from polyscene.results import Predictions, Result
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve


def test_roc_matches_scikit_learn_with_ties():
    p = predictions(rows=2000)
    p.score = np.round(p.score, 2)
    curve = roc(p, points=1_000_000)
    fpr, tpr, _ = oracle.roc_curve(p.label, p.score, drop_intermediate=False)
    np.testing.assert_allclose(np.stack([curve.fpr, curve.tpr]), np.stack([fpr, tpr]), atol=1e-12)
    assert curve.auc == pytest.approx(oracle.roc_auc_score(p.label, p.score), rel=1e-12)
    thin = roc(p, points=50)
    assert len(thin.fpr) <= 60 and thin.auc == curve.auc
    assert (thin.fpr[0], thin.tpr[0], thin.fpr[-1], thin.tpr[-1]) == (0, 0, 1, 1)


def test_roc_of_one_class_is_none():
    p = predictions(rows=50)
    p.label[:] = 1
    assert roc(p) is None


def test_calibration_matches_scikit_learn():
    p = predictions(rows=2000)
    got = calibration(p)
    rate, score = calibration_curve(p.label, p.score, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(got.rate, rate, atol=0.006)
    np.testing.assert_allclose(got.score, score, atol=0.002)
    assert got.rows.sum() == 2000
    assert got.error == pytest.approx(np.abs(got.score - got.rate).mean(), abs=1e-12)
    assert calibration(p.take(np.arange(4))) is None


def test_confusion_matches_scikit_learn_and_a_score_at_the_threshold_is_positive():
    p = predictions(rows=500)
    p.score[0], p.label[0] = 0.35, 0
    c = confusion(p, 0.35)
    tn, fp, fn, tp = oracle.confusion_matrix(p.label, p.score >= 0.35).ravel()
    assert (c.true_negative, c.false_positive, c.false_negative, c.true_positive, c.rows) == (tn, fp, fn, tp, 500)


def test_ticks_are_round_and_inside():
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert tick_texts([0.72, 0.74]) == ["0.72", "0.74"]
    assert tick_texts([0, 2500, 5000]) == ["0", "2,500", "5,000"]
    for low, high in ((0.7012, 0.7013), (-3, 12_345), (1e-9, 2e-9)):
        values = ticks(low, high)
        assert 2 <= len(values) <= 9 and low - 1e-12 <= values[0] and values[-1] <= high * (1 + 1e-9)
    assert ticks(1, 1) == [1] and ticks(math.nan, 1) == []


def test_texts_are_shortened_to_fit():
    assert shorten("abc", 100) == "abc"
    cut = shorten("a very long name of a scene", 60)
    assert cut.endswith("…") and text_width(cut) <= 60
    assert text_width("場景") > text_width("ab")
    assert (number(1.0), number(-0.001), number(2.345)) == ("1", "0", "2.35") or number(2.345) == "2.34"


def test_colour_levels_rise_with_the_value():
    levels = [level(v, 0.5) for v in np.linspace(0, 0.5, 50)]
    assert levels == sorted(levels) and (levels[0], levels[-1]) == (0, 9)
    assert level(0.3, 0.0) == 0


def test_flows_keep_the_strongest_of_each_source():
    flow = np.random.default_rng(0).dirichlet(np.full(30, 0.2), 30)
    kept = shown_flows(flow.tolist(), most=45)
    assert len(kept) == len(set(kept)) == 45
    assert all((i, int(flow[i].argmax())) in kept for i in range(30))
    left_out = [flow[i, j] for i in range(30) for j in range(30) if (i, j) not in kept]
    others = [flow[i, j] for i, j in kept if j != flow[i].argmax()]
    assert max(left_out) <= min(others)


def test_spread_by_hand():
    s = spread([1.0, 2.0, math.nan, 3.0])
    assert (s.mean, s.std) == (2.0, 1.0)
    assert math.isnan(spread([1.0]).std) and math.isnan(spread([math.nan]).mean)


def test_summary_page_has_mean_and_deviation_of_each_scene(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"seed-{seed}", rows=400, seed=seed, with_explain=False)
    build_report(tmp_path / "seed-1")
    path = build_report(tmp_path)
    assert path == tmp_path / "report.html" == build_summary(tmp_path)
    text = path.read_text(encoding="utf-8")
    for part in ("overall", "macro", *AGES):
        all_values = [json.loads((tmp_path / f"seed-{s}" / "metrics.json").read_text()) for s in range(3)]
        values = [(v[part] if part in v else v["scenes"][part])["auc"] for v in all_values]
        assert f"{np.mean(values):.4f}<small> ± {np.std(values, ddof=1):.4f}</small>" in text
    assert text.count('href="') == 1 and 'href="seed-1/report.html"' in text
    assert "http" not in text.replace("http-equiv", "") and "25&lt;=age&lt;35" in text and "25<=age" not in text


def test_summary_of_runs_with_different_scenes_leaves_holes():
    results = [
        Result.from_dict({"overall": {"auc": a}, "scenes": {s: {"auc": a}}}) for s, a in (("x", 0.5), ("y", 0.7))
    ]
    found = summarise(results)
    assert found["scenes.x"]["auc"].mean == 0.5 and math.isnan(found["scenes.x"]["auc"].std)
    assert found["overall"]["auc"].mean == pytest.approx(0.6)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="wanted a run folder, or a folder of them; found no metrics.json"):
        build_summary(tmp_path)


def test_predictions_survive_parquet(tmp_path):
    p = predictions(rows=50)
    p.write(tmp_path / "p.parquet")
    again = Predictions.read(tmp_path / "p.parquet")
    for name in ("row", "scene", "label", "score", "user"):
        np.testing.assert_array_equal(getattr(again, name), getattr(p, name))
