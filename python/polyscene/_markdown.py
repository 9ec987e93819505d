"""Tables in Markdown: what `polyscene reproduce` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polyscene.results import metric_title


def differences(tests: Sequence[Mapping[str, Any]], metric: str = "auc", unit: str = "rows") -> list[str]:
    """Differences in one metric from one reference, with both p-values corrected by Holm."""
    lines = [["Run", "Scene", metric_title(metric), "95 % of resamples", f"p ({unit})", "p (seeds)"]]
    for test in (test for test in tests if test["metric"] == metric):
        value, sd, low, high = (test[key] for key in ("difference", "sd", "low", "high"))
        shown = "–" if value is None else f"{value:+.4f}" + (f" ± {sd:.4f}" if sd is not None else "")
        reach = "–" if low is None else f"{low:+.4f} … {high:+.4f}"
        ps = ["–" if test[key] is None else f"{test[key]:.4f}" for key in ("p_rows_holm", "p_seeds_holm")]
        lines.append([test["run"], test["scene"], shown, reach, *ps])
    return table(lines)


def cell(row: Mapping[str, Any] | None, seeds: int) -> str:
    """Mean and standard deviation over seeds."""
    if row is None or row["mean"] is None:
        return "–"
    return f"{row['mean']:.4f}" + (f" ± {row['sd']:.4f}" if seeds > 1 and row["sd"] is not None else "")


def table(lines: Sequence[Sequence[str]], skip: int | None = None) -> list[str]:
    """Lines of Markdown; the column ``skip`` is left out."""
    lines = [[each for i, each in enumerate(row) if i != skip] for row in lines]
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    text = [_line(lines[0], widths), "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
    return text + [_line(row, widths) for row in lines[1:]]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))]
    return "| " + " | ".join(texts) + " |"
