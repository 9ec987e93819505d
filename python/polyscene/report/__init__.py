"""Reports: one self-contained ``report.html`` for a run, a folder of runs with several seeds, or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyscene._model import Model
    from polyscene.report.inline import Inline

__all__ = ["build_report", "build_summary", "build_table", "show_distances", "show_flows", "show_timelines"]


def build_report(run_dir: str | Path) -> Path:
    """Writes ``report.html`` into a run folder; into a folder of run folders, a summary of them; the page of a table.

    The page needs no network: style, script and figures are part of it. Where a run lacks a file (history, predictions,
    explanations), the page lacks its section.

    Args:
        run_dir: a folder with ``metrics.json``, one whose sub-folders hold it, or one with ``table.json``.

    Returns:
        The path of the page.

    Raises:
        ValueError: there is no finished run in the folder, or one of its files cannot be read; the message names it.
    """
    from polyscene.comparison import runs_of
    from polyscene.report.page import write_page

    folder = Path(run_dir)
    if (folder / "table.json").exists():
        return build_table(folder)
    if not (folder / "metrics.json").exists() and runs_of(folder):
        return build_summary(folder)
    return write_page(folder)


def build_summary(folder: str | Path) -> Path:
    """Writes ``report.html`` with mean and standard deviation of each metric and scene over the runs in a folder.

    Args:
        folder: a folder whose sub-folders are run folders, one a seed.

    Returns:
        The path of the page.

    Raises:
        ValueError: the folder holds no finished run.
    """
    from polyscene.report.summary import write_summary

    return write_summary(Path(folder))


def build_table(folder: str | Path) -> Path:
    """Writes ``report.html`` of a table that `polyscene reproduce` made: its rows, tests and costs, all sortable.

    Args:
        folder: a folder with ``table.json``.

    Returns:
        The path of the page.

    Raises:
        ValueError: there is no such file, or it is not JSON.
    """
    from polyscene.report.table import write_table

    return write_table(Path(folder))


def show_timelines(
    model: Model, table: Any, users: Sequence[Any] | None = None, *, exclude_seen: bool = True
) -> Inline:
    """The timelines of the report inside a notebook: what users did in each scene, and what carried the prediction.

    Args:
        model: as :func:`polyscene.explaining.timelines` takes it.
        table: likewise.
        users: likewise.
        exclude_seen: likewise.

    Returns:
        A figure that a notebook shows; ``save(path)`` writes it as a page.

    Raises:
        ValueError: a user without a row, or no row with a past.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.report import show_timelines
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = ps.models.SASRec(data.schema, dim=8)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> show_timelines(model, data.test, ["u3", "u4"]).save("timelines.html").name
        'timelines.html'
    """
    from polyscene.explaining import timelines
    from polyscene.report import seeing
    from polyscene.report.inline import Inline

    found = seeing.timelines(timelines(model, table, users, exclude_seen=exclude_seen) or {})
    if found is None:
        raise ValueError("show_timelines: no row of the table has a past; the data need users, items and earlier rows")
    return Inline("Timelines", seeing.part("timelines", found))


def show_flows(model: Model, data: Any, what: str = "scenes", *, exclude_seen: bool = True) -> Inline:
    """How events and predictions move between scenes, or interests, by period, inside a notebook.

    Args:
        model: as :func:`polyscene.explaining.flows` takes it.
        data: likewise.
        what: "scenes" or "interests".
        exclude_seen: likewise.

    Returns:
        A figure that a notebook shows; ``save(path)`` writes it as a page.

    Raises:
        ValueError: another ``what``, or nothing to show: a single scene, no interests, or nobody with two events.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.report import show_flows
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = ps.models.SASRec(data.schema, dim=8)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> show_flows(model, data)
        Inline('Between scenes over time', 4 figures)
    """
    from polyscene.explaining import flows
    from polyscene.report import seeing
    from polyscene.report.inline import Inline

    if what not in ("scenes", "interests"):
        raise ValueError(f"show_flows: what must be 'scenes' or 'interests', got {what!r}")
    content = flows(model, data, exclude_seen=exclude_seen).get("flow" if what == "scenes" else "interest_flow") or {}
    found = seeing.flow(content, what)
    if found is None:
        raise ValueError(f"show_flows: the data tell nothing of {what}; wanted several, and users with two events")
    return Inline(f"Between {what} over time", seeing.part("flow", found, what))


def show_distances(verdict: Mapping[str, Any]) -> Inline:
    """What each candidate of a transfer carried, layer by layer, inside a notebook.

    Args:
        verdict: of :func:`polyscene.transfer.migrate`, or ``result.transfer`` of a run.

    Returns:
        A figure that a notebook shows; ``save(path)`` writes it as a page.

    Raises:
        ValueError: a verdict without distances.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.report import show_distances
        >>> data = ps.testing.tiny_data()
        >>> _, _, verdict = ps.transfer.migrate(ps.models.MF(data.schema, dim=4), data, trainer={"epochs": 1})
        >>> show_distances(verdict).title
        'What was carried'
    """
    from polyscene.report import seeing
    from polyscene.report.inline import Inline

    found = seeing.distances(verdict.get("distances") or {})
    if found is None:
        raise ValueError("show_distances: the verdict holds no distances; run the transfer again")
    return Inline("What was carried", seeing.part("distances", found))
