"""The report of one run: gathers what the template shows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyscene._files import write_text
from polyscene.display import group_lines, move_lines
from polyscene.report import charts, curves, seeing
from polyscene.report.flow import flow_diagram
from polyscene.report.heatmap import heatmap, level
from polyscene.report.picture import picture_of, positions
from polyscene.report.run_folder import RunFolder
from polyscene.results import LOWER_IS_BETTER, Result, metric_order, metric_title

MOST_PAIRS = 25


def write_page(folder: Path) -> Path:
    """Writes ``report.html`` of a run folder and returns its path."""
    run = RunFolder.read(folder)
    context = {
        "run": run,
        "result": run.result,
        "title": f"{run.result.model or 'model'} on {run.data_name or 'data'}",
        "cards": cards(run.result),
        "table": scene_table(run.result),
        "groups": group_lines(run.result),
        "moves": move_lines(run.result),
        "transfer": transfer(run),
        "distances": seeing.distances((run.result.transfer or {}).get("distances") or {}),
        "attention": attention(run.explain.get("attention") or {}),
        "words": words(run.explain.get("words") or []),
        "pixels": pixels(run.explain.get("pixels") or []),
        "transitions": transitions(run.explain.get("transition") or {}),
        "interests": interest_scene(run.explain.get("interest_scene") or {}),
        "timelines": seeing.timelines(run.explain.get("timeline") or {}),
        "scene_flow": seeing.flow(run.explain.get("flow") or {}, "scenes"),
        "interest_flow": seeing.flow(run.explain.get("interest_flow") or {}, "interests"),
        "unseen": unseen(run),
        "speed": speed(run),
        "facts": facts(run),
        "data_scenes": data_scenes(run),
        "made": made(run),
        "config_text": json.dumps(run.config, indent=2, ensure_ascii=False),
    }
    context["large"], context["small"] = charts.training(run.history, run.monitor, run.result.best_epoch)
    context |= from_predictions(run)
    return write_text(folder / "report.html", render("report.html.j2", context))


def render(template: str, context: dict[str, Any]) -> str:
    """Fills a template of this package; everything but figures made here is escaped."""
    return environment().get_template(template).render(context)


def environment() -> Any:
    """The templates of this package and their filters, a ``jinja2.Environment``."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    out = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    out.filters |= {"metric": metric_title, "fixed": fixed, "count": count, "plain": plain}
    return out


def made(run: RunFolder) -> str:
    """Version and start of the run, as the page's last line goes on."""
    version = (run.environment.get("versions") or {}).get("polyscene")
    started = run.environment.get("started")
    return (f" {version}" if version else "") + (f" · run started {started}" if started else "")


def fixed(value: float | None, decimals: int = 4) -> str:
    """A number with fixed decimals, a dash where it is undefined."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def count(value: Any) -> str:
    """A whole number with separators; other values as they are."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(value)


def plain(value: Any) -> str:
    """A value as text: lists by commas, objects by ``name value``."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    if isinstance(value, float):
        return f"{value:,.6g}"
    return "–" if value is None else str(value)


def cards(result: Result) -> list[dict[str, Any]]:
    """The overall metrics, each with its mean over scenes and its value on validation data."""
    return [
        {
            "name": name,
            "value": result.overall[name],
            "reason": result.reason(name) or "undefined",
            "macro": result.macro.get(name),
            "valid": result.valid.overall.get(name) if result.valid else None,
            "lower": name.partition("@")[0] in LOWER_IS_BETTER,
        }
        for name in metric_order(result.overall)
    ]


def scene_table(result: Result) -> dict[str, Any]:
    """Columns and lines of the per-scene table; a cell is (value, reason if undefined, share of the column's range)."""
    metrics = result.metrics
    counts = [c for c in ("rows", "positives", "users") if any(c in v for v in result.counts.values())]

    def cells(values: dict[str, float], scene: str | None, part: str) -> list[tuple[float, str, bool]]:
        row = []
        for name in metrics:
            value = values.get(name, math.nan)
            row.append((value, result.reason(name, scene, part) or "undefined", value == best.get(name)))
        return row

    best: dict[str, float] = {}
    if len(result.scenes) > 1:
        for name in metrics:
            known = [v[name] for v in result.scenes.values() if math.isfinite(v.get(name, math.nan))]
            if known:
                best[name] = min(known) if name.partition("@")[0] in LOWER_IS_BETTER else max(known)
    scenes = [
        {"name": s, "cells": cells(v, s, ""), "counts": [result.counts.get(s, {}).get(c) for c in counts]}
        for s, v in result.scenes.items()
    ]
    best = {}
    totals = [sum(v.get(c, 0) for v in result.counts.values()) if c != "users" else None for c in counts]
    feet: list[dict[str, Any]] = [
        {"name": "All rows", "cells": cells(result.overall, None, "overall"), "counts": totals}
    ]
    if result.macro and len(result.scenes) > 1:
        macro = {"name": "Mean of scenes", "cells": cells(result.macro, None, "macro"), "counts": [None] * len(counts)}
        feet.insert(0, macro)
    return {"metrics": metrics, "counts": counts, "scenes": scenes, "feet": feet, "notes": _notes(result)}


def _notes(result: Result) -> list[tuple[str, str]]:
    """Undefined metrics by reason: (which, why)."""
    reasons: dict[str, list[str]] = {}
    for where, why in result.undefined.items():
        part, _, metric = where.rpartition(".")
        scene = part.removeprefix("scenes.")
        reasons.setdefault(why, []).append(f"{metric_title(metric)} of {scene}")
    return [
        (", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else ""), why)
        for why, names in reasons.items()
    ]


def from_predictions(run: RunFolder) -> dict[str, Any]:
    """ROC, calibration and confusion matrices; empty without predictions."""
    empty: dict[str, Any] = {"roc": None, "calibration": None, "confusions": []}
    if run.predictions is None or run.result.task not in ("ctr", "rating"):
        return empty
    everything = curves.finite(run.predictions)
    if not len(everything):
        return empty
    binary = curves.is_binary(everything) and run.result.task == "ctr"
    known = [str(s) for s in dict.fromkeys(everything.scene.tolist())]
    names = [s for s in run.result.scenes if s in known] + [s for s in known if s not in run.result.scenes]
    parts = {name: everything.of(name) for name in names}
    found: dict[str, Any] = {
        "roc": charts.roc_chart({n: curves.roc(p) for n, p in parts.items()}, curves.roc(everything))
        if binary
        else None,
        "calibration": charts.calibration_chart(
            {n: curves.calibration(p) for n, p in parts.items()}, curves.calibration(everything), binary
        ),
        "confusions": [],
    }
    if binary:
        threshold = run.result.threshold
        every = {"All rows": everything, **parts} if len(parts) > 1 else parts
        found["confusions"] = [(name, curves.confusion(p, threshold)) for name, p in every.items()]
    return found


def transfer(run: RunFolder) -> dict[str, Any] | None:
    """What came of migrating, with the candidates from best to worst as shares of the best."""
    content = run.result.transfer
    if not content:
        return None
    scores = {k: v.get("score") if isinstance(v, dict) else v for k, v in (content.get("candidates") or {}).items()}
    candidates = {str(k): v for k, v in scores.items() if v is not None and math.isfinite(v)}
    lower = run.monitor.partition("@")[0] in LOWER_IS_BETTER
    ranked = sorted(candidates.items(), key=lambda item: item[1] if lower else -item[1])
    low, high = min(candidates.values(), default=0.0), max(candidates.values(), default=0.0)
    span = (high - low) or 1.0
    bars = [{"name": k, "value": v, "width": 25 + 75 * ((high - v) if lower else (v - low)) / span} for k, v in ranked]
    given = {"helped": None, "message": "", "sources": [], "target": "", **content}
    return {**given, "bars": bars, "metric": metric_title(run.monitor)}


def words(content: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts word by word, each with its weight and a level of the colour scale."""
    out = []
    for example in content:
        tokens, weights = example.get("words") or [], example.get("weights") or []
        if tokens and len(tokens) == len(weights):
            top = max(weights) or 1.0
            chips = [{"name": t, "weight": w, "level": level(w, top)} for t, w in zip(tokens, weights, strict=True)]
            out.append({"title": str(example.get("title", "")), "chips": chips})
    return out


def pixels(content: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Images, each beside the weights of its positions."""
    out = []
    for example in content:
        picture, weights = example.get("image") or [], example.get("weights") or []
        if picture and weights:
            title = str(example.get("title", ""))
            out.append({"title": title, "image": picture_of(picture, title), "weights": positions(weights, title)})
    return out


def attention(content: dict[str, Any]) -> dict[str, Any] | None:
    """Attention weights of a few rows: a heat map aligned at the newest event, and the events themselves."""
    examples: list[dict[str, Any]] = []
    for example in content.get("examples") or []:
        weights = example.get("weights") or []
        if weights and isinstance(weights[0], (list, tuple)):
            weights = [sum(column) / len(weights) for column in zip(*weights, strict=True)]
        weights = [0.0 if w is None or not math.isfinite(w) else float(w) for w in weights]
        events = [str(event) for event in example.get("events") or []]
        if events and len(events) == len(weights):
            top = max(weights) or 1.0
            chips = [
                {"name": e, "weight": w, "level": round(math.sqrt(w / top) * 9)}
                for e, w in zip(events, weights, strict=True)
            ]
            examples.append({"title": str(example.get("title", "")), "chips": chips, "weights": weights})
    if not examples:
        return None
    length = max(len(example["weights"]) for example in examples)
    labels = [str(label) for label in content.get("rows") or []]
    if len(labels) != length:
        labels = [f"t-{length - 1 - i}" if i < length - 1 else "t" for i in range(length)]
    matrix = [[math.nan] * (length - len(e["weights"])) + e["weights"] for e in examples]
    figure = heatmap(matrix, [e["title"] for e in examples], labels, "Attention of each row over its events")
    return {"figure": figure, "examples": examples, "heads": content.get("heads")}


def transitions(content: dict[str, Any]) -> dict[str, Any] | None:
    """A heat map and a flow diagram for each pair of scenes, pairs of different scenes first."""
    interests = [str(name) for name in content.get("interests") or []]
    matrices = {str(k): m for k, m in (content.get("matrices") or {}).items() if _fits(m, len(interests))}
    if not interests or not matrices:
        return None
    support = content.get("support") or {}

    def sides(name: str) -> tuple[str, str]:
        first, _, second = name.partition(" -> ")
        return first, second

    order = sorted(matrices, key=lambda name: sides(name)[0] == sides(name)[1])
    pairs = []
    for name in order[:MOST_PAIRS]:
        first, second = sides(name)
        matrix = matrices[name]
        weights = support.get(name) if len(support.get(name) or []) == len(interests) else None
        figure, drawn = flow_diagram(
            matrix, interests, interests, (first, second), f"Flow of interests, {name}", weights
        )
        stays = [matrix[i][i] or 0.0 for i in range(len(interests))]
        strongest = sorted(
            (
                (matrix[i][j] or 0.0, interests[i], interests[j])
                for i in range(len(interests))
                for j in range(len(interests))
                if i != j
            ),
            reverse=True,
        )[:3]
        pairs.append(
            {
                "name": name,
                "from": first,
                "to": second,
                "flow": figure,
                "drawn": drawn,
                "heat": heatmap(matrix, interests, interests, f"Transition matrix, {name}"),
                "stays": sum(stays) / len(stays),
                "strongest": strongest,
            }
        )
    return {"pairs": pairs, "left_out": len(order) - len(pairs)}


def _fits(matrix: Any, size: int, columns: int | None = None) -> bool:
    wanted = size if columns is None else columns
    return (
        isinstance(matrix, list)
        and len(matrix) == size
        and all(isinstance(line, list) and len(line) == wanted for line in matrix)
    )


def interest_scene(content: dict[str, Any]) -> Any:
    """A heat map of interests by scenes."""
    interests = [str(name) for name in content.get("interests") or []]
    scenes = [str(name) for name in content.get("scenes") or []]
    if not interests or not _fits(content.get("matrix"), len(interests), len(scenes)):
        return None
    by_scene = [list(column) for column in zip(*content["matrix"], strict=True)]
    share = all(v is None or not v > 1 for line in by_scene for v in line)
    return heatmap(by_scene, scenes, interests, "Interests by scene", percent=share)


def unseen(run: RunFolder) -> list[dict[str, Any]]:
    """Metrics where training never saw the scene: of a scene that was left out, and of those that only the test has."""
    out = []
    content = run.explain.get("left_out_scene") or {}
    if lines := _both(content):
        title = f"If training had never seen {content['scene']}"
        names = ("Trained without it", "Trained with it")
        out.append({"title": title, "rows": f"{count(content.get('rows'))} test rows", "names": names, "lines": lines})
    content = run.explain.get("unseen_scene") or {}
    if lines := _both(content):
        title = f"In scenes that training never saw: {', '.join(content['scenes'])}"
        out.append({"title": title, "rows": "Test rows", "names": ("Unseen scenes", "Seen scenes"), "lines": lines})
    return out


def _both(content: dict[str, Any]) -> list[dict[str, Any]]:
    new, old = content.get("unseen") or {}, content.get("seen") or {}
    return [{"name": n, "unseen": new[n], "seen": old[n]} for n in metric_order(set(new) & set(old))]


def speed(run: RunFolder) -> dict[str, float] | None:
    """Epochs, seconds and rows per second of the training."""
    seconds = [row["seconds"] for row in run.history if isinstance(row.get("seconds"), (int, float))]
    rates = [row["rows_per_s"] for row in run.history if isinstance(row.get("rows_per_s"), (int, float))]
    if not run.history:
        return None
    rate = sum(rates) / len(rates) if rates else math.nan
    return {"epochs": len(run.history), "seconds": sum(seconds), "rows_per_s": rate}


def facts(run: RunFolder) -> dict[str, list[tuple[str, str]]]:
    """Facts about data and environment as (name, text), in groups."""
    data, environment = run.data, dict(run.environment)
    known = ("rows", "scenes", "fields", "licence", "name")
    about = [
        ("Data set", run.data_name),
        *((k.replace("_", " ").capitalize(), count(v)) for k, v in data.items() if k not in known),
    ]
    for part, rows in (data.get("rows") or {}).items():
        about.append((f"Rows, {part}", count(rows)))
    about += [("Fields", plain(data["fields"]))] if data.get("fields") else []
    about += [("Licence", plain(data["licence"]))] if data.get("licence") else []
    digests = (("Data digest", "data_digest"), ("Split digest", "split_digest"), ("Schema digest", "schema_digest"))
    about += [(name, str(environment[key])[:16] + "…") for name, key in digests if environment.get(key)]
    environment = {k: v for k, v in environment.items() if k not in ("data", *(key for _, key in digests))}
    versions = environment.pop("versions", None) or {}
    machine = [(k.replace("_", " ").capitalize() if k != "cpu" else "CPU", plain(v)) for k, v in environment.items()]
    return {
        "Data": [(k, v) for k, v in about if v],
        "Environment": machine,
        "Versions": [(str(k), plain(v)) for k, v in versions.items()],
    }


def data_scenes(run: RunFolder) -> dict[str, Any]:
    """Rows of each scene in each part of the data."""
    scenes = {str(k): v for k, v in (run.data.get("scenes") or {}).items() if isinstance(v, dict)}
    parts: Sequence[str] = list(dict.fromkeys(part for rows in scenes.values() for part in rows))
    total = max((sum(rows.get(p) or 0 for p in parts) for rows in scenes.values()), default=0) or 1
    lines = [
        {
            "name": name,
            "rows": [rows.get(p) for p in parts],
            "width": 100 * sum(rows.get(p) or 0 for p in parts) / total,
        }
        for name, rows in scenes.items()
    ]
    return {"parts": parts, "lines": lines}
