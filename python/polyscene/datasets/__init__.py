"""Data sets by name: `list`, `info`, `load`, `get`, and `check` for files of one's own."""

from __future__ import annotations

import builtins
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyscene._extension import _C
from polyscene.data._errors import mapping, unknown_key
from polyscene.data._findings import Finding
from polyscene.data.checking import CheckReport, check
from polyscene.data.dataset import Dataset, assemble
from polyscene.data.opening import open_data
from polyscene.data.overlap import Overlap, overlap
from polyscene.data.roles import LabelRole, ListRole, NumericRole, Roles, TimeRole
from polyscene.data.scenes import SceneRole
from polyscene.data.splits import assign, split_spec
from polyscene.data.table_data import read_table
from polyscene.datasets import _download
from polyscene.datasets.registry import RECIPES, Recipe, recipe

__all__ = ["CheckReport", "Finding", "Overlap", "check", "from_config", "get", "info", "list", "load", "overlap"]


def list() -> builtins.list[str]:
    """Names of the data sets that `load` knows.

    Example:
        >>> list()
        ['simulator', 'ml-100k', 'ml-1m', 'ml-20m', 'ml-25m', 'amazon-sport-phone', 'amazon-sport-cloth', \
'douban-book-music', 'movie-book', 'text-sentiment', 'digits']
    """
    return builtins.list(RECIPES)


def info(name: str) -> dict[str, Any]:
    """What is known of a data set: title, licence, citation, rows, urls, sha256, roles.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> info("ml-100k")["rows"]
        100000
    """
    known = recipe(name)
    shown = ("name", "title", "licence", "citation", "rows", "urls", "sha256", "size", "files", "roles")
    return {key: value for key in shown if (value := getattr(known, key))}


def get(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    from_file: str | os.PathLike[str] | None = None,
    offline: bool = False,
) -> Path:
    """Puts a data set's files in place, once; shows its licence when it does.

    Args:
        name: the data set.
        root: folder of all data sets; ``POLYSCENE_DATA`` or the user's cache folder if it is None.
        from_file: an archive that is there already, in the place of a download.
        offline: never ask the network.

    Returns:
        The folder that holds the files.

    Raises:
        ConnectionError: no mirror gave the right archive.
        FileNotFoundError: ``offline`` and the files are not there, or no such archive.
        ValueError: the archive is cut off, damaged or another file, or the set has no archive.

    Example:
        >>> get("simulator")
        Traceback (most recent call last):
        ValueError: simulator: nothing to get; `load('simulator')` makes it
    """
    known = recipe(name)
    folder = Path(root) if root is not None else _download.cache_root()
    found = _folder(known, folder) if known.files else None
    if not known.urls:
        if found is not None:
            return found
        if known.files:
            raise ValueError(
                f"{name}: there is no archive to download; put the publisher's files into a folder "
                f"({', '.join(known.files)}) and name it with root, or put that into {folder}"
            )
        raise ValueError(f"{name}: nothing to get; `load({name!r})` makes it")
    if found is not None and from_file is None:
        return found
    if from_file is not None:
        archive = Path(from_file)
        if not archive.is_file():
            raise FileNotFoundError(f"{name}: no file {archive}")
        _download.check_archive(name, archive, known.sha256, known.size)
        _show_licence(known)
        return _download.extract(name, archive, folder, known.files)
    if offline:
        raise FileNotFoundError(
            f"{name}: not in {folder}, and offline; get it first, or give the archive with from_file"
        )
    _show_licence(known)
    archive = _download.download(name, known.urls, known.sha256, known.size, folder)
    try:
        return _download.extract(name, archive, folder, known.files)
    finally:
        archive.unlink(missing_ok=True)


def _show_licence(known: Recipe) -> None:
    print(f"{known.name}: {known.licence}\nPlease cite: {known.citation}", file=sys.stderr)


def _folder(known: Recipe, root: Path) -> Path | None:
    """Where the files lie: in ``root`` itself or in a folder of the set's name below it."""
    for folder in (root, root / known.folder):
        if (folder / f"{known.name}.inter").exists() or all((folder / file).exists() for file in known.files):
            return folder
    return None


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    scenes: Any = None,
    label: str | Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | str | None = None,
    **options: Any,
) -> Dataset:
    """Loads a data set, ready for training.

    Args:
        name: one of `list`.
        root: folder with the files (RecBole's atomic files or the publisher's own); None downloads into the cache once.
        scenes: as ``scene`` of `read_table`; None takes the set's own (age below 25, 25 to 34, 35 and above for
            ml-100k).
        label: as in `read_table`; None takes the set's own (rating of at least 4 for MovieLens).
        split: as in `read_table`; None is random rows, 8:1:1, seed 2022, or the publisher's own test rows where there
            are some, with one drawn training row of every user of a scene with at least 5 for validation
            (``{"by": "files", "seed": 2022}``), or whole documents for text-sentiment. The page of a set in
            ``datasets/`` says what its splits are.
        options: for the simulator its options; for other sets further arguments of `read_table`, such as ``task``.

    Raises:
        ValueError: there is no set of that name, or ``root`` holds none of its files.
        ConnectionError: it could not be downloaded.

    Example:
        >>> load("simulator", users=50, scenes=3).train.role
        'train'
    """
    known = recipe(name)
    if name == "simulator":
        return _simulated(scenes, label, split, options)
    unknown_key(f"{name}: load", options, _FURTHER)
    if root is None:
        folder = get(name)
    else:
        found = _folder(known, Path(root))
        if found is None:
            raise ValueError(
                f"{name}: {root} holds neither {name}.inter nor {', '.join(known.files)}"
                + (f"; `polyscene datasets get {name} --root {root}` downloads them" if known.urls else "")
            )
        folder = found
    table = None if known.read is None else known.read(name, folder)
    if split is None:
        split = known.split or None
    elif known.split and (split if isinstance(split, str) else split.get("by", "random")) == "random":
        warnings.warn(
            f"{name}: a split by random rows divides what belongs together; its own is {json.dumps(known.split)}",
            stacklevel=2,
        )
    roles = known.roles | options
    if scenes is not None:
        roles["scene"] = scenes
    if label is not None:
        roles["label"] = label
    if table is not None and "part" in table.column_names:
        return _published(known, table, split, roles)
    return read_table(table, split=split, name=name, **roles)


def _published(known: Recipe, table: Any, split: Any, roles: dict[str, Any]) -> Dataset:
    """A table that its publisher has split, in one of the recipe's own ways or in another that is wanted."""
    by = split.get("by", "files") if isinstance(split, Mapping) else split or "files"
    if by not in known.divide or (isinstance(split, Mapping) and split.get("within")):
        return read_table(table.drop(["part"]), split=split, name=known.name, **roles)
    seed = split.get("seed", 2022) if isinstance(split, Mapping) else 2022
    return read_table(**known.divide[by](table, seed), name=known.name, **roles)


_FEATURES = ("categorical", "numeric", "multi_hot", "sequence", "text", "image")
_READING = ("task", *_FEATURES, "time", "weight", "interest", "clean", "min_count", "unseen_scene")
_FURTHER = (*_READING, "core", "tokenizer")


def _simulated(scenes: Any, label: Any, split: Any, options: dict[str, Any]) -> Dataset:
    if label is not None:
        raise ValueError("simulator: labels are made with the data; leave label out")
    if scenes is not None:
        if isinstance(scenes, bool) or not isinstance(scenes, int):
            raise ValueError(f"simulator: scenes must be their number, got {scenes!r}")
        options = options | {"scenes": scenes}
    reading = {key: options.pop(key) for key in ("task", "min_count", "unseen_scene") if key in options}
    simulation = _C.data.simulate(**options)
    columns = simulation.columns
    roles = Roles(
        task=reading.get("task", "ctr"),
        label=LabelRole("label"),
        scene=SceneRole("columns", ("scene",)),
        user="user_id",
        item="item_id",
        time=TimeRole("time"),
        interest=ListRole("interest", "interest"),
        categorical=tuple(columns.categorical),
        numeric=tuple(NumericRole(each) for each in columns.numeric),
        lists=tuple(ListRole(each) for each in columns.lists),
        min_count=reading.get("min_count", 2),
        unseen_scene=reading.get("unseen_scene", "error"),
    )
    spec = split_spec(split, "simulator")
    user = columns.codes[:, columns.categorical.index("user_id")].numpy()
    part = assign(spec, columns.scene.numpy(), user, columns.time.numpy(), "simulator")
    empty = columns.numbers.isnan().sum(0).tolist()
    missing = {column: count for column, count in zip(columns.numeric, empty, strict=True) if count}
    report = {"rows_read": columns.rows, "rows": columns.rows, "dropped": {}, "duplicates": 0, "missing": missing}
    out = assemble("simulator", columns, roles, spec, part, report, owner="simulator")
    out.simulation = simulation
    return out


def from_config(block: Mapping[str, Any]) -> Dataset:
    """The data set of a configuration's ``dataset`` block.

    ``{"name": "ml-100k", "root": ..., "scenes": ..., "label": ..., "split": ...}``, or ``{"name": "table", ...}``
    with the arguments of `read_table`. ``data`` may be a folder that `Dataset.save` wrote: its roles are known, and
    ``"split": "files"`` stands for the split that was saved.

    Raises:
        ValueError: an unknown name or key; the message lists the known ones.

    Example:
        >>> from_config({"name": "simulator", "users": 50, "split": {"by": "time"}}).split.by
        'time'
    """
    block = dict(mapping("dataset", block))
    if "name" not in block:
        raise ValueError(
            f"dataset: wanted a name, got {', '.join(block) or 'nothing'}; known: table, {', '.join(RECIPES)}"
        )
    name = block.pop("name")
    for key in ("scene", "scenes"):  # a resolved config says "no edges" by an empty list
        if isinstance(block.get(key), Mapping) and not block[key].get("edges"):
            block[key] = {each: value for each, value in block[key].items() if each != "edges"}
    if name == "table":
        unknown_key("dataset", block, TABLE_KEYS)
        return _compiled(block) if _is_compiled(block.get("data")) else read_table(**block)
    recipe(name)  # raises where there is none
    if name != "simulator":
        unknown_key("dataset", block, ("root", "scenes", "label", "split", *_FURTHER))
    return load(name, **block)


def _is_compiled(source: Any) -> bool:
    """Whether a source is a folder that `Dataset.save` wrote."""
    return isinstance(source, (str, os.PathLike)) and os.path.isfile(os.path.join(source, "dataset.json"))


def _compiled(block: dict[str, Any]) -> Dataset:
    """Opens a compiled data set in its saved split, which is what ``"files"`` stands for, or in another."""
    further = [key for key in block if key not in ("data", "split")]
    if further:
        raise ValueError(
            f"dataset.{further[0]}: {block['data']} is compiled, with the roles of its columns; leave {further[0]} out"
        )
    split = block.get("split")
    by = split.get("by") if isinstance(split, Mapping) else split
    return open_data(block["data"], None if by == "files" else split)


TABLE_KEYS: Sequence[str] = (
    *(
        "data",
        "train",
        "valid",
        "test",
        "context",
        "split",
        "label",
        "scene",
        "user",
        "item",
        "delimiter",
    ),
    *("columns", "separate_items"),
    *_FURTHER,
)
