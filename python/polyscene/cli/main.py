"""Entry point of the command line: commands, and how errors end it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from polyscene.cli import inspecting, running, searching, using
from polyscene.runs import RunExistsError

# Click's ClickException, whether typer brings its copy of click or depends on it: above BadParameter and UsageError.
_CommandLineError = typer.BadParameter.__mro__[2]
USAGE, FAILED, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="polyscene",
    help="Train, migrate and evaluate models of user interest across scenes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import polyscene

        typer.echo(f"polyscene {polyscene.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train, migrate and evaluate models of user interest across scenes."""


running.add(app)
searching.add(app)
using.add(app)
inspecting.add(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0 done, 1 failed, 2 wrong usage or config, 130 interrupted."""
    command = typer.main.get_command(app)
    shown, warnings.showwarning = warnings.showwarning, _warn
    try:
        result = command.main(
            args=list(arguments) if arguments is not None else None, prog_name="polyscene", standalone_mode=False
        )
        return int(result or 0)
    except typer.Exit as error:
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted", INTERRUPTED)
    except _CommandLineError as error:  # type: ignore[misc]
        error.show()
        return USAGE
    except SystemExit as error:  # typer's own answer to a reader of its output that went away
        return error.code if isinstance(error.code, int) else FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except RunExistsError as error:
        return _say(error, USAGE)
    except (ValueError, TypeError, IndexError, FileNotFoundError) as error:
        return _say(error, USAGE)
    except (OSError, RuntimeError, ImportError, MemoryError) as error:
        return _say(str(error) or type(error).__name__, FAILED)
    finally:
        warnings.showwarning = shown


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"polyscene: {message}", file=sys.stderr)


def _say(message: object, code: int) -> int:
    # The first line is ours; what follows in errors of torch is a C++ stack.
    lines = str(message).split("\nException raised from", 1)[0].strip()
    print(f"polyscene: {lines}", file=sys.stderr)
    return code
