"""What trained models are used for: methods of a model that stand in modules of their own."""

from __future__ import annotations

from typing import Any


class Using:
    """Methods that every model has; a base of :class:`polyscene.Model`."""

    def predict(self: Any, source: Any) -> Any:
        """Probabilities (ctr) or ratings of the rows of a table, path or frame, in its order, float [n].

        Of tasks text and image they are probabilities of classes, float [n, C], in the order of ``schema.classes``.

        Raises:
            ValueError: the source does not fit the schema.
        """
        from polyscene import evaluation

        return evaluation.predict(self, source)

    def recommend(
        self: Any,
        users: Any = None,
        k: int = 10,
        scene: str | None = None,
        events: Any = None,
        exclude_seen: bool = True,
        profile: Any = None,
        *,
        items: Any = None,
        explain: bool = False,
    ) -> Any:
        """The best items for each user, or for a new one by ``items``, see :func:`polyscene.recommending.recommend`."""
        from polyscene import recommending

        return recommending.recommend(
            self, users, k, scene, events, exclude_seen, profile, items=items, explain=explain
        )

    def session(self: Any, user: Any = None) -> Any:
        """One person event by event, see :class:`polyscene.sessions.Session`."""
        from polyscene import sessions

        return sessions.Session(self, user)

    def similar_items(self: Any, item: Any, scene: str | None = None, k: int = 10, *, source: str | None = None) -> Any:
        """The items most like one, see :func:`polyscene.recommending.similar_items`."""
        from polyscene import recommending

        return recommending.similar_items(self, item, scene, k, source=source)

    def explain_recommendation(
        self: Any, user: Any, item: Any, scene: str | None = None, *, events: Any = None, items: Any = None
    ) -> Any:
        """Which of a user's items carried a score, see :func:`polyscene.recommending.explain_recommendation`."""
        from polyscene import recommending

        return recommending.explain_recommendation(self, user, item, scene, events=events, items=items)
