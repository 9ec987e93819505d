"""``run``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None, typer.Argument(help="JSON config, comments allowed; without it, the quickstart on the simulator.")
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the data set, in the place of dataset.root.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="A value of the config, such as model.dim=8; may be repeated.")
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Runs with seeds one after another, and a summary.")]
Splits = Annotated[bool, typer.Option("--split-seeds", help="With --seeds: the split's seed moves, too.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; runs/<model>-<data>-<n> by default.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]


def run(
    config: Config = None,
    data: Data = None,
    set_: Set = None,
    seeds: Seeds = 1,
    split_seeds: Splits = False,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Trains and evaluates a model, and writes a run folder with a report."""
    from polyscene import runs
    from polyscene.display import TrainingProgress, print_result

    if config is None and resume and out is not None and (out / "config.json").is_file():
        config = out / "config.json"
    resolved = runs.resolve(config, set_ or (), data)
    folder = runs.folder_for(resolved, out, resume)
    progress = TrainingProgress(monitor=resolved["train"]["monitor"] or None)
    try:
        if seeds == 1 and not split_seeds:
            done = runs.execute(resolved, folder, resume=resume, callbacks=progress)
            typer.echo()
            print_result(done.result)
        else:
            several = runs.execute_seeds(
                resolved, folder, seeds, split_seeds=split_seeds, resume=resume, callbacks=progress
            )
            _print_summary(runs.summary([each.result for each in several]), seeds)
    except KeyboardInterrupt:
        typer.echo(f"polyscene: interrupted; the same command with --resume --out {folder} goes on with it", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"run folder: {folder}")
    if (folder / "report.html").exists():
        typer.echo(f"report: {folder / 'report.html'}")


def _print_summary(summary: dict[str, dict[str, tuple[float, float]]], seeds: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from polyscene.results import metric_order, metric_title

    metrics = metric_order(next(iter(summary.values())))
    table = Table(title=f"mean ± standard deviation over {seeds} runs", title_justify="left")
    table.add_column("Scene")
    for name in metrics:
        table.add_column(metric_title(name), justify="right")
    for scene, values in summary.items():
        known = [m in values and math.isfinite(values[m][0]) for m in metrics]
        cells = [f"{values[m][0]:.4f} ± {values[m][1]:.4f}" if k else "–" for m, k in zip(metrics, known, strict=True)]
        table.add_row(scene, *cells)
    console = Console()
    (console if console.is_terminal else Console(width=10_000)).print(table)


def add(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(run)
