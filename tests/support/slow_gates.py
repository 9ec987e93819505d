"""Gates of scenes as loops over rows, and batches whose scene a test chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import slow
import torch


def gate_nu(state: slow.State, name: str, prior: np.ndarray, rest: np.ndarray, scene: np.ndarray) -> list[np.ndarray]:
    """`GateNU`: the gates of each layer, [B, O]."""
    out: list[np.ndarray] = []
    first = 0
    while f"{name}.out{len(out)}_weight" in state:
        weight, bias = (state[f"{name}.out{len(out)}_{part}"] for part in ("weight", "bias"))
        part = slice(first, first + weight.shape[3])
        rows = []
        for b in range(len(prior)):
            s = int(scene[b]) if len(weight) > 1 else 0
            z = state[f"{name}.bias"][s, part] + state[f"{name}.prior_weight"][s, 0, part] @ prior[b]
            if f"{name}.rest_weight" in state:
                z = z + state[f"{name}.rest_weight"][s, 0, part] @ rest[b]
            rows.append(2 * slow.sigmoid(weight[s, 0] @ slow.relu(z) + bias[s, 0]))
        out.append(np.array(rows))
        first = part.stop
    assert first == state[f"{name}.bias"].shape[1]
    return out


def in_scene(batch: Any, scene: int) -> Any:
    """The same rows, all in one scene."""
    out = batch.take(torch.arange(len(batch)))
    out.scene = torch.full_like(batch.scene, scene)
    return out
