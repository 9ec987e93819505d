"""What the page shows of users over time and of the way between scenes, from ``explain.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from polyscene.report.charts import Legend
from polyscene.report.flow import flow_diagram
from polyscene.report.heatmap import heatmap
from polyscene.report.timeline import colours_of, outcome, timeline

MOST_LAYERS = 60
MOST_RIBBONS = 32
CARRIED_BY = {
    "attention": "the model's attention, mean of its heads",
    "left_out": "how far the score of the recommended item, or of the row, falls when the event is left out",
}
SAID_BY = {
    "scores": "where the best item that the user has not met lies",
    "next_scene": "the model's own probabilities of the next scene",
    "interests": "the model's own shares of interests",
}


def timelines(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Figures of ``timeline``, a person each."""
    people = [person for person in content.get("people") or [] if isinstance(person.get("next"), dict)]
    if not people:
        return None
    by, timed = str(content.get("by")), bool(content.get("timed"))
    colours = colours_of(people)
    shown = []
    for person in people:
        said = []
        for name, title in (("interests", "interests now"), ("transitions", "next"), ("next_scene", "next scene")):
            if person.get(name):
                said.append(f"{title}: " + ", ".join(f"{each} {value:.2f}" for each, value in person[name]))
        shown.append(
            {
                "title": f"{person['user']}",
                "next": f"{person['next']['item']} in {person['next']['scene']}",
                "outcome": outcome(person),
                "said": "; ".join(said),
                "earlier": person.get("earlier", 0),
                "figure": timeline(person, by, colours, timed),
            }
        )
    interests = any(event.get("interests") for person in people for event in (*person["events"], person["next"]))
    legend = [Legend(f"f{number}", name) for name, number in colours.items()]
    return {
        "people": shown,
        "legend": legend,
        "coloured": "interest" if interests else "scene",
        "carried_by": CARRIED_BY.get(by, by),
    }


def flow(content: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    """Flow diagrams of ``flow`` or ``interest_flow``: for each period those of events and of what the model says.

    Args:
        content: as ``explain.json`` holds it.
        what: "scenes" or "interests".
    """
    names = [str(name) for name in content.get("names") or []]
    periods = []
    for period in content.get("periods") or []:
        parts = []
        for kind, title in (("events", "Events"), ("said", "Predictions")):
            matrix = period.get(kind)
            if not matrix or not names:
                continue
            total = [sum(line) for line in matrix]
            if sum(total) <= 0:
                continue
            share = [[v / t if t > 0 else 0.0 for v in line] for line, t in zip(matrix, total, strict=True)]
            heads = ("from", "to")
            label = f"{title} from {what} to {what}, {period['name']}"
            figure, drawn = flow_diagram(share, names, names, heads, label, total, MOST_RIBBONS)
            stays = sum(matrix[i][i] for i in range(len(names))) / sum(total)
            parts.append({"title": title, "figure": figure, "drawn": drawn, "count": sum(total), "stays": stays})
        if parts:
            periods.append({"name": str(period.get("name", "")), "parts": parts})
    if not periods:
        return None
    return {"periods": periods, "said_by": SAID_BY.get(str(content.get("said_by")), ""), "left_out": _left(content)}


def distances(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Heat maps of ``distances`` of a transfer: layers by candidates for each source, and representations."""
    layers, values = content.get("layers") or [], content.get("values") or {}
    candidates = list(values)
    sources = list(dict.fromkeys(source for by in values.values() for source in by))
    if not layers or not sources:
        return None
    # A layer of the frozen part of a model that holds one stands in the line of the layer that it is.
    lines: dict[str, list[int]] = {}
    for k, layer in enumerate(layers):
        name = layer["layer"].removeprefix("base.") + (" · statistics" if layer["kind"] == "statistics" else "")
        lines.setdefault(name, []).append(k)
    largest = sorted(lines, key=lambda name: -layers[lines[name][0]]["entries"])[:MOST_LAYERS]
    names = [name for name in lines if name in largest]
    parts = []
    for source in sources:
        mine = [name for name in candidates if source in values[name]]

        def told(candidate: str, places: list[int], source: str = source) -> Any:
            found = (values[candidate][source][k] for k in places)
            return next((value for value in found if value is not None), None)

        matrix = [[_number(told(candidate, lines[name])) for candidate in mine] for name in names]
        new = [name for name in names if any(told(candidate, lines[name]) == "new" for candidate in mine)]
        title = f"Distance from {source}"
        figure = heatmap(matrix, names, mine, title, percent=False, mark_largest=False)
        parts.append({"name": source, "figure": figure, "new": ", ".join(new)})
    alike = content.get("similarity") or {}
    similarity: Markup | None = None
    if alike:
        known = list(dict.fromkeys(source for by in alike.values() for source in by))
        matrix = [[_number(by.get(source)) for source in known] for by in alike.values()]
        title = "Similarity of representations"
        similarity = heatmap(matrix, list(alike), known, title, percent=False, mark_largest=False)
    left = len(lines) - len(names)
    return {"parts": parts, "similarity": similarity, "rows": content.get("similarity_rows"), "left_out": left}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def part(macro: str, *values: Any) -> Markup:
    """What a macro of ``seeing.html.j2`` makes of values."""
    from polyscene.report.page import environment

    return Markup(getattr(environment().get_template("seeing.html.j2").module, macro)(*values))


def _left(content: Mapping[str, Any]) -> int:
    value = content.get("left_out") or 0
    return int(value) if math.isfinite(value) else 0
