"""Labels and weights of rows."""

from __future__ import annotations

import numpy as np

from polyscene.data._errors import suggestion
from polyscene.data.frame import Frame
from polyscene.data.roles import CLASSED, LabelRole


def label_values(frame: Frame, role: LabelRole, task: str, bad_rows: list[int] | None = None) -> np.ndarray:
    """Labels as float32 [n], NaN where the cell is empty.

    Args:
        frame: the source.
        role: the column and what makes a label of it.
        task: "ctr" wants 0 and 1; of "text" and "image" the values are positions in the ids of the column.
        bad_rows: takes the rows of bad cells, which become NaN, in the place of an error.

    Raises:
        ValueError: a cell is no label; the message names file, row and column.
    """
    if task in CLASSED:
        codes = frame.ids(role.column).codes
        return np.where(codes < 0, np.nan, codes).astype(np.float32)
    if role.values is not None:
        return _mapped(frame, role.column, role.values, bad_rows)
    if frame.is_bool(role.column):
        raise ValueError(
            f"{frame.owner}: label: {role.column!r} of {frame.name} holds truth values; "
            f'give label={{"column": "{role.column}", "mapping": {{"true": 1, "false": 0}}}}'
        )
    try:
        values = frame.numbers(role.column, bad_rows)
    except ValueError as error:
        hint = f'; for text give label={{"column": "{role.column}", "mapping": {{"yes": 1, "no": 0}}}}'
        raise ValueError(f"{error}{hint if 'wanted a number, got' in str(error) else ''}") from error
    if role.at_least is not None:
        return np.where(np.isnan(values), np.nan, values >= np.float32(role.at_least)).astype(np.float32)
    if task == "ctr":
        bad = np.flatnonzero((values != 0) & (values != 1) & ~np.isnan(values))
        if bad.size and bad_rows is not None:
            bad_rows.extend(bad.tolist())
            values[bad] = np.nan
        elif bad.size:
            given = f"wanted a label of 0 or 1 (task ctr), got {values[bad[0]]:g}; "
            fix = f'give label={{"column": "{role.column}", "at_least": ...}} or task="rating"'
            raise frame.problem(int(bad[0]), role.column, given + fix)
    return values


def _mapped(frame: Frame, column: str, labels: dict[str, float], bad_rows: list[int] | None) -> np.ndarray:
    ids = frame.ids(column)
    texts = ids.ids.to_pylist()
    table = np.array([labels.get(text, np.nan) for text in texts] + [np.nan], np.float32)
    values: np.ndarray = table[ids.codes]
    bad = np.flatnonzero(np.isnan(values) & (ids.codes >= 0))
    if bad.size and bad_rows is not None:
        bad_rows.extend(bad.tolist())
    elif bad.size:
        text = texts[ids.codes[bad[0]]]
        known = ", ".join(labels)
        raise frame.problem(
            int(bad[0]), column, f"the label mapping knows {known}, got {text!r}{suggestion(text, labels)}"
        )
    return values


def weight_values(frame: Frame, column: str) -> np.ndarray:
    """Weights as float32 [n].

    Raises:
        ValueError: a weight is missing or negative.
    """
    values = frame.numbers(column)
    bad = np.flatnonzero(~(values >= 0))
    if bad.size:
        given = "an empty cell" if np.isnan(values[bad[0]]) else f"{values[bad[0]]:g}"
        raise frame.problem(int(bad[0]), column, f"wanted a weight of 0 or more, got {given}")
    return values
