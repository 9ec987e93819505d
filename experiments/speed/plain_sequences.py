"""SASRec and C2DSR in plain PyTorch on padded windows, as users write them: what `sequences.py` measures against.

Both start from the parameters of a model of polyscene and keep its names, so that they can be put back for evaluation.
Windows are [B, L + 1], padded with 0 on the left.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def windows_of(data: Any, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Training windows of `longest` + 1 events, the newest first: items and scenes, [N, longest + 1]."""
    known = data.train.history
    offsets, item, scene = known.tensors()["offsets"].tolist(), known.tensors()["item"], known.tensors()["scene"]
    items, scenes = [], []
    for first, last in itertools.pairwise(offsets):
        end = last
        while end - first >= 2:
            begin = max(first, end - longest - 1)
            pad = (longest + 1 - (end - begin), 0)
            items.append(F.pad(item[begin:end].long(), pad))
            scenes.append(F.pad(scene[begin:end], pad))
            end = begin + 1
    return torch.stack(items), torch.stack(scenes)


class PlainModel(nn.Module):
    """What both share: parameters by polyscene's names, the items of each scene, losses."""

    def __init__(self, model: Any, data: Any, loss: str, dropout: float) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(w.detach().clone()) for name, w in model.named_parameters()}
        )
        self.loss, self.dropout = loss, dropout
        known = data.train.history.interactions()
        self.candidates = [known.scene(s).candidates for s in range(len(data.schema.scenes))]
        self.place = torch.zeros(len(self.candidates), len(self.of("item.weight")), dtype=torch.int64)
        for s, mine in enumerate(self.candidates):
            self.place[s, mine] = torch.arange(len(mine))

    def of(self, name: str) -> torch.Tensor:
        return self.weights[name.replace(".", "/")]

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)

    def attend(self, q: torch.Tensor, kv: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
        """Causal attention over the events that are `here` (bool [B, L])."""
        length = here.shape[1]
        allowed = torch.ones(length, length, dtype=torch.bool).tril() & here.unsqueeze(1)
        allowed = (allowed | torch.eye(length, dtype=torch.bool)).unsqueeze(1)
        q, k, v = (each.unsqueeze(1) for each in (q, *kv.chunk(2, -1)))
        drop = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=drop).squeeze(1)

    def cross_entropy(self, h: torch.Tensor, target: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        """Softmax over the items of each step's scene: states [n, D]."""
        table, parts = self.of("item.weight"), []
        bias = self.of("bias.weight").squeeze(1) if "bias/weight" in self.weights else None
        for s, mine in enumerate(self.candidates):
            some = scene == s
            if bool(some.any()):
                logits = F.linear(h[some], table[mine], None if bias is None else bias[mine])
                parts.append(F.cross_entropy(logits, self.place[s, target[some]], reduction="sum"))
        return torch.stack(parts).sum() / len(target)

    def compared(self, h: torch.Tensor, target: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy against one drawn item of the scene."""
        draw, table = torch.rand(len(target)), self.of("item.weight")
        drawn = torch.empty_like(target)
        for s, mine in enumerate(self.candidates):
            drawn[scene == s] = mine[(draw[scene == s] * len(mine)).long()]
        positive, negative = (h * F.embedding(target, table)).sum(1), (h * F.embedding(drawn, table)).sum(1)
        return (F.softplus(-positive) + F.softplus(negative)).mean()


class PlainSASRec(PlainModel):
    """The paper's form: only queries are normalised."""

    def linear(self, name: str, n: int, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.of(f"{name}.{n}.weight"), self.of(f"{name}.{n}.bias"))

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.of(f"{name}.weight"), self.of(f"{name}.bias"), 1e-8)

    def states(self, items: torch.Tensor) -> torch.Tensor:
        """States after each event, [B, L, D]."""
        here, table = items > 0, self.of("item.weight")
        x = F.embedding(items, table) * table.shape[1] ** 0.5 + self.of("positions")[-items.shape[1] :]
        x = self.drop(x) * here.unsqueeze(2)
        for n in range(sum("query" in name and "weight" in name for name in self.weights)):
            u = self.norm(f"attention_norm.{n}", x)
            attended = self.attend(self.linear("query", n, u), self.linear("key_value", n, x), here)
            y = self.norm(f"feedforward_norm.{n}", u + attended)
            inner = self.drop(self.linear("inner", n, y).relu())
            x = (y + self.drop(self.linear("outer", n, inner))) * here.unsqueeze(2)
        return self.norm("norm", x)

    def forward(self, items: torch.Tensor, scenes: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The loss of windows, and how many steps it is the mean of."""
        at = items[:, :-1] > 0
        h, target, scene = self.states(items[:, :-1])[at], items[:, 1:][at], scenes[:, 1:][at]
        return (self.compared if self.loss == "bce" else self.cross_entropy)(h, target, scene), len(target)


class PlainC2DSR(PlainModel):
    """The loss of `polyscene.models.C2DSR` with positions from the newest event."""

    def __init__(self, model: Any, data: Any, loss: str, dropout: float) -> None:
        super().__init__(model, data, loss, dropout)
        self.contrast, self.graph_layers = model.options["contrast"], model.options["graph_layers"]
        self.longest = len(self.of("encoders.positions")) // (1 + len(self.candidates))
        items = len(self.of("item.weight"))
        rows = [torch.arange(items)]
        for s, mine in enumerate(self.candidates):
            rows.append(torch.cat((torch.ones(1, dtype=torch.int64), mine)) + (1 + s) * items)
        self.rows = torch.cat(rows)
        self.encoder = self.rows // items
        self.node = torch.full(((1 + len(self.candidates)) * items,), -1)
        self.node[self.rows] = torch.arange(len(self.rows))
        self.graph = self.followers(data, items)

    def followers(self, data: Any, items: int) -> torch.Tensor:
        """Shares of what came next in training, in all scenes and in each."""
        known = data.train.history.tensors()
        pairs: dict[tuple[int, int], int] = {}
        for first, last in itertools.pairwise(known["offsets"].tolist()):
            events = list(zip(known["item"][first:last].tolist(), known["scene"][first:last].tolist(), strict=True))
            own = [[1 + s] + [i for i, at in events if at == s] for s in range(len(self.candidates))]
            for encoder, *walk in ([0, *(i for i, _ in events)], *own):
                nodes = self.node[[encoder * items + i for i in walk]].tolist()
                for pair in itertools.pairwise(nodes):
                    pairs[pair] = pairs.get(pair, 0) + 1
        index = torch.tensor(sorted(pairs)).T
        count = torch.tensor([float(pairs[pair]) for pair in sorted(pairs)])
        total = torch.zeros(len(self.rows)).index_add_(0, index[0], count)
        size = (len(self.rows), len(self.rows))
        return torch.sparse_coo_tensor(index, count / total[index[0]], size).coalesce().to_sparse_csr()

    def nodes(self) -> torch.Tensor:
        x = self.of("input.weight")[self.rows]
        layer = total = x
        for n in range(self.graph_layers):
            layer = self.graph @ self.drop(layer) + self.of("graph_bias")[n][self.encoder]
            total = total + layer
        return x + total / (1 + self.graph_layers)

    def encode(self, e: int, v: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
        """States of encoder `e` after each event, [B, L, D]."""

        def part(name: str, n: int) -> torch.Tensor:
            return self.of(f"encoders.{name}")[n, e, 0]

        def linear(name: str, n: int, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, part(name, n), part(f"{name}_bias", n))

        def norm(name: str, n: int, x: torch.Tensor) -> torch.Tensor:
            return F.layer_norm(x, x.shape[-1:], part(f"{name}_scale", n), part(f"{name}_shift", n), 1e-8)

        at = (e + 1) * self.longest
        x = self.drop(v * v.shape[2] ** 0.5 + self.of("encoders.positions")[at - v.shape[1] : at]) * here.unsqueeze(2)
        for n in range(len(self.of("encoders.query"))):
            u = norm("attention", n, x)
            y = norm("feedforward", n, u + self.attend(linear("query", n, u), linear("key_value", n, x), here))
            x = (y + self.drop(linear("outer", n, self.drop(linear("inner", n, y).relu())))) * here.unsqueeze(2)
        return norm("norm", 0, x)

    def own_states(
        self, z: torch.Tensor, s: int, items: torch.Tensor, mine: torch.Tensor, trimmed: bool
    ) -> torch.Tensor:
        """States of the events of scene `s` among themselves, at their places, [B, L, D]."""
        order = mine.int().argsort(dim=1, stable=True)  # to the right, in their order
        if trimmed:
            order = order[:, items.shape[1] - max(1, int(mine.sum(1).max())) :]
        node = self.node[(1 + s) * len(self.of("item.weight")) + items.gather(1, order)]
        h = self.encode(1 + s, z[node.clamp_min(0)], mine.gather(1, order))
        places = order.unsqueeze(2).expand_as(h)
        return torch.zeros(*items.shape, h.shape[2]).scatter(1, places, h) * mine.unsqueeze(2)

    def forward(self, items: torch.Tensor, scenes: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The loss of windows, and how many steps it is the mean of."""
        inputs, at = items[:, :-1], scenes[:, :-1]
        here, length = inputs > 0, inputs.shape[1]
        trimmed = length < self.longest
        z = self.nodes()
        h = self.encode(0, z[inputs], here)
        target, wanted = items[:, 1:], scenes[:, 1:]
        joined, known = torch.zeros_like(h), torch.zeros_like(here)
        contrast = h.new_zeros(())
        for s, candidates in enumerate(self.candidates):
            mine = here & (at == s)
            own = self.own_states(z, s, inputs, mine, trimmed)
            newest = torch.where(mine, torch.arange(length), -1).cummax(1).values
            state = own.gather(1, newest.clamp_min(0).unsqueeze(2).expand_as(own))
            asked = here & (wanted == s) & (newest >= 0)
            joined, known = torch.where(asked.unsqueeze(2), h + state, joined), known | asked
            both = (mine.any(1) & (here & ~mine).any(1)).nonzero().squeeze(1)
            if self.contrast == 0 or len(both) == 0:
                continue
            drawn = candidates[torch.randint(len(candidates), inputs[both].shape)]
            changed = self.encode(0, z[torch.where(mine[both], drawn, inputs[both])], here[both])
            others = (here & ~mine)[both].unsqueeze(2)
            of_scene = own[both].sum(1) / mine[both].sum(1, keepdim=True)
            mapped = of_scene @ self.of("critic")[s, 0].T
            right, wrong = (
                ((each * others).sum(1) / others.sum(1) * mapped).sum(1) + self.of("critic_bias")[s]
                for each in (h[both], changed)
            )
            contrast = contrast + (F.softplus(-right) + F.softplus(wrong)).mean()
        predicted = self.cross_entropy(h[here], target[here], wanted[here])
        predicted = predicted + self.cross_entropy(joined[known], target[known], wanted[known])
        return (1 - self.contrast) * predicted + self.contrast * contrast, int(here.sum())
