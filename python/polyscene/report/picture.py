"""Images and the weights of their positions, as figures."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from polyscene.report.heatmap import level
from polyscene.report.svg import Svg

_CELLS = 64  # most cells a side; larger images are thinned


def picture_of(channels: Sequence[Sequence[Sequence[float]]], title: str) -> Markup:
    """An image with numbers in [0, 1], [channels][height][width], of one channel or three."""
    height, width = len(channels[0]), len(channels[0][0])
    rows, columns = (range(0, size, -(-size // _CELLS)) for size in (height, width))
    svg = _frame(len(rows), len(columns), title)
    svg.add("rect", x=0, y=0, width=len(columns), height=len(rows), fill="#000")
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            values = [min(max(round(255 * channel[row][column]), 0), 255) for channel in channels]
            if any(values):
                red, green, blue = values if len(values) == 3 else values[:1] * 3
                svg.add("rect", x=x, y=y, width=1.02, height=1.02, fill=f"#{red:02x}{green:02x}{blue:02x}")
    return svg.markup()


def positions(weights: Sequence[Sequence[float]], title: str) -> Markup:
    """Weights of positions, [height][width], on the sequential colour scale."""
    svg = _frame(len(weights), len(weights[0]), f"{title}: attention")
    top = max(max(row) for row in weights)
    for y, row in enumerate(weights):
        for x, value in enumerate(row):
            svg.add("rect", title=f"{value:.1%}", class_=f"q{level(value, top)}", x=x, y=y, width=1.02, height=1.02)
    return svg.markup()


def _frame(height: int, width: int, title: str) -> Svg:
    return Svg(width, height, title, css="picture")
