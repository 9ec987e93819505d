"""Parts of multi-scene models as loops over rows, scenes and experts: what the compiled models are held against.

``state`` is `slow.state_of` of a float64 model; ``scene`` holds the scene of each row. A part that all scenes share is
stored as that of one scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import slow
import torch

ACTIVATIONS: dict[str, Any] = {
    "relu": slow.relu,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": slow.sigmoid,
    "tanh": np.tanh,
    "identity": lambda x: x,
}


def random_model(name: str, data: Any, seed: int = 3, **options: Any) -> ps.Model:
    """A float64 model whose parameters and statistics are all random, far from their start; in eval mode."""
    torch.manual_seed(seed)
    model = ps.models.create(name, data.schema, **options).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(0.5 + noise.abs() if path.endswith("running_var") else 0.5 * noise)
    return model


def inputs(model: ps.Model, batch: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a body reads: x [B, E], and its slots [B, F, D]."""
    state, schema = slow.state_of(model), model.schema
    x, slots = [], []
    for b in range(len(batch)):
        mine = slow.slots_of(state["embedding.weight"], schema, batch, b)
        if "scene_embedding" in state:
            mine = np.concatenate([mine, state["scene_embedding"][[int(batch.scene[b])]]])
        if "past.item.weight" in state:
            past = slow.event_pool(state["past.item.weight"], batch, b, model.options["history"])
            mine = np.concatenate([mine, past[None]])
        slots.append(mine)
        x.append(np.concatenate([mine.reshape(-1), batch.numeric[b].double().numpy()]))
    return np.array(x), np.array(slots)


def normalised(z: np.ndarray, scene: np.ndarray, state: slow.State, name: str, training: bool) -> np.ndarray:
    """Batch norm of z [B, ...] with statistics of the rows of each scene."""
    scale, shift, mean, var = (state[f"{name}_{part}"] for part in ("scale", "shift", "running_mean", "running_var"))
    out = np.zeros_like(z)
    for b in range(len(z)):
        s = min(int(scene[b]), len(scale) - 1) if len(scale) > 1 else 0
        rows = z[scene == scene[b]] if len(scale) > 1 else z
        centre, spread = mean[s], var[s]
        if training and len(rows) > 1:
            centre, spread = rows.mean(0), rows.var(0)
        out[b] = (z[b] - centre) / np.sqrt(spread + 1e-5) * scale[s] + shift[s]
    return out


def layer(
    state: slow.State,
    name: str,
    x: np.ndarray,
    scene: np.ndarray,
    *,
    training: bool = False,
    activation: str = "relu",
    norm: str = "batch",
) -> np.ndarray:
    """One layer of `SceneMLP`: x [B, I] or [B, E, I] to [B, E, O]; an output layer has no norm and no activation."""
    weight = state[f"{name}_weight"]
    bias = state.get(f"{name}_bias", np.zeros(weight.shape[:3]))
    z = np.zeros((len(x), *weight.shape[1:3]))
    for b in range(len(x)):
        s = int(scene[b]) if len(weight) > 1 else 0
        for e in range(weight.shape[1]):
            z[b, e] = weight[s, e] @ (x[b] if x.ndim == 2 else x[b, e]) + bias[s, e]
    if name.endswith(".output"):
        return z
    if norm == "batch":
        z = normalised(z, scene, state, name, training)
    elif norm == "layer":
        scale, shift = state[f"{name}_scale"], state[f"{name}_shift"]
        for b in range(len(z)):
            s = int(scene[b]) if len(scale) > 1 else 0
            for e in range(z.shape[1]):
                z[b, e] = (z[b, e] - z[b, e].mean()) / np.sqrt(z[b, e].var() + 1e-5) * scale[s, e] + shift[s, e]
    return ACTIVATIONS[activation](z)


def mlp(state: slow.State, name: str, x: np.ndarray, scene: np.ndarray, **options: Any) -> np.ndarray:
    """`SceneMLP`: all hidden layers and the output layer that the state holds, [B, E, O]."""
    h, count = x, 0
    while f"{name}.layer{count}_weight" in state:
        h = layer(state, f"{name}.layer{count}", h, scene, **options)
        count += 1
    return layer(state, f"{name}.output", h, scene, **options) if f"{name}.output_weight" in state else h


def gate(state: slow.State, name: str, x: np.ndarray, scene: np.ndarray, training: bool = False) -> np.ndarray:
    """`SceneGate`, [B, K]."""
    weight = state[f"{name}.weight"]
    z = np.array([weight[int(scene[b]) if len(weight) > 1 else 0, 0] @ x[b] for b in range(len(x))])
    if f"{name}.scale" in state:
        stats = {
            f"{name}_{part}": state[f"{name}.{part}"] for part in ("scale", "shift", "running_mean", "running_var")
        }
        z = normalised(z, scene, stats, name, training)
    return np.array([slow.softmax(row) for row in z])


def interaction(model: ps.Model, batch: Any) -> np.ndarray:
    """What stands beside the body, [B]."""
    state, kind = slow.state_of(model), model.options["interaction"]
    x, slots = inputs(model, batch)
    out = np.zeros(len(batch))
    for b in range(len(batch)):
        if kind == "fm":
            linear = slow.slots_of(state["first_order.weight"], model.schema, batch, b).sum()
            pairs = sum(slots[b, f] @ slots[b, g] for f in range(slots.shape[1]) for g in range(f))
            out[b] = state["base"] + state["scene_bias"][int(batch.scene[b])] + linear + pairs
        elif kind == "cross":
            h, first = x[b], 0
            while f"cross{first}_weight" in state:
                h = x[b] * (state[f"cross{first}_weight"] @ h + state[f"cross{first}_bias"]) + h
                first += 1
            out[b] = state["cross_head"] @ h
    return out


def check_logits(model: ps.Model, batch: Any, body: np.ndarray) -> None:
    """The model's logits are those of the body and of the interaction, to 1e-9 in float64."""
    wanted = body + interaction(model, batch)
    np.testing.assert_allclose(model(batch).detach().numpy(), wanted, rtol=1e-9, atol=1e-9)
