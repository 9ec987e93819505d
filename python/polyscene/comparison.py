"""Paired comparison of results: is the difference between two models more than chance, scene by scene?"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyscene import _statistics as stats
from polyscene._differences import ComparisonRow, over_rows, over_seeds, over_users, unit_of
from polyscene.results import LOWER_IS_BETTER, Result, metric_title, needs_pandas

if TYPE_CHECKING:
    import pandas

OVERALL = "All rows"
Run = Result | str | Path


@dataclass(repr=False)
class Comparison:
    """What :func:`compare` found: ``rows`` are the differences, one for each pair, metric and scene."""

    rows: list[ComparisonRow]
    confidence: float
    unit: str

    def row(self, metric: str, scene: str | None = None, second: str | None = None) -> ComparisonRow:
        """The difference in one metric and scene (None: all rows) between the first result and ``second``.

        Raises:
            KeyError: there is no such row.
        """
        for row in self.rows:
            if row.metric == metric and row.scene == scene and second in (None, row.second):
                return row
        raise KeyError(f"Comparison: no row for metric '{metric}', scene {scene!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``None`` where a number is undefined."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        rows = [{k: plain(v) for k, v in asdict(row).items()} for row in self.rows]
        return {"confidence": self.confidence, "unit": self.unit, "rows": rows}

    def frame(self) -> pandas.DataFrame:
        """A pandas frame with one line a row."""
        pandas = needs_pandas("Comparison.frame")
        return pandas.DataFrame([asdict(row) for row in self.rows])

    def _caption(self) -> str:
        per = {"seed": "paired over seeds", "user": "resampled by user", "row": "resampled by row"}[self.unit]
        return f"differences second - first; {self.confidence:.0%} intervals, {per}; p corrected by Holm"

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = [
            "Scene",
            "Metric",
            "First",
            "Second",
            "Difference",
            f"{self.confidence:.0%} interval",
            "p",
            "p (Holm)",
            "Test",
            "Better",
        ]
        body = []
        for r in self.rows:
            interval = f"{r.low:+.4f} … {r.high:+.4f}" if math.isfinite(r.low) else "–"
            body.append(
                [
                    OVERALL if r.scene is None else r.scene,
                    metric_title(r.metric),
                    _fixed(r.first_value),
                    _fixed(r.second_value),
                    _fixed(r.difference, "+"),
                    interval,
                    _p(r.p),
                    _p(r.p_holm),
                    r.test,
                    r.better or r.note or "no difference found",
                ]
            )
        return head, body

    def _pairs(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((r.first, r.second) for r in self.rows))

    def text(self) -> str:
        """A plain table for the terminal, one for each pair."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(file=io.StringIO(), width=10_000, color_system=None, force_terminal=False)
        head, body = self._cells()
        for first, second in self._pairs():
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for i, name in enumerate(head):
                table.add_column(name, no_wrap=True, justify="left" if i in (0, 1, 8, 9) else "right")
            for row, cells in zip(self.rows, body, strict=True):
                if (row.first, row.second) == (first, second):
                    table.add_row(*map(Text, cells))
            console.print(Text(f"{first} (first), {second} (second)"))
            console.print(table)
        console.print(Text(self._caption()))
        return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        better = sum(bool(row.better) for row in self.rows)
        return f"Comparison({len(self.rows)} differences by {self.unit}, {better} beyond chance)"

    def html(self) -> str:
        """An HTML fragment with one table a pair; all names are escaped."""
        head, body = self._cells()
        parts = []
        for first, second in self._pairs():
            lines = "".join(
                "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>"
                for row, cells in zip(self.rows, body, strict=True)
                if (row.first, row.second) == (first, second)
            )
            title = f"<caption>{html.escape(first)} (first), {html.escape(second)} (second)</caption>"
            header = "".join(f"<th>{html.escape(h)}</th>" for h in head)
            parts.append(f"<table>{title}<thead><tr>{header}</tr></thead><tbody>{lines}</tbody></table>")
        return "".join(parts) + f"<p>{html.escape(self._caption())}</p>"

    def _repr_html_(self) -> str:
        return self.html()


def _fixed(value: float, sign: str = "") -> str:
    return format(value, f"{sign}.4f") if math.isfinite(value) else "–"


def _p(value: float) -> str:
    return "–" if not math.isfinite(value) else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def compare(
    *results: Run | Sequence[Run],
    metric: str | Sequence[str] | None = None,
    confidence: float = 0.95,
    unit: str = "auto",
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares results on the same rows, each later one with the first, per scene and over all rows.

    Two results are compared row by row: bootstrap intervals of the difference; p-values by DeLong's test for AUC,
    McNemar's for accuracy and the bootstrap for the rest. If the predictions name users, whole users are resampled and
    the tests take a user's rows together, because they are not independent. Rows with weights count by them, and all
    p-values are the bootstrap's then. Rankings and sequences of events are compared user by user: bootstrap intervals
    and t-tests over users. Lists of runs, or folders of runs with several seeds, are compared over seeds: paired t-test
    and t interval. All p-values are corrected together by Holm.

    Args:
        results: two or more results, run folders, sequences of them, or folders that hold one run folder a seed.
        metric: names of metrics; None: AUC, log loss, accuracy and F1 (classes: F1, accuracy, precision, recall and log
            loss; ratings: RMSE and MAE; rankings: NDCG@10 and recall@10). Over seeds, any metric of the results.
        confidence: coverage of the intervals, in (0, 1).
        unit: what is resampled, "row" or "user"; "auto" takes users where the predictions name them.
        draws: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Raises:
        ValueError: fewer than two results, rows or splits that differ, no predictions, or an unknown metric.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> first, second = ps.models.Popularity(data.schema), ps.models.Logistic(data.schema)
        >>> for model in (first, second):
        ...     _ = ps.Trainer(lr=0.05, epochs=20, seed=1).fit(model, data)
        >>> found = compare(ps.evaluate(first, data.test), ps.evaluate(second, data.test), metric="auc")
        >>> found.row("auc").second, found.row("auc", "phone").scene, found.unit
        ('logistic', 'phone', 'user')
    """
    if len(results) < 2:
        raise ValueError(f"compare: wanted at least two results, got {len(results)}")
    if not 0 < confidence < 1:
        raise ValueError(f"compare: confidence must be in (0, 1), got {confidence}")
    if unit not in ("auto", "row", "user"):
        raise ValueError(f"compare: unit must be auto, row or user, got '{unit}'")
    if draws < 1:
        raise ValueError(f"compare: draws must be at least 1, got {draws}")
    groups = [_load(result) for result in results]
    names = _names(groups)
    seeded = [isinstance(group, list) for group in groups]
    if any(seeded) and not all(seeded):
        raise ValueError("compare: wanted single runs or runs over several seeds, got both; give every side its seeds")
    rows: list[ComparisonRow] = []
    for other, name in zip(groups[1:], names[1:], strict=True):
        if isinstance(groups[0], list) and isinstance(other, list):
            rows += over_seeds(groups[0], other, (names[0], name), metric, confidence)
        elif isinstance(groups[0], Result) and isinstance(other, Result):
            if groups[0].task in ("ranking", "sequence"):
                unit = "user"
                rows += over_users(groups[0], other, (names[0], name), metric, confidence, draws, seed)
                continue
            unit = unit_of(groups[0], other, unit)
            rows += over_rows(groups[0], other, (names[0], name), metric, confidence, unit == "user", draws, seed)
    for row, p in zip(rows, stats.holm(np.array([r.p for r in rows])), strict=True):
        row.p_holm = float(p)
        if p < 1 - confidence and row.difference != 0:
            row.better = row.second if (row.difference < 0) == (row.metric in LOWER_IS_BETTER) else row.first
    return Comparison(rows, confidence, "seed" if seeded[0] else unit)


def runs_of(folder: str | Path) -> list[Path]:
    """The run folders inside a folder, in natural order (seed-2 before seed-10)."""

    def natural(path: Path) -> list[tuple[int, int | str]]:
        parts = "".join(c if c.isdigit() else f"\0{c}\0" for c in path.name).split("\0")
        return [(0, int(p)) if p.isdecimal() else (1, p) for p in parts if p]

    return sorted((p.parent for p in Path(folder).glob("*/metrics.json")), key=lambda p: natural(p))


def _load(source: Run | Sequence[Run]) -> Result | list[Result]:
    if isinstance(source, Result):
        return source
    if isinstance(source, (str, Path)):
        folder = Path(source)
        inside = [] if (folder / "metrics.json").exists() else runs_of(folder)
        if not inside:
            return Result.load(folder)
        runs = [Result.load(path) for path in inside]
        for run in runs:
            run.name = folder.resolve().name
        return runs
    if isinstance(source, Sequence):
        loaded = [_load(item) for item in source]
        if any(isinstance(item, list) for item in loaded):
            raise ValueError("compare: a sequence must hold single runs, got a folder of runs in it")
        return [item for item in loaded if isinstance(item, Result)]
    raise TypeError(f"compare: wanted results or run folders, got {type(source).__name__}")


def _names(groups: list[Result | list[Result]]) -> list[str]:
    """How the tables call the results; numbered where two would have the same name."""
    first = [group if isinstance(group, Result) else group[0] if group else Result() for group in groups]
    names = [result.name or result.model or "result" for result in first]
    return [f"{name} #{i + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]
