"""A small writer of inline SVG: escaped text, short numbers, colours by class so that one figure suits both themes."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from markupsafe import Markup, escape

SERIES = 8  # colours of the palette, classes s0 .. s7
LEVELS = 10  # steps of the sequential scale, classes q0 .. q9


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def text_width(text: str, size: float = 11) -> float:
    """Roughly how wide a text is in a sans-serif font, in the unit of ``size``; errs on the wide side."""
    wide = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.72 if c.isupper() else 0.6 for c in text)
    return wide * size


def shorten(text: str, width: float, size: float = 11) -> str:
    """The text, cut with an ellipsis where it is wider than ``width``."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


class Svg:
    """A figure of a given size.

    Args:
        width: width of the drawing; the page may scale it.
        height: height of the drawing.
        title: what the figure shows, for readers of the page who cannot see it.
        css: class of the svg element.
        fixed: draw at this size in pixels instead of scaling to the width of the page.
    """

    def __init__(self, width: float, height: float, title: str, css: str = "", fixed: bool = False) -> None:
        size = f' width="{number(width)}" height="{number(height)}"' if fixed else ""
        box = f'viewBox="0 0 {number(width)} {number(height)}"'
        self._parts = [f'<svg {box}{size} class="{escape(css)}" role="img" aria-label="{_escaped(title)}">']
        self.width, self.height = width, height

    def add(self, tag: str, text: str | None = None, title: str | None = None, **attributes: object) -> None:
        """Adds an element; ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``."""
        inner = "" if title is None else f"<title>{_escaped(title)}</title>"
        inner += "" if text is None else _escaped(text)
        self._parts.append(
            f"<{tag}{_attributes(attributes)}>{inner}</{tag}>" if inner else f"<{tag}{_attributes(attributes)}/>"
        )

    @contextmanager
    def group(self, **attributes: object) -> Iterator[None]:
        """Elements added inside lie in a ``g`` element."""
        self._parts.append(f"<g{_attributes(attributes)}>")
        yield
        self._parts.append("</g>")

    def markup(self) -> Markup:
        """The figure as safe HTML."""
        return Markup("".join(self._parts) + "</svg>")


def _escaped(text: str) -> str:
    """Text without meaning to HTML, and without the control characters that XML forbids."""
    return str(escape("".join(c if c >= " " else " " for c in text)))


def _attributes(values: dict[str, object]) -> str:
    parts = []
    for name, value in values.items():
        if value is not None:
            shown = number(value) if isinstance(value, (int, float)) else str(value)
            parts.append(f' {name.rstrip("_").replace("_", "-")}="{_escaped(shown)}"')
    return "".join(parts)


def path(points: Sequence[tuple[float, float]]) -> str:
    """Path data of a line through points; undefined points break the line."""
    data, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            data.append(f"{pen}{number(x)} {number(y)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(data)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in [low, high], about ``count`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(math.log(s / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Ticks with as many decimals as tell them apart."""
    for decimals in range(7):
        texts = [f"{v:,.{decimals}f}" for v in values]
        if all(
            math.isclose(float(t.replace(",", "")), v, rel_tol=1e-6, abs_tol=1e-9)
            for t, v in zip(texts, values, strict=True)
        ):
            return texts
    return [f"{v:.3g}" for v in values]


class Plot:
    """Axes inside a figure: a frame, grid lines, tick texts and a mapping from data to the drawing.

    Args:
        title: what the plot shows.
        x: range of the horizontal axis.
        y: range of the vertical axis.
        x_ticks: where the horizontal axis has texts; round numbers if None.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis, above its texts.
        size: width and height of the drawing.
    """

    def __init__(
        self,
        title: str,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        x_ticks: Sequence[float] | None = None,
        x_label: str = "",
        y_label: str = "",
        size: tuple[float, float] = (460, 300),
    ) -> None:
        self.svg = Svg(*size, title, css="plot")
        y_ticks = ticks(*y, 5)
        y_texts = tick_texts(y_ticks)
        self.left = 14 + max((text_width(t, 14) for t in y_texts), default=20)
        self.right, self.top, self.bottom = size[0] - 16, 30.0, size[1] - 48
        self._x, self._y = x, y
        for value, text in zip(y_ticks, y_texts, strict=True):
            at = self.y(value)
            self.svg.add("line", class_="grid", x1=self.left, x2=self.right, y1=at, y2=at)
            self.svg.add("text", text, class_="tick", x=self.left - 8, y=at + 4, text_anchor="end")
        x_values = ticks(*x, 5) if x_ticks is None else x_ticks
        for value, text in zip(x_values, tick_texts(x_values), strict=True):
            self.svg.add("text", text, class_="tick", x=self.x(value), y=self.bottom + 20, text_anchor="middle")
        self.svg.add("line", class_="axis", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom)
        middle = (self.left + self.right) / 2
        self.svg.add("text", x_label, class_="label", x=middle, y=size[1] - 8, text_anchor="middle")
        self.svg.add("text", y_label, class_="label", x=4, y=15)

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        return self.left + (value - self._x[0]) / ((self._x[1] - self._x[0]) or 1) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        return self.bottom - (value - self._y[0]) / ((self._y[1] - self._y[0]) or 1) * (self.bottom - self.top)

    def line(self, xs: Sequence[float], ys: Sequence[float], css: str, title: str | None = None) -> None:
        """A line through data points."""
        data = path([(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)])
        if data:
            self.svg.add("path", title=title, class_=f"line {css}", d=data)

    def dots(self, xs: Sequence[float], ys: Sequence[float], css: str, titles: Sequence[str], r: float = 3.2) -> None:
        """Dots at data points, each with its text on hover."""
        for x, y, title in zip(xs, ys, titles, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                self.svg.add("circle", title=title, class_=f"dot {css}", cx=self.x(x), cy=self.y(y), r=r)
