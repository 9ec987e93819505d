"""Images in plain numpy, float64, one image and one filter after another: what `ImageEncoder` must equal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from slow_texts import softmax

Arrays = dict[str, np.ndarray]


def convolution(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, step: int = 1) -> np.ndarray:
    """x [C, h, w], weight [O, C, k, k]; zeros stand around the image."""
    reach = weight.shape[2] // 2
    held = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    height, width = (-(-side // step) for side in x.shape[1:])
    out = np.empty((len(weight), height, width))
    for o, filters in enumerate(weight):
        for i in range(height):
            for j in range(width):
                seen = held[:, i * step : i * step + weight.shape[2], j * step : j * step + weight.shape[2]]
                out[o, i, j] = (filters * seen).sum() + bias[o]
    return out


def normed(state: Arrays, kind: str, index: int, x: np.ndarray) -> np.ndarray:
    """Group norm of gcd(8, C) groups (one for single channels), or batch norm with running statistics."""
    if kind == "none":
        return x
    name = f"norms.{index}"
    if kind == "batch":
        mean, var = state[f"{name}.running_mean"][:, None, None], state[f"{name}.running_var"][:, None, None]
        out = (x - mean) / np.sqrt(var + 1e-5)
    else:
        groups = math.gcd(8, len(x))
        parts = np.split(x, groups if groups < len(x) else 1)
        out = np.concatenate([(part - part.mean()) / np.sqrt(part.var() + 1e-5) for part in parts])
    return out * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]


def largest(x: np.ndarray) -> np.ndarray:
    """The largest of each 2 x 2 positions; a side of 1 stays, an odd last row or column is left out."""
    steps = [min(2, side) for side in x.shape[1:]]
    height, width = (side // step for side, step in zip(x.shape[1:], steps, strict=True))
    out = np.empty((len(x), height, width))
    for i in range(height):
        for j in range(width):
            rows, columns = slice(i * steps[0], (i + 1) * steps[0]), slice(j * steps[1], (j + 1) * steps[1])
            out[:, i, j] = x[:, rows, columns].max((1, 2))
    return out


def image_map(state: Arrays, options: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """The last map of one image [C, h, w]."""
    used = iter(range(100))

    def layer(h: np.ndarray, step: int = 1) -> np.ndarray:
        i = next(used)
        weight, bias = state[f"convolutions.{i}.weight"], state[f"convolutions.{i}.bias"]
        return normed(state, options["norm"], i, convolution(weight, bias, h, step))

    def relu(h: np.ndarray) -> np.ndarray:
        return np.maximum(h, 0)

    h = relu(layer(x)) if options["kind"] == "resnet" else x
    for stage in range(len(options["widths"])):
        if options["kind"] == "cnn" and stage > 0:
            h = largest(h)
        for block in range(options["layers"]):
            if options["kind"] == "cnn":
                h = relu(layer(h))
                continue
            step = 2 if stage > 0 and block == 0 else 1
            inner = layer(relu(layer(h, step)))
            h = relu(inner + (layer(h, step) if step == 2 else h))
    return h


def image_vector(state: Arrays, options: dict[str, Any], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vector and weights [h', w'] of one image."""
    h = image_map(state, options, x)
    flat = h.reshape(len(h), -1)
    if options["pool"] == "mean":
        return flat.mean(1), np.full(h.shape[1:], 1 / flat.shape[1])
    keys = np.tanh(state["position.weight"] @ flat + state["position.bias"][:, None])
    weights = softmax(state["context"] @ keys)
    return flat @ weights, weights.reshape(h.shape[1:])
