"""The report of several seeds: mean and standard deviation of each metric and scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyscene._files import write_text
from polyscene.comparison import runs_of
from polyscene.report.run_folder import RunFolder
from polyscene.results import Result, metric_order

MOST_SCENES = 12


@dataclass
class Spread:
    """Mean and standard deviation (n - 1) over the runs in which a metric has a value; nan where there are too few."""

    mean: float
    std: float
    values: list[float]


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of the values that are numbers."""
    known = np.array([v for v in values if math.isfinite(v)])
    mean = float(known.mean()) if len(known) else math.nan
    return Spread(mean, float(known.std(ddof=1)) if len(known) > 1 else math.nan, [float(v) for v in values])


def summarise(results: Sequence[Result]) -> dict[str, dict[str, Spread]]:
    """Spread of each metric: part ("overall", "macro", "scenes.<name>") -> metric -> spread."""
    metrics = metric_order(m for r in results for m in r.metrics)
    scenes = list(dict.fromkeys(s for r in results for s in r.scenes))

    def part(of: Any) -> dict[str, Spread]:
        return {m: spread([of(r).get(m, math.nan) for r in results]) for m in metrics}

    found = {f"scenes.{s}": part(lambda r, s=s: r.scenes.get(s, {})) for s in scenes}
    return {**found, "macro": part(lambda r: r.macro), "overall": part(lambda r: r.overall)}


def write_summary(folder: Path) -> Path:
    """Writes ``report.html`` over the runs in a folder and returns its path.

    Raises:
        ValueError: the folder holds no finished run.
    """
    from polyscene.report.page import render

    runs = [RunFolder.read(path) for path in runs_of(folder)]
    if not runs:
        raise ValueError(f"{folder}: wanted a run folder, or a folder of them; found no metrics.json in it")
    found = summarise([run.result for run in runs])
    metrics = list(found["overall"])
    scenes = [name.removeprefix("scenes.") for name in found if name.startswith("scenes.")]
    lines = [{"name": name, "cells": [found[f"scenes.{name}"][m] for m in metrics]} for name in scenes]
    feet = [{"name": "Mean of scenes", "cells": [found["macro"][m] for m in metrics]}] if len(scenes) > 1 else []
    feet.append({"name": "All rows", "cells": [found["overall"][m] for m in metrics]})
    each = [
        {
            "name": run.path.name,
            "cells": [run.result.overall.get(m, math.nan) for m in metrics],
            "epoch": run.result.best_epoch,
            "link": (run.path / "report.html").exists(),
        }
        for run in runs
    ]
    models = dict.fromkeys(run.result.model or "model" for run in runs)
    data = dict.fromkeys(run.data_name for run in runs if run.data_name)
    context = {
        "title": f"{', '.join(models)} on {', '.join(data) or 'data'}",
        "models": ", ".join(models),
        "data": ", ".join(data) or "data",
        "runs": runs,
        "task": runs[0].result.task,
        "metrics": metrics,
        "lines": lines,
        "feet": feet,
        "each": each,
        "overall": found["overall"],
        "strips": [_strip(found, scenes, m) for m in metrics],
    }
    return write_text(folder / "report.html", render("summary.html.j2", context))


def _strip(found: dict[str, dict[str, Spread]], scenes: Sequence[str], metric: str) -> dict[str, Any]:
    """A dot for each run in each scene, on the metric's own scale."""
    from polyscene.report.svg import Svg, number, shorten, text_width, tick_texts, ticks

    varied = sorted(scenes, key=lambda s: -np.nan_to_num(found[f"scenes.{s}"][metric].std))[:MOST_SCENES]
    lines = [(s, found[f"scenes.{s}"][metric]) for s in scenes if s in varied]
    lines.append(("All rows", found["overall"][metric]))
    known = [v for _, s in lines for v in s.values if math.isfinite(v)]
    if not known:
        return {"metric": metric, "figure": None}
    low, high = min(known), max(known)
    pad = (high - low) * 0.08 or abs(high) * 0.02 or 0.1
    low, high = low - pad, high + pad
    side = min(150.0, max(text_width(name, 13) for name, _ in lines) + 14)
    width, pitch, top = 360.0, 24.0, 8.0
    bottom = top + pitch * len(lines)
    svg = Svg(width, bottom + 28, f"{metric} of each run in each scene", css="plot")

    def x(value: float) -> float:
        return side + (value - low) / (high - low) * (width - side - 24)

    marks = ticks(low, high, 4)
    for value, text in zip(marks, tick_texts(marks), strict=True):
        svg.add("line", class_="grid", x1=x(value), x2=x(value), y1=top, y2=bottom)
        svg.add("text", text, class_="tick", x=x(value), y=bottom + 18, text_anchor="middle")
    for i, (name, values) in enumerate(lines):
        y = top + pitch * (i + 0.5)
        css = "whole" if i == len(lines) - 1 else "s0"
        svg.add("text", shorten(name, side - 10, 13), title=name, class_="name", x=side - 8, y=y + 4, text_anchor="end")
        if math.isfinite(values.std):
            left, right = x(max(values.mean - values.std, low)), x(min(values.mean + values.std, high))
            svg.add("path", class_=f"band {css}", d=f"M{number(left)} {number(y)}H{number(right)}")
        for value in values.values:
            if math.isfinite(value):
                svg.add("circle", title=f"{name}: {value:.4f}", class_=f"dot {css}", cx=x(value), cy=y, r=3.4)
    return {"metric": metric, "figure": svg.markup()}
