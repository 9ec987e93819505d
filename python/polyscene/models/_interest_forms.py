"""The interest models over plain tensors, for tracing and export."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def list_weights(batch: Any, schema: Any) -> tuple[torch.Tensor, ...]:
    """Multi-hot columns of a batch as dense means: one float tensor [B, rows of its vocabulary] a column."""
    out = []
    for column in schema.lists:
        if column.kind == "multi_hot":
            lists = batch.sequence[column.name]
            lengths = lists.offsets.diff()
            row = torch.arange(len(lists)).repeat_interleave(lengths)
            weights = torch.zeros(len(lists), _list_rows(schema, column))
            share = 1 / lengths.clamp(min=1).float()
            out.append(weights.index_put_((row, lists.values.long()), share[row], accumulate=True))
    return tuple(out)


def event_interests(batch: Any, schema: Any, length: int) -> torch.Tensor:
    """Interests of the newest events of each row, oldest first: multi-hot float [B, T, K]."""
    events, count = batch.history, len(schema.interests)
    out = torch.zeros(len(batch), length, count)
    last = events.offsets[1:]
    kept = torch.minimum(events.offsets.diff(), torch.tensor(length))
    row = torch.arange(len(batch)).repeat_interleave(kept)
    step = torch.arange(int(kept.sum())) - (kept.cumsum(0) - kept).repeat_interleave(kept)
    found = events.interest.take((last - kept)[row] + step)
    each = torch.arange(len(found)).repeat_interleave(found.offsets.diff())
    return out.index_put_((row[each], step[each], found.values.long()), torch.ones(()))


def _list_rows(schema: Any, column: Any) -> int:
    return schema.categorical[schema.field(column.shares)].rows if column.shares else column.rows


def newest(column: torch.Tensor, length: torch.Tensor, steps: int, keep: int) -> torch.Tensor:
    """The newest ``keep`` of T = ``steps`` padded events [B, T, ...], [B, keep, ...]; padding stays at the end."""
    if keep >= steps:
        return column
    step = (length - keep).clamp(min=0).unsqueeze(1) + torch.arange(keep, device=length.device)  # [B, keep]
    return column[torch.arange(step.size(0), device=step.device).unsqueeze(1), step]


def event_pool(table: torch.Tensor, item: torch.Tensor, length: torch.Tensor, steps: int, keep: int) -> torch.Tensor:
    """The newest ``keep`` items of padded events as ``EventPool`` pools them, [B, D]."""
    kept = length.clamp(max=keep)
    rows = newest(item, length, steps, keep)
    valid = torch.arange(min(keep, steps), device=item.device) < kept.unsqueeze(1)
    total = (table[rows] * valid.unsqueeze(2).to(table.dtype)).sum(1)
    return total * kept.clamp(min=1).to(table.dtype).rsqrt().unsqueeze(1)


class Form(nn.Module):
    """Copies of a model's tensors as buffers, and the layers that the forms share."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for path, tensor in model._float_state().items():
            self.register_buffer(path.replace(".", "__"), tensor.detach().clone())
        self.options = model.options

    def has(self, path: str) -> bool:
        return path.replace(".", "__") in self._buffers

    def get(self, path: str) -> torch.Tensor:
        tensor = self._buffers[path.replace(".", "__")]
        assert tensor is not None
        return tensor

    def linear(self, path: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.get(f"{path}.weight"), self.get(f"{path}.bias") if self.has(f"{path}.bias") else None)

    def heads(self, path: str, q: torch.Tensor, k: torch.Tensor, allowed: torch.Tensor, heads: int) -> torch.Tensor:
        """Multi-head attention of q [B, Tq, D] to k [B, Tk, D] where ``allowed`` (bool [B, Tq, Tk])."""
        query, key, value = (
            self.linear(f"{path}.{n}_projection", x) for n, x in (("query", q), ("key", k), ("value", k))
        )
        return self.linear(f"{path}.output_projection", attention(query, key, value, allowed, heads))

    def encode(self, x: torch.Tensor, valid: torch.Tensor, hidden: int) -> torch.Tensor:
        """States [B, T, H] of a model's ``encoder``, of width H = ``hidden``."""
        kind, layers = self.options["encoder"], self.options["layers"]
        if kind == "cnn":
            return self.convolve(x, layers)
        if kind == "transformer":
            return self.transform(x, valid, layers)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [self.get(f"encoder.{kind}.{name}_l{layer}") for layer in range(layers) for name in names]
        zero = x.new_zeros(layers, x.size(0), hidden)
        if kind == "gru":
            return torch.gru(x, zero, weights, True, layers, 0.0, False, False, True)[0]
        return torch.lstm(x, [zero, zero], weights, True, layers, 0.0, False, False, True)[0]

    def convolve(self, x: torch.Tensor, layers: int) -> torch.Tensor:
        h = x.transpose(1, 2)
        for layer in range(layers):
            path = f"encoder.cnn.convolutions.{layer}"
            weight, reach = self.get(f"{path}.weight"), 2**layer
            past = F.pad(h, ((weight.size(2) - 1) * reach, 0))
            found = F.conv1d(past, weight, self.get(f"{path}.bias"), dilation=reach).relu()
            h = found if layer == 0 else h + found
        return h.transpose(1, 2)

    def transform(self, x: torch.Tensor, valid: torch.Tensor, layers: int) -> torch.Tensor:
        path = "encoder.transformer"
        h = self.linear(f"{path}.input_projection", x) + self.get(f"{path}.positions")[: x.size(1)]
        for layer in range(layers):
            block = f"{path}.blocks.{layer}"
            a = self.norm(f"{block}.attention_norm", h)
            h = h + self.heads(f"{block}.attention", a, a, causal_mask(valid), self.options["heads"])
            wide = F.gelu(self.linear(f"{block}.inner", self.norm(f"{block}.feedforward_norm", h)))
            h = h + self.linear(f"{block}.outer", wide)
        return self.norm(f"{path}.norm", h)

    def norm(self, path: str, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
        return F.layer_norm(x, (x.size(-1),), self.get(f"{path}.weight"), self.get(f"{path}.bias"), eps)


class _FieldsForm(Form):
    """The fields of a row, and what the forms of models of interests share."""

    offsets: torch.Tensor

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        schema = model.schema
        start = torch.tensor([0, *(field.rows for field in schema.categorical)]).cumsum(0)
        self.register_buffer("offsets", start[:-1])
        self.fields = len(schema.categorical)
        self.lists: list[tuple[int, int]] = []  # first row in the table, rows
        end = int(start[-1])
        for column in schema.lists:
            if column.kind == "multi_hot":
                rows = _list_rows(schema, column)
                first = int(start[schema.field(column.shares)]) if column.shares else end
                self.lists.append((first, rows))
                end += 0 if column.shares else rows
        self.item_slots = [f for f, field in enumerate(schema.categorical) if field.side == "item"]
        self.item_slots += [self.fields + i for i in range(len(self.lists))]
        self.candidate_slots = [f for f, field in enumerate(schema.categorical) if field.side != "user"]
        self.candidate_slots += [self.fields + i for i in range(len(self.lists))]
        self.follows = model.history_length > 0
        self.item_offset = int(start[schema.field(schema.item)]) if schema.item else 0

    def slots(self, path: str, categorical: torch.Tensor, lists: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """All fields and lists of a fused table, [B, F + L, D]."""
        table = self.get(f"{path}.weight")
        found = table[categorical + self.offsets]
        for (first, rows), weights in zip(self.lists, lists, strict=True):
            found = torch.cat([found, (weights.to(table.dtype) @ table[first : first + rows]).unsqueeze(1)], 1)
        return found


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: torch.Tensor, heads: int) -> torch.Tensor:
    """What each of q [B, Tq, D] reads of v [B, Tk, D] by k [B, Tk, D] where ``allowed`` (bool [B, Tq, Tk])."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = query @ key.transpose(-2, -1) / query.size(-1) ** 0.5
    mixed = masked_softmax(scores, allowed.unsqueeze(1)) @ value  # [B, heads, Tq, D / heads]
    return mixed.transpose(1, 2).flatten(2)


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~mask, 0)


def _valid(length: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
    return torch.arange(item.size(1), device=item.device) < length.unsqueeze(1)  # [B, T]


def causal_mask(valid: torch.Tensor) -> torch.Tensor:
    step = torch.arange(valid.size(1), device=valid.device)
    return valid.unsqueeze(1) & (step.unsqueeze(0) <= step.unsqueeze(1))  # [B, T, T]


def last_state(states: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    index = (length - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, states.size(2))
    return states.gather(1, index).squeeze(1) * (length > 0).unsqueeze(1)  # [B, H]


def _machine(slots: torch.Tensor) -> torch.Tensor:
    return 0.5 * (slots.sum(1).square() - slots.square().sum(1)).sum(1)  # [B]


class AttentionTransferForm(_FieldsForm):
    """See :class:`polyscene.models.AttentionTransfer`."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        carried = self.has("target_dense.weight")
        self.target = model.schema.scene(model.phases()[-1].scenes[0]) if carried else -1

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        categorical, numeric, scene = inputs[:3]
        lists = inputs[7:] if self.follows else inputs[3:]
        mask = (scene == self.target).unsqueeze(1).to(self.get("base").dtype)  # [B, 1]
        slots = self.slots("embedding", categorical, lists)
        if self.target >= 0:
            slots = slots + self.slots("target_embedding", categorical, lists) * mask.unsqueeze(1)
        if self.follows:
            item, _, label, length = inputs[3:7]
            x = self.get("embedding.weight")[self.item_offset + item] + self.get("event_label")[(label > 0.5).long()]
            if self.target >= 0:
                x = x + self.get("target_embedding.weight")[self.item_offset + item] * mask.unsqueeze(1)
            valid = _valid(length, item)
            x = x * valid.unsqueeze(2)
        else:
            x, valid = slots, torch.ones_like(slots[:, :, 0], dtype=torch.bool)
        z = self.points(x, valid)
        flat = torch.cat([slots.flatten(1), numeric.to(slots.dtype), z], 1)
        dense = self.layer("head.dense", "target_dense", flat, mask).relu()
        if self.options["attention"]:
            gates = self.layer("head.attention.gate", "target_gate", dense, mask).softmax(-1)
            dense = torch.cat([dense, gates * dense], 1)
        answer = self.layer("head.output", "target_output", dense, mask).squeeze(1)
        return self.get("base") + self.get("scene_bias")[scene] + answer

    def layer(self, path: str, delta: str, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        out = self.linear(path, x)
        return out + mask * self.linear(delta, x) if self.target >= 0 else out

    def points(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        if not self.follows and not self.fields + len(self.lists):
            return x.new_zeros(x.size(0), self.options["points"])
        if self.options["attention"]:
            x = self.heads("attention", x, x, causal_mask(valid), self.options["heads"]) * valid.unsqueeze(2)
        weight, bias = self.get("points.convolution.weight"), self.get("points.convolution.bias")
        answers = F.conv1d(x.transpose(1, 2), weight, bias, padding=self.options["kernel"] // 2).relu()
        return (answers * valid.unsqueeze(1)).amax(2)  # [B, P]


class SceneBranchForm(_FieldsForm):
    """See :class:`polyscene.models.SceneBranch`."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        categorical, numeric, scene = inputs[:3]
        lists = inputs[7:] if self.follows else inputs[3:]
        slots = self.slots("factors", categorical, lists)
        out = self.get("base") + self.get("scene_bias")[scene] + self.slots("bias", categorical, lists).sum((1, 2))
        if self.has("scene_factors.weight"):
            t = self.get("scene_factors.weight")[scene]
            interest = self.interest(t, slots, inputs[3:7])
            slots = torch.cat([slots, interest.unsqueeze(1), t.unsqueeze(1)], 1)
        if self.has("numeric_bias"):
            x = numeric.to(slots.dtype)
            out = out + x @ self.get("numeric_bias")
            slots = torch.cat([slots, x.unsqueeze(2) * self.get("numeric_factors")], 1)
        return out + _machine(slots)

    def interest(self, t: torch.Tensor, slots: torch.Tensor, events: tuple[torch.Tensor, ...]) -> torch.Tensor:
        query, values, keys = t, slots, slots
        valid = torch.ones_like(slots[:, :, 0], dtype=torch.bool)
        if self.follows:
            item, event_scene, label, length = events
            query = t + slots[:, self.item_slots].sum(1)
            valid = _valid(length, item)
            values = self.get("event_item.weight")[item] + self.get("event_label")[(label > 0.5).long()]
            keys = values + self.get("event_scene.weight")[event_scene]
        weights = masked_softmax(self.scores(query, keys), valid)  # [B, T]
        return (weights.unsqueeze(2) * values).sum(1)

    def scores(self, query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        kind = self.options["score"]
        if kind == "additive":
            q = F.linear(query, self.get("attention.score.query_weight"), self.get("attention.score.bias"))
            k = F.linear(keys, self.get("attention.score.key_weight"))
            return (q.unsqueeze(1) + k).tanh() @ self.get("attention.score.vector")
        if kind == "cosine":
            query = query / query.norm(dim=-1, keepdim=True).clamp(min=1e-8)
            keys = keys / keys.norm(dim=-1, keepdim=True).clamp(min=1e-8)
        if kind == "bilinear":
            query = query @ self.get("attention.score.weight")
        if kind == "scaled_dot":
            query = query / query.size(-1) ** 0.5
        return (keys @ query.unsqueeze(2)).squeeze(2)


class InterestMigrationForm(_FieldsForm):
    """See :class:`polyscene.models.InterestMigration`."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.scenes = int(self.get("scene_bias").numel())
        self.named = len(model.schema.interests) > 0
        self.steps = model.history_length

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        categorical, numeric, scene = inputs[:3]
        all_items, all_lengths, keep = inputs[3], inputs[6], self.options["max_length"]
        item, event_scene, label = (newest(column, all_lengths, self.steps, keep) for column in inputs[3:6])
        length = all_lengths.clamp(max=keep)
        lists = inputs[7 : 7 + len(self.lists)]
        valid = _valid(length, item)
        x = self.get("embedding.weight")[self.item_offset + item] + self.get("event_label")[(label > 0.5).long()]
        if self.named:
            x = x + newest(inputs[-1], all_lengths, self.steps, keep).to(x.dtype) @ self.get("event_interest")
        x = (x + self.get("encoder.scene_embedding.weight")[event_scene]) * valid.unsqueeze(2)
        states = self.encode(x, valid, self.options["hidden"]) * valid.unsqueeze(2)
        last = last_state(states, length)
        context = self.context(states, last, valid, length)

        both = torch.cat([context, last], 1)
        interest = self.linear("interest_head", both).sigmoid()  # [B, K]
        origin = event_scene.gather(1, (length - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        pair = torch.where(length > 0, origin, scene) * self.scenes + scene
        special = (interest.unsqueeze(1) @ self.get("scene_transition")[pair]).squeeze(1)
        move = self.linear("transition_head", torch.cat([context, interest], 1)) + special
        move = move.softmax(-1) if self.options["transition"] == "softmax" else move.sigmoid()
        z = self.linear("state_projection", both) + self.linear("interest_projection", move)

        slots = self.slots("embedding", categorical, lists)
        out = self.get("base") + self.get("scene_bias")[scene] + (z * slots[:, self.item_slots].sum(1)).sum(1)
        own = slots[:, self.candidate_slots].flatten(1)
        out = out + self.predict(torch.cat([z, own, numeric.to(slots.dtype)], 1))
        if self.options["profile"]:
            biases = self.slots("bias", categorical, lists).sum((1, 2))
            slots = self.slots("factors", categorical, lists)
            if self.has("past.item.weight"):
                table, keep = self.get("past.item.weight"), self.options["profile_history"]
                past = event_pool(table, all_items, all_lengths, self.steps, keep)
                slots = torch.cat([slots, past.unsqueeze(1)], 1)
            out = out + biases + _machine(slots)
        return out

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        for layer in range(len(self.options["mlp"])):
            x = self.linear(f"predictor.linears.{layer}", x).relu()
        return self.linear("predictor.output", x).squeeze(1)

    def context(
        self, states: torch.Tensor, last: torch.Tensor, valid: torch.Tensor, length: torch.Tensor
    ) -> torch.Tensor:
        if self.options["attention"] == "multi_head":
            found = self.heads("attention", last.unsqueeze(1), states, valid.unsqueeze(1), self.options["heads"])
            return found.squeeze(1) * (length > 0).unsqueeze(1)
        if self.options["max_length"] < 2:
            return torch.cat([torch.zeros_like(last), torch.zeros_like(last)], 1)
        pairs = torch.cat([states[:, :-1], states[:, 1:]], 2)  # [B, T - 1, 2 H]
        scores = self.linear("pair_attention.projection", pairs) @ self.get("pair_attention.head")
        return (masked_softmax(scores, valid[:, 1:]).unsqueeze(2) * pairs).sum(1)
