"""The line charts of a report: training, ROC, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from polyscene.report.curves import Calibration, Roc
from polyscene.report.svg import SERIES, Plot
from polyscene.results import LOWER_IS_BETTER, metric_order, metric_title

MANY = 6  # with more scenes than this, only the extreme ones have a colour


@dataclass
class Legend:
    """One entry below a chart: a class for its colour, a name and a short text."""

    css: str
    name: str
    note: str = ""


@dataclass
class Chart:
    """A figure with its heading, a sentence on how to read it and its legend."""

    title: str
    figure: Markup
    note: str = ""
    legend: list[Legend] = field(default_factory=list)


def _range(values: Sequence[float], pad: float = 0.08) -> tuple[float, float] | None:
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return None
    low, high = min(known), max(known)
    room = (high - low) * pad or abs(high) * 0.05 or 0.5
    return low - room, high + room


def _value(row: dict[str, Any], name: str) -> float:
    value = row.get("train_loss") if name == "train_loss" else (row.get("valid") or {}).get(name)
    return math.nan if value is None else float(value)


def best_step(history: Sequence[dict[str, Any]], best_epoch: int | None) -> int | None:
    """Index of the epoch that remained: the last one marked best, else the one with that number."""
    marked = [i for i, row in enumerate(history) if row.get("best")]
    if marked:
        return marked[-1]
    return next((i for i, row in enumerate(history) if row.get("epoch") == best_epoch), None)


def _phases(plot: Plot, history: Sequence[dict[str, Any]]) -> None:
    """A line and a name where a new phase of the training begins."""
    names = [str(row.get("phase") or "") for row in history]
    if len(set(names)) < 2:
        return
    for i, name in enumerate(names):
        if i == 0 or name != names[i - 1]:
            at = plot.x(i + 0.5)
            if i:
                plot.svg.add("line", class_="phase", x1=at, x2=at, y1=plot.top, y2=plot.bottom)
            plot.svg.add("text", name, class_="note", x=at + 5, y=plot.top + 8)


def _history_plot(
    history: Sequence[dict[str, Any]], names: Sequence[str], best: int | None, label: str, size: tuple[float, float]
) -> Markup | None:
    values = {name: [_value(row, name) for row in history] for name in names}
    span = _range([v for series in values.values() for v in series])
    if span is None:
        return None
    steps = list(range(1, len(history) + 1))
    jump = max(1, math.ceil(len(steps) / 8))
    marks = [s for s in steps if (s - 1) % jump == 0]
    plot = Plot(label, (0.5, len(steps) + 0.5), span, x_ticks=marks, x_label="epoch", y_label=label, size=size)
    _phases(plot, history)
    if best is not None:
        at = plot.x(best + 1)
        plot.svg.add("line", class_="best", x1=at, x2=at, y1=plot.top - 8, y2=plot.bottom)
        if size[0] > 400:
            text, room = f"best: epoch {history[best].get('epoch')}", plot.right - 60
            plot.svg.add("text", text, class_="note", x=min(max(at, plot.left + 130), room), y=15, text_anchor="middle")
    for i, (name, series) in enumerate(values.items()):
        title = "Training loss" if name == "train_loss" else "Validation " + metric_title(name)
        plot.line(steps, series, f"s{i} d{i}", title)
        texts = [f"epoch {row.get('epoch')}: {title} {v:.4f}" for row, v in zip(history, series, strict=True)]
        plot.dots(steps, series, f"s{i}", texts, r=2.6 if len(steps) <= 40 else 1.4)
        if best is not None and math.isfinite(series[best]):
            plot.dots([steps[best]], [series[best]], f"s{i} ring", [texts[best]], r=5.5)
    return plot.svg.markup()


def training(
    history: Sequence[dict[str, Any]], monitor: str, best_epoch: int | None
) -> tuple[list[Chart], list[Chart]]:
    """Charts of the loss and the monitored metric, then small ones of the other validation metrics."""
    if not history:
        return [], []
    best = best_step(history, best_epoch)
    when = "" if best is None else f"The dashed line marks epoch {history[best].get('epoch')}, whose weights were kept."
    names = metric_order(name for row in history for name in (row.get("valid") or {}))
    large, small = [], []
    losses = ["train_loss", *(["log_loss"] if "log_loss" in names else [])]
    figure = _history_plot(history, losses, best, "loss", (460, 280))
    if figure is not None:
        legend = [Legend("s0 d0", "Training loss"), Legend("s1 d1", "Validation log loss")][: len(losses)]
        terms = "The training loss holds auxiliary terms and penalties, too." if len(losses) > 1 else ""
        large.append(Chart("Loss", figure, f"{when} {terms}".strip(), legend))
    if monitor not in names and names:
        monitor = names[0]
    for name in names:
        main = name == monitor
        size = (460, 280) if main else (300, 190)
        if name == "log_loss" and not main:
            continue
        figure = _history_plot(history, [name], best, metric_title(name), size)
        if figure is not None and main:
            better = "Lower is better." if name.partition("@")[0] in LOWER_IS_BETTER else "Higher is better."
            large.append(Chart(f"Validation {metric_title(name)}", figure, f"{better} {when}"))
        elif figure is not None:
            small.append(Chart(metric_title(name), figure))
    return large, small


def _styles(names: Sequence[str], rank: dict[str, float]) -> dict[str, str]:
    """A class for each scene; of many scenes only the lowest and the highest by ``rank`` have a colour."""
    if len(names) <= MANY:
        return {name: f"s{i % SERIES} d{i % SERIES}" for i, name in enumerate(names)}
    known = sorted((n for n in names if math.isfinite(rank[n])), key=lambda n: rank[n])
    styles = dict.fromkeys(names, "faint")
    if known:
        styles |= {known[0]: "s1 d1", known[-1]: "s0 d0"}
    return styles


def _legend(styles: dict[str, str], notes: dict[str, str], whole: str) -> list[Legend]:
    entries = [Legend(css, name, notes[name]) for name, css in styles.items() if css != "faint"]
    faint = sum(css == "faint" for css in styles.values())
    if faint:
        entries.append(Legend("faint", f"{faint} other scenes"))
    return [*entries, Legend("whole", "All rows", whole)]


def roc_chart(curves: dict[str, Roc | None], overall: Roc | None) -> Chart | None:
    """ROC curve of each scene and of all rows."""
    drawn = {name: curve for name, curve in curves.items() if curve is not None}
    if overall is None:
        return None
    plot = Plot(
        "ROC per scene", (0, 1), (0, 1), x_label="false positive rate", y_label="true positive rate", size=(460, 380)
    )
    plot.line([0, 1], [0, 1], "chance")
    styles = _styles(list(drawn), {name: curve.auc for name, curve in drawn.items()})
    plot.line(overall.fpr.tolist(), overall.tpr.tolist(), "whole", f"All rows: AUC {overall.auc:.4f}")
    for name in sorted(drawn, key=lambda n: styles[n] != "faint"):
        curve = drawn[name]
        plot.line(curve.fpr.tolist(), curve.tpr.tolist(), styles[name], f"{name}: AUC {curve.auc:.4f}")
    notes = {name: f"{curve.auc:.4f}" for name, curve in drawn.items()}
    missing = len(curves) - len(drawn)
    note = "True against false positives over all thresholds; the legend gives the area under each curve."
    if missing:
        note += f" {missing} scene{'s' if missing > 1 else ''} with one class left out."
    return Chart("ROC", plot.svg.markup(), note, _legend(styles, notes, f"{overall.auc:.4f}"))


def calibration_chart(curves: dict[str, Calibration | None], overall: Calibration | None, binary: bool) -> Chart | None:
    """Predicted against observed values of each scene and of all rows."""
    drawn = {name: curve for name, curve in curves.items() if curve is not None}
    if overall is None:
        return None
    span: tuple[float, float] = (0, 1)
    if not binary:
        everything = [v for c in [*drawn.values(), overall] for v in (*c.score.tolist(), *c.rate.tolist())]
        span = _range(everything) or span
    labels = ("predicted probability", "share of positives") if binary else ("predicted value", "observed mean")
    plot = Plot("Calibration per scene", span, span, x_label=labels[0], y_label=labels[1], size=(460, 380))
    plot.line(span, span, "chance")
    styles = _styles(list(drawn), {name: -curve.error for name, curve in drawn.items()})
    front = sorted(drawn, key=lambda n: styles[n] != "faint")
    for name, curve, css in [("All rows", overall, "whole"), *((n, drawn[n], styles[n]) for n in front)]:
        plot.line(curve.score.tolist(), curve.rate.tolist(), css, f"{name}: calibration error {curve.error:.4f}")
        if css != "faint":
            texts = [
                f"{name}: predicted {s:.3f}, observed {r:.3f}, {n:,} rows"
                for s, r, n in zip(curve.score, curve.rate, curve.rows, strict=True)
            ]
            plot.dots(curve.score.tolist(), curve.rate.tolist(), css, texts, r=2.8)
    notes = {name: f"{curve.error:.4f}" for name, curve in drawn.items()}
    note = "Rows in bins of equal size; on the diagonal, predictions mean what they say. The legend gives the mean gap."
    return Chart("Calibration", plot.svg.markup(), note, _legend(styles, notes, f"{overall.error:.4f}"))
