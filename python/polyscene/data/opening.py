"""Compiled data, opened again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene.data._fitting import array_of, no_taught_tokenizer, users_of
from polyscene.data.dataset import FORMAT, Dataset, assemble
from polyscene.data.roles import Roles
from polyscene.data.splits import ALL_PARTS, Split, assign, split_spec


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
    no_taught_tokenizer(roles, owner)
    user, time = users_of(columns, roles), array_of(columns.time)
    if spec.column is None or spec.column != was.column:
        group = None
    if spec.column is not None and group is None:
        if spec.column not in roles.categorical:
            raise ValueError(
                f"{owner}: split: column must be categorical in the compiled data, got {spec.column!r}; "
                f"categorical columns: {', '.join(roles.categorical) or 'none'}"
            )
        group = columns.codes[:, roles.categorical.index(spec.column)].contiguous()
    part = assign(spec, columns.scene.numpy(), user, time, owner, array_of(group))
    return assemble(facts["name"], columns, roles, spec, part, facts["report"], group=group, **how)
