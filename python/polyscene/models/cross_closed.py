"""Cross-scene models in closed form."""

from __future__ import annotations

from polyscene._model import Model


class CrossEASE(Model):
    r"""EASE in each scene, popularity as a prior, and what users do elsewhere as a correction, each behind a gate.

    .. math:: s(u, \cdot) = \text{own}(u) + p_g\, b + c_g\, \text{taste}(u)

    own is the score of :class:`EASE` in the scene (0 without rows there), b the mean of its users' rows over the square
    roots of their lengths, and taste the ridge regression from rows of another scene to rows of this one over the users
    of both, its mean over the scenes that know the user; for users of both the leave-one-out prediction.

    g groups users by the items that training has of them in the scene: none (cold), 1 to 5, 6 to 20, more. For each
    scene and group the gates p and c take the values with the best NDCG@10 of users from whom training pairs were held
    out (for cold users, where p is 1: of everybody whom another scene knows, by leave-one-out). Each is 0 unless it
    helps by ``margin`` standard errors, so that a scene that teaches nothing is shut out. In closed form; a model of
    this project. Without overlap it is EASE with a prior. Tasks: ranking.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        l2: weight of the L2 penalty of the scene's own weights, as in EASE.
        ridge: weight of the L2 penalty of the regression from other scenes.
        margin: standard errors by which the prior and other scenes must help held-out users to be let in.
        held_out: share of the training pairs that the gates of users whom a scene knows are judged on.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("ranking")
        >>> model = CrossEASE(data.schema, l2=10)
        >>> history = ps.Trainer().fit(model, data)
        >>> sorted(model.explain(ps.testing.batch(data, 4)))
        ['own', 'prior', 'taste']
    """

    _cpp_name = "cross_ease"
