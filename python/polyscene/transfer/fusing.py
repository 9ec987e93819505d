"""Several models of one initialisation become one; parameters of one model move into another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from polyscene._extension import _C
from polyscene._model import Model

State = dict[str, torch.Tensor]
"""Parameters and buffers by dotted name."""

Migrated = _C.transfer.Migrated
"""A trained model, as fusion sees it: ``Migrated(state, weight=1.0, importance={}, rows={})``.

``weight`` is its share, such as its training rows; ``importance`` what :func:`fisher` gives, empty if all entries count
the same; ``rows`` how much each row of each lookup table counts, [V] by name, such as :func:`lookups` gives.
"""

FUSIONS = ("rows", "uniform", "fisher", "greedy", "arithmetic", "learned")
SCALES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""What task arithmetic tries."""


class Evidence(NamedTuple):
    """What a fusion is judged by: source models, and rows of the target that none of them was trained on.

    Attributes:
        states: of the source models, by scene.
        score: of a state on the rows, higher is better; nan where the rows cannot tell.
        rows: how many there are.
    """

    states: Mapping[str, State]
    score: Callable[[State], float]
    rows: int


def state_of(model: Model) -> State:
    """Copies of the parameters and buffers of a model, by name.

    Example:
        >>> import polyscene as ps
        >>> model = ps.models.Logistic(ps.testing.tiny_data().schema)
        >>> before = state_of(model)
        >>> _ = torch.nn.init.ones_(model.bias)
        >>> before["bias"].equal(model.bias)
        False
    """
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def fuse(initial: Mapping[str, torch.Tensor], models: Sequence[Any], tables: Sequence[str] = ()) -> State:
    r"""Fuses models that were trained from the same initialisation.

    .. math:: \theta_p = \sum_i w_i r_{ip} F_{ip} \theta_{ip} / \sum_i w_i r_{ip} F_{ip}

    :math:`w_i` is the weight of a model; :math:`r_{ip}` is 1 but for the rows of lookup tables, where it is the row's
    number in ``rows`` or, for tables that are not there, 1 if the row moved away from the initial one; :math:`F_{ip}`
    is the importance divided by its norm. A row that counts in no model keeps its initial value, an entry whose
    importance is 0 in all takes the mean without it. Tensors of integers are copied from the first model. Equal models
    fuse to themselves, exactly.

    Args:
        initial: what the models started from.
        models: :class:`Migrated` objects or states.
        tables: names of the tensors that are fused row by row: lookup tables (``model.table_parameters()``), and others
            whose rows a training may leave alone.

    Raises:
        ValueError: no models, names or shapes that differ, negative or non-finite weights.

    Example:
        >>> import torch
        >>> start, a, b = ({"w": torch.tensor([value])} for value in (0.0, 1.0, 4.0))
        >>> fuse(start, [Migrated(a, weight=3), Migrated(b, weight=1)])["w"]
        tensor([1.7500])
    """
    given = [each if isinstance(each, Migrated) else Migrated(dict(each)) for each in models]
    return dict(_C.transfer.fuse(dict(initial), given, list(tables)))


def fisher(model: Model, table: Any, **options: int) -> State:
    """Diagonal Fisher information of each parameter, estimated with labels that the model itself draws.

    Args:
        model: a trained model with a task of probabilities or ratings.
        table: rows, such as those the model was trained on.
        options: ``batches`` (64), ``batch_size`` (32), ``seed`` (2022).

    Raises:
        ValueError: an empty table, an unknown option or one out of range.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> found = fisher(ps.models.MF(data.schema, dim=4), data.train, batches=8)
        >>> found["item.weight"].shape, bool((found["item.weight"] >= 0).all())
        (torch.Size([32, 4]), True)
    """
    return dict(_C.transfer.fisher(model._native(), table, options))


def lookups(model: Model, train: Any) -> State:
    """How many rows of a table looked up each row of each lookup table, int64 [V] by parameter name.

    Fields, lists and the items of followed events count. A table whose field is not known is left out.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> int(lookups(ps.models.MF(data.schema), data.train)["user.weight"].sum()) == len(data.train)
        True
    """
    return dict(_C.transfer.lookups(model._native(), train))


def carry(target: Model, source: Model) -> Any:
    """Writes the parameters of one model into another, in place: by name and shape, rows of lookup tables by id.

    Between different schemas parameters whose names speak of scenes or interests are carried only if both schemas list
    the same ones. What does not match keeps its value.

    Returns:
        The report: ``copied``, ``by_id``, ``unmatched`` (with reasons), ``unused``, and ``rows`` carried by table.

    Example:
        >>> import polyscene as ps
        >>> old, new = ps.testing.tiny_data(), ps.testing.tiny_data(seed=1)
        >>> source, target = (ps.models.MF(data.schema, dim=4) for data in (old, new))
        >>> sorted(carry(target, source).by_id)
        ['item.weight', 'item_bias.weight', 'user.weight', 'user_bias.weight']
    """
    return _C.transfer.carry(target._native(), source._native())


def fuse_sources(
    method: str,
    model: Model,
    initial: State,
    sources: Mapping[str, tuple[State, Any]],
    evidence: Sequence[Evidence],
    seed: int,
    rows: Any = None,
) -> tuple[State, dict[str, float]]:
    """Fuses source models by a named method.

    Args:
        method: "rows" (by training rows, tables row by row), "uniform", "fisher" (uniform weights, Fisher information)
            "greedy" (best first, each kept only if the score rises), "arithmetic" (task arithmetic, one scale for all
            sources, by the score) or "learned" (task arithmetic with weights that are learned on ``rows``).
        model: holds the parameters while something is measured; its state afterwards is any.
        initial: what the sources started from.
        sources: state and training rows by scene.
        evidence: what "greedy" and "arithmetic" score by, the mean by rows: of these sources, or of folds, each with
            sources that were trained without it.
        seed: of the rows and labels of the Fisher information, and of rows that weights are learned on.
        rows: training rows of the target; only "learned" asks.

    Returns:
        The fused state, and the weight of each source.
    """
    tables = model.table_parameters()
    # What a source never moved is not averaged away by it: rows of tables, and entries of scenes it has no rows of.
    by_row = [name for name, tensor in initial.items() if tensor.dim() > 0]
    if method in ("arithmetic", "learned"):
        states = {name: state for name, (state, _) in sources.items()}
        return _added(method, model, initial, states, evidence, seed, rows)
    if method == "greedy":
        return _greedy(initial, {name: state for name, (state, _) in sources.items()}, by_row, evidence)
    models, weights = [], {}
    for name, (state, rows) in sources.items():
        weights[name] = float(len(rows)) if method == "rows" else 1.0
        importance: State = {}
        counts: State = {}
        if method != "uniform":
            model.load_state_dict(state)
        if method == "fisher":
            importance = fisher(model, rows, seed=seed)
        if method == "rows":
            # Events count for every table with an item field, also for those that look up candidates alone.
            moved = {table: (state[table] != initial[table]).flatten(1).any(1) for table in tables}
            counts = {table: count * moved[table] for table, count in lookups(model, rows).items()}
        models.append(
            Migrated(state, weight=1.0 if method == "rows" else weights[name], importance=importance, rows=counts)
        )
    if method == "rows":
        return _by_rows(initial, models, weights, by_row), weights
    return fuse(initial, models, by_row), weights


def _by_rows(initial: State, models: Sequence[Any], weights: Mapping[str, float], by_row: Sequence[str]) -> State:
    # Dense parameters by the training rows of each source, rows of tables by their own counts.
    tabular = fuse(initial, models, by_row)
    dense = fuse(initial, [Migrated(m.state, weight=w) for m, w in zip(models, weights.values(), strict=True)], by_row)
    return {name: tabular[name] if name in models[0].rows else dense[name] for name in initial}


def _judge(evidence: Sequence[Evidence], combine: Callable[[Mapping[str, State]], State]) -> float:
    """The score of what becomes of source models, by all the rows that can tell; -inf without any."""
    found = [(each.rows, each.score(combine(each.states))) for each in evidence]
    told = [(rows, value) for rows, value in found if not math.isnan(value)]
    return sum(rows * value for rows, value in told) / sum(rows for rows, _ in told) if told else -math.inf


def _added(
    method: str,
    model: Model,
    initial: State,
    sources: Mapping[str, State],
    evidence: Sequence[Evidence],
    seed: int,
    rows: Any,
) -> tuple[State, dict[str, float]]:
    from polyscene.transfer.starting import add_tasks, learn_weights

    buffers = [name for name, _ in model.named_buffers() if name in initial]

    def add(states: Mapping[str, State], weights: Sequence[float]) -> State:
        # Statistics are no weights: those of the sources, averaged, stand on both sides.
        held = {name: _mean([state[name] for state in states.values()]) for name in buffers}
        return add_tasks(initial | held, [state | held for state in states.values()], weights)

    if method == "learned":
        held = {name: _mean([state[name] for state in sources.values()]) for name in buffers}
        weights = learn_weights(model, initial | held, [state | held for state in sources.values()], rows, seed=seed)
    else:
        tried = {scale: _judge(evidence, partial(add, weights=[scale] * len(sources))) for scale in SCALES}
        weights = [max(tried, key=lambda scale: tried[scale])] * len(sources)
    return add(sources, weights), dict(zip(sources, weights, strict=True))


def _mean(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(tensors).mean(0) if tensors[0].is_floating_point() else tensors[0]


def _greedy(
    initial: State, sources: Mapping[str, State], tables: Sequence[str], evidence: Sequence[Evidence]
) -> tuple[State, dict[str, float]]:
    def together(states: Mapping[str, State], names: Sequence[str]) -> State:
        return states[names[0]] if len(names) == 1 else fuse(initial, [states[name] for name in names], tables)

    def value(names: Sequence[str]) -> float:
        return _judge(evidence, lambda states: together(states, names))

    alone = {name: value([name]) for name in sources}
    order = sorted(sources, key=lambda name: -alone[name])
    kept, top = order[:1], alone[order[0]]
    for name in order[1:]:
        if (found := value([*kept, name])) > top:
            kept, top = [*kept, name], found
    return together(sources, kept), {name: float(name in kept) for name in sources}
