"""The seam between Arrow and C++: arrays of one source, and the `Columns` made of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from polyscene._extension import _C
from polyscene.data._cells import Codes, Lists, take_lists
from polyscene.data._images import image_lists
from polyscene.data.frame import Frame
from polyscene.data.labels import label_values, weight_values
from polyscene.data.roles import CLASSED, RANKED, LabelRole, ListRole, Roles, TimeRole
from polyscene.data.scenes import scene_codes
from polyscene.data.splits import ALL_PARTS

_log = logging.getLogger("polyscene")

_HASHED = 1 << 22  # elements of lists


@dataclass
class Arrays:
    """A source in numpy arrays; N rows, F categorical, M numeric columns."""

    roles: Roles
    codes: np.ndarray  # int32 [N, F]
    ids: list[pa.Array]
    numbers: np.ndarray  # float32 [N, M]
    lists: list[Lists]
    scene: np.ndarray  # int32 [N]
    scene_names: list[str]
    label: np.ndarray | None = None  # float32 [N]
    weight: np.ndarray | None = None  # float32 [N]
    time: np.ndarray | None = None  # int64 [N]
    interest: Lists | None = None
    part: np.ndarray | None = None  # int8 [N], 0 train, 1 valid, 2 test, 3 context
    group: np.ndarray | None = None  # int32 [N], which rows a split keeps together
    origin: np.ndarray | None = None  # int64 [N], of labels that are classes: the row of the source
    label_ids: list[str] = field(default_factory=list)  # of such labels: what their values stand for
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.scene)

    def take(self, rows: np.ndarray) -> None:
        """Keeps the rows ``rows``."""
        for name in ("codes", "numbers", "scene", "label", "weight", "time", "part", "group", "origin"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[rows])
        self.lists = [_taken(each, rows) for each in self.lists]
        self.interest = None if self.interest is None else _taken(self.interest, rows)

    def columns(self) -> _C.data.Columns:
        """The C++ form; the arrays are shared, not copied."""
        roles = self.roles
        interest = self.interest
        return _C.data.Columns(
            categorical=list(roles.categorical),
            codes=torch.from_numpy(self.codes),
            ids=[strings(ids) for ids in self.ids],
            numeric=[each.name for each in roles.numeric],
            numbers=torch.from_numpy(self.numbers),
            lists=[each.name for each in roles.lists],
            list_codes=[_ragged(each) for each in self.lists],
            list_ids=[strings(each.ids) for each in self.lists],
            scene=torch.from_numpy(self.scene),
            scene_names=self.scene_names,
            label=_tensor(self.label),
            weight=_tensor(self.weight),
            time=_tensor(self.time),
            interest=None if interest is None else _ragged(interest),
            interest_ids=None if interest is None else strings(interest.ids),
        )


def _tensor(values: np.ndarray | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values)


def _taken(lists: Lists, rows: np.ndarray) -> Lists:
    return Lists(*take_lists(lists.codes, lists.offsets, rows), lists.ids)


def _ragged(lists: Lists) -> _C.data.Ragged:
    return _C.data.Ragged(torch.from_numpy(lists.codes), torch.from_numpy(lists.offsets))


def strings(ids: pa.Array) -> _C.data.Strings:
    """Arrow text to C++ text: bytes and offsets."""
    ids = ids.cast(pa.large_string())
    _, offsets, data = ids.buffers()
    if len(ids) == 0 or offsets is None:
        return _C.data.Strings([])
    at = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    raw = np.frombuffer(data, np.uint8)[at[0] : at[-1]] if data is not None else np.empty(0, np.uint8)
    return _C.data.Strings(torch.from_numpy(raw.copy()), torch.from_numpy(at - at[0]))


def arrays(frame: Frame, roles: Roles, clean: dict[str, str], group: str | None = None) -> Arrays:
    """Reads the columns of all roles and drops the rows that ``clean`` says.

    Args:
        frame: the source, unread.
        roles: what its columns are.
        clean: what becomes of "incomplete" and "wrong" rows: "drop" or "error"; and of "duplicates": "drop" or "keep".
        group: a column of ids that a split keeps together.

    Returns:
        The arrays; a text column holds whole texts as ids, which :func:`polyscene.data._texts.settle` makes tokens of.

    Raises:
        ValueError: a cell is not what is wanted; the message names file, row, line and column.
    """
    frame.load(roles.columns() + ([] if group is None else [frame.require(group, "split: column")]))
    roles = with_unit(frame, roles)
    wrong: dict[str, list[int]] = {}

    def lenient(column: str) -> list[int] | None:
        return wrong.setdefault(column, []) if clean["wrong"] == "drop" else None

    times = None if roles.time is None else frame.times(roles.time.column, roles.time.unit)
    label = None if roles.label is None else label_values(frame, roles.label, roles.task, lenient(roles.label.column))
    scene, names = scene_codes(frame, roles.scene, times, roles.time.unit if roles.time else "s")
    weight = None if roles.weight is None else weight_values(frame, roles.weight)
    numbers = np.empty((frame.rows, len(roles.numeric)), np.float32)
    for i, each in enumerate(roles.numeric):
        numbers[:, i] = frame.numbers(each.name, lenient(each.name))
    codes, ids = np.empty((frame.rows, len(roles.categorical)), np.int32), []
    for i, column in enumerate(roles.categorical):
        coded = frame.ids(column)
        codes[:, i] = coded.codes
        ids.append(coded.ids)
    roles, pictures = _with_images(frame, roles)
    lists = [pictures[each.name] if each.name in pictures else _list(frame, each) for each in roles.lists]
    interest = None if roles.interest is None else frame.lists(roles.interest.name, roles.interest.separator)
    part = None
    if any(piece.part for piece in frame.pieces):
        parts = [ALL_PARTS.index(piece.part) for piece in frame.pieces]
        part = np.repeat(np.array(parts, np.int8), [piece.table.num_rows for piece in frame.pieces])
    out = Arrays(
        roles, codes, ids, numbers, lists, scene, names, label, weight, times[0] if times else None, interest, part
    )
    if group is not None:
        out.group = frame.ids(group).codes
    if roles.task in CLASSED:
        out.origin = np.arange(frame.rows)
        out.label_ids = [] if roles.label is None else frame.ids(roles.label.column).ids.to_pylist()
    _clean(frame, out, times[1] if times else None, wrong, clean)
    return out


def _with_images(frame: Frame, roles: Roles) -> tuple[Roles, dict[str, Lists]]:
    """The images of each image column, and the roles with their sizes."""
    read = {each.name: image_lists(frame, each) for each in roles.images}
    if not read:
        return roles, {}
    images = tuple(role for _, role in read.values())
    pixels = {role.name: role.pixels for role in images}
    lists = tuple(replace(each, max_length=pixels.get(each.name, each.max_length)) for each in roles.lists)
    return replace(roles, images=images, lists=lists), {name: lists for name, (lists, _) in read.items()}


def _list(frame: Frame, role: ListRole) -> Lists:
    if role.kind == "text":
        return _texts(frame.ids(role.name))
    return frame.lists(role.name, role.separator)


def _texts(texts: Codes) -> Lists:
    """Whole texts as lists of one id each; an empty cell is an empty list."""
    known = texts.codes >= 0
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(known)))
    return Lists(texts.codes[known], offsets, texts.ids)


def with_unit(frame: Frame, roles: Roles) -> Roles:
    """The roles with the unit of times, guessed from the cells of the loaded source where it was not given."""
    if roles.time is None or roles.time.unit:
        return roles
    unit = frame.time_unit(roles.time.column)
    if unit != "s":
        _log.info("%s: column '%s' is taken as times in %s", frame.owner, roles.time.column, unit)
    return replace(roles, time=TimeRole(roles.time.column, unit))


def _clean(
    frame: Frame, out: Arrays, known: np.ndarray | None, wrong: dict[str, list[int]], clean: dict[str, str]
) -> None:
    keep = np.ones(out.rows, bool)
    dropped: dict[str, int] = {}
    for column, bad in wrong.items():
        if bad:
            dropped[f"wrong {column}"] = int(keep[bad].sum())
            keep[bad] = False
    roles = out.roles
    empty = []
    if roles.label is not None and out.label is not None:
        empty.append(("label", roles.label.column, np.isnan(out.label)))
    if roles.scene is not None:
        empty.append(("scene", ", ".join(roles.scene.columns), out.scene < 0))
    if roles.time is not None and known is not None:
        empty.append(("time", roles.time.column, ~known))
    if roles.task in RANKED:  # nothing can be learned of nobody
        for role, id_ in (("user", roles.user), ("item", roles.item)):
            if id_ is not None:
                empty.append((role, id_, out.codes[:, roles.categorical.index(id_)] < 0))
    for role, column, missing in empty:
        rows = np.flatnonzero(missing & keep)
        if rows.size and clean["incomplete"] == "error":
            raise frame.problem(int(rows[0]), column, f"the {role} is empty")
        if rows.size:
            dropped[f"empty {role}"] = len(rows)
            keep[rows] = False
    if roles.task in RANKED and roles.label is not None and out.label is not None:
        unwanted = keep & (out.label == 0)
        if unwanted.any():
            if not (keep & ~unwanted).any():
                raise ValueError(f"{frame.owner}: {all_zero(roles.label, frame.name)}")
            dropped["label 0"] = int(unwanted.sum())
            keep &= ~unwanted
    read = out.rows
    if not keep.all():
        if not keep.any():
            raise ValueError(f"{frame.owner}: no rows of {frame.name} are left; dropped: {dropped}")
        out.take(np.flatnonzero(keep))
    first = first_of_duplicates(out)
    duplicates = out.rows - len(first)
    if duplicates and clean["duplicates"] == "drop":
        dropped["duplicate"] = duplicates
        out.take(first)
    cells = {each.name: int(np.isnan(out.numbers[:, i]).sum()) for i, each in enumerate(roles.numeric)}
    cells |= {column: int((out.codes[:, i] < 0).sum()) for i, column in enumerate(roles.categorical)}
    out.report = {
        "rows_read": read,
        "rows": out.rows,
        "dropped": dropped,
        "duplicates": duplicates,
        "missing": {column: count for column, count in cells.items() if count},
    }


def all_zero(label: LabelRole, source: str) -> str:
    """What is wrong with a ranking without any row that a user wanted."""
    how = "label" if label.at_least is None and label.values is None else "label that is made of it"
    return (
        f"label: every {how} in column {label.column!r} of {source} is 0, which a ranking drops; it needs rows of "
        "items that users wanted: give another label, or label=None where every row is one"
    )


def first_of_duplicates(source: Arrays) -> np.ndarray:
    """Rows that equal no earlier row in every column that was read, in their order (equality of a 64-bit hash)."""
    mixed = np.zeros(source.rows, np.uint64)

    def mix(values: np.ndarray) -> None:
        nonlocal mixed
        mixed = _scramble(mixed ^ values.astype(np.uint64))

    for column in source.codes.T:
        mix(column.astype(np.int64))
    for column in source.numbers.T:
        mix(np.ascontiguousarray(column).view(np.uint32))
    for values in (source.label, source.weight):
        if values is not None:
            mix(values.view(np.uint32))
    mix(source.scene.astype(np.int64))
    if source.time is not None:
        mix(source.time)
    for each in [*source.lists, *([source.interest] if source.interest is not None else [])]:
        mix(_list_hashes(each))
    return np.sort(np.unique(mixed, return_index=True)[1])


def _list_hashes(lists: Lists) -> np.ndarray:
    """A hash of each list, uint64 [n]; so many lists at a time that memory does not grow with them."""
    out = np.empty(len(lists.offsets) - 1, np.uint64)
    first = 0
    while first < len(out):
        last = max(int(np.searchsorted(lists.offsets, lists.offsets[first] + _HASHED, side="right")) - 1, first + 1)
        ends = lists.offsets[first : last + 1] - lists.offsets[first]
        codes = lists.codes[lists.offsets[first] : lists.offsets[last]]
        place = np.arange(len(codes)) - np.repeat(ends[:-1], np.diff(ends))
        words = _scramble(_scramble(codes.astype(np.uint64)) ^ place.astype(np.uint64))
        total = np.concatenate((np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)))
        out[first:last] = total[ends[1:]] - total[ends[:-1]]
        first = last
    return out


def _scramble(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))
