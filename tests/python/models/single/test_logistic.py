"""Logistic regression against loops and against scikit-learn."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from polyscene import _C


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def random_model(data: Any, **options: Any) -> ps.Model:
    model = ps.models.Logistic(data.schema, **options).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def slow_logistic(model: ps.Model, batch: Any, b: int) -> tuple[float, list[float], list[float]]:
    """One row: its logit, what each field adds, what each numeric column adds."""
    state = {path: tensor.tolist() for path, tensor in model.state_dict().items()}
    first, fields = 0, []
    for f, field in enumerate(model.schema.categorical):
        fields.append(state["fields.weight"][first + int(batch.categorical[b, f])][0])
        first += field.rows
    for column in model.schema.lists:
        tags = batch.sequence[column.name]
        rows = tags.values[int(tags.offsets[b]) : int(tags.offsets[b + 1])].tolist()
        fields.append(sum(state["fields.weight"][first + row][0] for row in rows) / max(len(rows), 1))
        first += column.rows
    numeric = [w * float(x) for w, x in zip(state["numeric"], batch.numeric[b], strict=True)]
    scene = state["scene"][int(batch.scene[b])]
    return state["bias"] + scene + sum(fields) + sum(numeric), fields, numeric


def test_matches_loops(data: Any) -> None:
    model = random_model(data)
    batch = ps.testing.batch(data, 32)
    logits, parts = model(batch), model.explain(batch)
    assert list(parts) == ["fields", "scene", "numeric"]
    for b in range(32):
        logit, fields, numeric = slow_logistic(model, batch, b)
        assert logits[b].item() == pytest.approx(logit, rel=1e-12)
        assert parts["fields"][b].tolist() == pytest.approx(fields)
        assert parts["numeric"][b].tolist() == pytest.approx(numeric)
    total = sum(part if part.dim() == 1 else part.sum(1) for part in parts.values()) + model.bias
    torch.testing.assert_close(total, logits)


def test_loss_is_cross_entropy_and_l2_on_looked_up_rows(data: Any) -> None:
    plain, penalised = random_model(data), random_model(data, embedding_l2=0.3)
    batch = ps.testing.batch(data, 32)
    loss, penalty = 0.0, 0.0
    for b in range(32):
        logit, fields, _ = slow_logistic(plain, batch, b)
        p = 1 / (1 + math.exp(-logit))
        loss -= math.log(p if batch.label[b] == 1 else 1 - p) / 32
        penalty += sum(w * w for w in fields) + plain.scene[int(batch.scene[b])].item() ** 2
    assert plain.loss(batch).item() == pytest.approx(loss, rel=1e-9)
    assert penalised.loss(batch).item() == pytest.approx(loss + 0.5 * 0.3 * penalty / 32, rel=1e-9)


def test_starts_at_the_training_click_rate(data: Any) -> None:
    model = ps.models.Logistic(data.schema)
    rate = data.train.labels().double().mean().item()
    torch.testing.assert_close(model(ps.testing.batch(data, 8)).sigmoid(), torch.full((8,), rate))


def test_finds_the_optimum_of_scikit_learn(data: Any) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    batch = data.train.batch(torch.arange(len(data.train)), history=0)
    n, l2 = len(batch), 0.05
    columns = [np.eye(field.rows)[batch.categorical[:, f]] for f, field in enumerate(data.schema.categorical)]
    tags = batch.sequence["tags"]
    pooled = np.zeros((n, data.schema.lists[0].rows))
    for b in range(n):
        rows = tags.values[int(tags.offsets[b]) : int(tags.offsets[b + 1])].tolist()
        for row in rows:
            pooled[b, row] += 1 / len(rows)
    x = np.concatenate([*columns, pooled, np.eye(data.schema.num_scenes)[batch.scene], batch.numeric.numpy()], 1)
    oracle = linear_model.LogisticRegression(C=1 / (n * l2), tol=1e-10, max_iter=5000).fit(x, batch.label.numpy())

    model = ps.models.Logistic(data.schema).double()
    weights = [model.fields.weight, model.scene, model.numeric]
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = model.loss(batch) + 0.5 * l2 * sum(w.square().sum() for w in weights)
        loss.backward()
        return loss

    optimiser.step(closure)
    expected = torch.from_numpy(x @ oracle.coef_[0] + oracle.intercept_[0])
    torch.testing.assert_close(model(batch).detach(), expected, rtol=0, atol=1e-3)


def test_export_form_with_numeric_columns(data: Any) -> None:
    with pytest.raises(TypeError, match="no export form for data with multi-hot columns"):
        random_model(data).export_form()
    all_columns = data.columns
    names = ("categorical", "codes", "ids", "numeric", "numbers", "scene", "scene_names", "label")
    kept = {name: getattr(all_columns, name) for name in names}
    columns = _C.data.Columns(**kept, lists=[], list_codes=[], list_ids=[])
    schema = _C.data.fit_schema(columns, torch.arange(400), user="user_id", item="item_id")
    model = random_model(SimpleNamespace(schema=schema))
    batch = _C.data.Table(columns, schema).batch(torch.arange(400, 430), history=0)
    assert batch.numeric.shape == (30, 2)
    torch.testing.assert_close(model.export_form()(*model.export_inputs(batch)), model(batch))


def test_options_out_of_range(data: Any) -> None:
    with pytest.raises(ValueError, match="Logistic: embedding_l2 must be 0 or more, got -1"):
        ps.models.Logistic(data.schema, embedding_l2=-1)
    with pytest.raises(ValueError, match="made for task ctr, the data's task is 'rating'"):
        ps.models.Logistic(ps.testing.tiny_data("rating").schema)
