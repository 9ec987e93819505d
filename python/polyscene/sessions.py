"""One person as they act: scores after every event, without computing the past again."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene._people import (
    Rows,
    check_k,
    check_model,
    id_text,
    item_counts,
    item_names,
    scene_code,
    scene_names,
)
from polyscene.recommending import Recommendations, recommend

FIRST_ID = 2
"""Vocabulary rows before it stand for unknown and missing ids."""


class Session:
    """Follows one person event by event (task ``sequence``); scores are those that all events at once would give.

    A session follows the newest ``max_length`` events whose items training knew, with ``scope="scene"`` those of the
    scene. ``recommend`` and ``evaluate`` first take the newest ``max_length`` events of all kinds and scenes: beyond
    that many the two differ with ``scope="scene"`` or after unknown items.

    ``gru4rec``, and ``sasrec`` with ``positions="oldest"``, keep what they computed, so that an event costs one step
    whatever the length of the past. Past the model's ``max_length`` events, and with other models, the newest events
    are computed again when scores are asked for: give a model that serves long sessions a ``max_length`` to match.
    Parameters must not change meanwhile; one person and one thread each.

    Args:
        model: a trained model of task ``sequence`` from C++.
        user: original id, whose training events come first; None, or somebody whom training did not know, starts empty.

    Attributes:
        events: how many events there are, training events included.

    Raises:
        TypeError: no model.
        ValueError: a model without a state after each event.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = ps.models.GRU4Rec(data.schema, dim=8, hidden=8)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> person = model.session()
        >>> for item in ("i3", "i8", "i1"):
        ...     person.add(item, scene="phone")
        >>> person.events, person.recommend(k=2, scene="tablet").items.shape
        (3, (1, 2))
    """

    def __init__(self, model: Model, user: Any = None) -> None:
        check_model("session", model)
        self._model, self._rows = model, Rows(model.schema)
        self._user = "new user" if user is None else id_text(user)
        with model._running() as native:
            self._impl = _C.models.Follower(native)
            row = 0 if user is None else self._rows.of(model.schema.user, user)
            if row > 1 and native.history is not None:
                self._impl.add_all(_C.eval.behaviour(native.history, torch.tensor([row])))

    @property
    def events(self) -> int:
        return self._impl.events

    def add(self, item: Any, scene: str | None = None, time: int = 0) -> None:
        """One more event.

        Args:
            item: original id; one that training did not know is passed over, as in every history.
            scene: where it happened; None for the scene with most training rows of the item.
            time: as in the data, for models that read it.

        Raises:
            ValueError: an unknown scene, none where the item has no training rows, or a model that was not trained.
        """
        schema = self._model.schema
        row = self._rows.of(schema.item, item)
        if row < FIRST_ID:
            warnings.warn(f"session: nothing is known of item {item!r}, it is passed over", stacklevel=2)
        if scene is None:
            counts = item_counts("session", self._model)[:, row]
            if row > 1 and not bool(counts.any()):
                raise ValueError(f"session: item {item!r} has no training rows; say in which scene it was met")
            code = int(counts.argmax())
        else:
            code = scene_code("session", schema, scene)
        with self._model._running():
            self._impl.add(row, code, time)

    def scores(self, scene: str) -> dict[str, float]:
        """The score of each item with training rows in a scene, by its id.

        Raises:
            ValueError: an unknown scene.
        """
        items, scores = self._scores(scene)
        return dict(zip(item_names(self._model.schema)[items.numpy()].tolist(), scores.tolist(), strict=True))

    def recommend(self, k: int = 10, scene: str | None = None, exclude_seen: bool = True) -> Recommendations:
        """The best items now; by popularity, with a warning, where there is no event that the model knows.

        Args:
            k: how many.
            scene: where they will be shown; None ranks the items of all scenes, each where it scores best.
            exclude_seen: leave out what the person has met.

        Returns:
            One row, as :func:`polyscene.recommending.recommend` gives: short ones end in None and -inf.

        Raises:
            ValueError: an unknown scene, k below 1.
        """
        check_k("session", k)
        schema = self._model.schema
        if not bool((self._impl.items() >= FIRST_ID).any()):
            return recommend(self._model, [self._user], k, scene, exclude_seen=exclude_seen)
        scenes = list(schema.scenes) if scene is None else [scene]
        found = [self._scores(each) for each in scenes]
        items = torch.cat([each for each, _ in found])
        scores = torch.cat([each for _, each in found])
        where = torch.cat(
            [
                torch.full((len(each),), scene_code("session", schema, name))
                for name, (each, _) in zip(scenes, found, strict=True)
            ]
        )
        if exclude_seen:
            scores = scores.masked_fill(torch.isin(items, self._impl.items()), -torch.inf)
        order = torch.argsort(scores, descending=True, stable=True)
        order = order[scores[order] > -torch.inf]
        _, first = np.unique(items[order].numpy(), return_index=True)
        best = order[np.sort(first)[:k]]
        short = k - len(best)
        ids, names = item_names(schema), scene_names(schema)
        return Recommendations(
            [self._user],
            np.asarray([[*ids[items[best].numpy()], *[None] * short]], dtype=object),
            np.asarray([[*scores[best].tolist(), *[-np.inf] * short]], dtype=np.float32),
            np.asarray([[*names[where[best].numpy()], *[None] * short]], dtype=object),
            known=np.asarray([True]),
        )

    def _scores(self, scene: str) -> tuple[torch.Tensor, torch.Tensor]:
        code = scene_code("session", self._model.schema, scene)
        with self._model._running() as native:
            return _C.models.scene_items(native, code), self._impl.scores(code)
