"""Users over time: the events before a prediction, which of them carried it, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene._people import id_text, item_names

ALL = 100_000
"""Past events of a row when all of them are asked for."""
LENGTH = 50
"""Past events that are shown of a model that follows none."""
_PEOPLE = 6
_ROWS = 2_000
_EVENTS = 60
_TOP = 3


def events_read(model: Any) -> int:
    """How many past events a batch should carry for the model: all for one that picks those of a scene among them."""
    return ALL if model.options.get("scope") == "scene" else int(model.history_length)


def weights_by_attention(model: Model, batch: Any, found: dict[str, torch.Tensor] | None = None) -> Any:
    """Attention over the past events of each row, a numpy array a row, oldest first; None where it is not of events.

    Args:
        model: any.
        batch: rows with a history.
        found: what ``model.explain(batch)`` gave, where it is at hand.
    """
    found = model.explain(batch) if found is None else found
    # The attention of m2m is over experts.
    if not {"attention", "events"} <= found.keys() or batch.history is None:
        return None
    if found["attention"].dim() not in (2, 3) or found["attention"].size(-1) == 0:
        return None
    weights = found["attention"].detach().double()
    if weights.dim() == 3 and model.schema.task == "sequence" and "transitions" in found:  # [B, K, T]
        # Each interest reads for itself; the state is made of what they read, by how likely each comes next.
        share = found["transitions"].detach().double()
        weights = (weights * (share / share.sum(1, keepdim=True).clamp_min(1e-12)).unsqueeze(2)).sum(1)
    weights = weights.mean(1) if weights.dim() == 3 else weights  # [B, T]
    newest_first = "bst" in (model.name, model.options.get("model"))
    out = []
    for row, n in enumerate(found["events"].long().tolist()):
        mine = weights[row, :n]
        before = int(batch.history.offsets[row + 1] - batch.history.offsets[row]) - n
        out.append(torch.cat([mine.new_zeros(max(before, 0)), mine.flip(0) if newest_first else mine]).numpy())
    return out


def weights_by_leaving_out(model: Model, batch: Any, place: Sequence[int] | None = None, most: int = _EVENTS) -> Any:
    """How much the score of each row falls when an event is left out, a numpy array a row, oldest first.

    Args:
        model: any.
        batch: rows with a history.
        place: of task sequence, which of the scores [B, C] of each row is meant.
        most: events of a row that are left out in turn, the newest; the older ones have 0.
    """
    out = []
    for row in range(len(batch)):
        one = batch.take([row])
        n = len(one.history.item)
        tried = min(n, most)
        falls = np.zeros(n)
        if tried:
            many = batch.take([row] * (tried + 1))  # all events, then those without one
            left_out = torch.cat([torch.tensor([-1]), torch.arange(n - tried, n)]).unsqueeze(1)
            many.history = picked(one.history, torch.arange(n) != left_out)
            scores = model(many).double()
            scores = scores if place is None else scores[:, place[row]]
            falls[n - tried :] = (scores[0] - scores[1:]).detach().numpy()
        out.append(falls)
    return out


def picked(events: Any, wanted: torch.Tensor) -> Any:
    """Lists of the events of one list: those whose ``wanted`` is true, bool [lists, L]."""
    lists, count = wanted.shape
    single = _C.data.Events(
        torch.arange(count + 1), events.item, events.scene, events.label, events.time, events.interest
    )
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), wanted.sum(1).cumsum(0)])
    some = single.take(torch.arange(count).expand(lists, count)[wanted])
    return _C.data.Events(offsets, some.item, some.scene, some.label, some.time, some.interest)


def carriers(weights: np.ndarray) -> np.ndarray:
    """The fewest events that hold half of what all of positive weight hold, five at most; positions, strongest first.

    Example:
        >>> carriers(np.array([0.1, 0.4, 0.2, 0.3]))
        array([1, 3])
    """
    order = np.argsort(-weights, kind="stable")
    positive = np.clip(weights[order], 0, None)
    total = positive.sum()
    if not total > 0:
        return order[:0]
    # Rounding must not ask for one event more.
    return order[: min(int(np.searchsorted(positive.cumsum(), total * (0.5 - 1e-9))) + 1, 5)]


class Scored:
    """Scores of the items of a scene after the history of each row (task sequence).

    Args:
        model: of task sequence.
        batch: rows with the history that the model follows.
        met: the same rows with all of their events, whose items are left out; None to leave out nothing.
        scene: the scene that is asked for; None for that of each row.
    """

    def __init__(self, model: Model, batch: Any, met: Any, scene: int | None = None) -> None:
        if scene is not None:
            batch = batch.take(list(range(len(batch))))
            batch.scene = torch.full_like(batch.scene, scene)
        self.scores = model(batch).detach().double()  # [B, C]
        self.batch, self.met = batch, met
        with model._running() as native:
            codes = batch.scene.unique().tolist()
            self.items = {code: _C.models.scene_items(native, code) for code in codes}

    def row(self, row: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Items [C], their scores [C], and whether each may be recommended, bool [C]."""
        code = int(self.batch.scene[row])
        items = self.items[code]
        free = torch.ones(len(items), dtype=torch.bool)
        if self.met is not None:
            first, last = self.met.offsets[row : row + 2].tolist()
            mine = self.met.item[first:last][self.met.scene[first:last] == code]
            free = ~torch.isin(items, mine.long())
        return items, self.scores[row, : len(items)], free

    def best(self, row: int) -> tuple[int, float]:
        """Place and score of the best item that may be recommended; -1 and -inf where there is none."""
        _, scores, free = self.row(row)
        if not bool(free.any()):
            return -1, -np.inf
        place = int(scores.masked_fill(~free, -torch.inf).argmax())
        return place, float(scores[place])

    def rank(self, row: int) -> tuple[float | None, int]:
        """Rank of the row's item, as evaluation has it, and among how many; None where the item cannot be ranked."""
        items, scores, free = self.row(row)
        place = torch.nonzero(items == int(self.batch.item[row])).flatten()
        if len(place) == 0 or not bool(free[place]):
            return None, int(free.sum())
        others, mine = scores[free], float(scores[place])
        return 1 + float((others > mine).sum()) + (float((others == mine).sum()) - 1) / 2, int(free.sum())


def timelines(model: Model, table: Any, users: Sequence[Any] | None = None, exclude_seen: bool = True) -> Any:
    """The content of ``timeline`` in ``explain.json``; None where the data has no users or items, or no row a past.

    Without ``users``, the newest row of each of the few users whose past spans the most scenes.
    """
    schema, columns = model.schema, table.columns
    if schema.user is None or schema.item is None or len(table) == 0:
        return None
    rows = _chosen(model, table, users)
    if len(rows) == 0:
        return None
    ranks = schema.task == "sequence"
    if not ranks and model.history_length == 0:  # a model that reads no events
        return None
    # As evaluation has it: a model of one scene picks the newest events of that scene.
    length = events_read(model) or LENGTH
    batch = table.batch(rows, history=length)
    if batch.history is None:
        return None
    scored, found = None, model.explain(batch)
    weights = weights_by_attention(model, batch, found)
    if ranks:
        met = table.batch(rows, history=ALL).history if exclude_seen else None
        scored = Scored(model, batch, met)
    by = "attention"
    if weights is None:
        by = "left_out"
        places = None if scored is None else [max(scored.best(row)[0], 0) for row in range(len(rows))]
        weights = weights_by_leaving_out(model, batch, places)
    who = _Names(schema, columns)
    people = []
    for row, position in enumerate(rows.tolist()):
        source = int(table.rows[position])
        first, last = batch.history.offsets[row : row + 2].tolist()
        shown = range(max(first, last - _EVENTS), last)
        marked = set((first + carriers(weights[row])).tolist())
        events = [
            who.event(batch.history, j) | {"weight": round(float(weights[row][j - first]), 6), "carried": j in marked}
            for j in shown
        ]
        told: dict[str, Any] = {"user": who.user(source), "events": events, "next": who.next(source)}
        if last - first > len(events):
            told["earlier"] = last - first - len(events)
        if scored is not None:
            rank, among = scored.rank(row)
            told["next"] |= {"rank": rank, "among": among}
            place, _ = scored.best(row)
            told["recommended"] = who.item(int(scored.row(row)[0][place])) if place >= 0 else None
        elif schema.task in ("ctr", "rating"):
            score = model(batch.take([row]))
            score = score.sigmoid() if schema.task == "ctr" else score
            told["next"] |= {"score": round(float(score), 6), "label": float(batch.label[row])}
        people.append(told | _predicted(schema, found, row))
    return {"by": by, "task": schema.task, "timed": bool(schema.has_time), "people": people}


def _chosen(model: Model, table: Any, users: Sequence[Any] | None) -> torch.Tensor:
    """Positions of the rows that are shown."""
    if isinstance(users, str):
        raise TypeError(f"timelines: users must be a list of original ids, got the text {users!r}; [{users!r}] is one")
    columns = table.columns
    place = columns.categorical.index(model.schema.user)
    code = columns.codes[table.rows, place].numpy()
    order = np.arange(len(table))
    times = table.times()
    if times is not None:
        order = np.argsort(times.numpy(), kind="stable")
    newest = {int(code[i]): int(i) for i in order.tolist() if code[i] >= 0}
    if users is not None:
        ids = columns.ids[place].list()
        known = {ids[each]: row for each, row in newest.items()}
        for user in users:
            if id_text(user) not in known:
                near = _C.core.suggestion(id_text(user), list(known)[:10_000])
                raise ValueError(f"timelines: user {user!r} has no row in the table{near}")
        return torch.tensor([known[id_text(user)] for user in users], dtype=torch.int64)
    rows = torch.tensor(sorted(newest.values()), dtype=torch.int64)
    if len(rows) > _ROWS:
        rows = rows[torch.linspace(0, len(rows) - 1, _ROWS).long()]
    history = table.batch(rows, history=events_read(model) or LENGTH).history if len(rows) else None
    if history is None:
        return rows[:0]
    keys = []
    for row in range(len(rows)):
        first, last = history.offsets[row : row + 2].tolist()
        if last > first:
            keys.append((-len(history.scene[first:last].unique()), first - last, row))
    return rows[[row for _, _, row in sorted(keys)[:_PEOPLE]]]


def _predicted(schema: Any, found: dict[str, torch.Tensor], row: int) -> dict[str, Any]:
    """What a model says of a row's interests, now and next, and of its next scene: the most likely of each."""
    out: dict[str, Any] = {}
    kinds = (("interests", schema.interests), ("transitions", schema.interests), ("next_scene", schema.scenes))
    for name, names in kinds:
        if name in found and found[name].dim() == 2 and found[name].size(1) > 0:
            value = found[name][row].double()
            known = list(names) or [f"interest {k + 1}" for k in range(len(value))]
            top = torch.argsort(value, descending=True, stable=True)[:_TOP].tolist()
            out[name] = [[known[k], round(float(value[k]), 4)] for k in top if k < len(known)]
    return out


class _Names:
    """Ids of what is told."""

    def __init__(self, schema: Any, columns: Any) -> None:
        self._schema, self._columns = schema, columns
        self._items = item_names(schema)
        self._interests = list(schema.interests)
        self._places = [columns.categorical.index(name) for name in (schema.user, schema.item)]
        self._ids = [columns.ids[place].list() for place in self._places]

    def _id(self, which: int, source: int) -> str:
        code = int(self._columns.codes[source, self._places[which]])
        return "missing" if code < 0 else self._ids[which][code]

    def user(self, source: int) -> str:
        return self._id(0, source)

    def item(self, row: int) -> str:
        return str(self._items[row]) if row >= 2 else "unknown"

    def event(self, events: Any, j: int) -> dict[str, Any]:
        out: dict[str, Any] = {"item": self.item(int(events.item[j]))}
        code = int(events.scene[j])
        out["scene"] = self._schema.scenes[code] if code < len(self._schema.scenes) else "unknown"
        if self._schema.has_time:
            out["time"] = int(events.time[j])
        if self._interests and events.interest is not None:
            first, last = events.interest.offsets[j : j + 2].tolist()
            out["interests"] = [self._interests[k] for k in events.interest.values[first:last].tolist()]
        if self._schema.task == "ctr":
            out["liked"] = float(events.label[j]) > 0.5
        elif self._schema.task == "rating":
            out["label"] = round(float(events.label[j]), 4)
        return out

    def next(self, source: int) -> dict[str, Any]:
        columns = self._columns
        out: dict[str, Any] = {"item": self._id(1, source), "scene": columns.scene_names[int(columns.scene[source])]}
        if self._schema.has_time and columns.time is not None:
            out["time"] = int(columns.time[source])
        if self._interests and columns.interest is not None:
            ids = columns.interest_ids.list()
            first, last = columns.interest.offsets[source : source + 2].tolist()
            out["interests"] = [ids[k] for k in columns.interest.values[first:last].tolist()]
        return out
