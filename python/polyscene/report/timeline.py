"""Timelines of users: a lane a scene, a dot an event, a mark on what carried the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from polyscene._flows import moment
from polyscene.report.svg import SERIES, Svg, shorten, text_width

WIDTH, LANE, TOP, FOOT = 940.0, 34.0, 12.0, 26.0
MOST_LANES = 12


def colours_of(people: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """A colour for each interest, the most frequent first; for each scene where nobody has an interest."""
    counts: dict[str, int] = {}
    for person in people:
        for event in (*person["events"], person["next"]):
            for name in (event.get("interests") or [])[:1]:
                counts[name] = counts.get(name, 0) + 1
    if not counts:
        for person in people:
            for event in (*person["events"], person["next"]):
                counts[event["scene"]] = counts.get(event["scene"], 0) + 1
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: i for i, name in enumerate(order[:SERIES])}


def _key(event: Mapping[str, Any], colours: Mapping[str, int], interests: bool) -> str:
    name = (event.get("interests") or [""])[0] if interests else event["scene"]
    return f"f{colours[name]}" if name in colours else "f-none"


def _told(event: Mapping[str, Any], timed: bool) -> list[str]:
    parts = [event["item"], event["scene"], *(event.get("interests") or [])]
    if timed and "time" in event:
        parts.append(moment(event["time"]) if moment(event["time"]) != str(event["time"]) else f"time {event['time']}")
    if event.get("liked"):
        parts.append("liked")
    if "label" in event and "score" not in event:
        parts.append(f"rated {event['label']:g}")
    return parts


def timeline(person: Mapping[str, Any], by: str, colours: Mapping[str, int], timed: bool) -> Markup:
    """One user's events in the order of time, oldest on the left, and what followed.

    Args:
        person: as ``explain.json`` holds one.
        by: "attention" or "left_out", what the weights are.
        colours: number of the colour of each interest, or of each scene where there are no interests.
        timed: whether events have times.
    """
    events, last = list(person["events"]), person["next"]
    interests = any(each.get("interests") for each in (*events, last))
    lanes = list(dict.fromkeys(each["scene"] for each in (*events, last)))
    lanes.sort(key=lambda name: -sum(each["scene"] == name for each in events))
    if len(lanes) > MOST_LANES:
        kept = [name for name in lanes if name != last["scene"]][: MOST_LANES - 2]
        lanes = [*kept, last["scene"], "other scenes"]
    place = {name: i for i, name in enumerate(lanes)}
    side = min(170.0, max(text_width(name, 12.5) for name in lanes) + 16)
    bottom = TOP + LANE * len(lanes)
    svg = Svg(WIDTH, bottom + FOOT, f"Timeline of {person['user']}", css="plot timeline")
    for name, i in place.items():
        middle = TOP + LANE * (i + 0.5)
        svg.add("line", class_="grid", x1=side, x2=WIDTH - 8, y1=middle, y2=middle)
        svg.add("text", shorten(name, side - 12, 12.5), title=name, class_="name", x=0, y=middle + 4)
    pitch = (WIDTH - side - 60) / max(len(events), 1)

    def x(number: int) -> float:
        return side + 14 + pitch * (number + 0.5) if number < len(events) else WIDTH - 24

    def y(event: Mapping[str, Any]) -> float:
        return TOP + LANE * (place.get(event["scene"], len(lanes) - 1) + 0.5)

    radius = min(6.0, max(2.6, pitch * 0.36))
    for number, event in enumerate(events):
        weight = f"attention {event['weight']:.3f}" if by == "attention" else f"score falls by {event['weight']:+.4f}"
        text = " · ".join([*_told(event, timed), weight])
        cx, cy = x(number), y(event)
        if event.get("carried"):
            svg.add("circle", class_="carried", cx=cx, cy=cy, r=radius + 3.6)
        svg.add("circle", title=text, class_=f"dot {_key(event, colours, interests)}", cx=cx, cy=cy, r=radius)
    at_x, at_y, r = x(len(events)), y(last), 8.0
    css = f"next {_key(last, colours, interests)}"
    shape = f"M{at_x:g} {at_y - r:g}L{at_x + r:g} {at_y:g}L{at_x:g} {at_y + r:g}L{at_x - r:g} {at_y:g}z"
    svg.add("path", title=" · ".join([*_told(last, timed), outcome(person)]), class_=css, d=shape)
    if timed and events:
        shown = sorted({0, len(events) // 2, len(events) - 1}) if pitch * len(events) > 300 else [0]
        for number in shown:
            if "time" in events[number]:
                anchor = "start" if number == 0 else "middle"
                text = moment(events[number]["time"])
                svg.add("text", text, class_="tick", x=x(number), y=bottom + 16, text_anchor=anchor)
    return svg.markup()


def outcome(person: Mapping[str, Any]) -> str:
    """What the model said of the row, as text."""
    last = person["next"]
    if "rank" in last:
        if last["rank"] is None:
            text = "not ranked: met before, or new to the scene"
        else:
            text = f"rank {last['rank']:g} of {last['among']:,}"
        best = person.get("recommended")
        return text + (f"; first is {best}" if best and best != last["item"] else "")
    if "score" in last:
        return f"predicted {last['score']:.3f}, was {last['label']:g}"
    return ""
