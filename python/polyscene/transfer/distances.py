"""What a mechanism carried: how far each layer ended from the sources', and how alike the representations are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from polyscene._model import Model
from polyscene.results import needs_pandas
from polyscene.transfer._around import State

KINDS = ("table", "dense", "statistics")
"""Lookup tables, other parameters, and buffers such as running statistics."""
NEW = "new"
"""In the place of a distance, of a layer that the source does not have."""
_HELD = ("base.", "side.")  # parts of models that hold one
_ROWS = 1_000


def layer_distances(
    state: Mapping[str, torch.Tensor],
    source: Mapping[str, torch.Tensor],
    *,
    tables: Collection[str] = (),
    statistics: Collection[str] = (),
    rows: Mapping[str, torch.Tensor] | None = None,
) -> list[dict[str, Any]]:
    r"""The relative distance of each layer of a model from that of another.

    .. math:: d_l = \|\theta_l - \theta^{source}_l\|_F / \|\theta^{source}_l\|_F

    A layer holds the tensors of one kind whose names differ in the last part alone. Tensors of integers are left out.
    Tensors of ``base`` and ``side``, the parts of a model that holds one, are compared with those that they began as.

    Args:
        state: parameters and buffers by dotted name, as :func:`state_of` gives.
        source: those of the source.
        tables: names of lookup tables (``model.table_parameters()``).
        statistics: names of buffers.
        rows: which rows of a table are compared, bool [V] by name; all of those that are not there.

    Returns:
        For each layer ``layer``, ``kind`` ("table", "dense" or "statistics"), ``entries`` (how many numbers) and
        ``distance``: "new" where the source has no tensor of that name and shape, None where its are all 0 and the
        others are not. Tables first, then dense layers, then statistics.

    Example:
        >>> import torch
        >>> a = {"out.weight": torch.tensor([3.0, 4.0]), "out.bias": torch.zeros(1), "more.weight": torch.ones(2)}
        >>> b = {"out.weight": torch.tensor([0.0, 4.0]), "out.bias": torch.zeros(1)}
        >>> [(each["layer"], each["distance"]) for each in layer_distances(a, b)]
        [('out', 0.75), ('more', 'new')]
    """
    found: dict[tuple[str, str], list[tuple[torch.Tensor, torch.Tensor | None]]] = {}
    entries: dict[tuple[str, str], int] = {}
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        plain = next((name.removeprefix(part) for part in _HELD if name.startswith(part) and name not in source), name)
        kind = "table" if plain in tables else "statistics" if plain in statistics or name in statistics else "dense"
        layer = name.removesuffix(plain) + (plain if kind == "table" else plain.rpartition(".")[0] or plain)
        first = source.get(plain)
        first = None if first is None or first.shape != value.shape else first
        if first is not None and rows is not None and plain in rows:
            value, first = value[rows[plain]], first[rows[plain]]
        found.setdefault((kind, layer), []).append((value, first))
        entries[kind, layer] = entries.get((kind, layer), 0) + value.numel()
    out = []
    for (kind, layer), pairs in sorted(found.items(), key=lambda item: KINDS.index(item[0][0])):
        known = [(a.double(), b.double()) for a, b in pairs if b is not None]
        distance: float | str | None = NEW
        if known:
            moved = sum(float((a - b).square().sum()) for a, b in known) ** 0.5
            norm = sum(float(b.square().sum()) for _, b in known) ** 0.5
            distance = moved / norm if norm > 0 else 0.0 if moved == 0 else None
        out.append({"layer": layer, "kind": kind, "entries": entries[kind, layer], "distance": distance})
    return out


def cka(x: Any, y: Any) -> float:
    r"""Linear centred kernel alignment of two representations of the same rows (Kornblith et al., ICML 2019).

    .. math:: \mathrm{CKA} = \|Y^T X\|_F^2 / (\|X^T X\|_F \|Y^T Y\|_F)

    of columns with mean 0: 1 for representations that differ by a rotation and a scale, 0 where nothing of one is
    linear in the other.

    Args:
        x: [N, H].
        y: [N, G], of the same rows.

    Returns:
        A number in [0, 1]; nan where one of the two is the same in every row.

    Raises:
        ValueError: another number of rows, or no matrices.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> round(cka(x, 2 * x[:, ::-1] + 1), 6)
        1.0
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(f"cka: wanted [N, H] and [N, G] of the same rows, got {list(a.shape)} and {list(b.shape)}")
    a, b = a - a.mean(0), b - b.mean(0)
    top, under = np.linalg.norm(b.T @ a) ** 2, np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(top / under) if under > 1e-300 else float("nan")


def carried_by(flow: Any) -> dict[str, Any]:
    """What ``distances`` of a verdict holds, of a :class:`Migration` whose candidates are trained."""
    model, sources = flow.model, _sources(flow)
    tables = list(model.table_parameters())
    statistics = [name for name, _ in model.named_buffers()]
    layers: dict[tuple[str, str], int] = {}
    values: dict[str, dict[str, dict[tuple[str, str], Any]]] = {}
    for candidate in flow.candidates:
        begun = {"its start": candidate.start} if candidate.tie is not None and candidate.start is not None else {}
        for name, state in (sources | begun).items():
            lines = layer_distances(
                candidate.state,
                state,
                tables=tables,
                statistics=statistics,
                rows=_carried_rows(flow, name, state, tables),
            )
            for line in lines:
                key = (line["kind"], line["layer"])
                layers.setdefault(key, line["entries"])
                values.setdefault(candidate.name, {}).setdefault(name, {})[key] = _short(line["distance"])
    order = sorted(layers, key=lambda key: KINDS.index(key[0]))
    told = {
        candidate: {source: [found.get(key) for key in order] for source, found in by.items()}
        for candidate, by in values.items()
    }
    named = [{"layer": layer, "kind": kind, "entries": layers[kind, layer]} for kind, layer in order]
    return {"layers": named, "values": told} | _similarity(flow, sources)


def _sources(flow: Any, most: int = 6) -> dict[str, State]:
    """The trained sources of most weight."""
    order = sorted(flow.trained, key=lambda name: -flow.weights.get(name, 0.0))[:most]
    return {name: flow.trained[name][0] for name in flow.trained if name in order}


def _carried_rows(flow: Any, name: str, state: State, tables: Sequence[str]) -> dict[str, torch.Tensor] | None:
    """Of tables that were carried by id, the rows that were."""
    told = getattr(flow, "carried", {}).get(name)
    if told is None:
        return None
    return {
        table: (state[table] != flow.initial[table]).flatten(1).any(1) for table in tables if table in told["by_id"]
    }


def _similarity(flow: Any, sources: Mapping[str, State]) -> dict[str, Any]:
    """Linear CKA of representations of the target's rows, of each candidate and each source."""
    from polyscene.transfer.estimating import represented

    table = flow.valid if flow.valid is not None and len(flow.valid) > 1 else flow.rows
    if len(table) > _ROWS:
        table = table.take(torch.linspace(0, len(table) - 1, _ROWS).long())

    def of(state: State, model: Model) -> np.ndarray:
        model.load_state_dict(state)
        return represented(model, table)

    try:
        known = {name: of(state, flow.model) for name, state in sources.items()}
        out = {}
        for candidate in flow.candidates:
            mine = of(candidate.state, flow.model if candidate.model is None else candidate.model)
            out[candidate.name] = {name: _short(cka(mine, each)) for name, each in known.items()}
    except (ValueError, RuntimeError, TypeError, NotImplementedError):  # a model that represents nothing
        return {"similarity": None, "similarity_rows": 0}
    return {"similarity": out, "similarity_rows": len(table)}


def _short(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else None if np.isnan(value) else round(float(value), 6)


def distance_frame(verdict: Mapping[str, Any]) -> Any:
    """What each candidate of a transfer carried, as a pandas frame.

    Args:
        verdict: of :func:`migrate`, or ``result.transfer`` of a run.

    Returns:
        A row for each candidate, source and layer: ``candidate``, ``source`` ("its start": what the training began
        with), ``layer``, ``kind``, ``entries``, ``distance`` (nan for a new layer), ``new``; and for each candidate and
        source one of kind "representation" whose ``similarity`` is the linear CKA.

    Raises:
        ValueError: a verdict without distances, of an older version.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import distance_frame, migrate
        >>> data = ps.testing.tiny_data()
        >>> _, _, verdict = migrate(ps.models.MF(data.schema, dim=4), data, trainer={"epochs": 1})
        >>> frame = distance_frame(verdict)
        >>> sorted(frame.columns)
        ['candidate', 'distance', 'entries', 'kind', 'layer', 'new', 'similarity', 'source']
    """
    content = verdict.get("distances")
    if not content:
        raise ValueError("distance_frame: the verdict holds no distances; run the transfer again")
    rows = []
    similarity = content.get("similarity") or {}
    for candidate, by in content["values"].items():
        # A layer that is nothing for every source is not the candidate's; else the source's is 0.
        there = {
            (layer["kind"], layer["layer"])
            for number, layer in enumerate(content["layers"])
            if any(values[number] is not None for values in by.values())
        }
        for source, values in by.items():
            for layer, value in zip(content["layers"], values, strict=True):
                if (layer["kind"], layer["layer"]) not in there:
                    continue
                is_new = value == NEW
                number = float("nan") if is_new or value is None else value
                told = {"candidate": candidate, "source": source, **layer, "distance": number, "new": is_new}
                rows.append(told | {"similarity": float("nan")})
            alike = similarity.get(candidate, {}).get(source)
            if alike is not None:
                told = {"candidate": candidate, "source": source, "layer": "represent", "kind": "representation"}
                rows.append(told | {"entries": 0, "distance": float("nan"), "new": False, "similarity": alike})
    return needs_pandas("distance_frame").DataFrame(rows)
