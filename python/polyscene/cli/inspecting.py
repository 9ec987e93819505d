"""``models``, ``datasets`` and ``doctor``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="Its name, as `list` prints it.")]

models_app = typer.Typer(help="Registered models: list, show.", no_args_is_help=True)
datasets_app = typer.Typer(help="Data sets: list, show, get, check.", no_args_is_help=True)


@models_app.command("list")
def list_models(task: Annotated[str | None, typer.Option("--task", help="ctr, ranking, rating, ...")] = None) -> None:
    """Names the registered models."""
    from polyscene import models
    from polyscene.data._errors import choice

    if task is not None:
        choice("models list: --task", task, ("ctr", "ranking", "rating", "sequence", "text", "image"))
    for name in models.list(task):
        typer.echo(name)


@models_app.command("show")
def show_model(name: Name) -> None:
    """Shows what a model is, and its options with their defaults."""
    from polyscene import models
    from polyscene._model import Model

    options = models.options(name)
    known = Model._cpp_classes.get(name)
    if known is not None and known.__doc__:
        typer.echo(known.__doc__.strip().split("\n\n")[0])
    for option, about in options.items():
        typer.echo(f"  {option:<20} {about.type:<14} {json.dumps(about.default):<12} {about.doc}")


@datasets_app.command("list")
def list_datasets() -> None:
    """Names the data sets that can be loaded by name."""
    from polyscene import datasets

    for name in datasets.list():
        typer.echo(f"{name:<12} {datasets.info(name).get('title', '')}")


@datasets_app.command("show")
def show_dataset(name: Name) -> None:
    """Shows source, licence, size and columns of a data set."""
    from polyscene import datasets

    for key, value in datasets.info(name).items():
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        typer.echo(f"{key:<10} {text}")


@datasets_app.command("get")
def get_dataset(
    name: Name,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder of all data sets; the user's cache by default.")
    ] = None,
    from_file: Annotated[Path | None, typer.Option("--from-file", help="An archive that is there already.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never ask the network.")] = False,
) -> None:
    """Downloads a data set once, checks its digest and unpacks it."""
    from polyscene import datasets

    typer.echo(datasets.get(name, root, from_file=from_file, offline=offline))


@datasets_app.command("check")
def check_dataset(
    file: Annotated[
        list[str],
        typer.Argument(
            help="CSV, Parquet, Arrow or RecBole file; several are a scene each, named as SCENE=FILE, else by the file."
        ),
    ],
    label: Annotated[str | None, typer.Option("--label", help="Label column.")] = None,
    scene: Annotated[str | None, typer.Option("--scene", help="Scene column.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="User column.")] = None,
    item: Annotated[str | None, typer.Option("--item", help="Item column.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Time column.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="ctr (default), rating or ranking.")] = None,
    categorical: Annotated[list[str] | None, typer.Option("--categorical", help="May be repeated.")] = None,
    numeric: Annotated[list[str] | None, typer.Option("--numeric", help="May be repeated.")] = None,
    delimiter: Annotated[str | None, typer.Option("--delimiter", help="Between the cells of a text file.")] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Names for files without a header line: user_id,item_id,label.")
    ] = None,
    separate_items: Annotated[
        bool, typer.Option("--separate-items", help="Items are numbered anew in every scene.")
    ] = False,
) -> None:
    """Tells what is wrong with a file, with row and column; exit code 1 when something is."""
    from polyscene import datasets

    names = {"label": label, "scene": scene, "user": user, "item": item, "time": time, "task": task}
    roles = {**names, "categorical": categorical, "numeric": numeric}
    scenes, paths = _scenes(file)
    if separate_items and scenes is None:
        raise typer.BadParameter("--separate-items is for files of scenes; give several, or SCENE=FILE")
    source = paths[0] if scenes is None else dict(zip(scenes, paths, strict=True))
    given = None if columns is None else [each.strip() for each in columns.split(",")]
    report = datasets.check(
        source,
        delimiter=delimiter,
        columns=given,
        separate_items=separate_items,
        **{key: value for key, value in roles.items() if value},
    )
    typer.echo(report.text())
    if any(finding.severity == "error" for finding in report.findings):
        raise typer.Exit(1)


def _scenes(files: list[str]) -> tuple[list[str] | None, list[Path]]:
    """The scene of each file, None for a single one without a scene, and the files.

    A file without a scene is called by its name, and by its folder where the names of several are equal.
    """
    scenes: list[str] = []
    paths: list[Path] = []
    for each in files:
        scene, _, after = each.partition("=")
        named = scene and after and not Path(each).exists()
        scenes.append(scene if named else "")
        paths.append(Path(after if named else each))
    if len(files) == 1 and not scenes[0]:
        return None, paths
    stems = [path.name.split(".")[0] for path in paths]
    bare = [stem for stem, scene in zip(stems, scenes, strict=True) if not scene]
    for i, path in enumerate(paths):
        if not scenes[i]:
            scenes[i] = stems[i] if bare.count(stems[i]) == 1 else path.resolve().parent.name
    if again := next((scene for scene in scenes if scenes.count(scene) > 1), None):
        raise typer.BadParameter(f"several files would be the scene {again!r}; name scenes as SCENE=FILE")
    return scenes, paths


def doctor() -> None:
    """Shows versions, threads, extras and whether everything works."""
    import importlib.util
    import tempfile

    import torch

    import polyscene
    from polyscene._environment import cpu, versions
    from polyscene.runs import folder_for, resolve

    for name, version in versions().items():
        typer.echo(f"{name:<14} {version}")
    typer.echo(f"{'cpu':<14} {cpu()}")
    typer.echo(f"{'threads':<14} {torch.get_num_threads()}")
    typer.echo(f"{'cmake':<14} {polyscene.cmake_prefix_path}")
    for extra, module in (
        ("tracking", "tensorboard"),
        ("notebook", "nbclient"),
        ("test", "pytest"),
    ):
        typer.echo(f"{'extra ' + extra:<14} {'installed' if importlib.util.find_spec(module) else 'not installed'}")
    data = polyscene.testing.tiny_data()
    model = polyscene.models.Logistic(data.schema)
    polyscene.Trainer(epochs=1).fit(model, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        polyscene.save(model, path)
        batch = polyscene.testing.batch(data, 8)
        same = torch.equal(polyscene.load(path)(batch), model.eval()(batch))
        folder_for(resolve(None), Path(folder) / "run", resume=False)
    if not same:
        raise RuntimeError("doctor: a model that was saved and loaded answers differently")
    typer.echo("trained, saved and loaded a model: all well")


def add(app: typer.Typer) -> None:
    """Registers the commands."""
    app.add_typer(models_app, name="models")
    app.add_typer(datasets_app, name="datasets")
    app.command()(doctor)
