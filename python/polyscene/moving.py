"""How well a model tells where interest goes next: into which scene, to which interest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from polyscene._modes import evaluating
from polyscene._timelines import events_read
from polyscene.evaluation import table_for

_ROWS = 4_096
_FIRST = 2  # row of a vocabulary: before are unknown and missing ones
_PAST = 8  # events in which the newest that counts is looked for


def moves(model: Any, table: Any, train: Any = None, k: Sequence[int] = (1, 3)) -> dict[str, dict[str, float]]:
    """Measures the next scene and the next interest that a model expects after what somebody did before each row.

    Args:
        model: one whose ``explain`` gives ``next_scene`` or ``transitions``: ``interest_sequence``,
            ``interest_migration``.
        table: rows to measure on, or a path or frame that is encoded with the model's schema.
        train: the training table; with it stands what a chain without a model would say (Markov, of order 1): the
            scenes that followed the last event's scene most often, and the interests that followed its interests in
            that pair of scenes, or in any pair where there was none.
        k: cut-offs of the interests.

    Returns:
        For "overall" and each scene of the rows (the one they came in): ``rows``, those with a past; ``scene_accuracy``
        and ``scene_log_loss`` of the next scene; ``interest_hit@k``, the share of the rows with interests that have one
        of them among the k likeliest; ``chain_scene_accuracy`` and ``chain_interest_hit@k``. What the model or the data
        do not have is left out, what has no row is nan.

    Raises:
        ValueError: a model that expects neither, a cut-off below 1, an empty table.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = ps.models.InterestSequence(data.schema, dim=16)
        >>> _ = ps.Trainer(epochs=2).fit(model, data)
        >>> sorted(ps.moves(model, data.test, data.train)["overall"])[:3]
        ['chain_interest_hit@1', 'chain_interest_hit@3', 'chain_scene_accuracy']
    """
    if (
        isinstance(k, int)
        or not k
        or any(isinstance(each, bool) or not isinstance(each, int) or each < 1 for each in k)
    ):
        raise ValueError(f"moves: k must be a list of positive whole numbers, got {k!r}")
    table = table_for(model, table)
    if len(table) == 0:
        raise ValueError("moves: the table has no rows")
    schema = model.schema
    chain = None if train is None else _Chain(schema, train)
    found: dict[str, list[np.ndarray]] = {}
    with evaluating(model), torch.no_grad():
        for batch in _batches(table, events_read(model)):
            said = model.explain(batch)
            if not {"next_scene", "transitions"} & said.keys():
                raise ValueError(
                    f"moves: {model.name} expects neither scenes nor interests; interest_sequence and "
                    "interest_migration do"
                )
            if not schema.interests:  # latent interests have no truth
                said.pop("transitions", None)
            for name, values in _of_rows(batch, said, chain, k).items():
                found.setdefault(name, []).append(values)
    columns = {name: np.concatenate(parts) for name, parts in found.items()}
    scene = columns.pop("scene")
    out = {"overall": _means(columns, np.ones(len(scene), dtype=bool))}
    return out | {name: _means(columns, scene == code) for code, name in enumerate(schema.scenes)}


def expects(model: Any, table: Any) -> bool:
    """Whether a model says of the rows of a table of sequences where interest goes next."""
    if model.schema.task != "sequence" or table is None or len(table) == 0:
        return False
    with evaluating(model), torch.no_grad():
        said = model.explain(table.batch(torch.arange(1), history=events_read(model)))
    return bool({"next_scene", "transitions"} & said.keys())


class _Chain:
    """Counts of what followed what in training rows."""

    def __init__(self, schema: Any, train: Any) -> None:
        scenes, interests = len(schema.scenes) + 1, len(schema.interests)  # one more may be shared by new ones
        self.scenes = torch.zeros(scenes, scenes, dtype=torch.float64)
        self.pairs = torch.zeros(scenes, scenes, interests, interests, dtype=torch.float64)
        for batch in _batches(train, _PAST):
            rows, last = _last(batch, batch.history.item >= _FIRST)
            came = batch.history.scene[last]
            self.scenes.index_put_((came, batch.scene[rows]), torch.ones(len(rows), dtype=torch.float64), True)
            if interests:
                before = _multi_hot(batch.history.interest, interests)[last]
                after = _multi_hot(batch.interest, interests)[rows]
                moved = before.unsqueeze(2) * after.unsqueeze(1)
                self.pairs.index_put_((came, batch.scene[rows]), moved, True)
        self.any_pair = self.pairs.sum((0, 1))

    def interests(self, came: torch.Tensor, asked: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """How often each interest followed, [n, K]."""
        mine = torch.einsum("nk,nkl->nl", before, self.pairs[came, asked])
        wider, most = before @ self.any_pair, self.any_pair.sum(0).expand(len(came), -1)
        mine = torch.where(mine.sum(1, keepdim=True) > 0, mine, wider)
        return torch.where(mine.sum(1, keepdim=True) > 0, mine, most)


def _batches(table: Any, history: int) -> Iterator[Any]:
    for start in range(0, len(table), _ROWS):
        yield table.batch(torch.arange(start, min(start + _ROWS, len(table))), history=history)


def _last(batch: Any, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that have a past, and the newest event of each, of those that count, bool [L]."""
    events = torch.arange(len(counts))
    owner = torch.arange(len(batch.scene)).repeat_interleave(batch.history.offsets.diff())
    last = torch.full((len(batch.scene),), -1).scatter_reduce(0, owner[counts], events[counts], "amax")
    rows = torch.nonzero(last >= 0).squeeze(1)
    return rows, last[rows]


def _multi_hot(lists: Any, interests: int) -> torch.Tensor:
    out = torch.zeros(len(lists.offsets) - 1, interests, dtype=torch.float64)
    row = torch.arange(len(out)).repeat_interleave(lists.offsets.diff())
    out[row, lists.values.long()] = 1
    return out


def _of_rows(
    batch: Any, said: dict[str, torch.Tensor], chain: _Chain | None, k: Sequence[int]
) -> dict[str, np.ndarray]:
    rows, last = _last(batch, batch.history.item >= _FIRST)  # items that training did not know say nothing
    scene = batch.scene[rows]
    came = batch.history.scene[last]
    out = {"scene": scene}
    if "next_scene" in said:
        share = said["next_scene"][rows].double()
        out["scene_accuracy"] = share.argmax(1) == scene
        out["scene_log_loss"] = -share.gather(1, scene.unsqueeze(1)).squeeze(1).log()
        if chain is not None:
            out["chain_scene_accuracy"] = chain.scenes[came].argmax(1) == scene
    if "transitions" in said and batch.interest is not None:
        interests = said["transitions"].size(1)
        truth = _multi_hot(batch.interest, interests)[rows]
        expected = {"interest": said["transitions"][rows].double()}
        if chain is not None:
            before = _multi_hot(batch.history.interest, interests)[last]
            expected["chain_interest"] = chain.interests(came, scene, before)
        for name, scores in expected.items():
            order = scores.argsort(dim=1, descending=True, stable=True)
            for cut in k:
                hit = truth.gather(1, order[:, :cut]).amax(1)
                # Rows without interests are asked nothing.
                out[f"{name}_hit@{cut}"] = torch.where(truth.sum(1) > 0, hit, torch.nan)
    return {name: values.numpy() for name, values in out.items()}


def _means(columns: dict[str, np.ndarray], mine: np.ndarray) -> dict[str, float]:
    out: dict[str, float] = {"rows": int(mine.sum())}
    for name, values in columns.items():
        known = values[mine].astype(float)
        known = known[~np.isnan(known)]
        out[name] = float(known.mean()) if len(known) else float("nan")
    return out
