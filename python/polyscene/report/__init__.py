"""Reports: one self-contained ``report.html`` for a run, a folder of runs with several seeds, or a table."""

from __future__ import annotations

from pathlib import Path

__all__ = ["build_report", "build_summary", "build_table"]


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
