"""``tune``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from polyscene.cli.running import Data, Set


def tune(
    config: Annotated[Path, typer.Argument(help="JSON config, comments allowed; its section tune may name the space.")],
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", min=1, help="Trials in all, those in the storage included; 20 unless the config says."
        ),
    ] = None,
    storage: Annotated[
        Path | None,
        typer.Option(
            "--storage", help="SQLite file of the trials, gone on with; runs/tune-<model>-<data>/trials.db by default."
        ),
    ] = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="JSON file of a search space, in the place of the config's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the best config goes; best.json beside the storage by default.")
    ] = None,
    data: Data = None,
    set_: Set = None,
) -> None:
    """Searches a config's options on validation rows, and writes the best config."""
    from polyscene.tuning import tune as search

    try:
        found = search(config, trials, storage, space, data=data, overrides=set_ or (), on_trial=_tell)
    except KeyboardInterrupt:
        typer.echo("polyscene: interrupted; the same command goes on with the trials that are finished", err=True)
        raise typer.Exit(130) from None
    best = found.best["tune"]["found"]
    path = found.save(out or found.storage.with_name("best.json"))
    typer.echo(f"best: trial {best['trial']} of {best['trials']}, {found.metric} {found.value:.4f} on validation rows")
    typer.echo(f"trials: {found.storage}")
    typer.echo(f"config: {path}")


def _tell(trial: dict[str, Any]) -> None:
    value = f"{trial['metric']} " + ("–" if trial["value"] is None else f"{trial['value']:.4f}")
    settings = ", ".join(f"{path} {_short(given)}" for path, given in trial["settings"].items())
    more = f" ({trial['error']})" if "error" in trial else ""
    typer.echo(f"trial {trial['number']}: {trial['state']}, {value}, {trial['seconds']:.1f} s: {settings}{more}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)


def add(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(tune)
