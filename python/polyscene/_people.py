"""What callers give of people: ids, profiles, events and items, as rows of a model's vocabularies."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.data._errors import listed
from polyscene.data.roles import RANKED


def known_item(owner: str, rows: Rows, schema: Any, item: Any) -> int:
    """The vocabulary row of an item, 2 or more.

    Raises:
        ValueError: training did not know the item; ``owner`` is the function that the message names.
    """
    row = rows.of(schema.item, item)
    if row < 2:
        near = _C.core.suggestion(id_text(item), list(schema.categorical[schema.field(schema.item)].ids))
        raise ValueError(f"{owner}: unknown item {item!r}; it must have rows in training{near}")
    return row


def item_counts(owner: str, model: Model) -> torch.Tensor:
    """Training rows of each item in each scene, [S, I].

    Raises:
        ValueError: the model was not trained yet.
    """
    tensors = model._impl.history.tensors() if model._impl.history is not None else {}
    if "item_count" not in tensors:
        raise ValueError(f"{owner}: {model.name} was not trained yet, it knows no items; fit it first")
    return tensors["item_count"]


def events_of_one(events: Any, user: int) -> Any:
    """The events of user number ``user`` alone, without interests."""
    first, last = events.offsets[user : user + 2].tolist()
    part = slice(first, last)
    columns = (events.item[part], events.scene[part], events.label[part], events.time[part])
    return _C.data.Events(torch.tensor([0, last - first]), *columns, None)


def items_of_one(owner: str, model: Model, rows: Rows, items: Sequence[Any]) -> Any:
    """What one new user likes, as events; an item without a scene counts in all that have it.

    Args:
        owner: the function that was called, as messages name it.
        model: whose vocabularies and counts are used.
        rows: rows of ids.
        items: ids, or pairs of an id and the name of a scene.

    Raises:
        TypeError: ``items`` is one text, or no list.
        ValueError: no item, one that training did not know (in the scene, where one is named), an unknown scene, or a
            model that was not trained.
    """
    schema = model.schema
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise TypeError(f"{owner}: items must be a list of ids, got {items!r}; write [{items!r}]")
    counts = item_counts(owner, model)
    pairs: list[tuple[int, int]] = []
    for each in items:
        name, scene = each if isinstance(each, tuple) and len(each) == 2 else (each, None)
        row = known_item(owner, rows, schema, name)
        having = torch.nonzero(counts[:, row]).flatten().tolist()
        where = having if scene is None else [scene_code(owner, schema, scene)]
        if not set(where) <= set(having):
            names = ", ".join(schema.scenes[code] for code in having)
            raise ValueError(f"{owner}: item {name!r} has no training rows in scene {scene!r}; it has some in: {names}")
        pairs += [(row, code) for code in (where if scene is not None else _having(schema, counts[:, row]))]
    if not pairs:
        raise ValueError(f"{owner}: items must name at least one item")
    item, scene = torch.tensor(pairs, dtype=torch.int64).T.contiguous()
    n = len(pairs)
    interest = _C.data.Ragged(torch.empty(0, dtype=torch.int32), torch.zeros(n + 1, dtype=torch.int64))
    return _C.data.Events(
        torch.tensor([0, n]),
        item.int(),
        scene,
        torch.ones(n),
        torch.full((n,), 2**62, dtype=torch.int64),
        interest if schema.interests else None,
    )


def id_text(value: Any) -> str:
    """An id as tables read it: whole numbers as decimal text."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class Rows:
    """Vocabulary rows of ids."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._index: dict[str, dict[str, int]] = {}

    def of(self, field: str, value: Any) -> int:
        if field not in self._index:
            ids = self._schema.categorical[self._schema.field(field)].ids
            self._index[field] = {each: row + 2 for row, each in enumerate(ids)}
        return 1 if value is None else self._index[field].get(id_text(value), 0)


def profile_fields(model: Model, rows: Rows, user: torch.Tensor, given: Mapping[str, Sequence[Any]]) -> torch.Tensor:
    """Vocabulary rows of the users' own fields, int32 [U, F]: as training had them, then as ``given`` says.

    Args:
        model: whose vocabularies and users are used.
        rows: rows of ids.
        user: rows of the user vocabulary, int64 [U].
        given: U values of each named field; None for a missing one.

    Raises:
        ValueError: a field that is unknown or does not belong to users, another number of values than users, or a model
            that was not trained.
    """
    schema = model.schema
    sides = {field.name: field.side for field in schema.categorical}
    tensors = model._impl.history.tensors() if model._impl.history is not None else {}
    if "user_fields" not in tensors:
        raise ValueError(
            f"recommend: {model.name} was not trained yet, it knows no users; fit it, or call "
            "prepare(data.train) before a training loop of your own"
        )
    out = tensors["user_fields"][user].clone()
    known = [each for each, side in sides.items() if side == "user"]
    for name, values in given.items():
        if name not in sides:
            near = _C.core.suggestion(str(name), known)
            raise ValueError(f"recommend: profile: unknown field {name!r}; those of users: {', '.join(known)}{near}")
        index = schema.field(name)
        if sides[name] != "user":
            raise ValueError(
                f"recommend: profile field '{name}' does not belong to users; those that do: {', '.join(known)}"
            )
        if len(values) != len(user):
            raise ValueError(
                f"recommend: profile field '{name}' must have a value a user, {len(user)}, got {len(values)}"
            )
        out[:, index] = torch.tensor([rows.of(name, each) for each in values], dtype=torch.int32)
    return out


def events_of(owner: str, model: Model, rows: Rows, users: list[str], events: Sequence[Mapping[str, Any]]) -> Any:
    """What callers say that users did since training, as events of U users in the order of ``users``.

    Events of anybody else are left out: one log can serve every call. An item that training did not know counts as
    unknown, with a warning.

    Args:
        owner: the function that was called, as messages name it.
        model: whose vocabularies and counts are used.
        rows: rows of ids.
        users: ids, U of them.
        events: oldest first, as :func:`polyscene.recommending.recommend` takes them.

    Raises:
        TypeError: an event is no dict.
        ValueError: an event without a user or an item, with an unknown key, scene or interest, or with a label or time
            that is no number; in rankings also a model that was not trained.
    """
    schema = model.schema
    place = {each: i for i, each in enumerate(users)}
    mine: list[list[Mapping[str, Any]]] = [[] for _ in users]
    for number, event in enumerate(events, 1):
        if not isinstance(event, Mapping):
            raise TypeError(f"{owner}: event {number} must be a dict, got {type(event).__name__}")
        for key in ("user", "item"):
            if key not in event:
                raise ValueError(
                    f"{owner}: event {number} must have '{key}', got {', '.join(map(str, event)) or 'nothing'}"
                )
        unknown = [key for key in event if key not in ("user", "item", "scene", "label", "time", "interest")]
        if unknown:
            raise ValueError(
                f"{owner}: event {number} has an unknown key '{unknown[0]}'; "
                "known: user, item, scene, label, time, interest"
                + _C.core.suggestion(unknown[0], ["user", "item", "scene", "label", "time", "interest"])
            )
        if (name := id_text(event["user"])) in place:
            mine[place[name]].append(event)
    for number, event in enumerate(events, 1):
        _check_event(f"{owner}: event {number}", schema, event)
    if schema.task in RANKED:
        mine = [_in_scenes(owner, model, rows, each) for each in mine]
    flat = [event for each in mine for event in each]
    items = [rows.of(schema.item, event["item"]) for event in flat]
    if 0 in items:
        stranger = flat[items.index(0)]["item"]
        warnings.warn(
            f"{owner}: nothing is known of item {stranger!r} in the events; it counts as unknown", stacklevel=4
        )
    offsets = torch.tensor([0, *np.cumsum([len(each) for each in mine])], dtype=torch.int64)
    scene = torch.tensor(
        [schema.scene(e["scene"]) if e.get("scene") is not None else 0 for e in flat], dtype=torch.int64
    )
    ragged = None
    if names := schema.interests:
        lists = [_interests(names, event.get("interest")) for event in flat]
        values = torch.tensor([each for some in lists for each in some], dtype=torch.int32)
        ragged = _C.data.Ragged(values, torch.tensor([0, *np.cumsum([len(some) for some in lists])], dtype=torch.int64))
    return _C.data.Events(
        offsets,
        torch.tensor(items, dtype=torch.int32),
        scene,
        torch.tensor([float(e.get("label", 1.0)) for e in flat], dtype=torch.float32),
        torch.tensor([int(e.get("time", 2**62)) for e in flat], dtype=torch.int64),
        ragged,
    )


def _in_scenes(owner: str, model: Model, rows: Rows, events: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Events with their scene; without one, in all scenes that have the item, of sequences in that with most rows."""
    schema, counts = model.schema, item_counts(owner, model)
    out: list[Mapping[str, Any]] = []
    for event in events:
        row = rows.of(schema.item, event["item"])
        if event.get("scene") is not None or row < 2:
            out.append(event)
            continue
        where = _having(schema, counts[:, row])
        out += [{**event, "scene": schema.scenes[code]} for code in where]
    return out


def _having(schema: Any, counts: torch.Tensor) -> list[int]:
    """Scenes that have an item with these training rows; of sequences, whose events are of one scene, the first."""
    if schema.task == "sequence":
        return [int(counts.argmax())] if bool(counts.any()) else []
    return torch.nonzero(counts).flatten().tolist()


def scene_code(where: str, schema: Any, name: str) -> int:
    """The number of a scene, in [0, S).

    Raises:
        ValueError: the scene is unknown; ``where`` begins the message, which names the known ones.
    """
    names = list(schema.scenes)
    if name not in names:
        near = _C.core.suggestion(str(name), names)
        raise ValueError(f"{where}: unknown scene {name!r}; known scenes: {listed(names)}{near}")
    return int(schema.scene(name))


def check_model(owner: str, model: Any) -> None:
    """Raises TypeError for what is no model."""
    if not isinstance(model, Model):
        raise TypeError(f"{owner}: wanted a polyscene.Model, got {type(model).__name__}")


def check_k(owner: str, k: Any) -> None:
    """Raises ValueError for what is no number of items."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"{owner}: k must be a whole number of at least 1, got {k!r}")


def item_names(schema: Any) -> np.ndarray:
    """Item ids by row; the last is for no item."""
    return np.asarray([None, None, *schema.categorical[schema.field(schema.item)].ids, None], dtype=object)


def scene_names(schema: Any) -> np.ndarray:
    """Scenes by code; the last is for none."""
    return np.asarray([*schema.scenes, "shared", None], dtype=object)


def _check_event(where: str, schema: Any, event: Mapping[str, Any]) -> None:
    if event.get("scene") is not None:
        scene_code(where, schema, event["scene"])
    if names := schema.interests:
        given = event.get("interest")
        for name in [given] if isinstance(given, str) else given or []:
            if name not in names:
                near = _C.core.suggestion(str(name), names)
                raise ValueError(f"{where}: unknown interest {name!r}; known interests: {listed(names)}{near}")
    label, time = event.get("label", 1.0), event.get("time", 0)
    if isinstance(label, str) or not isinstance(label, (int, float, np.number)) or not np.isfinite(label):
        raise ValueError(f"{where}: label must be a number, got {label!r}")
    if isinstance(time, (bool, str)) or not isinstance(time, (int, np.integer)) or not -(2**62) <= time <= 2**62:
        raise ValueError(f"{where}: time must be a whole number, got {time!r}")


def _interests(names: list[str], given: Any) -> list[int]:
    wanted = [] if given is None else [given] if isinstance(given, str) else list(given)
    return [names.index(name) for name in wanted]
