"""Fusion of the modalities of one row in plain numpy, float64: what `Fusion` must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from slow_texts import linear, normed, softmax


def fused(
    state: dict[str, np.ndarray], options: dict[str, Any], x: list[np.ndarray], present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fused vector and weights of one row."""
    hidden, heads, count = options["hidden"], options["heads"], len(x)
    here = [m for m in range(count) if present[m]]
    weights = np.zeros(count)
    if not here:
        return np.zeros(hidden), weights
    if options["kind"] == "concat":
        absent = np.split(state["absent"], np.cumsum([len(each) for each in x])[:-1])
        weights[here] = 1 / len(here)
        return linear(
            state, "projection", np.concatenate([x[m] if m in here else absent[m] for m in range(count)])
        ), weights
    if options["kind"] == "gated":
        scores = state["gate.weight"] @ np.concatenate([x[m] if m in here else 0 * x[m] for m in range(count)])
        weights[here] = softmax(scores[here])
        return sum(weights[m] * np.tanh(state[f"projections.{m}.weight"] @ x[m]) for m in here), weights
    u = {m: linear(state, f"projections.{m}", x[m]) for m in here}
    out, width = np.zeros(hidden), hidden // heads
    for m in here:
        others, met = [other for other in here if other != m], np.zeros(hidden)
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            q, k, v = (
                {n: linear(state, f"attention.{name}_projection", u[n])[own] for n in here}
                for name in ("query", "key", "value")
            )
            if others:
                a = softmax(np.array([q[m] @ k[other] / np.sqrt(width) for other in others]))
                met[own] = sum(a[i] * v[other] for i, other in enumerate(others))
                weights[others] += a / heads / len(here)
        after = u[m] + linear(state, "attention.output_projection", met)
        out += normed(state, "norm", after[None])[0] / len(here)
    if len(here) == 1:
        weights[here] = 1
    return out, weights
