"""Parts of sequence models as loops over rows and steps: what the compiled models are held against."""

from __future__ import annotations

from typing import Any

import numpy as np

State = dict[str, np.ndarray]


def state_of(model: Any) -> State:
    """Parameters and buffers as float64 arrays."""
    return {path: tensor.detach().double().numpy() for path, tensor in model.state_dict().items()}


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> np.ndarray:
    e = np.exp(np.asarray(x) - np.max(x))
    return e / e.sum()


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def cross_entropy(logit: float, label: float) -> float:
    return float(np.logaddexp(0, -logit) if label > 0.5 else np.logaddexp(0, logit))


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def events_of(batch: Any, row: int, length: int) -> list[int]:
    """Positions of the newest events of a row, oldest first."""
    first, last = int(batch.history.offsets[row]), int(batch.history.offsets[row + 1])
    return list(range(max(first, last - length), last))


def event_pool(table: np.ndarray, batch: Any, row: int, length: int) -> np.ndarray:
    """What the newest events of a row say of the user: the sum of their items' rows over the root of their number."""
    total, events = np.zeros(table.shape[1]), events_of(batch, row, length)
    for j in events:
        total += table[int(batch.history.item[j])]
    return total / max(len(events), 1) ** 0.5


def interests_of(lists: Any, index: int, count: int) -> np.ndarray:
    """Multi-hot interests of one event or row."""
    out = np.zeros(count)
    for value in lists.values[int(lists.offsets[index]) : int(lists.offsets[index + 1])]:
        out[int(value)] = 1
    return out


def first_row(schema: Any, name: str) -> int:
    """Where the rows of a field or list begin in a fused table."""
    start = 0
    for field in schema.categorical:
        if field.name == name:
            return start
        start += field.rows
    for field in schema.lists:
        if field.kind != "multi_hot" or field.shares:
            continue
        if field.name == name:
            return start
        start += len(field.ids) + 2
    raise KeyError(name)


def slots_of(table: np.ndarray, schema: Any, batch: Any, row: int) -> np.ndarray:
    """Embedded fields of one row, then the means of its lists, [F + L, D]."""
    slots = [
        table[first_row(schema, field.name) + int(batch.categorical[row, f])]
        for f, field in enumerate(schema.categorical)
    ]
    for field in schema.lists:
        if field.kind != "multi_hot":
            continue
        lists, total = batch.sequence[field.name], np.zeros(table.shape[1])
        first, last = int(lists.offsets[row]), int(lists.offsets[row + 1])
        for j in range(first, last):
            total += table[first_row(schema, field.shares or field.name) + int(lists.values[j])] / (last - first)
        slots.append(total)
    return np.array(slots)


def item_slots(schema: Any) -> list[int]:
    """Slots that describe the candidate: fields of the item, and lists."""
    fields = [f for f, field in enumerate(schema.categorical) if field.side == "item"]
    return fields + [len(schema.categorical) + i for i in range(sum(x.kind == "multi_hot" for x in schema.lists))]


def candidate_slots(schema: Any) -> list[int]:
    """Slots that the predictor sees: all fields but those of the user, and lists."""
    fields = [f for f, field in enumerate(schema.categorical) if field.side != "user"]
    return fields + [len(schema.categorical) + i for i in range(sum(x.kind == "multi_hot" for x in schema.lists))]


def causal_attention(state: State, name: str, x: np.ndarray, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Multi-head attention of every step to itself and earlier ones: output [T, H], weights [heads, T, T]."""
    q, k, v = (linear(state, f"{name}.{part}_projection", x) for part in ("query", "key", "value"))
    steps, width = len(x), q.shape[1] // heads
    merged, weights = np.zeros_like(q), np.zeros((heads, steps, steps))
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        for t in range(steps):
            weights[h, t, : t + 1] = softmax([q[t, part] @ k[s, part] / width**0.5 for s in range(t + 1)])
            merged[t, part] = sum(weights[h, t, s] * v[s, part] for s in range(t + 1))
    return linear(state, f"{name}.output_projection", merged), weights


def pair_attention(state: State, name: str, states: np.ndarray) -> np.ndarray:
    """Contexts over adjacent pairs that end at or before each step, [T, 2 H]."""
    pairs = [np.concatenate([states[s], states[s + 1]]) for s in range(len(states) - 1)]
    out = np.zeros((len(states), 2 * states.shape[1]))
    for t in range(1, len(states)):
        weights = softmax([state[f"{name}.head"] @ linear(state, f"{name}.projection", pair) for pair in pairs[:t]])
        out[t] = sum(w * pair for w, pair in zip(weights, pairs[:t], strict=True))
    return out


def gru(state: State, name: str, x: np.ndarray, layer: int = 0) -> np.ndarray:
    w, u, b, c = (state[f"{name}.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    n = u.shape[1]
    h, out = np.zeros(n), []
    for x_t in x:
        given, kept = w @ x_t + b, u @ h + c
        reset, update = sigmoid(given[:n] + kept[:n]), sigmoid(given[n : 2 * n] + kept[n : 2 * n])
        new = np.tanh(given[2 * n :] + reset * kept[2 * n :])
        h = (1 - update) * new + update * h
        out.append(h)
    return np.array(out)


def lstm(state: State, name: str, x: np.ndarray, layer: int = 0) -> np.ndarray:
    w, u, b, c = (state[f"{name}.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, cell, out = np.zeros(u.shape[1]), np.zeros(u.shape[1]), []
    for x_t in x:
        i, f, g, o = np.split(w @ x_t + b + u @ h + c, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        out.append(h)
    return np.array(out)


def cnn(state: State, name: str, x: np.ndarray) -> np.ndarray:
    weight, bias = state[f"{name}.convolutions.0.weight"], state[f"{name}.convolutions.0.bias"]  # [H, D, K]
    kernel, out = weight.shape[2], []
    for t in range(len(x)):
        seen = [weight[:, :, k] @ x[t - (kernel - 1 - k)] for k in range(kernel) if t - (kernel - 1 - k) >= 0]
        out.append(relu(sum(seen) + bias))
    return np.array(out)


def layer_norm(state: State, name: str, x: np.ndarray) -> np.ndarray:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def transformer(state: State, name: str, x: np.ndarray, heads: int) -> np.ndarray:
    from scipy.special import erf

    h, block = linear(state, f"{name}.input_projection", x) + state[f"{name}.positions"][: len(x)], f"{name}.blocks.0"
    h = h + causal_attention(state, f"{block}.attention", layer_norm(state, f"{block}.attention_norm", h), heads)[0]
    wide = linear(state, f"{block}.inner", layer_norm(state, f"{block}.feedforward_norm", h))
    h = h + linear(state, f"{block}.outer", wide * (1 + erf(wide / 2**0.5)) / 2)
    return layer_norm(state, f"{name}.norm", h)
