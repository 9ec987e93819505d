"""How events, and what a model says of the next one, move between scenes and interests, by period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from polyscene._model import Model
from polyscene._timelines import ALL, LENGTH, Scored, events_read

PERIODS = 3
_MOST_ROWS = 5_000_000
_MOST_PAIRS = 500_000
_ROWS = 1_000
_RANKINGS = 4_000  # rows times scenes that are ranked for the flow, with at least 100 rows
_SCENES = 8
_INTERESTS = 12
_BATCH = 100
_THIRDS = ("first third of each user's events", "second third", "last third")


@dataclass
class Steps:
    """Events that follow another one of the same user.

    Attributes:
        before: rows of the source, int64 [N].
        after: the row that follows each.
        when: time of the latter; its place among the user's events, in (0, 1], where the data has no time.
        columns: the source.
    """

    before: np.ndarray
    after: np.ndarray
    when: np.ndarray
    columns: Any


def steps_of(data: Any) -> Steps | None:
    """All steps of a data set; of data with labels 0 and 1 between events of label 1 alone. None without users."""
    parts_of = (getattr(data, part, None) for part in ("context", "train", "valid", "test"))
    tables: list[Any] = [table for table in parts_of if table is not None and len(table)]
    schema = data.schema
    if schema.user is None or not tables or sum(map(len, tables)) > _MOST_ROWS:
        return None
    columns = tables[0].columns
    parts = [(table.rows, part) for part, table in enumerate(tables) if table.columns is columns]
    row = torch.cat([rows for rows, _ in parts]).numpy()
    part = np.concatenate([np.full(len(rows), number) for rows, number in parts])
    user = columns.codes[:, columns.categorical.index(schema.user)].numpy()[row]
    wanted = user >= 0
    if schema.task == "ctr" and columns.label is not None:
        wanted &= columns.label.numpy()[row] > 0.5
    row, part, user = row[wanted], part[wanted], user[wanted]
    timed = schema.has_time and columns.time is not None
    when = columns.time.numpy()[row] if timed else part
    order = np.lexsort((row, when, user))
    row, user = row[order], user[order]
    first = np.append(True, user[1:] != user[:-1]) if len(user) else np.zeros(0, bool)
    if timed:
        when = when[order]
    else:
        number = np.flatnonzero(first)
        length = np.diff(np.append(number, len(user)))
        when = (np.arange(len(user)) - np.repeat(number, length) + 1) / np.repeat(length, length)
    follows = np.flatnonzero(~first)
    return Steps(row[follows - 1], row[follows], when[follows], columns)


@dataclass
class Periods:
    """Up to three periods with about as many steps each.

    Attributes:
        cuts: where each but the first begins.
        names: what they are called.
    """

    cuts: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, when: np.ndarray, timed: bool) -> Periods:
        """Periods of the times of steps."""
        if not timed:
            return cls(np.array([1 / 3, 2 / 3]) + 1e-9, list(_THIRDS))
        ordered = np.sort(when)
        cuts = np.unique([ordered[len(ordered) * k // PERIODS] for k in range(1, PERIODS)])
        cuts = cuts[cuts > ordered[0]]
        ends = [*(ordered[np.searchsorted(ordered, cut) - 1] for cut in cuts), ordered[-1]]
        pairs = zip([ordered[0], *cuts], ends, strict=True)
        return cls(cuts, [f"{moment(int(a))} to {moment(int(b))}" for a, b in pairs])

    def __call__(self, when: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.cuts, when, side="right")


def moment(time: int) -> str:
    """A time as a day where it counts seconds since 1970, else as it is.

    Example:
        >>> moment(893286638), moment(540)
        ('1998-04-22', '540')
    """
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}" if 10**8 <= time < 10**10 else str(time)


def flows(model: Model, data: Any, exclude_seen: bool = True) -> dict[str, Any]:
    """The content of ``flow`` and ``interest_flow`` in ``explain.json``; what the data do not tell is left out."""
    steps = steps_of(data)
    if steps is None or len(steps.after) == 0:
        return {}
    schema, columns = data.schema, steps.columns
    timed = bool(schema.has_time) and columns.time is not None
    periods = Periods.of(steps.when, timed)
    kinds: dict[str, _Scenes | _Interests] = {}
    if len(schema.scenes) > 1:
        kinds["flow"] = _Scenes(schema, columns)
    if schema.interests and columns.interest is not None:
        kinds["interest_flow"] = _Interests(schema, columns)
    said = _said(model, data, steps, exclude_seen) if kinds else None
    out = {}
    for name, kind in kinds.items():
        chosen = kind.busiest(steps)
        content: dict[str, Any] = {"names": [kind.names[k] for k in chosen], "periods": []}
        for number, period in enumerate(periods.names):
            now = periods(steps.when) == number
            events = kind.counts(steps.before[now], steps.after[now])[np.ix_(chosen, chosen)]
            told = {"name": period, "events": np.round(events, 4).tolist()}
            mine = None if said is None else kind.said(said, periods(said.when) == number)
            if mine is not None and mine.sum() > 0:
                told["said"] = np.round(mine[np.ix_(chosen, chosen)], 4).tolist()
            content["periods"].append(told)
        if said is not None and any("said" in period for period in content["periods"]):
            content["said_by"] = kind.said_by(said)
        content["left_out"] = len(kind.names) - len(chosen)
        out[name] = content
    return out


@dataclass
class _Said:
    """What the model says after the newest event of some test rows."""

    before: np.ndarray  # rows of the source, of the newest event
    when: np.ndarray
    scene: np.ndarray | None  # shares of the next scene, [N, S]
    own_scene: bool  # whether the model itself names the next scene
    interest: np.ndarray | None  # shares of the next interest, [N, K]
    own_interest: bool


def _said(model: Model, data: Any, steps: Steps, exclude_seen: bool) -> _Said | None:
    schema, table = data.schema, data.test
    if table is None or table.columns is not steps.columns:
        return None
    order = np.argsort(steps.after, kind="stable")
    place = np.searchsorted(steps.after[order], table.rows.numpy())
    place = np.minimum(place, len(order) - 1)
    known = steps.after[order][place] == table.rows.numpy()
    rows = np.flatnonzero(known)
    most = min(_ROWS, max(100, _RANKINGS // max(len(schema.scenes), 1))) if schema.task == "sequence" else _ROWS
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
    if len(rows) == 0 or (schema.task != "sequence" and model.history_length == 0):
        return None
    scenes, interests, own_scene, own_interest = [], [], False, False
    of_item = _item_interests(data)
    for some in torch.from_numpy(rows).split(_BATCH):
        batch = table.batch(some, history=events_read(model) or LENGTH)
        found = model.explain(batch)
        ranks = schema.task == "sequence" and schema.item is not None and batch.history is not None
        items = None
        if ranks:
            met = table.batch(some, history=ALL).history if exclude_seen else None
            scene, items = _recommended(model, batch, met)
            scenes.append(scene)
        if "next_scene" in found and found["next_scene"].dim() == 2:
            own_scene = True
            scenes = scenes[: -1 if ranks else None]
            scenes.append(found["next_scene"][:, : len(schema.scenes)].double().numpy())  # new ones have no name
        if (shares := _interest_shares(found, len(schema.interests))) is not None:
            own_interest = True
            interests.append(shares)
        elif items is not None and of_item is not None:
            interests.append(of_item[items])
    at = order[place[rows]]
    shares_of = [np.concatenate(each) if each else None for each in (scenes, interests)]
    return _Said(steps.before[at], steps.when[at], shares_of[0], own_scene, shares_of[1], own_interest)


def _recommended(model: Model, batch: Any, met: Any) -> tuple[np.ndarray, np.ndarray]:
    """The scene of the best item of all scenes, one-hot [B, S], and the item, rows of the vocabulary [B]."""
    best = np.full((len(batch), len(model.schema.scenes)), -np.inf)
    items = np.zeros_like(best, dtype=np.int64)
    for code in range(best.shape[1]):
        scored = Scored(model, batch, met, code)
        for row in range(len(batch)):
            place, best[row, code] = scored.best(row)
            items[row, code] = int(scored.items[code][place]) if place >= 0 else 0
    first = best.argmax(1)
    shares = np.eye(best.shape[1])[first] * np.isfinite(best.max(1))[:, None]
    return shares, np.where(np.isfinite(best.max(1)), items[np.arange(len(items)), first], 0)


def _interest_shares(found: dict[str, torch.Tensor], interests: int) -> np.ndarray | None:
    for name in ("transitions", "interests"):
        value = found.get(name)
        if value is not None and value.dim() == 2 and value.size(1) == interests > 0:
            shares = value.double().clamp_min(0)
            return (shares / shares.sum(1, keepdim=True).clamp_min(1e-12)).numpy()
    return None


def _item_interests(data: Any) -> np.ndarray | None:
    """The interests of each item as its first training row has them, shares [I, K]."""
    schema, train = data.schema, data.train
    if not schema.interests or train is None or schema.item is None or train.columns.interest is None:
        return None
    item, first = np.unique(train.items().numpy(), return_index=True)
    shares = _Interests(schema, train.columns).shares(train.rows.numpy()[first])
    out = np.zeros((schema.categorical[schema.field(schema.item)].rows, shares.shape[1]))
    out[item] = shares
    return out


class _Scenes:
    def __init__(self, schema: Any, columns: Any) -> None:
        known = list(schema.scenes)
        self.names = known
        self._of = np.array([known.index(name) if name in known else -1 for name in columns.scene_names])
        self._scene = columns.scene.numpy()

    def busiest(self, steps: Steps) -> np.ndarray:
        code = self._of[self._scene[steps.after]]
        counts = np.bincount(code[code >= 0], minlength=len(self.names))
        return np.sort(np.argsort(-counts, kind="stable")[:_SCENES])

    def counts(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        a, b = (self._of[self._scene[rows]] for rows in (before, after))
        known = (a >= 0) & (b >= 0)
        size = len(self.names)
        return np.bincount(a[known] * size + b[known], minlength=size * size).reshape(size, size).astype(float)

    def said(self, said: _Said, now: np.ndarray) -> np.ndarray | None:
        if said.scene is None:
            return None
        out = np.zeros((len(self.names), len(self.names)))
        code = self._of[self._scene[said.before[now]]]
        np.add.at(out, code[code >= 0], said.scene[now][code >= 0])
        return out

    def said_by(self, said: _Said) -> str:
        return "next_scene" if said.own_scene else "scores"


class _Interests:
    def __init__(self, schema: Any, columns: Any) -> None:
        known = list(schema.interests)
        self.names = known
        place = {name: k for k, name in enumerate(known)}
        self._of = np.array([place.get(name, -1) for name in columns.interest_ids.list()])
        self._values, self._offsets = columns.interest.values.numpy(), columns.interest.offsets.numpy()

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """Interests of rows, each row's adding up to 1, [N, K]."""
        length = np.diff(self._offsets)[rows] if len(rows) else np.zeros(0, np.int64)
        owner = np.repeat(np.arange(len(rows)), length)
        inside = np.arange(len(owner)) - np.repeat(length.cumsum() - length, length)
        code = self._of[self._values[self._offsets[rows][owner] + inside]]
        out = np.zeros((len(rows), len(self.names)))
        np.add.at(out, (owner[code >= 0], code[code >= 0]), 1.0)
        return out / np.maximum(out.sum(1, keepdims=True), 1)

    def busiest(self, steps: Steps) -> np.ndarray:
        counts = self._total(steps.after)
        return np.sort(np.argsort(-counts, kind="stable")[:_INTERESTS])

    def _total(self, rows: np.ndarray) -> np.ndarray:
        return sum((self.shares(rows[k : k + 100_000]).sum(0) for k in range(0, len(rows), 100_000)), np.zeros(1))

    def counts(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        if len(before) > _MOST_PAIRS:
            some = np.linspace(0, len(before) - 1, _MOST_PAIRS).astype(int)
            before, after = before[some], after[some]
        out = np.zeros((len(self.names), len(self.names)))
        for k in range(0, len(before), 100_000):
            out += self.shares(before[k : k + 100_000]).T @ self.shares(after[k : k + 100_000])
        return out

    def said(self, said: _Said, now: np.ndarray) -> np.ndarray | None:
        return None if said.interest is None else self.shares(said.before[now]).T @ said.interest[now]

    def said_by(self, said: _Said) -> str:
        return "interests" if said.own_interest else "scores"
