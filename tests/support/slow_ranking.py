"""Losses and training pairs of ranking models in loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import torch

Score = Callable[[int, int, int], float]
"""Of user, item and scene."""


def arrays(model: Any) -> dict[str, np.ndarray]:
    """Parameters and buffers by name."""
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def scrambled(model: Any, seed: int = 7, scale: float = 0.5) -> Any:
    """The model in double precision, its parameters moved away from their start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale)
    return model


def pairs(data: Any) -> list[dict[int, set[int]]]:
    """What each user met in each scene of the training rows."""
    batch = data.train.batch(torch.arange(len(data.train)))
    out: list[dict[int, set[int]]] = [{} for _ in data.schema.scenes]
    for user, item, scene in zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True):
        if user >= 2 and item >= 2:
            out[scene].setdefault(user, set()).add(item)
    return out


def rows(batch: Any) -> list[tuple[int, int, int, list[int]]]:
    """User, item, scene and drawn items of each row."""
    columns = (batch.user, batch.item, batch.scene, batch.negative)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def row_losses(batch: Any, score: Score, kind: str) -> list[float]:
    """Loss of each row: "bpr", "bce" or "mse"."""
    out = []
    for user, item, scene, drawn in rows(batch):
        own = score(user, item, scene)
        others = [score(user, j, scene) for j in drawn]
        if kind == "bpr":
            out.append(sum(math.log1p(math.exp(other - own)) for other in others) / len(others))
            continue
        parts = [math.log1p(math.exp(-own)) if kind == "bce" else (own - 1) ** 2]
        parts += [math.log1p(math.exp(other)) if kind == "bce" else other**2 for other in others]
        out.append(sum(parts) / len(parts))
    return out


def scene_mean(batch: Any, losses: Sequence[float], weights: Sequence[float]) -> float:
    """Weighted mean over scenes of each one's mean loss, of the scenes that the batch has."""
    groups: dict[int, list[float]] = {}
    for scene, loss in zip(batch.scene.tolist(), losses, strict=True):
        groups.setdefault(scene, []).append(loss)
    total = sum(weights[scene] for scene in groups)
    return sum(weights[scene] * sum(group) / len(group) for scene, group in groups.items()) / total


def all_scores(model: Any, score: Score, scene: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of all users and items in a scene: the model's and those of loops."""
    schema = model.schema
    users, items = (torch.arange(schema.categorical[schema.field(name)].rows) for name in (schema.user, schema.item))
    model.eval()
    with torch.no_grad():
        model.encode()
        mine = model.score_items(users, scene, items)
    slow = [[score(user, item, scene) for item in items.tolist()] for user in users.tolist()]
    return mine, torch.tensor(slow, dtype=torch.float64)


def scenes_data(scenes: int, *, overlap: bool = True, users: int = 8, items: int = 9) -> Any:
    """Data of any number of scenes, a few rows each; without overlap no user and no item is in two of them."""
    draw = np.random.default_rng(5)
    columns: dict[str, list[str]] = {"user_id": [], "item_id": [], "scene": []}
    for scene in range(scenes):
        tag = "" if overlap else f"_{scene}"
        for user in range(users):
            if overlap and (user + scene) % 4 == 0 and scenes > 1:
                continue
            for item in draw.choice(items, 3, replace=False):
                columns["user_id"].append(f"u{user}{tag}")
                columns["item_id"].append(f"i{item}{tag}")
                columns["scene"].append(f"s{scene:02}")
    return ps.read_table(train=pa.table(columns), task="ranking", label=None, min_count=1)


def map_vector(state: dict[str, np.ndarray], scenes: int, s: int, t: int, x: np.ndarray, bounded: bool) -> np.ndarray:
    """A vector through the mapping from scene s to scene t."""
    number = [pair for pair in itertools.product(range(scenes), repeat=2) if pair[0] != pair[1]].index((s, t))
    if "map.second" not in state:
        return x @ state["map.first"][number]
    hidden = np.tanh(x @ state["map.first"][number] + state["map.first_bias"][number])
    out = hidden @ state["map.second"][number] + state["map.second_bias"][number]
    return np.tanh(out) if bounded else out


def scene_table(state: dict[str, np.ndarray], side: str, scenes: int) -> np.ndarray:
    """The table of one side by scene, [S, rows, D]."""
    table = state[f"{side}.weight"]
    return table.reshape(scenes, -1, table.shape[-1])


def served(known: list[dict[int, set[int]]], user: int, scene: int, map_users: str) -> list[int]:
    """Scenes whose mapping serves a user in another scene."""
    if map_users == "cold" and user in known[scene]:
        return []
    return [s for s in range(len(known)) if s != scene and user in known[s]]


def at_mapping(model: Any, data: Any) -> Any:
    """The model as its mapping phase finds it."""
    model.prepare(data.train)
    model.stage.fill_(1)
    return model
