"""Why a model says what it says: attention over events, words and pixels, timelines, flows, attributions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch

from polyscene import _flows, _timelines
from polyscene._extension import _C
from polyscene._model import Model
from polyscene._modes import evaluating
from polyscene.data import images
from polyscene.data.dataset import Dataset
from polyscene.data.roles import CLASSED
from polyscene.results import needs_pandas

_EXAMPLES = 6
_ROWS = 2_000
_SCENES = 5


def explanation(model: Model, data: Dataset, *, exclude_seen: bool = True) -> dict[str, Any]:
    """The content of ``explain.json``; empty for a model that explains nothing.

    ``attention``: weights over the past events of a few test rows. ``interest_scene``: mean predicted interest in each
    scene over test rows. ``transition``: mean predicted next interest for each ordered pair of scenes. ``timeline``:
    what a few users did, which events carried the prediction that followed, and what came of it. ``flow`` and
    ``interest_flow``: from what scene to what scene, and from what interest to what interest, events and predictions
    move, by period. ``words`` and ``pixels``: weights over the words of texts and the positions of images of a few test
    rows, in turn of each scene.
    """
    table, task = data.test, model.schema.task
    classed = task in CLASSED
    if table is None or len(table) == 0 or (model.history_length == 0 and not classed and task != "sequence"):
        return {}
    with evaluating(model), torch.no_grad():
        if classed:
            return _read(model, table)
        out: dict[str, Any] = {}
        batch = table.batch(torch.arange(min(len(table), _ROWS)), history=_timelines.events_read(model))
        found = model.explain(batch)
        names = _names(model, found)
        weights = _timelines.weights_by_attention(model, batch, found)
        if weights is not None and task != "sequence":  # whose timelines say it
            shown = [table.columns.scene_names[code] for code in table.columns.scene[table.rows[batch.row]]]
            heads = found["attention"].size(1) if found["attention"].dim() == 3 else 1
            out["attention"] = {"heads": heads, "examples": _attention(model, batch, weights, shown)}
        if "interests" in found:
            out["interest_scene"] = _interest_scene(model, batch, found["interests"], names)
        if "transitions" in found:
            with contextlib.suppress(ValueError):  # a model may say what comes next without a matrix
                out["transition"] = _transition(model, names)
        if told := _timelines.timelines(model, table, exclude_seen=exclude_seen):
            out["timeline"] = told
        return out | _flows.flows(model, data, exclude_seen)


def timelines(
    model: Model, table: Any, users: Sequence[Any] | None = None, *, exclude_seen: bool = True
) -> dict[str, Any] | None:
    """What users did before a row of a table, which events carried the prediction, and what came of it.

    Attention says what carried it where the model attends to events, the mean of its heads; of other models each event
    is left out in turn, and what the score of the recommended item (of labels and ratings: of the row) falls by says
    it. ``carried`` are the fewest events that hold half of what all of positive weight hold, five at most.

    Args:
        model: a trained model of data with users and items.
        table: rows with a past, such as ``data.test``.
        users: original ids, the newest row of each is told; None for the few whose past spans the most scenes.
        exclude_seen: in task sequence, do not recommend and rank what the user met in the scene, as in evaluation.

    Returns:
        ``by`` ("attention" or "left_out"), ``task``, ``timed`` and ``people``: for each ``user``, ``events`` (oldest
        first, 60 at most: ``item``, ``scene``, ``weight``, ``carried`` and, where known, ``time``, ``interests``,
        ``liked``), ``next`` (the row: ``item``, ``scene``; in sequences its ``rank`` ``among`` how many, else ``score``
        and ``label``), ``recommended``, and what the model says of ``interests``, ``transitions`` and ``next_scene``.
        None where no row has a past. :func:`polyscene.report.show_timelines` draws it.

    Raises:
        TypeError: users that are one text.
        ValueError: a user without a row.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.explaining import timelines
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = ps.models.SASRec(data.schema, dim=8)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> told = timelines(model, data.test, ["u3"])
        >>> told["by"], len(told["people"][0]["events"]), sorted(told["people"][0]["next"])
        ('attention', 14, ['among', 'interests', 'item', 'rank', 'scene', 'time'])
    """
    with evaluating(model), torch.no_grad():
        return _timelines.timelines(model, table, users, exclude_seen)


def flows(model: Model, data: Any, *, exclude_seen: bool = True) -> dict[str, Any]:
    """From what scene to what scene events and predictions move, and from what interest to what interest, by period.

    An event of a user counts with the one that follows it; in task ctr events of label 1 alone. Periods hold about as
    many steps each; without a time column they are thirds of each user's events.

    Args:
        model: a trained model.
        data: a data set; what the model says is told of its test rows.
        exclude_seen: in task sequence, do not recommend what the user met in the scene.

    Returns:
        ``flow`` (of scenes; where there are several) and ``interest_flow`` (where the data have interests): ``names``,
        at most 8 scenes and 12 interests with the most events, ``left_out`` (how many more), and ``periods``, each with
        ``name``, ``events`` [from][to] and, for up to 1,000 test rows, ``said``: the scene or the interest that follows
        the newest event as ``said_by`` has it: "scores" (of the best item of all scenes), "next_scene" or "interests"
        (the model's own shares). :func:`polyscene.report.show_flows` draws it.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.explaining import flows
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = ps.models.GRU4Rec(data.schema, dim=8, hidden=8)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> found = flows(model, data)["flow"]
        >>> found["names"], sum(sum(map(sum, period["events"])) for period in found["periods"])
        (['phone', 'tablet', 'television'], 560.0)
    """
    with evaluating(model), torch.no_grad():
        return _flows.flows(model, data, exclude_seen)


KINDS = ("field", "event", "word", "patch")
"""What features are."""


def attributions(
    model: Model,
    rows: Any,
    method: str = "shapley",
    *,
    target: int | None = None,
    kinds: Sequence[str] = KINDS,
    samples: int = 25,
    patch: int = 4,
    seed: int = 0,
) -> Any:
    r"""What each field, past event, word or patch of an image adds to a prediction, by captum.

    A feature that is taken away is missing: a field becomes its missing value, a number what missing ones become, a
    list is empty, an event or a word is left out, a patch of an image is 0. The scene stays. Numbers are logits,
    predicted ratings or scores. Needs the extra ``explain``.

    - "shapley": Shapley values from drawn orders (Castro, Gomez and Tejada, 2009), which add up to the score with all
      features less that with none;
    - "exact": the same over all orders, of at most 7 features;
    - "ablation": what the score loses without the feature alone;
    - "integrated_gradients": of numeric fields alone, along the line from their missing values; all else stays.

    Args:
        model: any model whose answer is a number a row, or several (tasks text, image and sequence).
        rows: a :class:`polyscene.Batch` with the history that the model follows, such as
            ``data.test.batch(rows, history=model.history_length)``.
        method: one of those.
        target: the class, or in task sequence the place of the item among those of the row's scene; None for the
            largest of each row.
        kinds: of "field", "event", "word" and "patch", which are asked for; the others stay.
        samples: drawn orders of "shapley", steps of "integrated_gradients".
        patch: edge of a patch in pixels.
        seed: of the drawn orders.

    Returns:
        A pandas frame with a row a feature: ``row`` (position in the batch), ``kind``, ``feature``, ``value``,
        ``attribution``, and ``score``, what the model says of the row.

    Raises:
        ImportError: captum is not installed.
        ValueError: an unknown method or kind, a number out of range, a model without numeric fields for
            "integrated_gradients".

    Example:
        >>> import polyscene as ps
        >>> from polyscene.explaining import attributions
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.Logistic(data.schema)
        >>> _ = ps.Trainer(epochs=1).fit(model, data)
        >>> frame = attributions(model, ps.testing.batch(data, 2), "ablation")
        >>> list(frame.feature[frame.row == 0])
        ['user_id', 'item_id', 'age_group', 'genre', 'age', 'minutes', 'tags']
    """
    from polyscene._features import Features
    from polyscene.integrations import captum

    pandas = needs_pandas("attributions")
    captum.require()
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    for what, value, known in (("method", method, captum.METHODS), *(("kinds", each, KINDS) for each in kinds)):
        if value not in known:
            hint = _C.core.suggestion(str(value), list(known))
            raise ValueError(f"attributions: {what} must be of {', '.join(known)}, got {value!r}{hint}")
    for name, number in (("samples", samples), ("patch", patch)):
        if number < 1:
            raise ValueError(f"attributions: {name} must be positive, got {number}")
    if method == "integrated_gradients" and model.schema.numeric_width == 0:
        raise ValueError("attributions: integrated_gradients are of numeric fields, the data have none")
    lines = []
    with evaluating(model), torch.no_grad():
        for row in range(len(rows)):
            features = Features(model, rows, row, target, patch, tuple(kinds))
            shown = features.all
            score = float(features(torch.ones(1, len(shown)))[0])
            if method == "integrated_gradients":
                with torch.enable_grad():
                    parts = captum.of_numbers(features, samples)
                shown = [each for each in features.every if each.source == "numeric"]
            else:
                parts = captum.of_masks(features, method, samples, seed + row)
            for each, part in zip(shown, parts, strict=True):
                told = {"row": row, "kind": each.kind, "feature": each.name, "value": each.value}
                lines.append(told | {"attribution": part, "score": score})
    columns = ["row", "kind", "feature", "value", "attribution", "score"]
    return pandas.DataFrame(lines, columns=columns)


def _read(model: Model, table: Any) -> dict[str, Any]:
    """What the model looked at in some texts or images."""
    scene = table.columns.scene[table.rows]
    turns = torch.stack([torch.cumsum(scene == code, 0) * (scene == code) for code in scene.unique()]).amax(0)
    rows = torch.argsort(turns, stable=True)[:_EXAMPLES]  # the first row of each scene, then the second ones
    batch = table.batch(rows)
    found, logits = model.explain(batch), model(batch)
    names = [table.columns.scene_names[code] for code in scene[rows]]
    classes = list(model.schema.classes) or [str(number) for number in range(logits.size(1))]
    labels = [int(label) for label in batch.label]
    titles = [
        f"{classes[label]} in {name}" + ("" if label == said else f", taken for {classes[said]}")
        for label, said, name in zip(labels, logits.argmax(1).tolist(), names, strict=True)
    ]
    out: dict[str, Any] = {}
    attention = [each for name, each in found.items() if name.startswith("attention")]
    words = next((each for each in attention if each.dim() == 2), None)  # [B, T]
    pixels = next((each for each in attention if each.dim() == 3), None)  # [B, h, w]
    texts = [each.name for each in model.schema.lists if each.kind == "text"]
    if texts and words is not None:
        out["words"] = [
            {"title": title, "words": tokens, "weights": _numbers(weight[: len(tokens)])}
            for title, tokens, weight in zip(titles, _tokens(table, texts[0], rows), words, strict=True)
        ]
    if model.schema.images and pixels is not None:
        shown = images(batch, model.schema)  # [B, channels, height, width]
        out["pixels"] = [
            {"title": title, "image": _numbers(image), "weights": _numbers(weight)}
            for title, image, weight in zip(titles, shown, pixels, strict=True)
        ]
    return out


def _tokens(table: Any, column: str, rows: torch.Tensor) -> list[list[str]]:
    place = table.columns.lists.index(column)
    codes, ids = table.columns.list_codes[place], table.columns.list_ids[place].list()
    out = []
    for row in table.rows[rows].tolist():
        first, last = int(codes.offsets[row]), int(codes.offsets[row + 1])
        out.append([ids[code] for code in codes.values[first:last].tolist()])
    return out


def _numbers(values: torch.Tensor) -> Any:
    return values.double().mul(1e4).round().div(1e4).tolist()


def _names(model: Model, found: dict[str, torch.Tensor]) -> list[str]:
    if known := model.schema.interests:
        return list(known)
    return [f"interest {i + 1}" for i in range(found["interests"].size(-1))] if "interests" in found else []


def _attention(model: Model, batch: Any, weights: list[Any], shown: list[str]) -> list[dict[str, Any]]:
    # `shown` names the scene of each row as the data do: a new one has no name in the schema.
    schema = model.schema
    items = [None, None, *schema.categorical[schema.field(schema.item)].ids]
    offsets = batch.history.offsets
    longest = sorted(range(len(weights)), key=lambda row: -len(weights[row]))[:_EXAMPLES]
    examples = []
    for row in longest:
        if len(weights[row]) == 0:
            continue
        events = [
            f"{items[int(batch.history.item[j])] or 'unknown'} · {schema.scenes[int(batch.history.scene[j])]}"
            f"{' · liked' if float(batch.history.label[j]) > 0.5 else ''}"
            for j in range(int(offsets[row]), int(offsets[row + 1]))
        ]
        item = items[int(batch.item[row])] or "unknown"
        share = weights[row].clip(0)  # of din, whose weights neither add up to 1 nor are all positive
        told = [round(float(weight), 6) for weight in share / max(share.sum(), 1e-12)]
        examples.append({"title": f"{item} in {shown[row]}", "events": events, "weights": told})
    return examples


def _interest_scene(model: Model, batch: Any, interests: torch.Tensor, names: list[str]) -> dict[str, Any]:
    scenes = model.schema.scenes
    matrix = torch.zeros(len(names), len(scenes), dtype=torch.float64)
    for s in range(len(scenes)):
        mine = interests[batch.scene == s]
        if len(mine):
            matrix[:, s] = mine.double().mean(0)
    return {"interests": names, "scenes": list(scenes), "matrix": _rounded(matrix)}


def _transition(model: Model, names: list[str]) -> dict[str, Any]:
    scenes = model.schema.scenes
    busiest = torch.argsort(model.schema.scene_rows, descending=True, stable=True)[:_SCENES].sort().values.tolist()
    matrices = {
        f"{scenes[a]} -> {scenes[b]}": _rounded(model._impl.transition_matrix(a, b)) for a in busiest for b in busiest
    }
    return {"interests": names, "scenes": [scenes[s] for s in busiest], "matrices": matrices}


def _rounded(matrix: torch.Tensor) -> list[list[float]]:
    return [[round(value, 6) for value in row] for row in matrix.double().tolist()]
