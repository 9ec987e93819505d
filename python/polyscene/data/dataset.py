"""A data set: tables that share columns and a schema; how it is assembled, saved and opened."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._files import replacing, write_json
from polyscene.data import cleaning
from polyscene.data._errors import counted
from polyscene.data.roles import Roles
from polyscene.data.splits import ALL_PARTS, PARTS, Split, assign, digest_of, split_spec

FORMAT = 1


class Dataset:
    """Training, validation and test rows of one source, seen through one schema.

    Attributes:
        name: what reports call it.
        schema: fitted on the training rows (or given).
        train: the training `Table`, or None.
        valid: the validation `Table`, or None.
        test: the test `Table`, or None.
        context: in sequences the `Table` of what was known before serving and is never trained, or None.
        columns: the source, shared by the tables.
        roles: what each column is.
        split: how rows were divided.
        report: what was read, dropped (and why), found twice, missing and imputed.
        group: of rows that a split kept together, int32 [N]: the same number for rows of one group, -1 for a row that
            is a group of its own; None without such a split.
        unlabelled: training rows of a transfer's target whose labels are not read (`transfer.few_labels`), or None.

    Example:
        >>> import polyscene as ps
        >>> data = ps.datasets.load("simulator", users=100, scenes=2, split="leave_one_out")
        >>> data  # doctest: +ELLIPSIS
        Dataset('simulator', train=..., 2 scenes, 6 categorical, 2 numeric, 0 list fields)
        >>> len(data.valid), len(data.test), sorted(data.counts()["test"])
        (100, 100, ['scene_0', 'scene_1'])
    """

    def __init__(
        self,
        name: str,
        columns: _C.data.Columns,
        schema: _C.data.Schema,
        tables: Mapping[str, _C.data.Table],
        roles: Roles,
        split: Split,
        report: dict[str, Any],
        group: torch.Tensor | None = None,
    ) -> None:
        self.name = name
        self.columns = columns
        self.schema = schema
        self.train: _C.data.Table | None = tables.get("train")
        self.valid: _C.data.Table | None = tables.get("valid")
        self.test: _C.data.Table | None = tables.get("test")
        self.context: _C.data.Table | None = tables.get("context")
        self.roles = roles
        self.split = split
        self.report = report
        self.group = group
        self.simulation: _C.data.Simulation | None = None
        self.unlabelled: _C.data.Table | None = None
        self._raw = columns
        self._rows: dict[str, torch.Tensor] = {}
        self._digests: dict[str, str] = {}

    @property
    def tables(self) -> dict[str, _C.data.Table]:
        """The tables of rows to train on or to measure by name, without those that are None."""
        return {part: table for part in PARTS if (table := getattr(self, part)) is not None}

    @property
    def table(self) -> _C.data.Table:
        """The only table.

        Raises:
            ValueError: there are several.
        """
        tables = list(self.tables.values())
        if len(tables) != 1:
            raise ValueError(f"Dataset: wanted one table, got {', '.join(self.tables)}; name one of them")
        return tables[0]

    @property
    def digest(self) -> str:
        """sha256 of the source: 64 hexadecimal digits."""
        if "data" not in self._digests:
            self._digests["data"] = self.columns.digest()
        return self._digests["data"]

    @property
    def split_digest(self) -> str:
        """sha256 of which rows are in which part: 64 hexadecimal digits."""
        if "split" not in self._digests:
            tables = self.tables | ({} if self.context is None else {"context": self.context})
            self._digests["split"] = digest_of([f"{part}:{table.digest()}" for part, table in tables.items()])
        return self._digests["split"]

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows of each scene in each part."""
        names, scene = self.columns.scene_names, self.columns.scene
        out = {}
        for part, table in self.tables.items():
            rows, sums = table.rows, torch.zeros(len(names), dtype=torch.int64)
            for some in rows.split(1 << 18):
                sums += torch.bincount(scene[some], minlength=len(names))
            numbers = sums.tolist()
            out[part] = {scene: n for scene, n in zip(names, numbers, strict=True) if n}
        return out

    def __repr__(self) -> str:
        parts = ", ".join(f"{part}={len(table):,}" for part, table in self.tables.items())
        schema = self.schema
        scenes, lists = counted(len(schema.scenes), "scene"), counted(len(schema.lists), "list field")
        fields = f"{len(schema.categorical)} categorical, {len(schema.numeric)} numeric, {lists}"
        return f"Dataset({self.name!r}, {parts}, {scenes}, {fields})"

    def _repr_html_(self) -> str:
        counts = self.counts()
        scenes = [scene for scene in self.columns.scene_names if any(scene in part for part in counts.values())]
        head = "".join(f"<th>{part}</th>" for part in counts)
        rows = "".join(
            f"<tr><td>{html.escape(scene)}</td>"
            + "".join(f"<td style='text-align:right'>{part.get(scene, 0):,}</td>" for part in counts.values())
            + "</tr>"
            for scene in scenes
        )
        return f"<p>{html.escape(repr(self))}</p><table><tr><th>scene</th>{head}</tr>{rows}</table>"

    def thin(
        self,
        scene: str,
        share: float | None = None,
        seed: int = 0,
        parts: tuple[str, ...] = ("train", "valid"),
        *,
        each: int | None = None,
    ) -> Dataset:
        """The same data with few rows of one scene: what a new scene looks like. Everything is fitted again.

        Args:
            scene: the scene that loses rows.
            share: of its rows that are kept, in (0, 1]; at least one.
            seed: which rows; independent of the number of threads.
            parts: the parts that lose rows; the test rows stay unless named.
            each: in the place of a share, how many rows of each label are kept in each part (all where there are no
                more).

        Raises:
            ValueError: an unknown scene or part, a share or number out of range, both or neither of them.
        """
        code, rows = self._scene("Dataset.thin", scene), dict(self._rows)
        if (share is None) == (each is None):
            raise ValueError(
                f"Dataset.thin: wanted a share of the rows or each (rows of each label), got {share}, {each}"
            )
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"Dataset.thin: share must be in (0, 1], got {share}")
        if each is not None and (each < 1 or self._raw.label is None):
            wanted = "labels" if self._raw.label is None else f"1 or more rows of each label, got {each}"
            raise ValueError(f"Dataset.thin: wanted {wanted}")
        for part in parts:
            if part not in rows:
                raise ValueError(f"Dataset.thin: there are no {part!r} rows; known parts: {', '.join(rows)}")
            mine = self._raw.scene[rows[part]] == code
            positions = mine.nonzero().squeeze(1)
            order = _C.core.permutation(len(positions), seed, f"thin {part}")
            if share is not None:
                kept = positions[order[: max(1, round(share * len(positions)))]]
            else:
                drawn = positions[order]
                labels = self._raw.label[rows[part][drawn]]
                kept = torch.cat([drawn[:0], *(drawn[labels == value][:each] for value in labels.unique())])
            mine[kept] = False
            rows[part] = rows[part][~mine]
        roles = replace(self.roles, fitted={})
        _no_taught_tokenizer(roles, "Dataset.thin")
        out = self._again(roles, rows, "Dataset.thin")
        out.simulation = self.simulation
        return out

    def without(self, scene: str) -> Dataset:
        """The same data with no training and validation rows of one scene: what an unseen scene looks like.

        Everything is fitted again. Its test rows stay; where ``unseen_scene`` is "error" it becomes "nearest".

        Args:
            scene: the scene that is not seen.

        Raises:
            ValueError: an unknown scene, or the only one that has training rows.
        """
        code = self._scene("Dataset.without", scene)
        rows = {
            part: mine if part in ("test", "context") else mine[self._raw.scene[mine] != code]
            for part, mine in self._rows.items()
        }
        if not len(rows.get("train", ())):
            raise ValueError(f"Dataset.without: no scene but {scene!r} has training rows")
        policy = "nearest" if self.roles.unseen_scene == "error" else self.roles.unseen_scene
        roles = replace(self.roles, fitted={}, unseen_scene=policy)
        _no_taught_tokenizer(roles, "Dataset.without")
        return self._again(roles, rows, "Dataset.without")

    def _again(self, roles: Roles, rows: dict[str, torch.Tensor], owner: str) -> Dataset:
        """The same source with other rows."""
        return assemble(self.name, self._raw, roles, self.split, rows, self.report, group=self.group, owner=owner)

    def _scene(self, owner: str, name: str) -> int:
        names = self.columns.scene_names
        if name not in names:
            raise ValueError(f"{owner}: unknown scene {name!r}{_C.core.suggestion(name, names)}")
        return names.index(name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the compiled form into the folder ``path``: columns, rows of each part, roles.

        The columns hold the numbers as read: what was imputed or interpolated is made again when the folder is opened.

        Raises:
            ValueError: the folder exists and holds something else.
        """
        folder = Path(path)
        if folder.exists() and (
            not folder.is_dir() or (any(folder.iterdir()) and not (folder / "dataset.json").exists())
        ):
            raise ValueError(f"Dataset.save: {folder} exists and is no compiled data set; name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        self._raw.save(str(folder / "columns.safetensors"))
        for name in (*ALL_PARTS, "group"):
            target, values = folder / f"{name}.npy", self.group if name == "group" else self._rows.get(name)
            if values is not None:
                with replacing(target) as temporary, open(temporary, "wb") as file:
                    np.save(file, values.numpy())
            else:
                target.unlink(missing_ok=True)
        facts = {
            "format_version": FORMAT,
            "name": self.name,
            "digest": self._raw.digest(),
            "roles": json.loads(replace(self.roles, fitted={}).json()),
            "split": self.split.json(),
            "report": self.report,
        }
        write_json(folder / "dataset.json", facts)


def open_data(
    path: str | os.PathLike[str], split: Mapping[str, Any] | str | None = None, *, history: bool | None = None
) -> Dataset:
    """Opens what `Dataset.save` wrote; columns and rows are memory-mapped.

    More than 33,554,432 training rows are streamed: the trainer shuffles them in windows (``shuffle_window``), numeric
    columns are fitted on so many rows at most, evenly spaced, and no memory is spent on each row.

    Args:
        path: the folder.
        split: another split than the one that was saved, as in `read_table`; the compiled columns are not rewritten.
            Making it takes memory for every row; save the result, and what is opened then is mapped again.
        history: whether tables carry the behaviour of users, which takes about 32 bytes of memory a training row. What
            models that follow users need, and `recommend` to leave out what was seen. None: unless they are streamed.

    Raises:
        ValueError: the folder holds no compiled data set, or one of a newer format.

    Example:
        >>> import polyscene as ps
        >>> ps.datasets.load("simulator", users=50).save("compiled")
        >>> data = open_data("compiled", split={"by": "time"})
        >>> data.split.by, data.train.role
        ('time', 'train')
    """
    folder = Path(path)
    owner = "open_data"
    try:
        facts = json.loads((folder / "dataset.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{owner}: {folder} holds no compiled data set (dataset.json: {error})") from error
    if facts.get("format_version") != FORMAT:
        raise ValueError(
            f"{owner}: {folder}: format_version must be {FORMAT}, got {facts.get('format_version')!r}; "
            "a newer polyscene wrote it"
        )
    columns = _C.data.Columns.open(str(folder / "columns.safetensors"))
    roles = Roles.from_json(json.dumps(facts["roles"]))
    saved = {
        name: torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
        for name in (*ALL_PARTS, "group")
        if (folder / f"{name}.npy").exists()
    }
    group = saved.pop("group", None)
    was = Split(**facts["split"] | {"ratios": tuple(facts["split"]["ratios"])})
    how: dict[str, Any] = {"history": history, "owner": owner}
    if split is None:
        return assemble(facts["name"], columns, roles, was, saved, facts["report"], group=group, **how)
    spec = split_spec(split, owner)
    if spec.by == "files":
        raise ValueError(f"{owner}: split by 'files' is the one that was saved; leave split out")
    _no_taught_tokenizer(roles, owner)
    user, time = _who(columns, roles), _array(columns.time)
    if spec.column is None or spec.column != was.column:
        group = None
    if spec.column is not None and group is None:
        if spec.column not in roles.categorical:
            raise ValueError(
                f"{owner}: split: column must be categorical in the compiled data, got {spec.column!r}; "
                f"categorical columns: {', '.join(roles.categorical) or 'none'}"
            )
        group = columns.codes[:, roles.categorical.index(spec.column)].contiguous()
    part = assign(spec, columns.scene.numpy(), user, time, owner, _array(group))
    return assemble(facts["name"], columns, roles, spec, part, facts["report"], group=group, **how)


def _no_taught_tokenizer(roles: Roles, owner: str) -> None:
    """A tokeniser that training rows taught does not fit others, and the columns hold its tokens."""
    if roles.tokenizer is not None and roles.tokenizer.model:
        raise ValueError(
            f"{owner}: the {roles.tokenizer.kind} tokeniser was taught by the training rows as they are; read the "
            "source again with the rows that are wanted, or with words"
        )


def _array(tensor: torch.Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.numpy()


def _who(columns: _C.data.Columns, roles: Roles) -> np.ndarray | None:
    return None if roles.user is None else columns.codes[:, roles.categorical.index(roles.user)].numpy()


def assemble(
    name: str,
    columns: _C.data.Columns,
    roles: Roles,
    split: Split,
    part: np.ndarray | dict[str, torch.Tensor],
    report: dict[str, Any],
    *,
    schema: _C.data.Schema | None = None,
    history: bool | None = True,
    group: torch.Tensor | None = None,
    owner: str = "read_table",
) -> Dataset:
    """Preprocesses, fits the schema on the training rows and makes the tables.

    Args:
        name: what reports call the data set.
        columns: the source.
        roles: what its columns are.
        split: how rows were divided.
        part: int8 [N] (0 train, 1 valid, 2 test, 3 context), or the rows of each part by name, int64.
        report: what reading dropped.
        schema: encode for this one in the place of fitting one.
        history: whether tables carry the behaviour of users in the training rows; None: unless they are streamed.
        group: int32 [N], which rows belong together (`Dataset.group`).
        owner: what messages call the caller.
    """
    raw = columns
    if isinstance(part, dict):
        rows = part
    else:
        rows = {each: torch.from_numpy(np.flatnonzero(part == code)) for code, each in enumerate(ALL_PARTS)}
    rows = {each: chosen for each, chosen in rows.items() if len(chosen)}
    given = rows
    if roles.numeric:
        numbers = columns.numbers.numpy()
        if schema is not None:
            changed = cleaning.apply(roles, numbers)
        else:
            parts = _parts(rows, columns.rows)
            user, time = _who(columns, roles), _array(columns.time)
            roles, changed, kept, counts = cleaning.fit_apply(roles, numbers, parts, user, time, split.seed, owner)
            if counts:
                report = report | counts
                rows = rows | {"train": torch.from_numpy(np.flatnonzero(kept == 0))}
        if changed is not numbers:
            columns = with_numbers(columns, changed)
    if schema is None:
        if roles.classes:
            _every_class(columns, roles, rows["train"], owner)
        schema = fit(columns, roles, rows["train"])
    tables = {each: _C.data.Table(columns, schema, rows=chosen, role=each) for each, chosen in rows.items()}
    if "train" in tables and schema.user is not None and schema.item is not None:
        events = not tables["train"].streams if history is None else history
        seen = _C.data.History.fit(tables["train"], events=events)
        for table in tables.values():
            table.history = seen
    if schema.task == "sequence" and roles.user is not None:
        sequences = _C.data.Sequences(columns, roles.user, rows)
        for table in tables.values():
            table.sequences = sequences
    if roles.task == "ranking" and "valid" in tables and "test" in tables:
        tables["test"].also_seen = _C.data.Interactions.of(tables["valid"])
    out = Dataset(name, columns, schema, tables, roles, split, report, group)
    out._raw, out._rows = raw, given
    return out


def _every_class(columns: _C.data.Columns, roles: Roles, train_rows: torch.Tensor, owner: str) -> None:
    counts = torch.bincount(columns.label[train_rows].long(), minlength=len(roles.classes))
    for name, count in zip(roles.classes, counts.tolist(), strict=True):
        if count == 0:
            raise ValueError(f"{owner}: no training row of class {name!r} is left")


def _parts(rows: dict[str, torch.Tensor], n: int) -> np.ndarray:
    part = np.full(n, -1, np.int8)
    for code, each in enumerate(PARTS):
        if each in rows:
            part[rows[each].numpy()] = code
    return part


def fit(columns: _C.data.Columns, roles: Roles, train_rows: torch.Tensor) -> _C.data.Schema:
    """Fits the schema on the training rows; it keeps the roles, so that a model can read new files."""
    return _C.data.fit_schema(
        columns,
        train_rows,
        task=roles.task,
        label=roles.label.column if roles.label else "label",
        user=roles.user or "",
        item=roles.item or "",
        min_count=roles.min_count,
        unseen_scene=roles.unseen_scene,
        numeric=[
            {"name": each.name, "scaling": each.scaling, "missing": each.missing, "outliers": each.outliers}
            for each in roles.numeric
        ],
        lists=[
            {"name": each.name, "kind": each.kind, "shares": each.shares, "max_length": each.max_length}
            for each in roles.lists
        ],
        reader=roles.json(),
    )


def with_numbers(columns: _C.data.Columns, numbers: np.ndarray) -> _C.data.Columns:
    """The same columns with other numbers; everything else is shared."""
    shared = ("categorical", "codes", "ids", "numeric", "lists", "list_codes", "list_ids", "scene", "scene_names")
    optional = ("label", "weight", "time", "interest", "interest_ids")
    values = {key: getattr(columns, key) for key in shared}
    values |= {key: value for key in optional if (value := getattr(columns, key)) is not None}
    if values["interest"].offsets is None:
        del values["interest"], values["interest_ids"]
    return _C.data.Columns(numbers=torch.from_numpy(np.ascontiguousarray(numbers)), **values)
