"""The models of sequences over plain tensors, for tracing and export."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from polyscene._extension import _C
from polyscene.models._interest_forms import Form, attention, causal_mask, last_state, masked_softmax

_UNKNOWN, _MASK = 0, 1  # rows of the item vocabulary
_POWERS = 31  # of two seconds, that a gap is counted in


def past(batch: Any, scope: str, length: int, *columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The newest events of each row that the model follows, oldest first, padded with 0 at the end.

    Args:
        batch: B rows that carry their history, L events.
        scope: "overall", or "scene" for the events of the row's scene alone.
        length: T, the most events of a row.
        columns: what else there is of each event, [L, ...] each.

    Returns:
        ``item`` int64 and ``valid`` bool, [B, T] each, ``scene`` of the rows, int64 [B], and each column as
        [B, T, ...]. Items that training did not know are left out.

    Raises:
        ValueError: the batch carries no history.
    """
    events = batch.history
    if events is None:
        raise ValueError(f"export_inputs: the batch carries no history, the model needs {length} events a row")
    rows = len(batch)
    row = torch.arange(rows).repeat_interleave(events.offsets.diff())  # [L]
    wanted = events.item != _UNKNOWN
    if scope == "scene":
        wanted &= events.scene == batch.scene[row]
    at = wanted.nonzero().squeeze(1)
    row = row[at]
    count = torch.bincount(row, minlength=rows)
    before = count.cumsum(0) - count.clamp(max=length)  # events up to a row's first that is followed
    step = torch.arange(len(at)) - before[row]
    at, row, step = (each[step >= 0] for each in (at, row, step))

    def laid(column: torch.Tensor) -> torch.Tensor:
        return column.new_zeros(rows, length, *column.shape[1:]).index_put_((row, step), column[at])

    valid = laid(torch.ones_like(events.item, dtype=torch.bool))
    return (laid(events.item.long()), valid, batch.scene, *(laid(column) for column in columns))


def interests(events: Any, count: int) -> torch.Tensor:
    """Interests of events, multi-hot float [L, K]; 0 where the batch has none."""
    out = torch.zeros(len(events.item), count)
    if events.interest is None:
        return out
    each = torch.arange(len(out)).repeat_interleave(events.interest.offsets.diff())
    return out.index_put_((each, events.interest.values.long()), torch.ones(()))


class _SequenceForm(Form):
    """Scores [B, C] from a state: of the items of each row's scene, ascending; C is the most of any scene.

    ``candidates`` int64 [S, C] tells which items these are, -1 after the last of a scene, whose scores are -inf.
    """

    candidates: torch.Tensor

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        with model._running() as native:
            items = [_C.models.scene_items(native, scene) for scene in range(len(model.schema.scenes))]
        self.register_buffer("candidates", torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=-1))

    def forward(self, item: torch.Tensor, valid: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        return self.scores(self.state(item, valid), scene)

    def state(self, item: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """After the newest event, [B, D]; 0 without events."""
        raise NotImplementedError

    def scores(self, state: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        bias = self.get("bias.weight").squeeze(1) if self.has("bias.weight") else None
        all_items = F.linear(state, self.get("item.weight"), bias)  # [B, I]
        own = self.candidates[scene]
        return all_items.gather(1, own.clamp(min=0)).masked_fill(own < 0, -torch.inf)

    def block(self, n: int, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.linear(f"{name}.{n}", x)

    def attended(self, n: int, q: torch.Tensor, x: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        key, value = self.block(n, "key_value", x).chunk(2, -1)
        return attention(self.block(n, "query", q), key, value, allowed, self.options["heads"])

    def positions_from(self, first: torch.Tensor, steps: int) -> torch.Tensor:
        """Those of ``steps`` events when row b's first stands at first[b], [B, T, D]; any for padding."""
        place = first.unsqueeze(1) + torch.arange(steps, device=first.device)
        return self.get("positions")[place.clamp(max=self.options["max_length"] - 1)]


class SASRecForm(_SequenceForm):
    """See :class:`polyscene.models.SASRec`."""

    eps = 1e-8

    def state(self, item: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        length = valid.sum(1)
        newest = self.options["positions"] == "newest"
        first = self.options["max_length"] - length if newest else torch.zeros_like(length)
        place = self.positions_from(first, item.size(1))
        x, allowed = self.get("item.weight")[item], causal_mask(valid)
        encode = self.normed_before if self.options["norm"] == "pre" else self.normed_after
        return last_state(encode(x, place, allowed), length)

    def normed_before(self, x: torch.Tensor, place: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        x = x * self.options["dim"] ** 0.5 + place
        for n in range(self.options["layers"]):
            u = self.norm(f"attention_norm.{n}", x, self.eps)
            y = self.norm(f"feedforward_norm.{n}", u + self.attended(n, u, x, allowed), self.eps)
            x = y + self.block(n, "outer", self.block(n, "inner", y).relu())
        return self.norm("norm", x, self.eps)

    def normed_after(self, x: torch.Tensor, place: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        x = self.norm("norm", x + place, self.eps)
        for n in range(self.options["layers"]):
            met = self.block(n, "output", self.attended(n, x, x, allowed))
            y = self.norm(f"attention_norm.{n}", x + met, self.eps)
            wide = F.gelu(self.block(n, "inner", y))
            x = self.norm(f"feedforward_norm.{n}", y + self.block(n, "outer", wide), self.eps)
        return x


class BERT4RecForm(SASRecForm):
    """See :class:`polyscene.models.BERT4Rec`."""

    eps = 1e-12

    def state(self, item: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        length = valid.sum(1)
        item = F.pad(item, (0, 1))  # the mask stands after the newest event
        step = torch.arange(item.size(1), device=item.device)
        item = torch.where(step == length.unsqueeze(1), _MASK, item)
        shown = step <= length.unsqueeze(1)
        place = self.positions_from(self.options["max_length"] - 1 - length, item.size(1))
        x = self.normed_after(self.get("item.weight")[item], place, shown.unsqueeze(1))
        x = self.norm("head_norm", F.gelu(self.linear("head", x)), self.eps)
        return last_state(x, length + 1) * (length > 0).unsqueeze(1)


class GRU4RecForm(_SequenceForm):
    """See :class:`polyscene.models.GRU4Rec`."""

    def state(self, item: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        layers, biases = self.options["layers"], self.options["recurrent_bias"]
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if biases else ("weight_ih", "weight_hh")
        weights = [self.get(f"gru.{name}_l{layer}") for layer in range(layers) for name in names]
        x = self.get("item.weight")[item]
        zero = x.new_zeros(layers, x.size(0), self.options["hidden"])
        h = torch.gru(x, zero, weights, biases, layers, 0.0, False, False, True)[0]
        return last_state(self.linear("projection", h), valid.sum(1))


class InterestSequenceForm(_SequenceForm):
    """See :class:`polyscene.models.InterestSequence`."""

    def forward(  # type: ignore[override]
        self,
        item: torch.Tensor,
        valid: torch.Tensor,
        scene: torch.Tensor,
        event_scene: torch.Tensor,
        time: torch.Tensor,
        interest: torch.Tensor | None = None,
    ) -> torch.Tensor:
        length = valid.sum(1)
        newest = (length - 1).clamp(min=0).unsqueeze(1)
        x = self.get("item.weight")[item]
        if interest is not None:
            x = x + interest.to(x.dtype) @ self.get("event_interest")
        x = (x + self.get("encoder.scene_embedding.weight")[event_scene]) * valid.unsqueeze(2)
        h = self.encode(x, valid, self.options["dim"]) * valid.unsqueeze(2)  # [B, T, D]
        state = last_state(h, length)
        key, value = self.linear("key_value", h).chunk(2, -1)
        query = self.linear("query", state).unsqueeze(1)
        context = attention(query, key, value, valid.unsqueeze(1), self.options["heads"]).squeeze(1)

        scenes = self.candidates.size(0)
        now = self.linear("interest_head", torch.cat([context, state], 1)).sigmoid()  # [B, K]
        pair = event_scene.gather(1, newest).squeeze(1) * scenes + scene
        special = (now.unsqueeze(1) @ self.get("scene_transition")[pair]).squeeze(1)
        move = self.linear("transition_head", torch.cat([context, now], 1)) + special
        move = move.softmax(-1) if self.options["transition"] == "softmax" else move.sigmoid()

        distance = (newest - torch.arange(item.size(1), device=item.device)).clamp(min=0)  # [B, T]
        weight = (
            self.linear("extraction", h).tanh() @ self.get("interest_query").T
            + self.get("interest_step_bias")[distance]
        )
        weight = weight + self.get("scene_pair_bias")[scene.unsqueeze(1) * scenes + event_scene]  # [B, T, K]
        if self.has("interest_gap_bias"):
            weight = weight + self.get("interest_gap_bias")[_gap_steps(time.gather(1, newest) - time)]
        vectors = masked_softmax(weight.transpose(1, 2), valid.unsqueeze(1)) @ h  # [B, K, D]
        expected = (move.unsqueeze(1) @ vectors).squeeze(1)
        z = self.linear("state_projection", torch.cat([context, state, expected], 1))
        z = z + self.linear("interest_projection", move) + self.get("asked_scene")[scene]
        return self.scores(z * (length > 0).unsqueeze(1), scene)


def _gap_steps(seconds: torch.Tensor) -> torch.Tensor:
    """0 for no time, n for [2^(n - 1), 2^n) seconds."""
    powers = 2 ** torch.arange(_POWERS, device=seconds.device)
    return (seconds.unsqueeze(-1) >= powers).sum(-1)
