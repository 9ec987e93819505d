"""Variational encoders over graphs as loops over users and items."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import torch

Rows = dict[int, np.ndarray]


class SlowEncoders:
    def __init__(self, model: ps.Model, data: Any) -> None:
        self.options = model.options
        self.state = {path: tensor.double().numpy() for path, tensor in model.state_dict().items()}
        self.scenes = range(len(data.schema.scenes))
        rows = data.train.batch(torch.arange(len(data.train)))
        self.items_of: list[dict[int, list[int]]] = [{} for _ in self.scenes]
        self.users_of: list[dict[int, list[int]]] = [{} for _ in self.scenes]
        self.pairs: list[list[tuple[int, int]]] = [[] for _ in self.scenes]
        triples = {*zip(rows.user.tolist(), rows.item.tolist(), rows.scene.tolist(), strict=True)}
        for user, item, scene in sorted(triples):
            if user > 1 and item > 1:
                self.items_of[scene].setdefault(user, []).append(item)
                self.users_of[scene].setdefault(item, []).append(user)
                self.pairs[scene].append((user, item))

    def linear(self, path: str, x: np.ndarray) -> np.ndarray:
        return self.state[f"{path}.weight"] @ x + self.state[f"{path}.bias"]

    def layer(self, path: str, x: Rows, others: dict[int, list[int]], back: dict[int, list[int]]) -> list[Rows]:
        """`others` of each node that walks, `back` of each node between."""
        lrelu = lambda v: np.where(v > 0, v, 0.1 * v)  # noqa: E731
        between = {o: lrelu(self.linear(f"{path}.there", np.mean([x[n] for n in back[o]], 0))) for o in back}
        out = []
        for head in ["hidden"] if f"{path}.back_hidden.weight" in self.state else ["mean", "spread"]:
            made = {}
            for node in others:
                g = lrelu(self.linear(f"{path}.back_{head}", np.mean([between[o] for o in others[node]], 0)))
                y = self.linear(f"{path}.join_{head}", np.concatenate([g, x[node]]))
                made[node] = np.maximum(y, 0) if head == "hidden" else y
            out.append(made)
        return out

    def rows(self, table: str, scene: int, ids: Any) -> Rows:
        weight = self.state[f"{table}.weight"]
        return {k: weight[scene * (len(weight) // len(self.scenes)) + k] for k in ids}

    def gauss(self, heads: list[Rows], limit: float = np.inf) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        mean, spread = heads
        wide = self.options["form"] == "authors"
        soft = {k: np.logaddexp(0, np.minimum(s, limit) if wide else s) for k, s in spread.items()}
        return {k: (mean[k], np.exp(0.1 + 0.9 * soft[k]) if wide else soft[k] + 1e-6) for k in mean}  # never 0

    def layers(self, encoder: str, table: str, scene: int, others: Any, back: Any) -> list[list[Rows]]:
        x = self.rows(table, scene, others)
        out = []
        for k in range(self.options["layers"]):
            out.append(self.layer(f"{encoder}.{scene * self.options['layers'] + k}", x, others, back))
            x = out[-1][0]
        return out

    def side(self, encoder: str, table: str, scene: int, others: Any, back: Any) -> Any:
        return self.gauss(self.layers(encoder, table, scene, others, back)[-1])

    def divergence(self, q: Any, others: Any = None, prior: float = 1.0) -> list[float]:
        """Of each node of `others`, or of `q` from the prior."""
        out = []
        for k in others or q:
            (m, d), (n, e) = q[k], others[k] if others else (0.0, prior)
            out.append(float((np.log(e / d) + (d**2 + (m - n) ** 2) / (2 * e**2) - 0.5).sum()))
        return out
