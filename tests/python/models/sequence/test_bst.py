"""BST against loops over rows and events."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_events
import slow_fields
import slow_scene


def attended(state: slow.State, name: str, x: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Self-attention of all rows of x [T, M] over all; output and weights of the first row, [heads, T]."""
    q, k, v = (slow.linear(state, f"{name}.{part}_projection", x) for part in ("query", "key", "value"))
    width, parts, first = x.shape[1] // heads, [], []
    for h in range(heads):
        cut = slice(h * width, (h + 1) * width)
        weight = np.array([slow.softmax(q[t, cut] @ k[:, cut].T / math.sqrt(width)) for t in range(len(x))])
        parts.append(weight @ v[:, cut])
        first.append(weight[0])
    return slow.linear(state, f"{name}.output_projection", np.concatenate(parts, 1)), np.array(first)


def place(model: ps.Model, batch: Any, b: int, back: int, time: int) -> int:
    if model.options["position"] == "order":
        return back
    return min(63, math.floor(math.log2(1 + max(0, int(batch.time[b]) - time))))


def slow_bst(model: ps.Model, data: Any, batch: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    state, x, options = slow.state_of(model), slow_scene.inputs(model, batch)[0], model.options
    v, p = slow_events.target(model, data, batch), state["positions"]
    rows, weights = [], []
    for b in range(len(batch)):
        events = slow_events.events_of(model, batch, b)
        k = slow_events.keys(model, data, events)
        z = [np.concatenate([v[b], p[0]])]
        for back, j in enumerate(reversed(range(len(events))), start=1):
            z.append(np.concatenate([k[j], p[place(model, batch, b, back, events[j][2])]]))
        o, first = np.array(z), np.zeros((1, 1))
        for layer in range(options["layers"]):
            met, first = attended(state, f"attention.{layer}", o, options["heads"])
            s = slow.layer_norm(state, f"norm1.{layer}", o + met)
            h = slow_scene.ACTIVATIONS["leaky_relu"](slow.linear(state, f"inner.{layer}", s))
            o = slow.layer_norm(state, f"norm2.{layer}", s + slow.linear(state, f"outer.{layer}", h))
        weights.append(first.mean(0)[1:])
        if options["pool"] == "concat":
            pooled = np.zeros((1 + options["max_length"], o.shape[1]))
            pooled[: len(o)] = o
            pooled = pooled.ravel()
        else:
            pooled = {"mean": o.mean(0), "sum": o.sum(0), "target": o[0]}[options["pool"]]
        rows.append(np.concatenate([x[b], pooled]))
    scene = batch.scene.numpy()
    return slow_scene.mlp(state, "network", np.array(rows), scene, norm="none", activation="leaky_relu")[
        :, 0, 0
    ], weights


@pytest.mark.parametrize("pool", ["concat", "mean", "sum", "target"])
@pytest.mark.parametrize("position", ["time", "order"])
def test_matches_loops(data: Any, position: str, pool: str) -> None:
    options = {"dim": 4, "max_length": 6, "heads": 2, "layers": 2, "hidden": [7, 5], "dropout": 0.0}
    model = slow_scene.random_model("bst", data, **options, position=position, pool=pool, events="all")
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    wanted, weights = slow_bst(model, data, batch)
    assert any(len(each) > 2 for each in weights) and any(len(each) == 0 for each in weights)
    slow_fields.check(model, batch, wanted)
    told = model.explain(batch)
    assert told["events"].tolist() == [len(each) for each in weights]
    for b, each in enumerate(weights):
        np.testing.assert_allclose(told["attention"][b, : len(each)].detach().numpy(), each, rtol=1e-9)


def test_positive_events_alone(data: Any) -> None:
    options = {"dim": 4, "max_length": 6, "heads": 2, "hidden": [7], "dropout": 0.0}
    model = slow_scene.random_model("bst", data, **options)
    model.prepare(data.train)
    batch = slow_events.batch_of(model, data)
    slow_fields.check(model, batch, slow_bst(model, data, batch)[0])


def test_wrong_options(data: Any) -> None:
    for options, message in [
        ({"heads": 7}, "BST: heads must divide the width of an event with its position"),
        ({"position": "rank"}, "BST: position must be 'time' or 'order', got 'rank'"),
        ({"pool": "max"}, "BST: pool must be 'concat', 'mean', 'sum' or 'target', got 'max'"),
        ({"dropout": 1.0}, r"BST: dropout must be in \[0, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            ps.models.BST(data.schema, **options)
