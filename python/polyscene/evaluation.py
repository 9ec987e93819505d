"""Scores of models: `evaluate`, `predict`; `recommend` comes from :mod:`polyscene.recommending`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.data.roles import CLASSED, RANKED
from polyscene.recommending import Recommendations, recommend
from polyscene.results import PerUser, Predictions, Result, nulls

__all__ = ["Recommendations", "evaluate", "per_user", "predict", "predict_arrays", "recommend", "scores", "table_for"]

Table = _C.data.Table


def table_for(model: Model, source: Any, every_row: bool = False) -> Any:
    """``source`` as a table of the model: itself, or a path, frame or data set that is encoded with the model's schema.

    With ``every_row`` the rows that a ranking drops for their label 0 are kept.

    Raises:
        ValueError: a table of another schema, or a source that lacks a column.
    """
    if isinstance(source, Table):
        table = source
    elif hasattr(source, "tables"):
        table = source.test if source.test is not None else source.table
    else:
        from polyscene.data import encode

        roles = {"label": None} if every_row and model.schema.task in RANKED else {}
        table = encode(source, model.schema, **roles)
    if table.history is None and model._impl.history is not None:
        table.history = model._impl.history
    return table


def scores(model: Model, table: Any) -> np.ndarray:
    """Probabilities (ctr) or ratings of all rows in table order, float [n]; of classes those of each, [n, C]."""
    with model._running() as native:
        logits = _C.eval.predict_logits(native, table)
    return logits.numpy() if model.schema.task == "rating" else _probabilities(model.schema.task, logits).numpy()


def _probabilities(task: str, logits: torch.Tensor) -> torch.Tensor:
    """Of a row, [n], or of its classes, [n, C], float64."""
    return logits.double().softmax(1) if task in CLASSED else logits.double().sigmoid()


def predict(model: Model, source: Any) -> np.ndarray:
    """Probabilities (ctr) or ratings of the rows of a table, path or frame, in its order, float [n].

    Of tasks text and image they are probabilities of classes, float [n, C], in the order of ``schema.classes``; of
    rankings and sequences the sigmoid of a score, which orders and is no probability.

    Raises:
        ValueError: the source does not fit the model's schema.
    """
    _check_model("predict", model)
    return scores(model, table_for(model, source, every_row=True))


def evaluate(
    model: Model,
    table: Any,
    metrics: Sequence[str] | None = None,
    k: Sequence[int] = (10,),
    candidates: str | int = "all",
    threshold: float = 0.5,
    seed: int = 0,
    exclude_seen: bool = True,
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
        threshold: probability from which a row counts as positive, in (0, 1); of classes the likeliest counts.
        seed: of sampled candidates.
        exclude_seen: of sequences, where each row is ranked by itself after what its user did before: leave out the
            items of that history, and the rows that want one of them again (``extra["repeated"]`` counts them). False
            where items come again.

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
    if model.schema.task in RANKED:
        return _evaluate_ranking(model, table, list(metrics or ()), k, candidates, seed, exclude_seen)
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
    model: Model,
    table: Any,
    metrics: list[str],
    k: Sequence[int],
    candidates: str | int,
    seed: int,
    exclude_seen: bool,
) -> Result:
    if isinstance(k, int) and not isinstance(k, bool):
        k = (k,)
    if candidates == "all":
        candidates = 0
    elif isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
        raise ValueError(f"evaluate: candidates must be 'all' or a positive whole number, got {candidates!r}")
    with model._running() as native:
        measured = _C.eval.evaluate_ranking(native, table, metrics, list(k), candidates, seed, exclude_seen)
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
    if measured["without_user"]:
        out.extra["without_user"] = measured["without_user"]
    out.per_user = per_user(model.schema, table, queries)
    of_users = out.per_user.values  # coverage and the like have none
    if of_users:
        metric = min(of_users, key=lambda name: (name != "ndcg@10", not name.startswith("ndcg@"), name))
        out.extra["slices"] = {"metric": metric, "groups": _groups(out.per_user, metric)}
    return out


def _groups(found: PerUser, metric: str) -> dict[str, dict[str, Any]]:
    """Mean of a metric over the users whom training knew to different degrees; see :meth:`PerUser.slices`."""
    out: dict[str, dict[str, Any]] = {}
    for name, values in found.means(metric).items():
        users = int(values.pop("users"))
        if users:
            plain = nulls(values)
            out[name] = {"users": users, "overall": plain.pop("overall"), "scenes": plain}
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
    label, classes = table.labels(), None
    score = logits.double() if schema.task == "rating" else _probabilities(schema.task, logits)
    if schema.task in CLASSED:
        classes, score = score.numpy(), score.gather(1, label.long().unsqueeze(1)).squeeze(1)
    user = None
    if schema.user is not None:
        column = table.columns.categorical.index(schema.user)
        user = table.columns.codes[:, column][table.rows].numpy()
    weight = None if table.columns.weight is None else table.columns.weight[table.rows].numpy()
    return Predictions(table.rows.numpy(), scene, label.numpy(), score.numpy(), user, weight, classes)
