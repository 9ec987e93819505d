"""What training rows decide of a source: the schema, and what goes with it."""

from __future__ import annotations

import numpy as np
import torch

from polyscene._extension import _C
from polyscene.data.roles import Roles


def no_taught_tokenizer(roles: Roles, owner: str) -> None:
    """A tokeniser that training rows taught does not fit others, and the columns hold its tokens."""
    if roles.tokenizer is not None and roles.tokenizer.model:
        raise ValueError(
            f"{owner}: the {roles.tokenizer.kind} tokeniser was taught by the training rows as they are; read the "
            "source again with the rows that are wanted, or with words"
        )


def array_of(tensor: torch.Tensor | None) -> np.ndarray | None:
    """The same memory as numpy sees it."""
    return None if tensor is None else tensor.numpy()


def users_of(columns: _C.data.Columns, roles: Roles) -> np.ndarray | None:
    """Codes of the users, int32 [N], or None without a user column."""
    return None if roles.user is None else columns.codes[:, roles.categorical.index(roles.user)].numpy()


def every_class(columns: _C.data.Columns, roles: Roles, train_rows: torch.Tensor, owner: str) -> None:
    """Raises ValueError that names a class without a training row."""
    counts = torch.bincount(columns.label[train_rows].long(), minlength=len(roles.classes))
    for name, count in zip(roles.classes, counts.tolist(), strict=True):
        if count == 0:
            raise ValueError(f"{owner}: no training row of class {name!r} is left")


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
