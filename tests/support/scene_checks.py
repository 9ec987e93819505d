"""What every multi-scene model must keep, whatever its body: checks on data with any number of scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import torch
from every_model import scramble
from polyscene import _C


class SceneData:
    """Data of 12 users, 9 items, a number and ``scenes`` scenes with as many rows each."""

    def __init__(self, scenes: int, rows: int = 340) -> None:
        draw = np.random.default_rng(4)
        codes = np.stack([draw.integers(0, 12, rows), draw.integers(0, 9, rows)], 1).astype(np.int32)
        columns = _C.data.Columns(
            categorical=["user_id", "item_id"],
            codes=torch.from_numpy(codes),
            ids=[_C.data.Strings([f"{letter}{k}" for k in range(n)]) for letter, n in (("u", 12), ("i", 9))],
            numeric=["price"],
            numbers=torch.from_numpy(draw.normal(0, 1, (rows, 1)).astype(np.float32)),
            lists=[],
            list_codes=[],
            list_ids=[],
            scene=(torch.arange(rows) % scenes).int(),
            scene_names=[f"s{k}" for k in range(scenes)],
            label=torch.from_numpy((draw.random(rows) < 0.5).astype(np.float32)),
        )
        self.schema = _C.data.fit_schema(columns, torch.arange(rows), user="user_id", item="item_id", min_count=1)
        self.train = _C.data.Table(columns, self.schema, torch.arange(rows), "train")


def check_scene_counts(name: str, **options: Any) -> None:
    """1, 2, 3 and 17 scenes: finite, every parameter with a gradient, the same bits twice, rows apart in evaluation."""
    for scenes in (1, 2, 3, 17):
        data = SceneData(scenes)
        for interaction in ("none", "fm", "cross"):
            torch.manual_seed(0)
            model = scramble(ps.models.create(name, data.schema, interaction=interaction, **options)).double()
            model.prepare(data.train)
            batch = ps.testing.batch(data, 200, history=model.history_length)
            model.loss(batch).backward()
            for path, parameter in model.named_parameters():
                assert parameter.grad is not None, path
                assert parameter.grad.isfinite().all(), path
                assert parameter.grad.any(), path
            model.eval()
            out = model(batch)
            assert torch.equal(out, model(batch))
            torch.testing.assert_close(model(batch.take(torch.tensor([5]))), out[5:6], rtol=1e-9, atol=1e-9)
            assert model(batch.take(torch.tensor([], dtype=torch.int64))).shape == (0,)


def check_isolation(name: str, scene_parts: list[str], **options: Any) -> None:
    """Rows of two of three scenes: parameters and statistics of the third keep still, those of the others move.

    ``scene_parts`` are the paths of everything that belongs to scenes, their first dimension.
    """
    data = SceneData(3)
    torch.manual_seed(0)
    model = scramble(ps.models.create(name, data.schema, **options)).double()
    batch = ps.testing.batch(data, 60, history=model.history_length)
    batch = batch.take((batch.scene != 1).nonzero().flatten())
    before = {path: tensor.clone() for path, tensor in model.named_buffers()}
    model.loss(batch).backward()
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    for path in scene_parts:
        tensor = state[path]
        assert len(tensor) == 3, path
        moved = tensor.grad if isinstance(tensor, torch.nn.Parameter) else tensor - before[path]
        assert moved is not None, path
        assert not moved[1].any(), path
        assert moved[0].any(), path
        assert moved[2].any(), path


def check_one_row(name: str, **options: Any) -> None:
    """A scene with one row in training reads its running statistics, as in evaluation, and leaves them."""
    data = SceneData(3)
    torch.manual_seed(0)
    model = scramble(ps.models.create(name, data.schema, **options)).double()
    batch = ps.testing.batch(data, 40, history=model.history_length)
    first = int((batch.scene == 2).nonzero()[0])
    batch = batch.take(torch.cat([(batch.scene == 0).nonzero().flatten(), torch.tensor([first])]))
    before = {path: tensor.clone() for path, tensor in model.named_buffers()}
    model.loss(batch).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    for path, tensor in model.named_buffers():
        if tensor.dim() > 1 and len(tensor) == 3:
            assert torch.equal(tensor[1:], before[path][1:]), path
