"""Small models of task sequence, and what they are tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import torch
from polyscene._extension import _C

SMALL: dict[str, dict[str, Any]] = {
    "sasrec": {"dim": 8, "max_length": 6, "dropout": 0.0},
    "gru4rec": {"dim": 8, "max_length": 6, "dropout": 0.0, "hidden": 6},
    "bert4rec": {"dim": 8, "max_length": 6, "dropout": 0.0},
    "c2dsr": {"dim": 8, "max_length": 6, "dropout": 0.0},
    "tri_cdr": {"dim": 8, "max_length": 6, "dropout": 0.0, "warm_up": 0},
    "interest_sequence": {"dim": 8, "max_length": 6, "dropout": 0.0},
}


def make(name: str, data: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, **SMALL[name] | options)
    model.prepare(data.train)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    return model.eval()


def events(*lists: list[tuple[int, int]]) -> Any:
    flat = [event for each in lists for event in each]
    offsets = torch.tensor([0, *np.cumsum([len(each) for each in lists])])
    item, scene = torch.tensor(flat, dtype=torch.int64).reshape(-1, 2).T
    return _C.data.Events(offsets, item.int(), scene, torch.ones(len(flat)), torch.zeros(len(flat), dtype=torch.int64))


def candidates(data: Any) -> list[torch.Tensor]:
    known = data.train.history.interactions()
    return [known.scene(s).candidates for s in range(len(data.schema.scenes))]


def state(model: Any, data: Any, past: list[tuple[int, int]], scene: int = 0) -> torch.Tensor:
    batch = data.test.batch(torch.tensor([0]))
    batch.history = events(past)
    batch.scene = torch.tensor([scene])
    return model.explain(batch)["state"][0].detach()
