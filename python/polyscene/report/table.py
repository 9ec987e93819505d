"""The report of a table: every run in every scene, the tests between runs, and what training took."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyscene._files import write_text
from polyscene.results import read_json

_COSTS = ("parameters", "epochs", "cpu_seconds", "seconds", "peak_memory_mb")


def write_table(folder: Path) -> Path:
    """Writes ``report.html`` of a table and returns its path.

    Raises:
        ValueError: the folder holds no ``table.json``, or that is not JSON.
    """
    from polyscene.report.page import render

    content = read_json(folder / "table.json")
    if content is None:
        raise ValueError(f"{folder}: wanted the folder of a table, found no table.json")
    names = list(dict.fromkeys(row["part"] for row in content["rows"]))
    context = {
        "title": content["table"],
        "seeds": content["seeds"],
        "runs": len(content["runs"]),
        "parts": [_part(content, name) for name in names],
        "notes": content["notes"],
    }
    return write_text(folder / "report.html", render("table.html.j2", context))


def _part(content: Mapping[str, Any], part: str) -> dict[str, Any]:
    rows = [row for row in content["rows"] if row["part"] == part]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    cells = {(row["scene"], row["run"], row["metric"]): row for row in rows}
    lines = [
        {"scene": scene, "run": run, "cells": [cells.get((scene, run, metric)) for metric in metrics]}
        for scene, run in dict.fromkeys((row["scene"], row["run"]) for row in rows)
    ]
    tests = [test for test in content.get("tests", ()) if test["part"] == part]
    runs = [each for each in content["runs"] if each["part"] == part]
    costs = []
    for run in dict.fromkeys(each["run"] for each in runs if each.get("training")):
        found = [each.get("training", {}) | {"epochs": each.get("epochs")} for each in runs if each["run"] == run]
        known = {key: [each[key] for each in found if each.get(key) is not None] for key in _COSTS}
        costs.append({"run": run} | {key: statistics.fmean(v) if v else None for key, v in known.items()})
    unit = next((test["unit"] for test in tests if "unit" in test), "rows")
    return {"name": part, "unit": unit, "metrics": metrics, "lines": lines, "tests": tests, "costs": costs}
