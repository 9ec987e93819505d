"""NGCF, GCN and GAT against loops over the edges of the pooled graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pair_models
import polyscene as ps
import pytest
import torch

Row = np.ndarray


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking")


def prepared(name: str, data: Any, **options: Any) -> ps.Model:
    torch.manual_seed(5)
    model = ps.models.create(name, data.schema, **({"dim": 8} | options))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.4)
    model.prepare(data.train)
    return model


def neighbours(model: ps.Model, data: Any) -> dict[int, list[int]]:
    """Nodes are users, then items; pairs of the training rows of all scenes, each once."""
    users, items = len(model.user.weight), len(model.item.weight)
    rows = data.train.batch(torch.arange(len(data.train)))
    pairs = {(u, i) for u, i in zip(rows.user.tolist(), rows.item.tolist(), strict=True) if u > 1 and i > 1}
    out: dict[int, list[int]] = {node: [] for node in range(users + items)}
    for u, i in sorted(pairs):
        out[u].append(users + i)
        out[users + i].append(u)
    return out


def lrelu(x: Row) -> Row:
    return np.where(x > 0, x, 0.2 * x)


def slow_vectors(name: str, model: ps.Model, data: Any) -> list[Row]:
    state = {path: tensor.double().numpy() for path, tensor in model.state_dict().items()}
    edges, options = neighbours(model, data), model.options
    factors = [*state["user.weight"], *state["item.weight"]]
    now, out = factors, [[row] for row in factors]
    for k in range(options["layers"]):
        last = k + 1 == options["layers"]
        following = []
        for node, row in enumerate(now):
            others = edges[node]
            if name == "ngcf":
                w1, b1 = state[f"sums.{k}.weight"], state[f"sums.{k}.bias"]
                w2, b2 = state[f"products.{k}.weight"], state[f"products.{k}.bias"]
                gathered = np.zeros_like(row)
                if options["form"] == "authors":
                    for other in [node, *others] if others else []:
                        gathered = gathered + now[other] / (len(others) + 1)
                    made = lrelu(w1 @ gathered + b1) + lrelu(w2 @ (row * gathered) + b2)
                else:
                    for other in others:
                        gathered = gathered + now[other] / math.sqrt(len(others) * len(edges[other]))
                    made = lrelu(w1 @ (row + gathered) + b1 + w2 @ (row * gathered) + b2)
            elif name == "gcn":
                gathered = np.zeros_like(row)
                for other in [node, *others] if others else []:
                    gathered = gathered + now[other] / math.sqrt((len(others) + 1) * (len(edges[other]) + 1))
                made = state[f"linears.{k}.weight"] @ gathered + state[f"linears.{k}.bias"]
                made = made if last else lrelu(made)
            else:
                a, c = state[f"gathering_{k}"], state[f"gathered_{k}"]
                w, (heads, width) = state[f"linears.{k}.weight"], a.shape
                parts = []
                for h in range(heads):
                    own = (w @ row)[h * width : (h + 1) * width]
                    theirs = [(w @ now[j])[h * width : (h + 1) * width] for j in ([node, *others] if others else [])]
                    share = np.exp([float(lrelu(a[h] @ own + c[h] @ x)) for x in theirs])
                    parts.append(
                        sum((s * x for s, x in zip(share / share.sum(), theirs, strict=True)), np.zeros(width))
                    )
                made = np.concatenate(parts) + state[f"bias_{k}"]
                made = made if last else np.where(made > 0, made, np.exp(np.minimum(made, 0)) - 1)
            following.append(made)
        now = following
        for node, row in enumerate(now):
            normal = row / max(float(np.linalg.norm(row)), 1e-12)
            out[node].append(normal if name == "ngcf" else row)
        if name == "ngcf" and options["form"] == "recbole":
            now = [rows[-1] for rows in out]
    if options.get("combine") == "last":
        return now
    return [np.concatenate(rows) for rows in out]


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("ngcf", {}),
    ("ngcf", {"form": "authors", "layers": 2}),
    ("ngcf", {"form": "recbole"}),
    ("ngcf", {"layers": 0}),
    ("gcn", {}),
    ("gcn", {"layers": 3, "combine": "last"}),
    ("gat", {}),
    ("gat", {"layers": 3, "heads": 2, "combine": "last"}),
]


@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_scores_and_loss_match_loops(name: str, form: dict[str, Any], data: Any) -> None:
    model = prepared(name, data, **form, dropout=0.0, embedding_l2=0.2, negatives=2)
    vectors, users = slow_vectors(name, model, data), len(model.user.weight)
    tables = {side: model.state_dict()[f"{side}.weight"].double().numpy() for side in ("user", "item")}
    batch = ps.testing.batch(data, 25, negatives=2)
    scores, loss, penalty = [], 0.0, 0.0
    for b in range(25):
        u, items = int(batch.user[b]), [int(batch.item[b]), *batch.negative[b].tolist()]
        own, *others = (float(vectors[u] @ vectors[users + i]) for i in items)
        scores.append(own)
        loss += sum(float(np.logaddexp(0, other - own)) for other in others) / 2
        penalty += float((tables["user"][u] ** 2).sum()) + sum(float((tables["item"][i] ** 2).sum()) for i in items)
    assert model.loss(batch).item() == pytest.approx(loss / 25 + 0.1 * penalty / 25, rel=1e-5)
    assert model.eval()(batch).tolist() == pytest.approx(scores, rel=1e-5, abs=1e-5)
    model.encode()
    every = model.score_items(batch.user, 0, torch.arange(len(model.item.weight)))
    assert every[torch.arange(25), batch.item].tolist() == pytest.approx(scores, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["ngcf", "gcn", "gat"])
def test_gradient(name: str, data: Any) -> None:
    model = prepared(name, data, dropout=0.3).double()
    batch = ps.testing.batch(data, 16)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same numbers are dropped
        return model.loss(batch)

    pair_models.check_slope(model, loss, 1e-7, rel=1e-4)


@pytest.mark.parametrize("name", ["ngcf", "gcn", "gat"])
def test_learns_and_loads(name: str, data: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, dim=16)
    assert model(ps.testing.batch(data, 5)).isfinite().all()
    pair_models.check_learns_and_loads(model, data, tmp_path, lr=0.01)
    assert model(ps.testing.batch(data, 5).take([])).shape == (0,)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ngcf", {"form": "papre"}, "NGCF: form must be one of paper, authors, recbole, got 'papre'"),
        ("ngcf", {"layers": -1}, "NGCF: layers must be 0 or more, got -1"),
        ("ngcf", {"dropout": 1.0}, r"NGCF: dropout must lie in \[0, 1\), got 1"),
        ("gcn", {"layers": 0}, "GCN: layers must be positive, got 0"),
        ("gcn", {"combine": "mean"}, "GCN: combine must be 'last' or 'concat', got 'mean'"),
        ("gcn", {"dropout": -0.5}, r"GCN: dropout must lie in \[0, 1\), got -0.5"),
        ("gat", {"heads": 3}, "GAT: heads must divide dim, 64, got 3"),
        ("gat", {"layers": 0}, "GAT: layers must be positive, got 0"),
        ("gat", {"combine": "mean"}, "GAT: combine must be 'last' or 'concat', got 'mean'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str, data: Any) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.create(name, data.schema, **options)
