"""`read_table`: own data to a `Dataset` of training, validation and test tables with the schema that they share."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene.data._columns import Arrays, arrays
from polyscene.data._errors import choice, listed, mapping, unknown_key
from polyscene.data._texts import settle
from polyscene.data.cores import core_rows, core_spec
from polyscene.data.dataset import Dataset, assemble
from polyscene.data.frame import Frame
from polyscene.data.reading import Piece, pieces, separate
from polyscene.data.roles import RANKED, Roles, resolve
from polyscene.data.splits import Split, assign, split_spec

CLEAN = {"incomplete": ("drop", "error"), "wrong": ("error", "drop"), "duplicates": ("keep", "drop")}
_NOT_ROLES: tuple[str, ...] = ("data", "train", "valid", "test", "context", "split", "schema", "core", "name", "clean")
_NOT_ROLES += ("delimiter", "columns", "separate_items")

_log = logging.getLogger("polyscene")


def read_table(
    data: Any = None,
    *,
    train: Any = None,
    valid: Any = None,
    test: Any = None,
    context: Any = None,
    split: Mapping[str, Any] | str | None = None,
    schema: _C.data.Schema | None = None,
    task: str = "ctr",
    label: str | Mapping[str, Any] | None = "label",
    scene: str | Sequence[str] | Mapping[str, Any] | None = "scene",
    user: str | None = "user_id",
    item: str | None = "item_id",
    time: str | Mapping[str, Any] | None = None,
    weight: str | None = None,
    interest: str | Mapping[str, Any] | None = None,
    categorical: Sequence[str] = (),
    numeric: Sequence[str | Mapping[str, Any]] = (),
    multi_hot: Sequence[str | Mapping[str, Any]] = (),
    sequence: Sequence[str | Mapping[str, Any]] = (),
    text: Sequence[str | Mapping[str, Any]] = (),
    image: Sequence[str | Mapping[str, Any]] = (),
    tokenizer: str | Mapping[str, Any] | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    separate_items: bool = False,
    clean: Mapping[str, str] | None = None,
    min_count: int | None = None,
    unseen_scene: str = "error",
    core: int | Mapping[str, int] | None = None,
    name: str = "table",
) -> Dataset:
    """Reads files or frames into a data set.

    A source is a path (``.csv``, ``.tsv``, ``.parquet``, ``.arrow``, ``.feather``, RecBole's ``.inter``; text may be
    compressed), a list of paths, anything with ``__arrow_c_stream__`` (Arrow, pandas >= 2.2, polars, duckdb), or a dict
    from scene to source. A list of paths is one source: its rows are of one scene where no column says another; for a
    scene a file give the dict. Categorical columns are text and never inferred: "007" is not "7". Only an empty cell is
    missing.

    Args:
        data: one source, divided by ``split``.
        train: source of the training rows, in the place of ``data``.
        valid: source of the validation rows.
        test: source of the test rows.
        context: source of further rows of sequences, beside ``train`` or, with ``schema``, ``test``: what users did who
            are not in training, known before they are served. It is input for validation and test rows, never trained,
            and counted nowhere.
        split: ``{"by": "random", "ratios": [8, 1, 1], "seed": 2022}`` (the default); ``by`` is one of random,
            torch_random (as ``torch.utils.data.random_split`` divides), user, scene, time, leave_one_out, cold_user,
            cold_scene, group; ``within`` ("user", "scene") applies random, time
            and leave_one_out to each of them. ``{"by": "group", "column": "document"}`` divides the groups of rows that
            share an id of that column, none of which crosses parts; ``"within": "scene"`` does so scene by scene.
        schema: the schema of a model; the source is encoded for it, no row is dropped (save those of label 0 in
            rankings, unless ``label`` is None), and roles that are left at their defaults are those that the model was
            trained with. Rows of ``data`` come as ``test``.
        task: "ctr", "rating", "ranking", "text", "image" (classes of both) or "sequence": what a user did in the order
            of ``time``, equal times (without it, all rows) in the order of the source: context, train, valid, test,
            each as it stands in its file. A row is predicted from everything that its user did strictly before it, in
            rows of its own and of earlier parts.
        label: a column; ``{"column": "rating", "at_least": 4}``; ``{"column": "click", "mapping": {"yes": 1, "no":
            0}}``. For rankings and sequences every row is something the user wanted: a row whose label is 0 is
            dropped, all others count alike; None takes every row. For text and image the cells are names of classes,
            those of the training rows (``schema.classes``), in the order of whole numbers or of text.
        scene: a column; several columns; ``{"by": "age", "edges": [25, 35]}`` (left-closed); ``{"by": "time_of_day",
            "edges": [6, 12, 18], "tz": "UTC"}`` (hours); ``{"by": "day_of_week", "tz": "UTC"}``.
        user: the column of user ids.
        item: the column of item ids.
        time: a column of times since 1970 or of dates, or ``{"column": "ts", "unit": "ms"}``. Numbers without a unit
            are seconds, or milliseconds (us, ns) where most of them would lie after the year 5138 otherwise.
        weight: a column of row weights, 0 or more.
        interest: a list column, the interests (genres, topics) of each row; ``{"name": "genres", "separator": "|"}``.
        categorical: columns of ids; user and item are always among them.
        numeric: columns of numbers, or ``{"name": "age", "scaling": "z_score", "missing": "mean", "outliers":
            "keep"}``.
        multi_hot: list columns without order: lists in Parquet, text split by ``separator`` (a space) in CSV.
        sequence: list columns, oldest first, or ``{"name": "clicked", "shares": "item_id", "max_length": 50}``.
        text: the column of texts (task text), ``("text",)``, or ``[{"name": "text", "max_length": 200}]``: the first
            tokens are kept.
        image: the column of images (task image; task text takes any number beside the texts), ``("image",)``, or
            ``[{"name": "image", "size": [28, 28], "channels": 1}]``. A cell holds numbers from 0 to 255
            (``[height][width]``, ``[height][width][channels]``, or all in one list), the bytes of a PNG, JPEG or other
            file, or a path, relative to the file that holds the table (of a frame to the working folder). ``channels``
            is 1 (grey) or 3. Images of another ``size`` are resized; without it all must be of one. An empty cell is an
            image of zeros.
        tokenizer: how texts become tokens: ``{"kind": "words"}`` (the default: NFC, lower case, words and runs of
            punctuation), or ``{"kind": "bpe", "size": 8000}`` or "wordpiece", which training rows teach.
        delimiter: what separates the cells of a text file.
        columns: names of the columns of text files that have no header line, such as the ``user item label`` files of
            DisenCDR and CDRIB: ``("user_id", "item_id", "label")``. Without ``delimiter`` the first row says what
            separates the cells: a tab, a comma or a space.
        separate_items: items are numbered anew in every scene: with a dict from scene to source, item "7" of scene a is
            read as "a:7".
        clean: what becomes of rows: ``{"incomplete": "drop", "wrong": "error", "duplicates": "keep"}`` are the
            defaults; a row is incomplete without label, scene or time, in rankings also without user or item, and wrong
            when a number or label cannot be read.
        min_count: ids seen fewer times in training rows share the row of unknown ids; None for 2, in rankings 1.
        unseen_scene: "error", "shared" (a reserved row) or "nearest".
        core: users and items that must have so many rows in a scene, ``5`` or ``{"user": 5, "item": 3}``; the others
            are dropped before the split, scene by scene, until all that are left have them.
        name: what the data set is called in reports.

    Returns:
        The data set; ``.report`` says what was dropped, and why.

    Raises:
        FileNotFoundError: a path names no file.
        ValueError: a file, a role or a cell is not what is wanted; the message names file, row, line and column.
        TypeError: an argument is of the wrong type.

    Example:
        >>> import pyarrow as pa
        >>> rows = {"user_id": [1, 2] * 50, "item_id": [3, 4] * 50, "label": [0, 1] * 50}
        >>> read_table(pa.table(rows)).train.size
        80
    """
    owner = "read_table"
    given = dict(locals())
    roles_given = {key: given[key] for key in inspect.signature(read_table).parameters if key not in _NOT_ROLES}
    cleaning = _clean_spec(clean, owner)
    if context is not None and task != "sequence" and (schema is None or schema.task != "sequence"):
        raise ValueError(f"{owner}: context belongs to task 'sequence', got task {task!r}")
    # Without times the order of the sources is that of events.
    parts = {"context": context, "train": train, "valid": valid, "test": test}
    sources = _sources(data, parts, delimiter, columns, owner)
    if separate_items:
        separate(sources, item, owner)
    frame = Frame(sources, owner)
    if schema is not None:
        return _encoded(frame, schema, roles_given, split, name, owner)
    spec = split_spec(split, owner)
    if data is None:
        if split is not None and spec.by != "files":
            raise ValueError(
                f"{owner}: train, valid and test are given already; leave split out, or give data and split"
            )
        if train is None:
            raise ValueError(f"{owner}: valid and test need train beside them")
        spec = Split("files")
    elif spec.by == "files":
        raise ValueError(f"{owner}: split by 'files' needs train, valid and test in the place of data")
    roles = resolve(frame, roles_given | {"needs_label": True}, owner)
    if roles.task in RANKED and roles.scene is None and scene is not None:
        _warn_of_one_scene(sources, owner)
    source = arrays(frame, roles, cleaning, spec.column)
    _keep_core(source, core_spec(core, owner), owner)
    part = source.part
    if part is None:
        users = None if roles.user is None else source.codes[:, roles.categorical.index(roles.user)]
        part = assign(spec, source.scene, users, source.time, owner, source.group)
    elif not (part == 0).any():
        raise ValueError(f"{owner}: no training rows are left; dropped: {source.report['dropped']}")
    settle(source, part, frame)
    group = None if source.group is None else torch.tensor(source.group)
    return assemble(name, source.columns(), source.roles, spec, part, source.report, group=group, owner=owner)


def _warn_of_one_scene(sources: list[Piece], owner: str) -> None:
    """Files that a list makes one scene, for which a dict may have been meant."""
    for part in dict.fromkeys(piece.part for piece in sources):
        names = [piece.name for piece in sources if piece.part == part]
        if len(names) > 1:
            _log.warning(
                "%s: the rows of %d files (%s) are of one scene, as there is no column 'scene'; give a dict from scene "
                "to file for one scene each, or scene=None if they are one",
                owner,
                len(names),
                listed(names, 3),
            )
            return


def _keep_core(source: Arrays, least: tuple[int, int], owner: str) -> None:
    if not any(least):
        return
    roles = source.roles
    if roles.user is None or roles.item is None:
        raise ValueError(f"{owner}: core needs a user and an item column; give user= and item=")
    if source.part is not None:
        raise ValueError(f"{owner}: core would change the test rows that were given; leave it out, or give data= whole")
    user, item = (source.codes[:, roles.categorical.index(each)] for each in (roles.user, roles.item))
    rows = core_rows(user, item, source.scene, least)
    if not len(rows):
        raise ValueError(f"{owner}: core: no user and item has {least[0]} and {least[1]} rows in a scene")
    source.report["dropped"]["core"] = source.rows - len(rows)
    source.take(rows)
    source.report["rows"] = source.rows


def encode(source: Any, schema: _C.data.Schema, **roles: Any) -> _C.data.Table:
    """Encodes a source for a model: the rows of ``read_table(source, schema=schema, ...)`` as one table.

    Raises:
        ValueError: a column of the schema is missing, or a cell is not what is wanted.

    Example:
        >>> import polyscene as ps, pyarrow as pa
        >>> rows = pa.table({"user_id": [1, 2] * 50, "item_id": [3, 4] * 50, "label": [0, 1] * 50})
        >>> schema = ps.read_table(rows).schema
        >>> encode(pa.table({"user_id": [2, 9], "item_id": [4, 4]}), schema).users()  # 9 is unknown
        tensor([3, 0])
    """
    return read_table(source, schema=schema, **roles).table


def _sources(
    data: Any, parts: Mapping[str, Any], delimiter: str | None, columns: Sequence[str] | None, owner: str
) -> list[Piece]:
    given = {part: source for part, source in parts.items() if source is not None}
    if data is not None and given:
        raise ValueError(f"{owner}: give data or {', '.join(given)}, not both")
    if data is None and not given:
        raise ValueError(f"{owner}: no source; give data (and split), or train, valid and test")
    if data is not None:
        return pieces(data, owner, delimiter, columns=columns)
    return [
        piece
        for part, source in given.items()
        for piece in pieces(source, owner, delimiter, part=part, columns=columns)
    ]


def _clean_spec(given: Any, owner: str) -> dict[str, str]:
    out = {key: values[0] for key, values in CLEAN.items()}
    for key, value in mapping(f"{owner}: clean", given or {}).items():
        unknown_key(f"{owner}: clean", [key], CLEAN)
        out[key] = choice(f"{owner}: clean: {key}", value, CLEAN[key])
    return out


def _encoded(frame: Frame, schema: _C.data.Schema, given: dict[str, Any], split: Any, name: str, owner: str) -> Dataset:
    if split is not None:
        raise ValueError(f"{owner}: a source that is encoded for a schema is not split; leave split out")
    defaults = {key: value.default for key, value in inspect.signature(read_table).parameters.items()}
    changed = {key: value for key, value in given.items() if value != defaults[key]}
    trained = Roles.from_json(schema.reader) if schema.reader else None
    wanted = _schema_roles(schema, given) | {"task": schema.task, "needs_label": False}
    for key, value in changed.items():
        wanted[key] = value
    roles = None
    if trained is not None:
        keep = {key: None for key in ("label", "scene", "time", "weight", "interest") if key not in changed}
        roles = resolve(frame, wanted | keep, owner)
        roles = replace(roles, **_kept(frame, trained, keep), numeric=trained.numeric, lists=trained.lists)
        roles = replace(roles, tokenizer=trained.tokenizer, classes=trained.classes, images=trained.images)
        roles = replace(roles, fitted=trained.fitted, min_count=trained.min_count, unseen_scene=trained.unseen_scene)
    else:
        roles = resolve(frame, wanted, owner)
    source = arrays(frame, roles, {"incomplete": "error", "wrong": "error", "duplicates": "keep"})
    part = source.part if source.part is not None else np.full(source.rows, 2, np.int8)
    settle(source, None, frame)
    return assemble(
        name, source.columns(), source.roles, Split("files"), part, source.report, schema=schema, owner=owner
    )


def _schema_roles(schema: _C.data.Schema, given: dict[str, Any]) -> dict[str, Any]:
    names = [field.name for field in schema.categorical]
    lists = {
        kind: [each.name for each in schema.lists if each.kind == kind]
        for kind in ("multi_hot", "sequence", "text", "image")
    }
    return dict(given) | {
        "user": schema.user,
        "item": schema.item,
        "categorical": names,
        "numeric": [field.name for field in schema.numeric],
        **lists,
    }


def _kept(frame: Frame, trained: Roles, keep: Mapping[str, None]) -> dict[str, Any]:
    """Roles of the training data that the new source has columns for; only the scene must be there."""
    out: dict[str, Any] = {}
    for role in keep:
        value = getattr(trained, role)
        if value is None:
            continue
        if role == "scene":
            by_file = any(piece.scene is not None for piece in frame.pieces)
            if by_file or value.kind == "files":
                if not by_file:
                    raise ValueError(f"{frame.owner}: the model has one file a scene; give a dict from scene to source")
                continue
            for column in value.columns:
                frame.require(column, "scene")
            out[role] = value
            continue
        column = value if isinstance(value, str) else getattr(value, "column", None) or getattr(value, "name", None)
        if column in frame.names:
            out[role] = value
    return out
