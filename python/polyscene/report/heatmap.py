"""Heat maps whose row names stay in view while the cells scroll."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from polyscene.report.svg import LEVELS, Svg, number, shorten, text_width

_FONT = 11.0


def cell_size(count: int) -> float:
    """Edge of a cell in pixels: few rows or columns get large cells, many stay readable."""
    return {0: 44.0, 1: 36.0, 2: 28.0, 3: 22.0}.get((count - 1) // 6, 16.0)


def level(value: float, top: float) -> int:
    """The step of the colour scale for a value in [0, top]; the square root shows small values apart."""
    return min(LEVELS - 1, int(math.sqrt(max(value, 0) / top) * LEVELS)) if top > 0 else 0


def heatmap(
    matrix: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    percent: bool = True,
    mark_largest: bool = True,
) -> Markup:
    """A matrix of values in [0, ...) as two figures side by side, the names of the rows and the cells.

    Args:
        matrix: values [R, C]; None or nan is left empty.
        rows: names of rows, R.
        columns: names of columns, C.
        title: what the matrix shows.
        percent: write cells as whole per cent, else with two decimals.
        mark_largest: frame the largest value of each row.
    """
    values = [[math.nan if v is None else float(v) for v in line] for line in matrix]
    wide, high = cell_size(len(columns)), min(cell_size(len(rows)), 28.0)
    head = min(110.0, max((text_width(name, _FONT) for name in columns), default=0) * 0.87 + 12)
    side = min(150.0, max((text_width(name, _FONT) for name in rows), default=0) + 14)
    height = head + high * len(rows) + 2
    top = max((v for line in values for v in line if math.isfinite(v)), default=0.0)
    names = Svg(side, height, f"{title}: rows", css="names", fixed=True)
    for i, name in enumerate(rows):
        names.add(
            "text",
            shorten(name, side - 10, _FONT),
            title=name,
            class_="name",
            x=side - 8,
            y=head + high * (i + 0.5) + 4,
            text_anchor="end",
        )
    last = text_width(shorten(columns[-1], head / 0.87 - 8, _FONT), _FONT) * 0.5 if columns else 0
    cells = Svg(wide * len(columns) + max(2.0, last - wide / 2 + 4), height, title, css="cells", fixed=True)
    for j, name in enumerate(columns):
        x, y = wide * (j + 0.5) + 3, head - 6
        cells.add(
            "text",
            shorten(name, head / 0.87 - 8, _FONT),
            title=name,
            class_="name",
            x=x,
            y=y,
            transform=f"rotate(-60 {number(x)} {number(y)})",
        )
    _fill(cells, values, (wide, high), head, top)
    for i, line in enumerate(values):
        best = max((v for v in line if math.isfinite(v)), default=math.nan)
        for j, value in enumerate(line):
            if not math.isfinite(value):
                continue
            x, y, step = wide * j, head + high * i, level(value, top)
            if value >= 0.01 or not percent:
                text = f"{value * 100:.0f}" if percent else f"{value:.2f}"
                if text_width(text, 10) <= wide - 2 and (step >= 2 or wide >= 30):
                    cells.add(
                        "text",
                        text,
                        class_="value hi" if step >= LEVELS // 2 + 1 else "value",
                        x=x + wide / 2,
                        y=y + high / 2 + 3.5,
                        text_anchor="middle",
                    )
            if mark_largest and value == best and value > 0:
                cells.add("rect", class_="top", x=x + 1, y=y + 1, width=wide - 2, height=high - 2, rx=2)
    data = "|".join(",".join(number(v * 10_000) if math.isfinite(v) else "" for v in line) for line in values)
    attributes = Markup(
        '<div class="heat" data-wide="{}" data-high="{}" data-head="{}" '
        'data-values="{}" data-rows="{}" data-columns="{}">'
    )
    opened = attributes.format(number(wide), number(high), number(head), data, "\n".join(rows), "\n".join(columns))
    return opened + names.markup() + cells.markup() + Markup("</div>")


def _fill(cells: Svg, values: list[list[float]], size: tuple[float, float], head: float, top: float) -> None:
    """All cells of one colour as one path, so that large matrices stay small files."""
    paths: list[list[str]] = [[] for _ in range(LEVELS)]
    wide, high = size
    right, down = number(wide - 1), number(high - 1)
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            if math.isfinite(value):
                corner = f"M{number(wide * j + 0.5)} {number(head + high * i + 0.5)}"
                paths[level(value, top)].append(f"{corner}h{right}v{down}h-{right}z")
    for step, parts in enumerate(paths):
        if parts:
            cells.add("path", class_=f"q{step}", d="".join(parts))
