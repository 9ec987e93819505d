"""What a prediction is made of, feature by feature, and the prediction without some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene._timelines import picked

MISSING = 1
"""The vocabulary row of a value that is missing."""
_AT_ONCE = 512  # copies of a row that are scored together


@dataclass(frozen=True)
class Feature:
    """A part of a row that can be taken away.

    Attributes:
        kind: "field", "event", "word" or "patch".
        name: of the field, or of the column and the place in it.
        value: what the row has there, as text.
        column: of the categorical fields or the lists, first of the numeric columns, or 0.
        place: of the event or word, oldest or first 0; of the patch, row by row.
        source: "categorical", "numeric", "list", "event", "word" or "patch".
    """

    kind: str
    name: str
    value: str
    column: int = 0
    place: int = 0
    source: str = ""


class Features:
    """The features of one row, and the model's answer when only some of them are there.

    A categorical field that is taken away is missing, a number becomes what missing ones become, a list is empty; an
    event or a word is left out, a patch of an image is 0.

    Args:
        model: what answers.
        batch: rows.
        row: which of them.
        target: which of the numbers that the model gives a row, of tasks text, image and sequence; None for the
            largest.
        patch: edge of a patch in pixels.
        kinds: the kinds of features that are asked for; the others stay.
    """

    def __init__(
        self, model: Model, batch: Any, row: int, target: int | None, patch: int, kinds: tuple[str, ...]
    ) -> None:
        self.model, self.schema = model, model.schema
        self.batch = batch.take([row])
        self.patch = patch
        self.every = self._found()
        self.all = [each for each in self.every if each.kind in kinds]
        out = self.model(self.batch)
        self.target = None if out.dim() == 1 else int(out[0].argmax()) if target is None else int(target)
        if self.target is not None and not 0 <= self.target < out.size(1):
            raise ValueError(f"attributions: target must be in [0, {out.size(1)}), got {self.target}")

    def __call__(self, mask: torch.Tensor) -> torch.Tensor:
        """The answer with the features whose mask is not 0, float64 [n] from [n, P]."""
        there = mask != 0
        return torch.cat([self._answer(some) for some in there.split(_AT_ONCE)])

    def of_numbers(self, numbers: torch.Tensor) -> torch.Tensor:
        """The answer with other numbers in the place of the row's, float64 [n] from [n, M]."""
        many = self.batch.take([0] * len(numbers))
        many.numeric = numbers.to(self.batch.numeric.dtype)
        return self._one(self.model(many))

    def numbers(self) -> list[tuple[str, list[int]]]:
        """Numeric fields and their columns."""
        out, first = [], 0
        for field in self.schema.numeric:
            width = 2 if field.missing == "category" else 1
            out.append((field.name, list(range(first, first + width))))
            first += width
        return out

    def absent(self) -> torch.Tensor:
        """Numbers as a row has them whose values are all missing, [M]."""
        out = torch.zeros(self.schema.numeric_width)
        for field, (_, columns) in zip(self.schema.numeric, self.numbers(), strict=True):
            out[columns[0]] = (min(max(field.fill, field.low), field.high) - field.shift) / (field.scale or 1)
            if len(columns) > 1:
                out[columns[1]] = 1
        return out

    def _one(self, out: torch.Tensor) -> torch.Tensor:
        return (out if self.target is None else out[:, self.target]).double()

    def _answer(self, there: torch.Tensor) -> torch.Tensor:
        n = len(there)
        many = self.batch.take([0] * n)
        gone = ~there
        of_source = {source: [p for p, each in enumerate(self.all) if each.source == source] for source in _SOURCES}
        if of_source["categorical"]:
            self._without_fields(many, gone, of_source["categorical"])
        if of_source["numeric"]:
            numbers, absent = many.numeric.clone(), self.absent()
            columns_of = dict(self.numbers())
            for p in of_source["numeric"]:
                columns = columns_of[self.all[p].name]
                numbers[:, columns] = torch.where(gone[:, p : p + 1], absent[columns], numbers[:, columns])
            many.numeric = numbers
        if of_source["event"]:
            many.history = picked(self.batch.history, there[:, of_source["event"]])
        lists = dict(many.sequence)
        for p in of_source["list"]:
            name = self.all[p].name
            values = lists[name].values.view(n, -1)
            lists[name] = _ragged(values, there[:, p : p + 1].expand(values.shape))
        for source in ("word", "patch"):
            for column in {self.all[p].column for p in of_source[source]}:
                name = self.schema.lists[column].name
                mine = [p for p in of_source[source] if self.all[p].column == column]
                values = lists[name].values.view(n, -1)
                if source == "word":
                    lists[name] = _ragged(values, there[:, mine])
                else:
                    shown = there[:, mine].gather(1, self._patch_of(column).expand(n, -1))
                    full = torch.ones_like(shown, dtype=torch.bool)
                    lists[name] = _ragged(torch.where(shown, values, torch.zeros_like(values)), full)
        if lists:
            many.sequence = lists
        return self._one(self.model(many))

    def _without_fields(self, many: Any, gone: torch.Tensor, places: list[int]) -> None:
        codes = many.categorical.clone()
        for p in places:
            feature = self.all[p]
            codes[:, feature.column] = codes[:, feature.column].masked_fill(gone[:, p], MISSING)
            if feature.name == self.schema.user:
                many.user = many.user.masked_fill(gone[:, p], MISSING)
            if feature.name == self.schema.item and self.schema.task != "sequence":  # there it is the answer
                many.item = many.item.masked_fill(gone[:, p], MISSING)
        many.categorical = codes

    def _found(self) -> list[Feature]:
        schema, batch = self.schema, self.batch
        out = []
        for column, field in enumerate(schema.categorical):
            if schema.task == "sequence" and field.name == schema.item:
                continue
            code = int(batch.categorical[0, column])
            value = ("unknown", "missing")[code] if code < 2 else field.ids[code - 2]
            out.append(Feature("field", field.name, value, column, source="categorical"))
        for field, (name, columns) in zip(schema.numeric, self.numbers(), strict=True):
            value = float(batch.numeric[0, columns[0]]) * (field.scale or 1) + field.shift
            out.append(Feature("field", name, f"{value:.6g}", columns[0], source="numeric"))
        for column, field in enumerate(schema.lists):
            if field.name in batch.sequence:
                out += self._of_list(column, field, batch.sequence[field.name].values)
        if batch.history is not None and self.model.history_length > 0:
            items = schema.categorical[schema.field(schema.item)].ids
            for place, (item, scene) in enumerate(zip(batch.history.item.tolist(), batch.history.scene, strict=True)):
                name = items[item - 2] if item >= 2 else "unknown"
                where = schema.scenes[int(scene)] if int(scene) < len(schema.scenes) else "unknown"
                out.append(Feature("event", f"event {place + 1}", f"{name} · {where}", 0, place, "event"))
        return out

    def _of_list(self, column: int, field: Any, values: torch.Tensor) -> list[Feature]:
        codes = values.tolist()
        if field.kind == "image":
            if not codes:
                return []
            _, height, width = self._size(column)
            edge = self.patch
            out: list[Feature] = []
            for top in range(0, height, edge):
                for left in range(0, width, edge):
                    name, where = f"{field.name} {top}:{left}", f"row {top}, column {left}"
                    out.append(Feature("patch", name, where, column, len(out), "patch"))
            return out
        ids = self._ids(field)
        texts = [ids[code - 2] if 2 <= code < len(ids) + 2 else ("unknown", "missing")[min(code, 1)] for code in codes]
        if field.kind == "text":
            return [Feature("word", f"{field.name} {k + 1}", word, column, k, "word") for k, word in enumerate(texts)]
        return [Feature("field", field.name, ", ".join(texts), column, source="list")]

    def _ids(self, field: Any) -> list[str]:
        if field.shares:
            return list(self.schema.categorical[self.schema.field(field.shares)].ids)
        return list(field.ids)

    def _size(self, column: int) -> tuple[int, int, int]:
        name = self.schema.lists[column].name
        return next((c, h, w) for found, c, h, w in self.schema.images if found == name)

    def _patch_of(self, column: int) -> torch.Tensor:
        """The patch of each number of an image, int64 [channels * height * width]."""
        channels, height, width = self._size(column)
        across = -(-width // self.patch)
        rows, columns = torch.arange(height) // self.patch, torch.arange(width) // self.patch
        return (rows.unsqueeze(1) * across + columns).flatten().repeat(channels)


_SOURCES = ("categorical", "numeric", "list", "event", "word", "patch")


def _ragged(values: torch.Tensor, there: torch.Tensor) -> Any:
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), there.sum(1).cumsum(0)])
    return _C.data.Ragged(values[there], offsets)
