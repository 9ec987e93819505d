"""The report of a run: its numbers, its safety, and what it does when files are missing."""

from __future__ import annotations

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_runs import AGES, GENRES, history, make_run, measure
from polyscene.report import build_report
from polyscene.results import Predictions, metric_title

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page: tags balanced, tables as lists of cell texts, attributes of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.text: list[str] = []
        self.titles: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.titles += [value for name, value in attrs if name == "title"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" in self.open or "script" in self.open:
            return
        self.text.append(data)
        if ("td" in self.open or "th" in self.open) and "title" not in self.open:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, *head: str) -> dict[str, dict[str, str]]:
        """The table whose heading begins with these texts, as row name -> column -> text."""
        for table in self.tables:
            if table and tuple(table[0][: len(head)]) == head:
                return {row[0]: dict(zip(table[0][1:], row[1:], strict=True)) for row in table[1:]}
        raise AssertionError(f"no table {head} among {[t[0] for t in self.tables if t]}")

    @property
    def all_text(self) -> str:
        return " ".join(" ".join(self.text).split())


def build(folder: Path) -> tuple[Page, str]:
    text = build_report(folder).read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("report") / "run", rows=3000)
    build_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def figures(text: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)


def test_the_scene_table_equals_metrics_json(run, page):
    metrics = json.loads((run / "metrics.json").read_text())
    table = page.table("Scene", "AUC")
    for scene, values in metrics["scenes"].items():
        for name, value in values.items():
            shown = table[scene][name.capitalize() if name in ("rows", "positives") else metric_title(name)]
            assert shown == (f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
    for line, part in (("All rows", "overall"), ("Mean of scenes", "macro")):
        assert all(table[line][metric_title(k)] == f"{v:.4f}" for k, v in metrics[part].items())
    assert table["All rows"]["Rows"] == "3,000"


def test_cards_show_overall_macro_and_validation(run, page):
    metrics = json.loads((run / "metrics.json").read_text())
    for name, value in metrics["overall"].items():
        macro, valid = metrics["macro"][name], metrics["valid"]["overall"][name]
        arrow = " ↓" if name == "log_loss" else ""
        card = f"{metric_title(name)}{arrow} {value:.4f} scene mean {macro:.4f} validation {valid:.4f}"
        assert card in page.all_text


def test_curves_and_confusion_come_from_the_predictions(run, page):
    p = Predictions.read(run / "predictions.parquet")
    for scene in AGES:
        part = p.of(scene)
        assert f"{scene} {measure(part)[0]['auc']:.4f}" in page.all_text  # legend of the ROC curves
        said, up = part.score >= 0.5, part.label == 1
        counts = [(said & up).sum(), (~said & up).sum(), (said & ~up).sum(), (~said & ~up).sum()]
        rows = " ".join(f"{n:,} {100 * n / len(part):.1f} %" for n in counts[:2])
        assert f"{scene} called + called − is + {rows}" in page.all_text


def test_transition_matrix_is_readable_from_the_page(run, page):
    explain = json.loads((run / "explain.json").read_text())["transition"]["matrices"]
    stored = [value for tag, name, value in page.attributes if name == "data-values"]
    first = np.array(explain[f"{AGES[0]} -> {AGES[1]}"])
    shown = np.array([[float(v) / 10_000 for v in line.split(",")] for line in stored[0].split("|")])
    np.testing.assert_allclose(shown, first, atol=1e-6)
    options = re.search(r"<select>(.*?)</select>", (run / "report.html").read_text()).group(1)
    assert options.count("<option>") == len(AGES) ** 2


def test_flow_shows_each_chance_and_never_more_than_all(run, page):
    matrix = np.array(json.loads((run / "explain.json").read_text())["transition"]["matrices"]["age<25 -> age>=35"])
    text = (run / "report.html").read_text(encoding="utf-8")
    figure = next(f for f in figures(text) if "Flow of interests, age&lt;25 -&gt; age&gt;=35" in f)
    ribbons = [e for e in ElementTree.fromstring(figure) if e.tag == "path"]
    assert len(ribbons) >= len(GENRES)
    for ribbon in ribbons:
        i, j = int(ribbon.get("data-a")), int(ribbon.get("data-b"))
        assert ribbon.find("title").text == f"{GENRES[i]} → {GENRES[j]}: {matrix[i, j]:.1%}"
        assert ("stays" in ribbon.get("class")) == (i == j)
    for i in range(len(GENRES)):
        assert any(r.get("data-a") == str(i) and r.get("data-b") == str(matrix[i].argmax()) for r in ribbons)


def test_facts_config_and_transfer_are_shown(page):
    for text in ("torch", "2.13.0+cpu", "Example CPU", "GroupLens research licence", "train 2022, split 2022",
                 '"monitor": "auc"', "Migrating helped", "raised AUC by 0.0210", "fused 0.7631",
                 "If training had never seen", "0.7312", "0.7611"):  # fmt: skip
        assert text in page.all_text, text


def test_the_best_epoch_is_marked(run, page):
    best = [row["epoch"] for row in history() if row["best"]][-1]
    assert f"weights of epoch {best} of 14" in page.all_text
    assert f"best: epoch {best}" in page.all_text
    assert f"epoch {best}: Validation AUC {history()[best - 1]['valid']['auc']:.4f}" in page.all_text


def test_the_page_needs_no_network(run, page):
    text = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    assert not [a for a in page.attributes if a[1] in ("src", "srcset", "data", "action", "xlink:href")]
    assert not [a for a in page.attributes if a[0] in ("link", "img", "iframe", "object", "embed")]
    assert not [a for a in page.attributes if a[1] == "href"]
    policy = next(v for t, n, v in page.attributes if n == "content" and "default-src" in v)
    assert policy.startswith("default-src 'none'")


def test_every_figure_is_valid_xml_without_undefined_coordinates(run):
    found = figures((run / "report.html").read_text(encoding="utf-8"))
    assert len(found) > 20
    for figure in found:
        root = ElementTree.fromstring(figure)
        assert root.get("viewBox") or root.get("class") == "key"
        assert not re.search(r"\b(nan|inf)\b", re.sub(r"<title>.*?</title>|>[^<]*<", "", figure))


def test_two_builds_are_the_same_bytes(run):
    first = (run / "report.html").read_bytes()
    assert build_report(run).read_bytes() == first
    assert sorted(p.name for p in run.iterdir() if "part" in p.name) == []


def test_all_text_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\"'&\x01"
    folder = make_run(tmp_path / "run", scenes=(evil, "b</title>"), rows=400, model=evil)
    environment = json.loads((folder / "environment.json").read_text())
    environment["cpu"] = environment["data"]["name"] = environment["data"]["licence"] = evil
    (folder / "environment.json").write_text(json.dumps(environment))
    explain = json.loads((folder / "explain.json").read_text())
    explain["transition"]["interests"][0] = explain["attention"]["examples"][0]["events"][0] = evil
    (folder / "explain.json").write_text(json.dumps(explain))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["transfer"]["message"] = metrics["undefined"][f"scenes.{evil}.auc"] = evil
    metrics["scenes"][evil]["auc"] = None
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.jsonl").write_text(json.dumps({**history(1)[0], "phase": evil}) + "\n")
    page, text = build(folder)
    assert "<script>alert" not in text and text.count("<script>") == 1
    assert "alert(1)" in page.all_text
    for figure in figures(text):
        ElementTree.fromstring(figure)


def test_undefined_metrics_are_a_dash_with_the_reason(tmp_path):
    def one_class(p: Predictions) -> None:
        p.label[p.scene == AGES[0]] = 1

    page, _ = build(make_run(tmp_path / "run", rows=600, edit=one_class))
    assert page.table("Scene", "AUC")[AGES[0]]["AUC"] == "–"
    assert "one class" in page.titles
    assert f"– AUC of {AGES[0]}: one class." in page.all_text
    assert "1 scene with one class left out" in page.all_text
    assert not re.search(r"\bnan\b", page.all_text, flags=re.IGNORECASE)


def test_one_scene(tmp_path):
    page, text = build(make_run(tmp_path / "run", scenes=("only",), rows=300))
    assert list(page.table("Scene", "AUC")) == ["only", "All rows"]
    assert "<select>" not in text and "best scene" not in page.all_text


def test_forty_scenes_with_long_names(tmp_path):
    scenes = tuple(f"tab {i} " + "of a very long name " * (i % 4) for i in range(40))
    page, text = build(make_run(tmp_path / "run", scenes=scenes, rows=2500))
    table = page.table("Scene", "AUC")
    assert len(table) == 42 and {s.strip() for s in scenes} < set(table)
    assert "38 other scenes" in page.all_text
    assert "29 more scenes" in page.all_text
    assert len(text) < 3_000_000


@pytest.mark.parametrize("missing", ["config.json", "environment.json", "history.jsonl", "predictions.parquet",
                                     "explain.json"])  # fmt: skip
def test_a_missing_file_leaves_out_its_section(run, tmp_path, missing):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / missing).unlink()
    page, text = build(folder)
    assert page.table("Scene", "AUC")
    headings = {"config.json": "Configuration", "history.jsonl": "<h2>Training", "environment.json": "torch",
                "predictions.parquet": "<h2>Confusion", "explain.json": "<h2>Migration of interests"}  # fmt: skip
    assert (headings[missing] in text) is False
    assert all(heading in text for name, heading in headings.items() if name != missing)


def test_only_metrics(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"overall": {"ndcg@10": 0.25, "recall@10": None}}))
    page, _ = build(tmp_path)
    assert page.table("Scene", "Recall@10")["All rows"] == {"Recall@10": "–", "NDCG@10": "0.2500"}


def test_nan_everywhere_is_survived(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["overall"]["auc"] = math.nan
    metrics["transfer"] = {"candidates": {"a": math.nan, "b": None}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    rows = history(4)
    rows[1]["train_loss"], rows[2]["valid"]["auc"], rows[3]["valid"] = math.nan, None, None
    (folder / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"epoch": 5, "tra')
    explain = json.loads((folder / "explain.json").read_text())
    explain["transition"]["matrices"]["age<25 -> age<25"] = [[None] * 20 for _ in range(20)]
    explain["transition"]["matrices"]["age<25 -> age>=35"][3][4] = math.nan
    explain["attention"]["examples"][0]["weights"][0] = math.nan
    explain["attention"]["examples"][1]["weights"].pop()
    (folder / "explain.json").write_text(json.dumps(explain))
    p = Predictions.read(folder / "predictions.parquet")
    p.score = np.append(p.score[:-1], math.nan)
    p.write(folder / "predictions.parquet")
    page, text = build(folder)
    assert page.table("Scene", "AUC")["All rows"]["AUC"] == "–"
    assert not re.search(r"\bnan\b", page.all_text, flags=re.IGNORECASE)
    for figure in figures(text):
        ElementTree.fromstring(figure)
        assert not re.search(r'="[^"]*\b(nan|inf)\b', figure)


def test_damaged_files_are_named(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "history.jsonl").write_text('{"epoch": 1}\n{broken\n{"epoch": 3}\n')
    with pytest.raises(ValueError, match=r"history\.jsonl: line 2: wanted JSON"):
        build_report(folder)
    (folder / "explain.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"explain\.json: wanted an object, got list"):
        build_report(folder)
    with pytest.raises(ValueError, match="wanted the folder of a finished run"):
        build_report(tmp_path / "nowhere")


def test_ratings_have_calibration_but_no_roc(tmp_path):
    folder = make_run(tmp_path / "run", rows=500, with_explain=False, transfer=False)
    metrics = json.loads((folder / "metrics.json").read_text())
    scenes = {s: {"rmse": 0.9, "mae": 0.7, "rows": 10} for s in AGES}
    metrics |= {"task": "rating", "overall": {"rmse": 0.91, "mae": 0.71}, "macro": {}, "scenes": scenes}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    p = Predictions.read(folder / "predictions.parquet")
    p.label, p.score = 1 + 4 * p.label, 1 + 4 * p.score
    p.write(folder / "predictions.parquet")
    page, text = build(folder)
    assert page.table("Scene", "RMSE")["All rows"]["RMSE"] == "0.9100"
    assert "predicted value" in page.all_text and "<h3>ROC" not in text and "<h2>Confusion" not in text
