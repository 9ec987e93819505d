"""`check`: what is wrong with a file, all of it at once, with row and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from polyscene.data import _cells
from polyscene.data._columns import Arrays, all_zero, first_of_duplicates, with_unit
from polyscene.data._errors import counted, listed
from polyscene.data._findings import Finding, Findings, look
from polyscene.data._images import image_lists
from polyscene.data.frame import Frame
from polyscene.data.labels import label_values
from polyscene.data.overlap import Overlap, count_overlap
from polyscene.data.reading import pieces, separate
from polyscene.data.roles import DEFAULTS, RANKED, LabelRole, Roles, TimeRole, resolve
from polyscene.data.scenes import CLOCK, scene_codes

SMALL_SCENE = 50
_YEAR_2100 = 4_102_444_800
_SEVERITIES = ("error", "warning", "note")


@dataclass
class CheckReport:
    """What `check` found in a file: ``findings``, the gravest first, a line on each column, and what scenes share."""

    name: str
    rows: int = 0
    columns: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    overlap: Overlap | None = None

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != "error" for finding in self.findings)

    def text(self) -> str:
        """The report as lines of text."""
        lines = [f"{self.name}: {counted(self.rows, 'row')}, {counted(len(self.columns), 'column')}"]
        lines += [f"  {column}: {what}" for column, what in self.columns]
        lines += [] if self.overlap is None else self.overlap.text().splitlines()
        for each in self.findings:
            where = ", ".join(
                part
                for part in (f"row {each.row}" if each.row else "", f"column '{each.column}'" if each.column else "")
                if part
            )
            count = f" ({each.count:,} rows)" if each.count > 1 else ""
            example = f", for example {each.example!r}" if each.example else ""
            lines.append(f"{each.severity}: {where + ': ' if where else ''}{each.what}{count}{example}")
        lines.append(
            "no problems found" if not self.findings else "can be used" if self.ok else "cannot be used as it is"
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def check(
    path: Any,
    *,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    separate_items: bool = False,
    **roles: Any,
) -> CheckReport:
    """Reads a file or frame and reports everything that is wrong with it.

    Args:
        path: a source, as in `read_table`.
        delimiter: what separates the cells of a text file.
        columns: names of the columns of text files that have no header line.
        separate_items: items are numbered anew in every scene, as in `read_table`.
        roles: roles as in `read_table`; features that are not named are looked at as what they seem to be.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: ``separate_items`` without a dict from scene to source, or without an item column.
        TypeError: an unknown role.

    Example:
        >>> import pyarrow as pa
        >>> report = check(pa.table({"item_id": ["a", "b"], "label": ["yes", "1"]}))
        >>> report.ok, report.findings[0].column, report.findings[0].row
        (False, 'label', 1)
    """
    sources = pieces(path, "check", delimiter, columns=columns)
    if separate_items:
        separate(sources, roles.get("item", DEFAULTS["item"]), "check")
    frame = Frame(sources, "check")
    report = CheckReport(frame.name)
    try:
        frame.require_common()
        frame.load(frame.names)
    except ValueError as error:
        report.findings.append(Finding("error", "", None, str(error)))
        return report
    report.rows = frame.rows
    found = Findings(frame, report.findings)
    numbers = _numbers(frame, roles)
    images = {each.get("name") if isinstance(each, dict) else each for each in roles.get("image") or ()}
    for column in frame.names:
        seen = "images" if column in images else look(frame, column, found, column in numbers)
        report.columns.append((column, seen))
    for column in dict.fromkeys(name for piece in frame.pieces for name in piece.names if name not in frame.names):
        lacks = next(piece.name for piece in frame.pieces if column not in piece.names)
        found.add("note", column, None, f"the column is not in all files, so it is left out; {lacks} lacks it")
    report.overlap = _look_at_roles(frame, roles, found)
    report.findings.sort(key=lambda each: _SEVERITIES.index(each.severity))
    return report


def _numbers(frame: Frame, given: dict[str, Any]) -> set[str]:
    """Columns that hold numbers, no ids, by their role or by the header of RecBole's file."""
    out = {name for name in frame.names if any(piece.types.get(name) == "float" for piece in frame.pieces)}
    for value in (given.get("label", DEFAULTS["label"]), given.get("time"), given.get("weight")):
        out |= {value.get("column", "") if isinstance(value, dict) else value or ""}
    return out | {each.get("name", "") if isinstance(each, dict) else each for each in given.get("numeric") or ()}


def _look_at_roles(frame: Frame, given: dict[str, Any], found: Findings) -> Overlap | None:
    wanted: dict[str, Any] = {
        "task": "ctr",
        "unseen_scene": "error",
        "min_count": None,
        "needs_label": True,
        **DEFAULTS,
    }
    wanted |= dict.fromkeys(("time", "weight", "interest", "tokenizer"))
    wanted |= dict.fromkeys(("categorical", "numeric", "multi_hot", "sequence", "text", "image"), ())
    for key in given:
        if key not in wanted or key == "needs_label":
            raise TypeError(
                f"check: unknown role {key!r}; known roles: {', '.join(k for k in wanted if k != 'needs_label')}"
            )
    featureless = not any(
        given.get(key) for key in ("categorical", "numeric", "multi_hot", "sequence", "text", "image")
    )
    if featureless and not {"user_id", "item_id"} & set(frame.names) and not (given.get("user") or given.get("item")):
        taken = _taken_columns(given)
        wanted["categorical"] = [column for column in frame.names if column not in taken]
    roles: Roles | None = found.attempt(lambda: resolve(frame, wanted | given, "check"))
    if roles is None:
        return None
    guessed = roles.time is not None and not roles.time.unit
    try:
        roles = with_unit(frame, roles)
    except ValueError:  # told below, with all that is wrong
        roles = replace(roles, time=TimeRole(roles.time.column)) if roles.time else roles
    if guessed and roles.time and roles.time.unit != "s":
        what = (
            f"the numbers are taken as times in {roles.time.unit}: in seconds they would lie thousands of years ahead"
        )
        found.add("note", roles.time.column, None, what)
    times = _look_at_time(frame, roles.time, found) if roles.time else None
    label = _look_at_label(frame, roles.label, roles.task, found) if roles.label else None
    if roles.task in RANKED:
        _look_at_pairs(frame, roles, found)
    for each in roles.numeric:
        _look_at_numbers(frame, each.name, found)
    for image in roles.images:
        found.attempt(partial(image_lists, frame, image))
    shared = None
    if roles.scene is None or roles.scene.kind not in CLOCK or times is not None:
        unit = roles.time.unit if roles.time else "s"
        pair = found.attempt(lambda: scene_codes(frame, roles.scene, times, unit))
        if pair is not None:
            _look_at_scenes(roles, pair, label, found)
            shared = _look_at_overlap(frame, roles, pair, found)
    _look_at_duplicates(frame, roles, found)
    return shared


def _look_at_overlap(
    frame: Frame, roles: Roles, scenes: tuple[np.ndarray, list[str]], found: Findings
) -> Overlap | None:
    """What scenes share, where there are several and rows name users and items."""
    if roles.user is None or roles.item is None or len(scenes[1]) < 2:
        return None
    user, item = frame.ids(roles.user), frame.ids(roles.item)
    out = count_overlap(user.codes, item.codes, *scenes, item.ids.to_pylist())
    twins = sum(len(pair.twins) for pair in out.pairs)
    if twins and roles.task == "ranking":
        many = "1 item seems" if twins == 1 else f"{twins:,} items seem"
        what = f"{many} to be listed twice, under one id in each scene: measure with and without them"
        found.add("note", roles.item, None, what)
    return out


def _look_at_label(frame: Frame, role: LabelRole, task: str, found: Findings) -> np.ndarray | None:
    bad: list[int] = []
    label: np.ndarray | None = found.attempt(lambda: label_values(frame, role, task, bad))
    what = "no label of 0 or 1 (task ctr)" if task == "ctr" else "no label"
    _bad_cells(frame, role.column, bad, what, found)
    if label is not None:
        empty = np.setdiff1d(np.flatnonzero(np.isnan(label)), bad)
        if len(empty):
            found.add("warning", role.column, empty, "the label is empty; these rows are dropped")
        zero = np.flatnonzero(label == 0)
        if task in RANKED and len(zero):
            if (label > 0).any() or (label < 0).any():
                found.add("note", role.column, zero, "rows of label 0 are dropped in rankings")
            else:
                found.add("error", role.column, zero, all_zero(role, frame.name))
    return label


def _look_at_pairs(frame: Frame, roles: Roles, found: Findings) -> None:
    """The users and items of a ranking."""
    for role, column in (("user", roles.user), ("item", roles.item)):
        if column is None:
            default = DEFAULTS[role]
            what = f"a ranking needs a column of {role}s, and there is no {default!r}; name it by {role}"
            found.add("error", "", None, f"{what}; columns of {frame.name}: {listed(frame.names)}")
            continue
        ids = found.attempt(partial(frame.ids, column))
        if ids is not None and (ids.codes < 0).any():
            rows = np.flatnonzero(ids.codes < 0)
            found.add("warning", column, rows, f"the {role} is empty; these rows are dropped")


def _look_at_numbers(frame: Frame, column: str, found: Findings) -> None:
    bad: list[int] = []
    values = found.attempt(lambda: frame.numbers(column, bad))
    _bad_cells(frame, column, bad, "no number", found)
    if values is not None and len(bad) < frame.rows and np.isnan(values).all():
        found.add("error", column, None, "no row has a value")


def _taken_columns(given: dict[str, Any]) -> set[str]:
    taken = {"label", "scene"}
    for key in ("label", "scene", "time", "weight", "interest"):
        value = given.get(key)
        names = value if isinstance(value, (list, tuple)) else [value]
        if isinstance(value, dict):
            names = [value.get(part) for part in ("column", "by", "name")]
        taken |= {each for each in names if isinstance(each, str)}
    return taken


def _bad_cells(frame: Frame, column: str, rows: list[int], what: str, found: Findings) -> None:
    if rows:
        first = min(rows)
        piece = next(piece for piece in reversed(frame.pieces) if piece.start <= first)
        cell = str(piece.table.column(column)[first - piece.start].as_py())
        found.add("error", column, np.array(sorted(rows)), f"the cell is {what}", cell)


def _look_at_time(frame: Frame, role: TimeRole, found: Findings) -> tuple[np.ndarray, np.ndarray] | None:
    pair: tuple[np.ndarray, np.ndarray] | None = found.attempt(lambda: frame.times(role.column, role.unit))
    if pair is None:
        return None
    time, known = pair
    if not known.all():
        found.add("warning", role.column, np.flatnonzero(~known), "the time is empty; these rows are dropped")
    late = np.flatnonzero(known & (time // _cells.PER_SECOND[role.unit] > _YEAR_2100))
    if len(late):
        what = f"times lie after the year 2100 if the unit is {role.unit}; is it a smaller one?"
        found.add("warning", role.column, late, what, str(time[late[0]]))
    early = np.flatnonzero(known & (time < 0))
    if len(early):
        found.add("warning", role.column, early, "times lie before 1970", str(time[early[0]]))
    return pair


def _look_at_scenes(
    roles: Roles, scenes: tuple[np.ndarray, list[str]], label: np.ndarray | None, found: Findings
) -> None:
    codes, names = scenes
    column = ", ".join(roles.scene.columns) if roles.scene else ""
    if (codes < 0).any():
        found.add("warning", column, np.flatnonzero(codes < 0), "the scene is empty; these rows are dropped")
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    for scene, count in zip(names, counts, strict=True):
        if count == 0:
            found.add("note", column, None, f"the scene '{scene}' has no rows")
        elif count < SMALL_SCENE:
            found.add(
                "warning",
                column,
                None,
                f"the scene '{scene}' has {counted(int(count), 'row')} only; its metrics will be noise",
            )
    if label is None or roles.task != "ctr":
        return
    for code, scene in enumerate(names):
        values = label[(codes == code) & ~np.isnan(label)]
        if len(values) and values.min() == values.max():
            found.add(
                "warning",
                column,
                None,
                f"every label of the scene '{scene}' is {values[0]:g}, so its AUC is not defined",
            )


def _look_at_duplicates(frame: Frame, roles: Roles, found: Findings) -> None:
    """Rows that are equal in every column that can be read."""
    codes, lists = [], []
    for column in frame.names:
        kinds = [piece.table.column(column).type for piece in frame.pieces]
        try:
            if any(_cells.is_list(kind) for kind in kinds):
                lists.append(frame.lists(column, " "))
            else:
                codes.append(frame.ids(column).codes)
        except ValueError:
            return
    n = frame.rows
    matrix = np.stack(codes, 1) if codes else np.empty((n, 0), np.int32)
    source = Arrays(roles, matrix, [], np.empty((n, 0), np.float32), lists, np.zeros(n, np.int32), ["all"])
    first = first_of_duplicates(source)
    if len(first) < frame.rows:
        again = np.setdiff1d(np.arange(frame.rows), first)
        found.add("warning", "", again, "the row repeats an earlier one in every column")
