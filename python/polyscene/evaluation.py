"""Scores of models: `evaluate`, `predict`, `recommend`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.data._errors import listed
from polyscene.results import PerUser, Predictions, Result, needs_pandas

Table = _C.data.Table


def table_for(model: Model, source: Any) -> Any:
    """``source`` as a table of the model: itself, or a path, frame or data set that is encoded with the model's schema.

    Raises:
        ValueError: a table of another schema, or a source that lacks a column.
    """
    if isinstance(source, Table):
        table = source
    elif hasattr(source, "tables"):
        table = source.test if source.test is not None else source.table
    else:
        from polyscene.data import encode

        table = encode(source, model.schema)
    if table.history is None and model._impl.history is not None:
        table.history = model._impl.history
    return table


def scores(model: Model, table: Any) -> np.ndarray:
    """Probabilities (ctr) or ratings of all rows in table order, float [n]."""
    with model._running() as native:
        logits = _C.eval.predict_logits(native, table)
    if model.schema.task == "rating":
        return logits.numpy()
    return logits.double().sigmoid().numpy()


def predict(model: Model, source: Any) -> np.ndarray:
    """Probabilities (ctr) or ratings of the rows of a table, path or frame, in its order, float [n].

    Raises:
        ValueError: the source does not fit the model's schema.
    """
    _check_model("predict", model)
    return scores(model, table_for(model, source))


def evaluate(
    model: Model,
    table: Any,
    metrics: Sequence[str] | None = None,
    k: Sequence[int] = (10,),
    candidates: str | int = "all",
    threshold: float = 0.5,
    seed: int = 0,
) -> Result:
    """Measures a model on a table: overall, as the mean over scenes, and for each scene.

    Args:
        model: a trained model.
        table: a table, or a path or frame that is encoded with the model's schema.
        metrics: names; None for all of the task.
        k: cut-offs of ranking metrics; rating and ctr metrics have none.
        candidates: what a wanted item is ranked among: "all" items of its scene, or a number of sampled ones that the
            user never met, each wanted item for itself. Sampled rankings flatter and can turn the order of models
            around (Krichene and Rendle, KDD 2020): they are for comparison with papers.
        threshold: probability from which a row counts as positive, in (0, 1).
        seed: of sampled candidates.

    Returns:
        A result: ``.overall``, ``.macro``, ``.scenes[name]``; a metric without a value is nan, its reason stands in
        ``.undefined``.

    Raises:
        ValueError: an unknown metric, no label, a table of another schema, a threshold outside (0, 1).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.Popularity(data.schema)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> sorted(ps.evaluate(model, data.test, metrics=["auc", "f1"]).overall)
        ['auc', 'f1']
    """
    _check_model("evaluate", model)
    if isinstance(threshold, str) or not 0 < threshold < 1:
        raise ValueError(f"evaluate: threshold must be in (0, 1), got {threshold!r}")
    if isinstance(metrics, str):
        raise TypeError(f"evaluate: metrics must be a list of names, got {metrics!r}; write metrics=[{metrics!r}]")
    table = table_for(model, table)
    if model.schema.task == "ranking":
        return _evaluate_ranking(model, table, list(metrics or ()), k, candidates, seed)
    with model._running() as native:
        measured = _C.eval.evaluate(native, table, list(metrics or ()), threshold)
    logits = measured.pop("logits")
    counts = {scene: {"rows": rows} for scene, rows in measured["rows"].items()}
    for scene, count in measured["positives"].items():
        counts[scene]["positives"] = count
    out = Result(
        overall=measured["overall"],
        macro=measured["macro"],
        scenes={scene: measured["scenes"][scene] for scene in measured["scene_names"]},
        counts=counts,
        undefined=measured["undefined"],
        task=model.schema.task,
        model=model.name,
        threshold=threshold,
        name=model.name,
    )
    out.predictions = partial(predict_arrays, model.schema, table, logits)  # when somebody asks
    return out


def _evaluate_ranking(
    model: Model, table: Any, metrics: list[str], k: Sequence[int], candidates: str | int, seed: int
) -> Result:
    if isinstance(k, int) and not isinstance(k, bool):
        k = (k,)
    if candidates == "all":
        candidates = 0
    elif isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
        raise ValueError(f"evaluate: candidates must be 'all' or a positive whole number, got {candidates!r}")
    with model._running() as native:
        measured = _C.eval.evaluate_ranking(native, table, metrics, list(k), candidates, seed)
    queries = measured["queries"]
    counts = {
        scene: {"rows": rows, "users": measured["users"].get(scene, 0)} for scene, rows in measured["rows"].items()
    }
    out = Result(
        overall=measured["overall"],
        macro=measured["macro"],
        scenes={scene: measured["scenes"][scene] for scene in measured["scene_names"]},
        counts=counts,
        undefined=measured["undefined"],
        task=model.schema.task,
        model=model.name,
        name=model.name,
    )
    out.extra = {"candidates": candidates or "all", "repeated": measured["repeated"]}
    out.per_user = per_user(model.schema, table, queries)
    return out


def per_user(schema: Any, table: Any, queries: Mapping[str, Any]) -> PerUser:
    """The queries of a ranking with names in the place of codes."""
    scenes = np.asarray([*schema.scenes, "shared"], dtype=object)[queries["scene"].numpy()]
    column = table.columns.categorical.index(schema.user)
    names = np.asarray([*table.columns.ids[column].list(), None], dtype=object)
    facts = ("row", "positives", "unreachable", "known_here", "known_elsewhere")
    return PerUser(
        scene=scenes,
        user=names[queries["user"].numpy()],
        facts={name: queries[name].numpy() for name in facts},
        values={name: values.numpy() for name, values in queries["values"].items()},
    )


def _check_model(owner: str, model: Any) -> None:
    if not isinstance(model, Model):
        raise TypeError(f"{owner}: wanted a polyscene.Model, got {type(model).__name__}")


def predict_arrays(schema: Any, table: Any, logits: torch.Tensor) -> Predictions:
    """The rows behind a result; users as their ids, where the data has users."""
    names = np.asarray(table.columns.scene_names)
    scene = names[table.columns.scene[table.rows].numpy()]
    score = logits.double() if schema.task == "rating" else logits.double().sigmoid()
    user = None
    if schema.user is not None:
        column = table.columns.categorical.index(schema.user)
        user = table.columns.codes[:, column][table.rows].numpy()
    weight = None if table.columns.weight is None else table.columns.weight[table.rows].numpy()
    return Predictions(table.rows.numpy(), scene, table.labels().numpy(), score.numpy(), user, weight)


@dataclass
class Recommendations:
    """The best items for each user.

    Attributes:
        users: the users asked for, [U].
        items: original item ids, [U, k], best first; None where there are no more.
        scores: probabilities or ratings, float [U, k]; -inf where there are no more.
        scenes: the scene in which each item scores best, [U, k]; None where there are no more.
    """

    users: list[str]
    items: np.ndarray
    scores: np.ndarray
    scenes: np.ndarray

    def __iter__(self) -> Any:
        return iter((self.items, self.scores))

    def frame(self) -> Any:
        """A pandas frame with a row a recommendation: user, rank, item, scene, score."""
        pandas = needs_pandas("Recommendations.frame")
        u, r = np.nonzero(np.isfinite(self.scores))
        users = np.asarray(self.users, dtype=object)
        columns = {"user": users[u], "rank": r + 1, "item": self.items[u, r], "scene": self.scenes[u, r]}
        return pandas.DataFrame(columns | {"score": self.scores[u, r]})


def recommend(
    model: Model,
    users: Sequence[Any],
    k: int = 10,
    scene: str | None = None,
    events: Sequence[Mapping[str, Any]] | None = None,
    exclude_seen: bool = True,
    profile: Mapping[str, Sequence[Any]] | None = None,
) -> Recommendations:
    """Recommends items; behaviour since training can be given, nothing is trained again.

    Args:
        model: a trained model of data with users and items.
        users: original user ids, U of them.
        k: items for each user.
        scene: where they will be shown; None ranks each user's candidates over all scenes.
        events: what happened since training, oldest first: ``{"user": id, "item": id}`` and, where known, ``"scene"``,
            ``"label"`` (1 unless said), ``"time"``, ``"interest"`` (a name or a list of names).
        exclude_seen: leave out items of the user's training rows and events.
        profile: user-side fields of the users by name, U values each: serves users who were not seen in training.

    Returns:
        ``items`` [U, k] and ``scores`` [U, k]; short rows are padded with None and -inf.

    Raises:
        ValueError: an unknown scene or field, an event without a user or an item, a model that was not trained.
    """
    _check_model("recommend", model)
    schema = model.schema
    if schema.user is None or schema.item is None:
        raise ValueError("recommend: the data must name a user and an item column")
    if isinstance(users, (str, bytes)) or not isinstance(users, Iterable):
        raise TypeError(f"recommend: users must be a list of ids, got {users!r}; write [{users!r}]")
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"recommend: k must be a whole number of at least 1, got {k!r}")
    ids = [_text(user) for user in (users.tolist() if hasattr(users, "tolist") else users)]
    rows = _Rows(schema)
    user = torch.tensor([rows.of(schema.user, each) for each in ids], dtype=torch.int64)
    code = -1 if scene is None else _scene("recommend", schema, scene)
    fields = None if profile is None else _profile(model, rows, user, profile)
    given = None if not events else _events(schema, rows, ids, events)
    with model._running() as native:
        item, where, score, known = _C.eval.recommend(native, user, fields, given, code, k, exclude_seen)
    if not bool(known.all()):
        strangers = [each for each, is_known in zip(ids, known.tolist(), strict=True) if not is_known]
        more = f" and {len(strangers) - 3:,} more" if len(strangers) > 3 else ""
        warnings.warn(
            f"recommend: nothing is known of {', '.join(strangers[:3])}{more}, served by popularity; give events or "
            "profile",
            stacklevel=2,
        )
    names = np.asarray([None, None, *schema.categorical[schema.field(schema.item)].ids, None], dtype=object)
    scenes = np.asarray([*schema.scenes, "shared", None], dtype=object)
    places = np.where(where.numpy() < 0, len(scenes) - 1, where.numpy())
    return Recommendations(ids, names[item.numpy()], score.numpy(), scenes[places])


def _text(value: Any) -> str:
    """An id as tables read it: whole numbers as decimal text."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class _Rows:
    """Vocabulary rows of ids."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._index: dict[str, dict[str, int]] = {}

    def of(self, field: str, value: Any) -> int:
        if field not in self._index:
            ids = self._schema.categorical[self._schema.field(field)].ids
            self._index[field] = {each: row + 2 for row, each in enumerate(ids)}
        return 1 if value is None else self._index[field].get(_text(value), 0)


def _profile(model: Model, rows: _Rows, user: torch.Tensor, given: Mapping[str, Sequence[Any]]) -> torch.Tensor:
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


def _events(schema: Any, rows: _Rows, users: list[str], events: Sequence[Mapping[str, Any]]) -> Any:
    place = {each: i for i, each in enumerate(users)}
    mine: list[list[Mapping[str, Any]]] = [[] for _ in users]
    for number, event in enumerate(events, 1):
        if not isinstance(event, Mapping):
            raise TypeError(f"recommend: event {number} must be a dict, got {type(event).__name__}")
        for key in ("user", "item"):
            if key not in event:
                raise ValueError(
                    f"recommend: event {number} must have '{key}', got {', '.join(map(str, event)) or 'nothing'}"
                )
        unknown = [key for key in event if key not in ("user", "item", "scene", "label", "time", "interest")]
        if unknown:
            raise ValueError(
                f"recommend: event {number} has an unknown key '{unknown[0]}'; "
                "known: user, item, scene, label, time, interest"
                + _C.core.suggestion(unknown[0], ["user", "item", "scene", "label", "time", "interest"])
            )
        if (text := _text(event["user"])) in place:
            mine[place[text]].append(event)
    flat = [event for each in mine for event in each]
    for number, event in enumerate(events, 1):
        _check_event(schema, number, event)
    items = [rows.of(schema.item, event["item"]) for event in flat]
    if 0 in items:
        stranger = flat[items.index(0)]["item"]
        warnings.warn(
            f"recommend: nothing is known of item {stranger!r} in the events; it counts as unknown", stacklevel=4
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


def _scene(where: str, schema: Any, name: str) -> int:
    names = list(schema.scenes)
    if name not in names:
        near = _C.core.suggestion(str(name), names)
        raise ValueError(f"{where}: unknown scene {name!r}; known scenes: {listed(names)}{near}")
    return int(schema.scene(name))


def _check_event(schema: Any, number: int, event: Mapping[str, Any]) -> None:
    where = f"recommend: event {number}"
    if event.get("scene") is not None:
        _scene(where, schema, event["scene"])
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
