"""Small data of any number of scenes, and batches whose scenes a test chooses."""

from __future__ import annotations

import functools
from typing import Any

import polyscene as ps
import torch
from polyscene._extension import _C

_COPIED = (
    *("categorical", "codes", "ids", "numeric", "numbers", "lists", "list_codes", "list_ids"),
    *("label", "time", "interest", "interest_ids"),
)


@functools.cache
def many_scenes(scenes: int, rows: int = 600, noise: bool = False) -> Any:
    """`tiny_data` whose rows are dealt to ``scenes`` scenes; with ``noise``, labels are drawn of nothing."""
    draw = torch.Generator().manual_seed(rows + scenes)
    tiny = ps.testing.tiny_data(rows=rows).columns
    columns = {name: getattr(tiny, name) for name in _COPIED}
    columns["scene"] = torch.randint(scenes, (rows,), generator=draw, dtype=torch.int32)
    columns["scene"][:scenes] = torch.arange(scenes)
    columns["scene_names"] = [f"scene{s}" for s in range(scenes)]
    if noise:
        columns["label"] = torch.randint(2, (rows,), generator=draw).float()
    columns = _C.data.Columns(**columns)
    half = torch.arange(rows // 2)
    parts = {"train": half, "valid": half + rows // 2, "test": half[:0]}
    schema = _C.data.fit_schema(columns, half, task="ctr", user="user_id", item="item_id")
    tables = {role: _C.data.Table(columns, schema, part, role) for role, part in parts.items()}
    history = _C.data.History.fit(tables["train"])
    for table in tables.values():
        table.history = history
    return ps.testing.TinyData(columns, schema, tables)


def in_scenes(model: ps.Model, data: Any, scene: list[int], seed: int = 0) -> Any:
    """A batch of training rows that lie in the given scenes, in that order."""
    batch = ps.testing.batch(data, len(scene), seed, history=model.history_length)
    batch.scene = torch.tensor(scene, dtype=torch.int64)
    return batch
