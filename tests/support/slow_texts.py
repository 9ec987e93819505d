"""Texts in plain numpy, float64, one word after another: what `TextEncoder` must equal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    above = np.exp(x - x.max())
    return above / above.sum()


def lstm(state: dict[str, np.ndarray], prefix: str, x: np.ndarray, layers: int) -> np.ndarray:
    """Stacked LSTM with torch's gates (input, forget, cell, output) over the words of one text."""
    for layer in range(layers):
        w, u = state[f"{prefix}.weight_ih_l{layer}"], state[f"{prefix}.weight_hh_l{layer}"]
        bias = state[f"{prefix}.bias_ih_l{layer}"] + state[f"{prefix}.bias_hh_l{layer}"]
        h = c = np.zeros(u.shape[1])
        out = []
        for word in x:
            i, f, g, o = np.split(w @ word + u @ h + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        x = np.stack(out)
    return x


def convolved(state: dict[str, np.ndarray], x: np.ndarray, layers: int) -> np.ndarray:
    for layer in range(layers):
        w, bias = state[f"convolutions.{layer}.weight"], state[f"convolutions.{layer}.bias"]  # [H, D, K]
        reach = w.shape[2] // 2
        out = np.zeros((len(x), len(w)))
        for t in range(len(x)):
            out[t] = bias
            for k in range(w.shape[2]):
                if 0 <= t + k - reach < len(x):
                    out[t] += w[:, :, k] @ x[t + k - reach]
        x = np.maximum(out, 0) if layer == 0 else x + np.maximum(out, 0)
    return x


def normed(state: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    scaled = centred / np.sqrt(centred.var(1, keepdims=True) + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def transformed(state: dict[str, np.ndarray], x: np.ndarray, layers: int, heads: int) -> np.ndarray:
    h = linear(state, "input_projection", x) + state["positions"][: len(x)]
    width = h.shape[1] // heads
    for layer in range(layers):
        a = normed(state, f"attention_norms.{layer}", h)
        q, kv = linear(state, f"queries.{layer}", a), linear(state, f"keys_values.{layer}", a)
        k, v = np.split(kv, 2, axis=1)
        met = np.zeros_like(h)
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            for t in range(len(h)):
                met[t, own] = softmax(k[:, own] @ q[t, own] / math.sqrt(width)) @ v[:, own]
        h = h + linear(state, f"outputs.{layer}", met)
        f = normed(state, f"feedforward_norms.{layer}", h)
        h = h + linear(state, f"outer.{layer}", gelu(linear(state, f"inner.{layer}", f)))
    return normed(state, "norm", h)


def text_vector(state: dict[str, np.ndarray], options: dict[str, Any], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vector and weights of one text [n, D]."""
    kind, layers = options["kind"], options["layers"]
    if len(x) == 0:
        return np.zeros(x.shape[1] if kind == "mean" else options["hidden"]), np.zeros(0)
    if kind == "mean":
        return x.mean(0), np.full(len(x), 1 / len(x))
    if kind == "bilstm":
        there = lstm(state, "forwards.lstm", x, layers)
        back = lstm(state, "backwards.lstm", x[::-1], layers)[::-1]
        h = np.concatenate([there, back], 1)
    elif kind == "cnn":
        h = convolved(state, x, layers)
    else:
        h = transformed(state, x, layers, options["heads"])
    weights = softmax(np.tanh(linear(state, "word", h)) @ state["context"])
    return weights @ h, weights


def state_of(module: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Tensors below a prefix as float64 arrays, without it."""
    return {
        name.removeprefix(prefix): tensor.double().numpy()
        for name, tensor in module.state_dict().items()
        if name.startswith(prefix)
    }
