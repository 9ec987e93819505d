"""The flow diagram of interests that move from one scene to another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from polyscene.report.svg import SERIES, Svg, number, shorten

WIDTH, NODE, GAP = 520.0, 10.0, 5.0


def shown_flows(flow: list[list[float]], most: int = 60) -> list[tuple[int, int]]:
    """Which flows are drawn: the strongest of each source, then the next strongest, ``most`` of them at most."""
    total = sum(map(sum, flow)) or 1.0
    order = [sorted(range(len(line)), key=lambda j: -line[j]) for line in flow]
    first = [(i, columns[0]) for i, columns in enumerate(order) if columns and flow[i][columns[0]] > 0]
    rest = [(i, j) for i, columns in enumerate(order) for j in columns[1:] if flow[i][j] / total > 0.05 / len(flow)]
    rest.sort(key=lambda ij: -flow[ij[0]][ij[1]])
    return first + rest[: max(most - len(first), 0)]


def _places(sizes: list[float], top: float, height: float) -> list[tuple[float, float]]:
    """Begin and length of nodes stacked with gaps."""
    room = height - GAP * (len(sizes) - 1)
    total = sum(sizes) or 1.0
    places, at = [], top
    for size in sizes:
        length = room * size / total
        places.append((at, length))
        at += length + GAP
    return places


def _label_places(places: list[tuple[float, float]], top: float, bottom: float, pitch: float) -> list[float]:
    """Middles of the nodes, moved apart so that texts do not overlap."""
    at = [begin + length / 2 for begin, length in places]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + pitch)
    if at and at[-1] > bottom:
        at[-1] = bottom
        for i in range(len(at) - 2, -1, -1):
            at[i] = min(at[i], at[i + 1] - pitch)
    return [max(a, top + pitch * i) for i, a in enumerate(at)] if at and at[0] < top else at


def flow_diagram(
    matrix: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    heads: tuple[str, str],
    title: str,
    weights: Sequence[float] | None = None,
    most: int = 60,
) -> tuple[Markup, float]:
    """Ribbons from interests of one scene, left, to interests of another, right; and the share of flow that is drawn.

    Args:
        matrix: p(to | from), [R, C].
        rows: names of interests on the left.
        columns: names of interests on the right.
        heads: what stands above the two sides.
        title: what the figure shows.
        weights: how much each interest on the left counts; all the same if None.
        most: ribbons that are drawn.
    """
    share = [1.0] * len(rows) if weights is None else [max(float(w), 0.0) for w in weights]
    flow = [
        [s * (v if v is not None and math.isfinite(v) and v > 0 else 0.0) for v in line]
        for s, line in zip(share, matrix, strict=True)
    ]
    out = [sum(line) for line in flow]
    into = [sum(line[j] for line in flow) for j in range(len(columns))]
    pitch, top, side = 17.0, 34.0, 138.0
    height = max(220.0, max(len(rows), len(columns)) * 25.0)
    svg = Svg(WIDTH, top + height + 10, title, css="flow")
    left, right = side, WIDTH - side
    a, b = _places(out, top, height), _places(into, top, height)
    kept = sorted(shown_flows(flow, most))
    scale = [(height - GAP * (len(s) - 1)) / (sum(s) or 1.0) for s in (out, into)]
    start, end = [begin for begin, _ in a], [begin for begin, _ in b]
    middle = (left + right) / 2
    for i, j in kept:
        value = flow[i][j]
        w1, w2 = value * scale[0], value * scale[1]
        y1, y2 = start[i], end[j]
        start[i], end[j] = y1 + w1, y2 + w2
        x1, x2 = left + NODE, right - NODE
        shape = (
            f"M{number(x1)} {number(y1)}C{number(middle)} {number(y1)} {number(middle)} {number(y2)} {number(x2)} "
            f"{number(y2)}v{number(w2)}C{number(middle)} {number(y2 + w2)} {number(middle)} {number(y1 + w1)} "
            f"{number(x1)} {number(y1 + w1)}z"
        )
        stays = rows[i] == columns[j]
        chance = matrix[i][j] or 0.0
        svg.add(
            "path",
            title=f"{rows[i]} → {columns[j]}: {chance:.1%}",
            class_="ribbon stays" if stays else f"ribbon f{i % SERIES}",
            d=shape,
            data_a=i,
            data_b=j,
        )
    for k, (names, places, at, anchor) in enumerate(((rows, a, left, "end"), (columns, b, right - NODE, "start"))):
        texts = _label_places(places, top + 6, top + height - 4, pitch)
        for i, (name, (begin, length), y) in enumerate(zip(names, places, texts, strict=True)):
            css = f"node f{i % SERIES}"
            svg.add("rect", title=name, class_=css, x=at, y=begin, width=NODE, height=max(length, 1.0), rx=2)
            x = at - 7 if k == 0 else at + NODE + 7
            svg.add(
                "text",
                shorten(name, side - 10, 13.5),
                title=name,
                class_="name",
                x=x,
                y=y + 4,
                text_anchor=anchor,
                **{("data_a" if k == 0 else "data_b"): i},
            )
    half = WIDTH / 2 - 16
    svg.add("text", shorten(heads[0], half, 15), title=heads[0], class_="head", x=0, y=16)
    svg.add("text", shorten(heads[1], half, 15), title=heads[1], class_="head", x=WIDTH, y=16, text_anchor="end")
    drawn = sum(flow[i][j] for i, j in kept) / (sum(out) or 1.0)
    return svg.markup(), drawn
