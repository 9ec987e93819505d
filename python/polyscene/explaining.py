"""Why a model says what it says: attention over events, words and pixels, interests, how interest moves."""

from __future__ import annotations

from typing import Any

import torch

from polyscene._model import Model
from polyscene.data import images
from polyscene.data.dataset import Dataset
from polyscene.data.roles import CLASSED

_EXAMPLES = 6
_ROWS = 2_000
_SCENES = 5


def explanation(model: Model, data: Dataset) -> dict[str, Any]:
    """The content of ``explain.json``; empty for a model that explains nothing.

    ``attention``: weights over the past events of a few test rows. ``interest_scene``: mean predicted interest in each
    scene over test rows. ``transition``: mean predicted next interest for each ordered pair of scenes. ``words`` and
    ``pixels``: weights over the words of texts and the positions of images of a few test rows, in turn of each scene.
    """
    table = data.test
    classed = model.schema.task in CLASSED
    if table is None or len(table) == 0 or (model.history_length == 0 and not classed):
        return {}
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if classed:
                return _read(model, table)
            batch = table.batch(torch.arange(min(len(table), _ROWS)), history=model.history_length)
            found = model.explain(batch)
            out: dict[str, Any] = {}
            names = _names(model, found)
            # Only attention over events is shown: that of m2m is over experts.
            if {"attention", "events"} <= found.keys() and found["attention"].size(-1) > 0:
                shown = [table.columns.scene_names[code] for code in table.columns.scene[table.rows[batch.row]]]
                out["attention"] = _attention(model, batch, found, shown)
            if "interests" in found:
                out["interest_scene"] = _interest_scene(model, batch, found["interests"], names)
            if "transitions" in found:
                out["transition"] = _transition(model, names)
            return out
    finally:
        model.train(training)


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


def _attention(model: Model, batch: Any, found: dict[str, torch.Tensor], shown: list[str]) -> dict[str, Any]:
    # `shown` names the scene of each row as the data do: a new one has no name in the schema.
    weights, length = found["attention"], found["events"]  # [B, heads, T], [B]
    schema = model.schema
    items = [None, None, *schema.categorical[schema.field(schema.item)].ids]
    offsets = batch.history.offsets
    longest = torch.argsort(length, descending=True, stable=True)[:_EXAMPLES].tolist()
    examples = []
    for row in longest:
        n = int(length[row])
        if n == 0:
            continue
        last = int(offsets[row + 1])
        chosen = range(last - n, last)
        events = [
            f"{items[int(batch.history.item[j])] or 'unknown'} · {schema.scenes[int(batch.history.scene[j])]}"
            f"{' · liked' if float(batch.history.label[j]) > 0.5 else ''}"
            for j in chosen
        ]
        item = items[int(batch.item[row])] or "unknown"
        examples.append(
            {
                "title": f"{item} in {shown[row]}",
                "events": events,
                "weights": [round(float(w), 6) for w in weights[row, :, :n].mean(0)],
            }
        )
    return {"heads": weights.size(1), "examples": examples}


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
