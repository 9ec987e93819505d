"""``run`` and ``reproduce``."""

from __future__ import annotations

import contextlib
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
    from polyscene.display import TrainingProgress, print_result, print_summary

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
            typer.echo()
            print_summary(runs.summary([each.result for each in several]), seeds)
    except (ValueError, TypeError, OSError):
        with contextlib.suppress(OSError):
            folder.rmdir()  # only where nothing was written yet
        raise
    except KeyboardInterrupt:
        typer.echo(f"polyscene: interrupted; the same command with --resume --out {folder} goes on with it", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"run folder: {folder}")
    if (folder / "report.html").exists():
        typer.echo(f"report: {folder / 'report.html'}")


def transfer(
    sources: Annotated[list[Path], typer.Argument(help="Folders of finished runs, or model files.")],
    target: Annotated[Path, typer.Option("--target", help="JSON config of the target: data, model, transfer, train.")],
    data: Data = None,
    set_: Set = None,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Carries finished runs into the data of another config, goes on there, and tells whether that helped."""
    from polyscene import runs
    from polyscene.display import TrainingProgress, print_result, print_transfer

    resolved = runs.resolve(target, set_ or (), data)
    folder = runs.folder_for(resolved, out, resume)
    progress = TrainingProgress(monitor=resolved["train"]["monitor"] or None)
    try:
        done = runs.execute(resolved, folder, resume=resume, callbacks=progress, sources=sources)
    except (ValueError, TypeError, OSError):
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    except KeyboardInterrupt:
        typer.echo(f"polyscene: interrupted; the same command with --resume --out {folder} goes on with it", err=True)
        raise typer.Exit(130) from None
    typer.echo()
    print_result(done.result)
    print_transfer(done.result.transfer or {})
    typer.echo(f"run folder: {folder}")


def reproduce(
    table: Annotated[str, typer.Argument(help="Its name, such as interest-migration; an unknown one lists all.")],
    data: Data = None,
    set_: Set = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each config, seeds one after another.")] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the table; runs/reproduce-<table>-<n> by default.")
    ] = None,
    resume: Resume = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", help="A run of the table, such as ease or PART/ease, in the place of all; may be repeated."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed and less training, with the ranges that figures should lie in.")
    ] = False,
) -> None:
    """Runs every config of a table with several seeds, and prints the table."""
    from polyscene import reproducing
    from polyscene.display import TrainingProgress

    try:
        made = reproducing.reproduce(table, data, out, seeds, set_ or (), resume, TrainingProgress(), only or (), quick)
    except KeyboardInterrupt:
        typer.echo("polyscene: interrupted; the same command with --resume goes on with it", err=True)
        raise typer.Exit(130) from None
    typer.echo()
    typer.echo(made.text())
    typer.echo(f"table: {made.folder / 'table.md'}")


def add(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (run, transfer, reproduce):
        app.command()(command)
