"""Commands on finished runs: ``evaluate``, ``predict``, ``recommend``, ``similar``, ``report``, ``compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

RunFolder = Annotated[Path, typer.Argument(help="Run folder, or a model file.")]
Rows = Annotated[
    Path, typer.Argument(help="CSV, Parquet or Arrow file with the columns that the model was trained on.")
]


def _model(run: Path) -> Any:
    import polyscene

    path = run / "model.safetensors" if run.is_dir() else run
    if not path.exists():
        raise FileNotFoundError(f"{run}: wanted the folder of a finished run or a model file, found no {path.name}")
    return polyscene.load(path)


def evaluate(
    run: RunFolder,
    rows: Rows,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="May be repeated; all of the task by default.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Probability from which a row counts as positive.")
    ] = 0.5,
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Cut-off of rankings, 10 by default; may be repeated.")
    ] = None,
    candidates: Annotated[
        str, typer.Option("--candidates", help="Rankings: 'all' items of the scene, or a number of sampled ones.")
    ] = "all",
    context: Annotated[
        Path | None,
        typer.Option("--context", help="File of what users did before the rows; of sequences."),
    ] = None,
    keep_seen: Annotated[
        bool, typer.Option("--keep-seen", help="Of sequences: rank also the items of a row's own history.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measures a trained model on a file."""
    import polyscene
    from polyscene.display import print_result

    among = int(candidates) if candidates.isdecimal() else candidates
    model = _model(run)
    source: Any = rows
    if context is not None:
        source = polyscene.read_table(test=rows, context=context, schema=model.schema)
    result = polyscene.evaluate(
        model, source, metric, k or (10,), among, threshold=threshold, exclude_seen=not keep_seen
    )
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        print_result(result)


def predict(
    run: RunFolder,
    rows: Rows,
    out: Annotated[Path | None, typer.Option("--out", help="CSV or Parquet file; standard output by default.")] = None,
) -> None:
    """Writes the probability (or rating) of each row of a file; of classes the likeliest and those of all.

    Of rankings and sequences it is a score between 0 and 1 that orders, no probability. Rows of the file are counted
    from 1, as messages do; predictions.parquet of a run counts rows of its data from 0.
    """
    import pyarrow as pa

    from polyscene import evaluation
    from polyscene.data.roles import CLASSED

    model = _model(run)
    score = evaluation.predict(model, rows)
    columns: dict[str, Any] = {"row": pa.array(range(1, len(score) + 1))}
    if model.schema.task in CLASSED:
        classes = model.schema.classes
        columns["label"] = pa.array([classes[best] for best in score.argmax(1)], pa.string())
        columns |= {f"score_{name}": score[:, i] for i, name in enumerate(classes)}
    else:
        columns["score"] = score
    _write(pa.table(columns), out)


def _write(table: Any, out: Path | None) -> None:
    import sys

    import pyarrow.csv
    import pyarrow.parquet

    from polyscene._files import replacing

    if out is None:
        pyarrow.csv.write_csv(table, sys.stdout.buffer)
        return
    if out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out: wanted a .csv or .parquet file, got {out}")
    with replacing(out) as temporary, open(temporary, "wb") as file:
        (pyarrow.parquet.write_table if out.suffix == ".parquet" else pyarrow.csv.write_csv)(table, file)


def recommend(
    run: RunFolder,
    users: Annotated[list[str] | None, typer.Argument(help="User ids; none with --items.")] = None,
    items: Annotated[
        list[str] | None, typer.Option("--items", help="An item that one new user likes; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each user.")] = 10,
    scene: Annotated[str | None, typer.Option("--scene", help="Scene of the recommendation; all by default.")] = None,
    events: Annotated[
        Path | None,
        typer.Option("--events", help="JSON list of events since training: user, item, scene, label, time."),
    ] = None,
    keep_seen: Annotated[bool, typer.Option("--keep-seen", help="Also items that the user has seen.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also which of the user's items carried each recommendation.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="CSV or Parquet file; standard output by default.")] = None,
) -> None:
    """Recommends items to users."""
    import pyarrow as pa

    from polyscene import recommending

    since = None
    if events is not None:
        try:
            since = json.loads(events.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{events}: wanted JSON in UTF-8; save the file as UTF-8") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"{events}: line {error.lineno}, column {error.colno}: {error.msg}") from error
        if not isinstance(since, list) or not all(isinstance(event, dict) for event in since):
            raise ValueError(f'{events}: wanted a JSON list of objects, such as [{{"user": "1", "item": "2"}}]')
    if not users and not items:
        raise ValueError("recommend: wanted user ids, or --items of a new user, got neither")
    found = recommending.recommend(
        _model(run),
        users or None,
        k=k,
        scene=scene,
        events=since,
        exclude_seen=not keep_seen,
        items=items or None,
        explain=explain,
    )
    columns = found.columns()
    texts = {name: pa.array(columns[name].tolist(), pa.string()) for name in columns if name not in ("rank", "score")}
    _write(pa.table({name: texts.get(name, column) for name, column in columns.items()}), out)


def similar(
    run: RunFolder,
    item: Annotated[str, typer.Argument(help="Item id.")],
    scene: Annotated[str | None, typer.Option("--scene", help="Where to look; all scenes by default.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Scene of the item; the one with most of its rows by default.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items at most.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="CSV or Parquet file; standard output by default.")] = None,
) -> None:
    """Lists the items that are most like one, also of other scenes."""
    import pyarrow as pa

    found = _model(run).similar_items(item, scene, k, source=source)
    columns = {
        "rank": pa.array(range(1, len(found) + 1), pa.int64()),
        "item": pa.array([each.item for each in found], pa.string()),
        "scene": pa.array([each.scene for each in found], pa.string()),
        "score": pa.array([each.score for each in found], pa.float64()),
    }
    _write(pa.table(columns), out)


def report(run: Annotated[Path, typer.Argument(help="Run folder, or a folder of runs.")]) -> None:
    """Writes report.html of a run again."""
    from polyscene.report import build_report

    typer.echo(f"report: {build_report(run)}")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders, or folders of seeds.")],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="May be repeated; by default the main ones of the task.")
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Of the intervals, in (0, 1).")] = 0.95,
) -> None:
    """Compares runs on the same rows: differences, intervals, Holm-corrected p-values, per scene."""
    import polyscene

    if len(runs) < 2:
        raise ValueError(f"compare: wanted two or more runs, got {len(runs)}")
    typer.echo(polyscene.compare(*runs, metric=metric, confidence=confidence).text())


def add(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (evaluate, predict, recommend, similar, report, compare):
        app.command()(command)
