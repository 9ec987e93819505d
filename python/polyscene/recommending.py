"""Recommendations from models: for users, for newcomers, with reasons; and items that are alike."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene._people import (
    Rows,
    check_k,
    check_model,
    events_of,
    events_of_one,
    id_text,
    item_counts,
    item_names,
    items_of_one,
    known_item,
    profile_fields,
    scene_code,
    scene_names,
)
from polyscene.data.roles import RANKED
from polyscene.results import needs_pandas

_SHOWN = 3  # reasons of a recommendation that a table names


class Reason(NamedTuple):
    """One of a person's items behind a score.

    Attributes:
        item: original id.
        scene: where the person met it.
        part: what it adds to the score that the model gives to a newcomer with these items: of closed forms and of
            models whose users are made of their items that is the score shown, of models with a vector for each user
            that of the ridge solve which stands in for it.
        share: part, as a share of all that add to it; negative for an item that speaks against.
    """

    item: str
    scene: str
    part: float
    share: float

    def __str__(self) -> str:
        return f"{self.item} ({self.scene}) {100 * self.share:.0f} %"


@dataclass
class Recommendations:
    """The best items for each user.

    Attributes:
        users: the users asked for, [U]; "new user" for one who was given by items.
        items: original item ids, [U, k], best first; None where there are no more.
        scores: probabilities, ratings or the model's own scores, float [U, k]; -inf where there are no more.
        scenes: the scene in which each item scores best, [U, k]; None where there are no more.
        because: with ``explain``, a list of :class:`Reason` for each, the strongest first, [U, k]; else None.
        known: whether the model knew something that it can use, bool [U]; the others were served by popularity, and
            their scores are shares of the training rows.
    """

    users: list[str]
    items: np.ndarray
    scores: np.ndarray
    scenes: np.ndarray
    because: np.ndarray | None = None
    known: np.ndarray | None = None

    def __iter__(self) -> Any:
        return iter((self.items, self.scores))

    def columns(self) -> dict[str, Any]:
        """A row a recommendation: user, rank, item, scene, score and, with ``explain``, because."""
        u, r = np.nonzero(np.isfinite(self.scores))
        users = np.asarray(self.users, dtype=object)
        out = {"user": users[u], "rank": r + 1, "item": self.items[u, r], "scene": self.scenes[u, r]}
        out["score"] = self.scores[u, r]
        if self.because is not None:
            out["because"] = np.asarray([", ".join(map(str, each)) for each in self.because[u, r]], dtype=object)
        return out

    def frame(self) -> Any:
        """A pandas frame with a row a recommendation: user, rank, item, scene, score and, with ``explain``, because."""
        return needs_pandas("Recommendations.frame").DataFrame(self.columns())


class SimilarItem(NamedTuple):
    """A neighbour of an item: its id, the scene where it is alike, and how much (a cosine, or a weight)."""

    item: str
    scene: str
    score: float


def recommend(
    model: Model,
    users: Sequence[Any] | None = None,
    k: int = 10,
    scene: str | None = None,
    events: Sequence[Mapping[str, Any]] | None = None,
    exclude_seen: bool = True,
    profile: Mapping[str, Sequence[Any]] | None = None,
    *,
    items: Sequence[Any] | None = None,
    explain: bool = False,
) -> Recommendations:
    """Recommends items; behaviour since training can be given, nothing is trained again.

    Users whom training knew in another scene alone are served like any other. A ranking model scores a new user, or one
    with events, from all that they met: the closed forms as in training, models with vectors of users and items by one
    ridge solve for the user's vector on the items' vectors.

    Args:
        model: a trained model of data with users and items.
        users: original user ids, U of them; None with ``items``.
        k: items for each user.
        scene: where they will be shown; None ranks each user's candidates over all scenes.
        events: what happened since training, oldest first: ``{"user": id, "item": id}`` and, where known, ``"scene"``
            (in rankings every scene that has the item, unless said), ``"label"`` (1 unless said), ``"time"``,
            ``"interest"`` (a name or a list of names). Events of users who are not asked for are left out.
        exclude_seen: leave out items of the user's training rows and events, whatever the scene: what somebody met in
            one scene is not recommended in another. (``evaluate`` leaves out what was met in the same scene.)
        profile: user-side fields of the users by name, U values each: serves users who were not seen in training.
        items: what one new user likes, of any scenes: ids, or pairs of an id and a scene.
        explain: also say which of the user's items carried each recommendation.

    Returns:
        ``items`` [U, k] and ``scores`` [U, k]; short rows are padded with None and -inf.

    Raises:
        ValueError: an unknown scene, field or item, an event without a user or an item, a model that was not trained,
            that cannot serve newcomers or gives no reasons.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = ps.models.EASE(data.schema)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> model.recommend(items=["i3", "i8"], scene="phone", k=2).items.shape
        (1, 2)
    """
    check_model("recommend", model)
    schema = model.schema
    if schema.user is None or schema.item is None:
        raise ValueError("recommend: the data must name a user and an item column")
    if (users is None) == (items is None):
        raise TypeError("recommend: give users, or the items of one new user")
    if items is not None and (events or profile):
        raise ValueError("recommend: items stand for one new user; events and profile belong to users")
    if users is not None and (isinstance(users, (str, bytes)) or not isinstance(users, Iterable)):
        raise TypeError(f"recommend: users must be a list of ids, got {users!r}; write [{users!r}]")
    check_k("recommend", k)
    rows = Rows(schema)
    fields = None
    if items is not None:
        ids, user = ["new user"], torch.zeros(1, dtype=torch.int64)
        given = items_of_one("recommend", model, rows, items)
    elif users is not None:
        ids = [id_text(user) for user in (users.tolist() if hasattr(users, "tolist") else users)]
        user = torch.tensor([rows.of(schema.user, each) for each in ids], dtype=torch.int64)
        fields = None if profile is None else profile_fields(model, rows, user, profile)
        given = None if not events else events_of("recommend", model, rows, ids, events)
    code = -1 if scene is None else scene_code("recommend", schema, scene)
    with model._running() as native:
        item, where, score, known = _C.eval.recommend(native, user, fields, given, code, k, exclude_seen)
        because = _because(native, schema, user, given, item, where) if explain else None
    if not bool(known.all()):
        strangers = [each for each, is_known in zip(ids, known.tolist(), strict=True) if not is_known]
        more = f" and {len(strangers) - 3:,} more" if len(strangers) > 3 else ""
        ranks = schema.task in RANKED
        what = f"nothing that {model.name} can use" if ranks else "nothing"
        help_ = "items of this scene" if users is None else "events or items" if ranks else "events or profile"
        warnings.warn(
            f"recommend: {what} is known of {', '.join(strangers[:3])}{more}, served by popularity; give {help_}",
            stacklevel=3,
        )
    names, scenes = item_names(schema), scene_names(schema)
    return Recommendations(ids, names[item.numpy()], score.numpy(), scenes[where.numpy()], because, known.numpy())


def similar_items(
    model: Model, item: Any, scene: str | None = None, k: int = 10, *, source: str | None = None
) -> list[SimilarItem]:
    """The items that are most like one, also of other scenes.

    Args:
        model: a trained ranking model: cosine of the vectors of items, where it has some, or the weight that an item
            has for another in ``ease``, ``item_knn`` and ``cross_ease``.
        item: original id.
        scene: where neighbours are looked for; None for all scenes whose items the model can compare.
        k: how many at most.
        source: the scene the item is taken from; None for the one with most of its training rows.

    Returns:
        Neighbours, the most alike first; an item stands once.

    Raises:
        ValueError: an unknown item or scene, a model that cannot compare items, or not those of the two scenes.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = ps.models.ItemKNN(data.schema)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> len(model.similar_items("i3", k=4))
        4
    """
    check_model("similar_items", model)
    check_k("similar_items", k)
    schema = model.schema
    if schema.item is None:
        raise ValueError("similar_items: the data must name an item column")
    row = known_item("similar_items", Rows(schema), schema, item)
    source_code, target = (
        -1 if name is None else scene_code("similar_items", schema, name) for name in (source, scene)
    )
    with model._running() as native:
        ids, scenes, scores = _C.eval.similar_items(native, row, source_code, target, k)
    names, places = item_names(schema), scene_names(schema)
    found = zip(names[ids.numpy()], places[scenes.numpy()], scores.tolist(), strict=True)
    return [SimilarItem(*each) for each in found]


def explain_recommendation(
    model: Model,
    user: Any,
    item: Any,
    scene: str | None = None,
    *,
    events: Sequence[Mapping[str, Any]] | None = None,
    items: Sequence[Any] | None = None,
) -> list[Reason]:
    """Which of a user's items, of all scenes, carried a recommendation.

    Parts are exact for ``ease`` and ``item_knn`` (their sum is the score), ``cross_ease`` (the rest is popularity),
    ``light_gcn`` (what each neighbour sends; the rest is the user's own factors) and ``natr`` (its attention; the rest
    likewise). Of models with vectors they are those of the ridge solve that gives a new user with the same items a
    vector, or, where each scene has a space of its own, differences: the score less that without the item.

    Args:
        model: a trained ranking model.
        user: original user id; None with ``items``.
        item: the item that was recommended.
        scene: where; None for the scene with most of its training rows.
        events: as in :func:`recommend`.
        items: as in :func:`recommend`.

    Returns:
        One reason for each of the user's items, the strongest first.

    Raises:
        ValueError: an unknown user, item or scene, a model that gives no reasons.
    """
    check_model("explain", model)
    schema = model.schema
    if schema.user is None or schema.item is None:
        raise ValueError("explain: the data must name a user and an item column")
    if (user is None) == (items is None):
        raise TypeError("explain: give a user, or the items of a new one")
    rows = Rows(schema)
    row = 0 if user is None else rows.of(schema.user, user)
    if items is not None:
        given = items_of_one("explain", model, rows, items)
    else:
        given = None if not events else events_of("explain", model, rows, [id_text(user)], events)
    if row == 0 and given is None:
        raise ValueError(f"explain: nothing is known of user {user!r}; give events, or items in its place")
    wanted = known_item("explain", rows, schema, item)
    counts = item_counts("explain", model)
    code = int(counts[:, wanted].argmax()) if scene is None else scene_code("explain", schema, scene)
    with model._running() as native:
        met, where, part = _C.eval.recommendation_reasons(
            native, row, given, torch.tensor([wanted]), torch.tensor([code])
        )
    return _reasons(schema, met, where, part[0])


def _reasons(schema: Any, met: torch.Tensor, where: torch.Tensor, part: torch.Tensor, most: int | None = None) -> Any:
    total = float(part.clamp(min=0).sum())
    order = torch.argsort(part, descending=True, stable=True)
    if most is not None:
        order = order[:most][part[order[:most]] > 0]
    names, scenes = item_names(schema), scene_names(schema)
    return [
        Reason(names[met[j]], scenes[where[j]], float(part[j]), float(part[j]) / total if total > 0 else 0.0)
        for j in order.tolist()
    ]


def _because(native: Any, schema: Any, user: torch.Tensor, given: Any, item: torch.Tensor, where: torch.Tensor) -> Any:
    out = np.empty(tuple(item.shape), dtype=object)
    for u in range(len(user)):
        there = torch.nonzero(item[u] >= 0).squeeze(1)
        mine = None if given is None else events_of_one(given, u)
        met, scenes, part = _C.eval.recommendation_reasons(native, int(user[u]), mine, item[u][there], where[u][there])
        for n, r in enumerate(there.tolist()):
            out[u, r] = _reasons(schema, met, scenes, part[n], _SHOWN)
    return out
