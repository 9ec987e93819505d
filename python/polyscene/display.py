"""What a terminal or a notebook shows: tables of results and the progress of a training."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from polyscene.results import LOWER_IS_BETTER, Result, main_metric, metric_order, metric_title

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _table(result: Result, columns: list[str], counts: list[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("Scene", no_wrap=True)
    for name in [*map(metric_title, columns), *map(str.capitalize, counts)]:
        table.add_column(name, justify="right", no_wrap=True)

    def line(name: str, values: Mapping[str, float], n: Mapping[str, int], style: str = "") -> None:
        cells = [_number(values.get(m)) for m in columns] + [f"{n[c]:,}" if c in n else "" for c in counts]
        table.add_row(Text(name), *cells, style=style)

    for scene, values in result.scenes.items():
        line(scene, values, result.counts.get(scene, {}))
    table.add_section()
    if result.macro:
        line("Mean of scenes", result.macro, {})
    line("All rows", result.overall, {c: sum(v.get(c, 0) for v in result.counts.values()) for c in counts}, "bold")
    return table


def result_tables(result: Result, width: int | None = None) -> list[Table]:
    """The per-scene table as rich tables, several if they do not fit in ``width``; rankings also by groups of users."""
    from rich.console import Console

    counts = [c for c in ("rows", "positives") if any(c in v for v in result.counts.values())]
    columns = result.metrics
    groups = [found for found in (_group_table(result), _move_table(result)) if found]
    if width is None:
        return [_table(result, columns, counts), *groups]
    console = Console(width=10_000, file=io.StringIO())
    blocks: list[tuple[list[str], list[str]]] = [([], [])]
    for kind, name in [(0, m) for m in columns] + [(1, c) for c in counts]:
        wider = (list(blocks[-1][0]), list(blocks[-1][1]))
        wider[kind].append(name)
        if any(blocks[-1]) and console.measure(_table(result, *wider)).maximum > width:
            blocks.append(([name], []) if kind == 0 else ([], [name]))
        else:
            blocks[-1] = wider
    return [*(_table(result, *block) for block in blocks), *groups]


GROUPS = {
    "cold": "no training item in the scene",
    "few": "1 to 5 training items in the scene",
    "some": "6 to 20",
    "many": "more than 20",
    "overlapping": "known here and in another scene",
    "non_overlapping": "known here alone",
}
"""What the groups of users are called in tables."""


def group_lines(result: Result) -> tuple[str, list[str], list[tuple[str, int, list[float | None]]]]:
    """Rankings by what training knew of the user.

    Returns:
        The title of the metric, the scenes, and for each group its name, its users and its values in all scenes
        together and in each. No lines for other results.
    """
    slices = result.extra.get("slices")
    if not slices or not slices.get("groups"):
        return "", [], []
    scenes = list(result.scenes)
    lines = [
        (GROUPS.get(name, name), group["users"], [group["overall"], *(group["scenes"].get(scene) for scene in scenes)])
        for name, group in slices["groups"].items()
    ]
    return metric_title(slices["metric"]), scenes, lines


def _group_table(result: Result) -> Table | None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title, scenes, lines = group_lines(result)
    if not lines:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(f"{title} of users", no_wrap=True)
    for name in ("Users", "All", *scenes):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for name, users, values in lines:
        table.add_row(Text(name), f"{users:,}", *map(_number, values))
    return table


MOVES = {
    "scene_accuracy": "Next scene",
    "scene_log_loss": "Its log loss",
    "chain_scene_accuracy": "By a chain",
    "interest_hit": "Next interest, hit",
    "chain_interest_hit": "By a chain, hit",
}
"""What figures of :func:`polyscene.moves` are called in tables."""


def move_lines(result: Result) -> tuple[list[str], list[tuple[str, int, list[float | None]]]]:
    """Where interest goes next, as the model and as a chain of training rows say.

    Returns:
        The titles of the figures, and for all rows and each scene the name, the rows and the values. No lines for
        models that expect nothing.
    """
    found = result.extra.get("moves")
    if not found:
        return [], []
    names = [name for name in found["overall"] if name != "rows"]
    titles = [MOVES.get(name.partition("@")[0], name) + "@".join(("", *name.split("@")[1:])) for name in names]
    lines = [
        ("All rows" if scene == "overall" else scene, int(values["rows"]), [values[name] for name in names])
        for scene, values in found.items()
    ]
    return titles, lines


def _move_table(result: Result) -> Table | None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    titles, lines = move_lines(result)
    if not lines:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("Where interest goes next", no_wrap=True)
    for name in (*titles, "Rows with a past"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, rows, values in lines:
        table.add_row(Text(name), *map(_number, values), f"{rows:,}")
    return table


def _footnotes(result: Result) -> list[str]:
    return [f"– {path}: {reason}" for path, reason in result.undefined.items()]


def tables_as_text(result: Result, width: int | None = None) -> str:
    """The per-scene table and the reasons of undefined metrics as plain text without colour codes."""
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(file=buffer, width=10_000, color_system=None, force_terminal=False, highlight=False, emoji=False)
    for table in result_tables(result, width):
        console.print(table)
    text = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n")
    return "\n".join([text, *_footnotes(result)])


def print_summary(
    summary: Mapping[str, Mapping[str, tuple[float, float]]], runs: int, console: Console | None = None
) -> None:
    """Prints mean and standard deviation over runs, as `polyscene.runs.summary` gives them."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console()
    names = {"macro": "Mean of scenes", "overall": "All rows"}
    metrics = metric_order(name for values in summary.values() for name in values)
    room = console.width if console.is_terminal else 10_000
    fit = max(1, (room - 2 - max(map(len, (*summary, *names.values())))) // 18)  # a cell and the space before it
    out = console if console.is_terminal else Console(file=console.file, width=10_000, color_system=None)
    out.print(Text(f"mean ± standard deviation over {runs} runs"))
    for first in range(0, len(metrics), fit):
        part = metrics[first : first + fit]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        table.add_column("Scene", no_wrap=True)
        for metric in part:
            table.add_column(metric_title(metric), justify="right", no_wrap=True)
        for scene, values in summary.items():
            known = [m in values and math.isfinite(values[m][0]) for m in part]
            cells = [f"{values[m][0]:.4f} ± {values[m][1]:.4f}" if k else "–" for m, k in zip(part, known, strict=True)]
            if scene == "macro":
                table.add_section()
            table.add_row(Text(names.get(scene, scene)), *cells, style="bold" if scene == "overall" else "")
        out.print(table)


def print_result(result: Result, console: Console | None = None) -> None:
    """Prints the per-scene table, and what came of a transfer, to the terminal."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    if console.is_terminal or console.is_jupyter:
        for table in result_tables(result, console.width):
            console.print(table)
        for note in _footnotes(result):
            console.print(Text(note, style="dim"))
    else:
        print(tables_as_text(result), file=console.file)
    if result.transfer and result.transfer.get("message"):
        style = "green" if result.transfer.get("helped") else "yellow"
        console.print(Text(str(result.transfer["message"]), style=style))


def print_transfer(verdict: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a transfer from finished runs carried, what it was estimated to be worth, and where it harmed."""
    from rich.console import Console

    console = console or Console()
    for source, told in verdict.get("carried", {}).items():
        rows = ", ".join(f"{name} ({count:,} rows)" for name, count in told["rows"].items())
        console.print(
            f"{source}: carried {', '.join(told['copied']) or 'no tensor whole'}" + (f"; {rows}" if rows else "")
        )
        for left in told["unmatched"]:
            console.print(f"  not carried: {left}")
    estimate = verdict.get("estimate")
    if estimate:
        known = [f"{name} {estimate[name]:.4f}" for name in ("probe", "answer") if estimate[name] is not None]
        gain = estimate["leep"] - estimate["base_rate"]
        metric = metric_title(estimate["metric"])
        console.print(
            f"before training: {metric} of {', '.join(known) or 'nothing'}; LEEP over the base rate {gain:.4f}"
        )
    harm = verdict.get("harm")
    if harm:
        console.print(f"against the target alone: {harm['message']}")


def epoch_line(row: Mapping[str, Any], total_epochs: int | None, monitor: str | None = None, most: int = 3) -> str:
    """One line about an epoch, from a row of ``history.jsonl``, with ``most`` of its metrics."""
    width = len(str(total_epochs or row["epoch"]))
    parts = [f"epoch {row['epoch']:>{width}}" + (f"/{total_epochs}" if total_epochs else "")]
    if row.get("phase") == "closed_form":
        parts = ["fitted in closed form"]
    else:
        if row.get("phase") not in (None, "", "train", "fit"):
            parts.append(str(row["phase"]))
        parts.append(f"loss {_number(row.get('train_loss'))}")
    valid = row.get("valid") or {}
    names = metric_order(valid)
    if monitor in names:
        names = [monitor, *(n for n in names if n != monitor)]
    parts += [f"{name} {_number(valid[name])}" for name in names[:most]]
    if row.get("rows_per_s"):
        parts.append(f"{row['rows_per_s']:,.0f} rows/s")
    if row.get("seconds") is not None:
        parts.append(f"{row['seconds']:.1f} s")
    return "  ".join(parts) + ("  best" if row.get("best") else "")


class TrainingProgress:
    """Shows a training: a live bar in a terminal or notebook, else one plain line an epoch.

    The trainer calls :meth:`on_start`, then :meth:`on_progress` a few times a second, :meth:`on_epoch` after each
    validation and :meth:`on_end` once, also after an error. It can be used as a context manager.

    Args:
        monitor: the validation metric that is shown; the task's own if None.
        task: the task that the metric is chosen by.
        file: where to write; standard output if None.
        live: True for a bar, False for plain lines, None to decide by whether the output is a terminal or a notebook.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> trainer = ps.Trainer(epochs=1, seed=1)
        >>> _ = trainer.fit(ps.models.Logistic(data.schema), data, callbacks=TrainingProgress(live=False))
        epoch 1/1  loss 0...  auc ...  rows/s  ...  best
    """

    def __init__(
        self, monitor: str | None = None, task: str = "ctr", file: TextIO | None = None, live: bool | None = None
    ) -> None:
        self.monitor = monitor or main_metric(task)
        self._file = file
        self._live = live
        self._progress: Any = None
        self._task: Any = None
        self._total_epochs: int | None = None
        self._finished_rows = 0
        self._epoch: int | None = None
        self._clock = 0.0
        self._best: tuple[float, int] | None = None

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.on_end()

    def on_run(self, name: str) -> None:
        """Names the run that follows, where there are several."""
        print(name, file=self._file or sys.stdout, flush=True)

    def on_start(self, total_epochs: int | None, rows: int) -> None:
        """Begins; ``rows`` are the training rows of one epoch, ``total_epochs`` the most that can follow."""
        from rich.console import Console

        self.on_end()
        self._total_epochs, self._finished_rows, self._epoch, self._best = total_epochs or None, 0, None, None
        self._clock = time.perf_counter()
        console = Console(file=self._file) if self._file is not None else Console()
        live = self._live if self._live is not None else console.is_terminal or console.is_jupyter
        if not live:
            return
        from rich.progress import BarColumn, Progress, TextColumn

        if self._live and not console.is_jupyter:
            console = Console(file=self._file, force_terminal=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[speed]}", markup=False),
            TextColumn("{task.fields[eta]}", markup=False),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            refresh_per_second=5,
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task("starting", total=max(rows, 1), speed="", eta="", state="")

    def on_progress(self, epoch: int, rows_done: int, rows_total: int, loss: float) -> None:
        """Reports ``rows_done`` of ``rows_total`` rows of an epoch, with the mean training loss up to here."""
        if self._progress is None:
            return
        self._epoch = epoch
        done = self._finished_rows + rows_done
        speed = done / max(time.perf_counter() - self._clock, 1e-9)
        state = f"loss {_number(loss)}"
        if self._best is not None:
            state += f"  best {self.monitor} {self._best[0]:.4f} @ {self._best[1]}"
        left = rows_total - rows_done
        if self._total_epochs:
            left += rows_total * max(self._total_epochs - epoch, 0)
        of = f"/{self._total_epochs}" if self._total_epochs else ""
        self._progress.update(
            self._task,
            description=f"epoch {epoch}{of}",
            completed=rows_done,
            total=max(rows_total, 1),
            speed=f"{speed:,.0f} rows/s",
            eta=f"up to {_clock(left / speed)}" if speed > 0 else "",
            state=state,
        )

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Reports a finished epoch, given its row of ``history.jsonl``."""
        value = (row.get("valid") or {}).get(self.monitor)
        if value is not None and math.isfinite(value):
            lower = self.monitor in LOWER_IS_BETTER
            if row.get("best") or self._best is None or (value < self._best[0] if lower else value > self._best[0]):
                self._best = (value, row["epoch"])
        line = epoch_line(row, self._total_epochs, self.monitor)
        if self._progress is None:
            print(line, file=self._file or sys.stdout, flush=True)
            return
        from rich.text import Text

        self._finished_rows += int(self._progress.tasks[0].total)
        for most in (3, 2, 1):
            line = epoch_line(row, self._total_epochs, self.monitor, most)
            if len(line) <= self._progress.console.width:
                break
        self._progress.console.print(Text(line, style="" if row.get("best") else "dim"))

    def on_end(self) -> None:
        """Ends the display; calling it again does nothing."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
