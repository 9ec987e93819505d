"""Parts of click models that follow events, as loops over rows and events."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import slow
import slow_scene
import torch

Event = tuple[int, int, int]
"""Item, label and time."""


def batch_of(model: ps.Model, data: Any, rows: int = 24) -> Any:
    """The last training rows, those with most behind them, and two without anything."""
    index = [0, 1, *range(len(data.train) - rows + 2, len(data.train))]
    return data.train.batch(torch.tensor(index), history=model.history_length)


def events_of(model: ps.Model, batch: Any, b: int) -> list[Event]:
    """What counts of a row's past, oldest first."""
    first, last = (int(batch.history.offsets[b + i]) for i in (0, 1))
    events = [
        (int(batch.history.item[j]), int(batch.history.label[j] > 0.5), int(batch.history.time[j]))
        for j in range(first, last)
    ][-model.options["max_length"] :]
    return events if model.options["events"] == "all" else [event for event in events if event[1]]


def item_fields(schema: Any) -> list[str]:
    """Names of the item column and of the other fields of items."""
    others = [field.name for field in schema.categorical if field.side == "item" and field.name != schema.item]
    return [schema.item, *others]


_catalogues: dict[int, tuple[Any, dict[int, dict[str, int]]]] = {}


def catalogue(data: Any) -> dict[int, dict[str, int]]:
    """Rows of each field of each item, from its first training row; kept for as long as the tests run."""
    if id(data) not in _catalogues:
        _catalogues[id(data)] = (data, _catalogue(data))
    return _catalogues[id(data)][1]


def _catalogue(data: Any) -> dict[int, dict[str, int]]:
    batch, schema = data.train.batch(torch.arange(len(data.train))), data.schema
    out: dict[int, dict[str, int]] = {}
    for b in range(len(batch)):
        fields = {name: int(batch.categorical[b, schema.field(name)]) for name in item_fields(schema)}
        out.setdefault(int(batch.item[b]), fields)
    return out


def key(model: ps.Model, data: Any, item: int) -> np.ndarray:
    """Embeddings of an item and of its fields, [H]."""
    table = slow.state_of(model)["embedding.weight"]
    fields = catalogue(data)[item]
    return np.concatenate([table[slow.first_row(model.schema, name) + row] for name, row in fields.items()])


def keys(model: ps.Model, data: Any, events: list[Event]) -> np.ndarray:
    """What each event is to the model, [T, H]."""
    state, out = slow.state_of(model), []
    for item, label, _ in events:
        mine = key(model, data, item)
        out.append(mine + state["event_label"][label] if "event_label" in state else mine)
    return np.array(out).reshape(len(events), len(item_fields(model.schema)) * model.options["dim"])


def target(model: ps.Model, data: Any, batch: Any) -> np.ndarray:
    """The candidates, [B, H]."""
    slots, schema = slow_scene.inputs(model, batch)[1], model.schema
    return np.array(
        [np.concatenate([slots[b, schema.field(n)] for n in item_fields(schema)]) for b in range(len(batch))]
    )


def dice_mlp(
    state: slow.State, name: str, x: np.ndarray, activation: str = "dice", training: bool = False
) -> np.ndarray:
    """`DiceMLP` of x [n, I], [n]; in training Dice takes its statistics from the n rows."""
    h, layer = x, 0
    while f"{name}.linears.{layer + 1}.weight" in state:
        h = h @ state[f"{name}.linears.{layer}.weight"].T + state[f"{name}.linears.{layer}.bias"]
        if activation == "dice":
            part = {k: state[f"{name}.dices.{layer}.{k}"] for k in ("alpha", "running_mean", "running_var")}
            mean, var = (h.mean(0), h.var(0)) if training else (part["running_mean"], part["running_var"])
            p = slow.sigmoid((h - mean) / np.sqrt(var + 1e-8))
            h = p * h + (1 - p) * part["alpha"] * h
        else:
            h = slow_scene.ACTIVATIONS[activation](h)
        layer += 1
    return (h @ state[f"{name}.linears.{layer}.weight"].T + state[f"{name}.linears.{layer}.bias"])[..., 0]


def unit(state: slow.State, v: np.ndarray, k: np.ndarray) -> np.ndarray:
    """How much each of the vectors k [T, H] matters for v, [T]."""
    return dice_mlp(state, "attention", np.array([meeting(v, x) for x in k]))


def meeting(v: np.ndarray, k: np.ndarray) -> np.ndarray:
    """What the unit that weighs events reads."""
    return np.concatenate([v, k, v - k, v * k])
