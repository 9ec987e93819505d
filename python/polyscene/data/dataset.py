"""A data set: tables that share columns and a schema; how it is assembled and saved."""

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
from polyscene.data._fitting import array_of, every_class, fit, no_taught_tokenizer, users_of, with_numbers
from polyscene.data.roles import Roles
from polyscene.data.splits import ALL_PARTS, PARTS, Split, digest_of

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
        no_taught_tokenizer(roles, "Dataset.thin")
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
        no_taught_tokenizer(roles, "Dataset.without")
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
            user, time = users_of(columns, roles), array_of(columns.time)
            roles, changed, kept, counts = cleaning.fit_apply(roles, numbers, parts, user, time, split.seed, owner)
            if counts:
                report = report | counts
                rows = rows | {"train": torch.from_numpy(np.flatnonzero(kept == 0))}
        if changed is not numbers:
            columns = with_numbers(columns, changed)
    if schema is None:
        if roles.classes:
            every_class(columns, roles, rows["train"], owner)
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


def _parts(rows: dict[str, torch.Tensor], n: int) -> np.ndarray:
    part = np.full(n, -1, np.int8)
    for code, each in enumerate(PARTS):
        if each in rows:
            part[rows[each].numpy()] = code
    return part
