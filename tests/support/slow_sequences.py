"""Slow references of models of sequences: one event at a time, float64, plain numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.special import erf, expit, logsumexp


def weights(model: Any) -> dict[str, np.ndarray]:
    """Parameters by name."""
    return {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}


def lists(events: Any) -> list[list[tuple[int, int]]]:
    """(item, scene) of each list of events."""
    at, item, scene = events.offsets.tolist(), events.item.tolist(), events.scene.tolist()
    return [list(zip(item[a:b], scene[a:b], strict=True)) for a, b in itertools.pairwise(at)]


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    mean = x.mean()
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean() + eps) * weight + bias


def linear(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def attention(query: np.ndarray, keys: list[np.ndarray], values: list[np.ndarray], heads: int) -> np.ndarray:
    """What one query reads of some events."""
    width = len(query) // heads
    out = np.zeros_like(query)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = np.array([query[part] @ key[part] for key in keys]) / np.sqrt(width)
        share = np.exp(scores - logsumexp(scores))
        for weight, value in zip(share, values, strict=True):
            out[part] += weight * value[part]
    return out


def sasrec_states(w: dict[str, np.ndarray], options: dict[str, Any], items: list[int]) -> list[np.ndarray]:
    """The state after each event."""
    dim, longest, pre = options["dim"], options["max_length"], options["norm"] == "pre"
    first = longest - len(items) if options["positions"] == "newest" else 0

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-8)

    scale = np.sqrt(dim) if pre else 1.0
    x = [scale * w["item.weight"][item] + w["positions"][first + t] for t, item in enumerate(items)]
    if not pre:
        x = [norm("norm", each) for each in x]
    for n in range(options["layers"]):
        asking = [norm(f"attention_norm.{n}", each) for each in x] if pre else x
        pairs = [linear(w, f"key_value.{n}", each) for each in x]
        keys, values = [each[:dim] for each in pairs], [each[dim:] for each in pairs]
        out = []
        for t, one in enumerate(asking):
            read = attention(linear(w, f"query.{n}", one), keys[: t + 1], values[: t + 1], options["heads"])
            if pre:
                y = norm(f"feedforward_norm.{n}", one + read)
                out.append(y + linear(w, f"outer.{n}", np.maximum(linear(w, f"inner.{n}", y), 0)))
            else:
                y = norm(f"attention_norm.{n}", x[t] + linear(w, f"output.{n}", read))
                out.append(norm(f"feedforward_norm.{n}", y + linear(w, f"outer.{n}", gelu(linear(w, f"inner.{n}", y)))))
        x = out
    return [norm("norm", each) for each in x] if pre else x


def gru_states(w: dict[str, np.ndarray], options: dict[str, Any], items: list[int]) -> list[np.ndarray]:
    """The projected state after each event, of one recurrent layer."""
    hidden = options["hidden"]
    h, out = np.zeros(hidden), []

    def gates(kind: str, x: np.ndarray) -> np.ndarray:
        bias = w.get(f"gru.bias_{kind}_l0", np.zeros(3 * hidden))
        return (w[f"gru.weight_{kind}_l0"] @ x + bias).reshape(3, hidden)

    for item in items:
        given, kept = gates("ih", w["item.weight"][item]), gates("hh", h)
        reset, update = expit(given[0] + kept[0]), expit(given[1] + kept[1])
        new = np.tanh(given[2] + reset * kept[2])
        h = (1 - update) * new + update * h
        out.append(linear(w, "projection", h))
    return out


def bert_states(w: dict[str, np.ndarray], options: dict[str, Any], items: list[int]) -> list[np.ndarray]:
    """The state at each place, which sees all others."""
    dim = options["dim"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    first = options["max_length"] - len(items)
    x = [norm("norm", w["item.weight"][item] + w["positions"][first + t]) for t, item in enumerate(items)]
    for n in range(options["layers"]):
        pairs = [linear(w, f"key_value.{n}", each) for each in x]
        keys, values = [each[:dim] for each in pairs], [each[dim:] for each in pairs]
        read = [attention(linear(w, f"query.{n}", each), keys, values, options["heads"]) for each in x]
        y = [norm(f"attention_norm.{n}", a + linear(w, f"output.{n}", b)) for a, b in zip(x, read, strict=True)]
        x = [norm(f"feedforward_norm.{n}", a + linear(w, f"outer.{n}", gelu(linear(w, f"inner.{n}", a)))) for a in y]
    return [norm("head_norm", gelu(linear(w, "head", each))) for each in x]


def loss_of_one(name: str, scores: np.ndarray, positive: float, negative: np.ndarray, reg: float) -> float:
    """The loss of one event that followed: ``scores`` of its scene's items, or of drawn ones."""
    if name == "ce":
        return float(logsumexp(scores) - positive)
    if name == "bce":
        return float(-np.log(expit(positive)) - np.log(1 - expit(negative)).mean())
    if name == "bpr":
        return float(-np.log(expit(positive - negative)).mean())
    if name == "top1":
        return float((expit(negative - positive) + expit(negative**2)).mean())
    share = np.exp(negative - logsumexp(negative))
    return float(-np.log((share * expit(positive - negative)).sum()) + reg * (share * negative**2).sum())


def slow_loss(model: Any, batch: Any, states_of: Any, candidates: list[list[int]]) -> float:
    """The mean over what followed something, walking through each row."""
    w, options = weights(model), model.options
    table, total, count, place = w["item.weight"], 0.0, 0, 0
    for b, past in enumerate(lists(batch.history)):
        full = [*past, (int(batch.item[b]), int(batch.scene[b]))]
        scenes = {scene for _, scene in full} if options["scope"] == "scene" else {None}
        for scene in scenes:
            mine = [t for t, event in enumerate(full) if scene is None or event[1] == scene]
            states = states_of(w, options, [full[t][0] for t in mine[:-1]])
            for state, t in zip(states, mine[1:], strict=True):
                item, where = full[t]
                positive = float(state @ table[item])
                scores = table[candidates[where]] @ state
                negative = np.zeros(1)
                if batch.next_negative is not None:
                    negative = table[batch.next_negative[place + t - 1].numpy()] @ state
                total += loss_of_one(options["loss"], scores, positive, negative, options.get("bpr_max_reg", 0.0))
                count += 1
        place += len(past)
    return total / count
