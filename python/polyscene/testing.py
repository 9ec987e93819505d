"""Small real data and batches, for tests and examples."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene.data.roles import RANKED

_USERS, _ITEMS, _GENRES = 40, 30, 5
_SCENES = ("phone", "tablet", "television")


class TinyData:
    """A data set in memory: ``schema``, ``train``, ``valid`` and ``test``."""

    def __init__(self, columns: Any, schema: Any, tables: dict[str, Any]) -> None:
        self.columns = columns
        self.schema = schema
        self.train, self.valid, self.test = (tables[role] for role in ("train", "valid", "test"))


def tiny_data(task: str = "ctr", seed: int = 0, *, rows: int = 600, bare: bool = False) -> TinyData:
    """Makes a small data set of 40 users and 30 items in 3 scenes, whose labels a model can learn.

    Args:
        task: "ctr" (labels 0/1), "rating" (labels 1 to 5), "text" (texts of three classes), "image" (grey
            images of three classes, 8 x 8), "ranking" (users and items alone: what somebody liked; 12 of 30 items are
            in two scenes, the others in one) or "sequence" (what users did in order, over three scenes of 10 items; the
            last event of each tests, the one before it validates).
        seed: what is drawn; the same seed gives the same data.
        rows: rows in all; 70 % train, 15 % valid, 15 % test.
        bare: users, items and scenes alone: no numeric column, other fields, lists, interests, time or behaviour.

    Raises:
        ValueError: another task.

    Example:
        >>> data = tiny_data(seed=1)
        >>> len(data.train), data.schema.scenes
        (420, ['phone', 'tablet', 'television'])
    """
    if task not in ("ctr", "rating", "ranking", "sequence", "text", "image"):
        raise ValueError(
            f"tiny_data: task must be 'ctr', 'rating', 'ranking', 'sequence', 'text' or 'image', got {task!r}"
        )
    draw = np.random.default_rng(seed)
    if task == "ranking":
        return _tiny_ranking(draw, rows)
    if task == "sequence":
        return _tiny_sequences(draw, rows, bare)
    if task == "text":
        return _tiny_texts(draw, rows)
    if task == "image":
        return _tiny_images(draw, rows)
    user, item = draw.integers(0, _USERS, rows), draw.integers(0, _ITEMS, rows)
    scene = draw.choice(len(_SCENES), rows, p=[0.6, 0.3, 0.1])
    age, minutes = draw.uniform(15, 70, _USERS), draw.exponential(20, rows)
    genre = draw.integers(0, _GENRES, _ITEMS)
    taste = draw.normal(0, 1.2, (len(_SCENES), _USERS, _GENRES)).mean(0, keepdims=True)
    taste = taste + draw.normal(0, 0.4, (len(_SCENES), _USERS, _GENRES))
    score = taste[scene, user, genre[item]] + draw.normal(0, 0.5, _ITEMS)[item] + 0.01 * (minutes - 20)
    score = score + draw.normal(0, 0.3, rows)
    label = (score > 0).astype(np.float32) if task == "ctr" else np.clip(np.round(3 + score), 1, 5).astype(np.float32)

    fields = {"user_id": (user, "u", _USERS), "item_id": (item, "i", _ITEMS)}
    if not bare:
        fields |= {"age_group": ((age[user] // 20).astype(int), "a", 4), "genre": (genre[item], "g", _GENRES)}
    numbers = np.stack([age[user], minutes], 1).astype(np.float32)[:, : 0 if bare else 2]
    numbers[draw.random(numbers.shape) < 0.05] = np.nan
    columns = _C.data.Columns(
        categorical=list(fields),
        codes=torch.from_numpy(np.stack([codes for codes, _, _ in fields.values()], 1).astype(np.int32)),
        ids=[_C.data.Strings([f"{letter}{k}" for k in range(n)]) for _, letter, n in fields.values()],
        numeric=[] if bare else ["age", "minutes"],
        numbers=torch.from_numpy(numbers),
        lists=[] if bare else ["tags"],
        list_codes=[] if bare else [_ragged(draw, rows, 6)],
        list_ids=[] if bare else [_C.data.Strings([f"t{k}" for k in range(6)])],
        scene=torch.from_numpy(scene.astype(np.int32)),
        scene_names=list(_SCENES),
        label=torch.from_numpy(label),
        time=None if bare else torch.arange(rows) * 60,
        interest=None if bare else _C.data.Ragged(_int32(genre[item]), torch.arange(rows + 1)),
        interest_ids=None if bare else _C.data.Strings([f"g{k}" for k in range(_GENRES)]),
    )
    order = torch.from_numpy(draw.permutation(rows))
    first, second = int(0.7 * rows), int(0.85 * rows)
    parts = {"train": order[:first], "valid": order[first:second], "test": order[second:]}
    schema = _C.data.fit_schema(columns, parts["train"].sort().values, task=task, user="user_id", item="item_id")
    tables = {role: _C.data.Table(columns, schema, part.sort().values, role) for role, part in parts.items()}
    if not bare:
        history = _C.data.History.fit(tables["train"])
        for table in tables.values():
            table.history = history
    return TinyData(columns, schema, tables)


def _tiny_ranking(draw: np.random.Generator, rows: int) -> TinyData:
    """Users like items of a genre in every scene; scenes hold items 0 to 13, 8 to 21 and 16 to 29."""
    starts, width = (0, 8, 16), 14
    taste = draw.integers(0, _GENRES, _USERS)
    genre = np.arange(_ITEMS) % _GENRES
    pairs = []
    for scene, start in enumerate(starts):
        inside = np.arange(start, start + width)
        for user in range(_USERS):
            liked = np.where(genre[inside] == taste[user], 8.0, 1.0) / (1 + np.arange(width) / 4)
            count = int(draw.integers(4, 8)) if (user + scene) % 4 else 0  # a quarter of users is cold in a scene
            pairs += [(user, item, scene) for item in draw.choice(inside, count, False, liked / liked.sum())]
    user, item, scene = np.asarray(pairs)[draw.permutation(len(pairs))[:rows]].T
    columns = _C.data.Columns(
        categorical=["user_id", "item_id"],
        codes=torch.from_numpy(np.stack([user, item], 1).astype(np.int32)),
        ids=[_C.data.Strings([f"{letter}{k}" for k in range(n)]) for letter, n in (("u", _USERS), ("i", _ITEMS))],
        numeric=[],
        numbers=torch.zeros(len(user), 0),
        lists=[],
        list_codes=[],
        list_ids=[],
        scene=torch.from_numpy(scene.astype(np.int32)),
        scene_names=list(_SCENES),
    )
    first, second = int(0.7 * len(user)), int(0.85 * len(user))
    parts = {"train": (0, first), "valid": (first, second), "test": (second, len(user))}
    chosen = {part: torch.arange(*ends) for part, ends in parts.items()}
    schema = _C.data.fit_schema(columns, chosen["train"], task="ranking", user="user_id", item="item_id", min_count=1)
    tables = {role: _C.data.Table(columns, schema, part, role) for role, part in chosen.items()}
    history = _C.data.History.fit(tables["train"])
    for table in tables.values():
        table.history = history
    tables["test"].also_seen = _C.data.Interactions.of(tables["valid"])
    return TinyData(columns, schema, tables)


def _tiny_sequences(draw: np.random.Generator, rows: int, bare: bool) -> TinyData:
    """Users walk through items: from item i of any scene mostly to one of a few that belong to it, of any scene.

    Items are of one genre, a third of them of two.
    """
    length = max(rows // _USERS, 3)
    follower = np.stack([draw.permutation(_ITEMS) for _ in range(2)], 1)  # two items that follow each
    walks = np.empty((_USERS, length), np.int64)
    for person in range(_USERS):
        at, met = int(draw.integers(_ITEMS)), set[int]()
        for step in range(length):
            near = [each for each in follower[at].tolist() if each not in met] if draw.random() < 0.9 else []
            at = int(draw.choice(near or [each for each in range(_ITEMS) if each not in met] or range(_ITEMS)))
            met.add(at)
            walks[person, step] = at
    user, item = np.repeat(np.arange(_USERS), length), walks.ravel()
    scene = item * len(_SCENES) // _ITEMS
    genres = [[i % _GENRES, *([(i + 1) % _GENRES] if i % 3 == 0 else [])] for i in range(_ITEMS)]
    about = [genres[i] for i in item]
    interest = _C.data.Ragged(
        _int32(np.concatenate(about)), torch.from_numpy(np.cumsum([0, *(len(each) for each in about)]))
    )
    columns = _C.data.Columns(
        categorical=["user_id", "item_id"],
        codes=torch.from_numpy(np.stack([user, item], 1).astype(np.int32)),
        ids=[_C.data.Strings([f"{letter}{k}" for k in range(n)]) for letter, n in (("u", _USERS), ("i", _ITEMS))],
        numeric=[],
        numbers=torch.zeros(len(user), 0),
        lists=[],
        list_codes=[],
        list_ids=[],
        scene=torch.from_numpy(scene.astype(np.int32)),
        scene_names=list(_SCENES),
        time=None if bare else torch.from_numpy(np.tile(np.arange(length), _USERS) * 60),
        interest=None if bare else interest,
        interest_ids=None if bare else _C.data.Strings([f"g{k}" for k in range(_GENRES)]),
    )
    later = length - 1 - np.tile(np.arange(length), _USERS)
    parts = {"train": later > 1, "valid": later == 1, "test": later == 0}
    chosen = {part: torch.from_numpy(np.flatnonzero(inside)) for part, inside in parts.items()}
    schema = _C.data.fit_schema(columns, chosen["train"], task="sequence", user="user_id", item="item_id", min_count=1)
    tables = {role: _C.data.Table(columns, schema, part, role) for role, part in chosen.items()}
    history, sequences = _C.data.History.fit(tables["train"]), _C.data.Sequences(columns, "user_id", chosen)
    for table in tables.values():
        table.history, table.sequences = history, sequences
    return TinyData(columns, schema, tables)


def _tiny_texts(draw: np.random.Generator, rows: int) -> TinyData:
    """Texts of up to 12 of 40 words; each class has words that it likes in every scene. A few texts are empty."""
    classes, words = ("bad", "fair", "good"), 40
    label, scene = draw.integers(0, len(classes), rows), draw.choice(len(_SCENES), rows, p=[0.5, 0.3, 0.2])
    lengths = draw.integers(0, 13, rows)
    liked = np.arange(words) % (len(classes) + 1) == np.arange(len(classes))[:, None]  # a quarter of the words each
    chances = np.where(liked, 3.0, 1.0)
    chances /= chances.sum(1, keepdims=True)
    tokens = np.concatenate([draw.choice(words, n, p=chances[y]) for y, n in zip(label, lengths, strict=True)])
    columns = _C.data.Columns(
        categorical=[],
        codes=torch.zeros(rows, 0, dtype=torch.int32),
        ids=[],
        numeric=[],
        numbers=torch.zeros(rows, 0),
        lists=["text"],
        list_codes=[_C.data.Ragged(_int32(tokens), torch.from_numpy(np.concatenate([[0], lengths.cumsum()])))],
        list_ids=[_C.data.Strings([f"w{k}" for k in range(words)])],
        scene=torch.from_numpy(scene.astype(np.int32)),
        scene_names=list(_SCENES),
        label=torch.from_numpy(label.astype(np.float32)),
    )
    text = {"name": "text", "kind": "text", "max_length": 12}
    return _classified(draw, columns, "text", text, {"classes": classes})


def _tiny_images(draw: np.random.Generator, rows: int) -> TinyData:
    """Figures of 8 x 8 pixels, moved by a pixel, under noise; scenes differ in contrast. A few images are missing."""
    classes, side = ("bar", "cross", "ring"), 8
    label, scene = draw.integers(0, len(classes), rows), draw.choice(len(_SCENES), rows, p=[0.5, 0.3, 0.2])
    figures = np.zeros((len(classes), side, side))
    figures[0, 1:7, 3:5] = figures[1, 1:7, 3:5] = figures[1, 3:5, 1:7] = figures[2, 1:7, 1:7] = 1
    figures[2, 3:5, 3:5] = 0
    moves = draw.integers(-1, 2, (rows, 2))
    ink = np.stack([np.roll(figures[y], by, (0, 1)) for y, by in zip(label, moves, strict=True)])
    strength = np.array([1.0, 0.7, 0.5])[scene][:, None, None]
    pixels = np.clip(255 * (0.15 + 0.7 * strength * ink + draw.normal(0, 0.1, ink.shape)), 0, 255).astype(np.uint8)
    known = draw.random(rows) >= 0.02
    offsets = np.concatenate([[0], known.cumsum()]) * side * side
    columns = _C.data.Columns(
        categorical=[],
        codes=torch.zeros(rows, 0, dtype=torch.int32),
        ids=[],
        numeric=[],
        numbers=torch.zeros(rows, 0),
        lists=["image"],
        list_codes=[_C.data.Ragged(torch.from_numpy(pixels[known].reshape(-1)), torch.from_numpy(offsets))],
        list_ids=[_C.data.Strings([])],
        scene=torch.from_numpy(scene.astype(np.int32)),
        scene_names=list(_SCENES),
        label=torch.from_numpy(label.astype(np.float32)),
    )
    size = {"name": "image", "channels": 1, "height": side, "width": side}
    image = {"name": "image", "kind": "image", "max_length": side * side}
    return _classified(draw, columns, "image", image, {"classes": classes, "images": [size]})


def _classified(draw: np.random.Generator, columns: Any, task: str, column: dict[str, Any], reader: Any) -> TinyData:
    rows = columns.rows
    order = torch.from_numpy(draw.permutation(rows))
    first, second = int(0.7 * rows), int(0.85 * rows)
    parts = {"train": order[:first], "valid": order[first:second], "test": order[second:]}
    train = parts["train"].sort().values
    schema = _C.data.fit_schema(columns, train, task=task, lists=[column], reader=json.dumps(reader))
    tables = {role: _C.data.Table(columns, schema, part.sort().values, role) for role, part in parts.items()}
    return TinyData(columns, schema, tables)


def batch(data: Any, rows: int, seed: int = 0, *, history: int | None = None, negatives: int | None = None) -> Any:
    """Draws a batch of training rows, in no order and not grouped by scene.

    Args:
        data: a data set, such as :func:`tiny_data` gives.
        rows: rows of the batch, drawn without replacement while there are enough.
        seed: which rows.
        history: how many past events each row carries; None for the default of tables.
        negatives: how many items each row (in sequences each event that follows another) carries that its user did not
            meet; None for 1 in rankings and sequences, else 0.

    Example:
        >>> len(batch(tiny_data(), 8))
        8
    """
    size = len(data.train)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.cat([torch.randperm(size, generator=generator) for _ in range(-(-rows // size) or 1)])
    if negatives is None:
        negatives = int(data.schema.task in RANKED)
    further = {} if history is None else {"history": history}
    return data.train.batch(drawn[:rows], negatives=negatives, seed=seed, **further)


def _int32(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int32))


def _ragged(draw: np.random.Generator, rows: int, ids: int) -> Any:
    lengths = draw.integers(0, 4, rows)
    offsets = np.concatenate([[0], lengths.cumsum()])
    return _C.data.Ragged(_int32(draw.integers(0, ids, offsets[-1])), torch.from_numpy(offsets))
