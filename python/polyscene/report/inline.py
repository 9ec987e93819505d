"""Figures of the report inside a notebook."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

from markupsafe import Markup

from polyscene._files import write_text


class Inline:
    """A part of the report as a page of its own: a notebook shows it in a frame, with the report's style and scripts.

    Args:
        title: of the page.
        body: what it holds.

    Attributes:
        title: of the page.
        body: what it holds.
    """

    def __init__(self, title: str, body: Markup) -> None:
        self.title, self.body = title, body

    @property
    def page(self) -> str:
        """The whole page as HTML; it needs no network."""
        from polyscene.report.page import render

        return render("inline.html.j2", {"title": self.title, "content": self.body})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the page and returns its path."""
        return write_text(Path(path), self.page)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" title="{html.escape(self.title)}" '
            f'style="width:100%;height:{self._height()}px;border:0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"Inline({self.title!r}, {self.body.count('<svg')} figures)"

    def _height(self) -> int:
        """About as high as its largest parts."""
        boxes = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)" class="(plot|flow)', self.body)
        return min(120 + sum(int(float(height)) + 40 for _, height, _ in boxes), 720)
