"""FeatureEmbedding against a loop over rows, and as part of a Python model."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import polyscene as ps
import pytest
import torch


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def slow(embedding: ps.nn.FeatureEmbedding, schema: Any, batch: Any) -> torch.Tensor:
    """Slots of each row, one lookup after the other."""
    weight, names = embedding.weight, [field.name for field in schema.categorical]
    out = []
    for b in range(len(batch)):
        slots = [weight[embedding.offset(name) + batch.categorical[b, f]] for f, name in enumerate(names)]
        for column in schema.lists:
            if column.kind != "multi_hot":
                continue
            ragged = batch.sequence[column.name]
            rows = ragged.values[ragged.offsets[b] : ragged.offsets[b + 1]].long()
            first = embedding.offset(column.shares or column.name)
            slots.append(weight[first + rows].mean(0) if len(rows) else torch.zeros_like(weight[0]))
        out.append(torch.stack(slots))
    return torch.stack(out)


def test_slots_and_gradients_follow_a_slow_reference(data: Any) -> None:
    embedding = ps.nn.FeatureEmbedding(data.schema, dim=3, init_std=1.0).double()
    batch = ps.testing.batch(data, 40)
    scale = torch.randn(40, embedding.slots, 3, dtype=torch.float64)
    expected = slow(embedding, data.schema, batch)
    (wanted,) = torch.autograd.grad((expected * scale).sin().sum(), embedding.weight)
    for sparse in (False, True):
        embedding.sparse = sparse
        found = embedding(batch)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        (grad,) = torch.autograd.grad((found * scale).sin().sum(), embedding.weight)
        assert grad.is_sparse == sparse
        torch.testing.assert_close(grad.to_dense(), wanted, rtol=1e-12, atol=1e-12)


def test_flat_appends_the_numbers(data: Any) -> None:
    embedding = ps.nn.FeatureEmbedding(data.schema, dim=3).double()
    batch = ps.testing.batch(data, 7)
    flat = embedding.flat(batch)
    assert flat.shape == (7, embedding.output_size)
    assert torch.equal(flat, torch.cat([embedding(batch).flatten(1), batch.numeric.double()], 1))


def test_gradients_follow_finite_differences(data: Any) -> None:
    embedding = ps.nn.FeatureEmbedding(data.schema, dim=2).double()
    batch = ps.testing.batch(data, 5)

    def flat(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            embedding.weight.copy_(weight)
        (grad,) = torch.autograd.grad(embedding.flat(batch).sin().sum(), embedding.weight)
        return embedding.flat(batch).sin().sum().detach(), grad

    start = embedding.weight.detach().clone()
    _, grad = flat(start)
    for i in range(0, start.numel(), 17):
        step = torch.zeros_like(start).flatten()
        step[i] = 1e-6
        up, down = flat(start + step.view_as(start))[0], flat(start - step.view_as(start))[0]
        assert grad.flatten()[i].item() == pytest.approx(((up - down) / 2e-6).item(), abs=1e-7)


def test_embed_keeps_the_shape_of_the_index(data: Any) -> None:
    embedding = ps.nn.FeatureEmbedding(data.schema, dim=3)
    index = torch.tensor([[2, 4, 0], [1, 1, 3]])
    assert torch.equal(embedding.embed("item_id", index), embedding.field_rows("item_id")[index])
    with pytest.raises(IndexError, match=r"lookup: field 'item_id' has rows 0\.\.\d+, got 999 in batch row 1"):
        embedding.embed("item_id", torch.tensor([0, 999]))
    with pytest.raises(ValueError, match="FeatureEmbedding: unknown field 'item'; .*did you mean 'item_id'"):
        embedding.embed("item", index)


def test_copies_compute_the_same_and_are_their_own(data: Any) -> None:
    embedding = ps.nn.FeatureEmbedding(data.schema, dim=3, init_std=0.3)
    batch = ps.testing.batch(data, 9)
    for other in (copy.deepcopy(embedding), pickle.loads(pickle.dumps(embedding))):
        assert torch.equal(other(batch), embedding(batch))
        assert other.options == embedding.options == {"dim": 3, "init_std": 0.3, "sparse": False}
        with torch.no_grad():
            other.weight.add_(1)
        assert not torch.equal(other(batch), embedding(batch))


def test_bad_options_are_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="FeatureEmbedding: dim must be positive, got 0"):
        ps.nn.FeatureEmbedding(data.schema, dim=0)
    with pytest.raises(ValueError, match="FeatureEmbedding: unknown option 'dims'; known options: dim, init_std"):
        ps.nn.FeatureEmbedding(data.schema, dims=4)


class Towers(ps.Model):
    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.embedding = ps.nn.FeatureEmbedding(schema, dim=4, init_std=0.1)
        self.head = torch.nn.Linear(self.embedding.output_size, 1)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.head(self.embedding.flat(batch)).squeeze(1)


def test_a_python_model_trains_it_lazily(data: Any) -> None:
    model = Towers(data.schema)
    assert model.table_parameters() == ["embedding.weight"]
    with torch.no_grad():
        model.embedding.weight.fill_(0.25)
    history = ps.Trainer(optimizer="lazy_adam", lr=0.02, weight_decay=0.01, epochs=4, seed=1, patience=0).fit(
        model, data
    )
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.01
    looked_up = torch.zeros(len(model.embedding.weight), dtype=torch.bool)
    batch = data.train.batch(torch.arange(len(data.train)))
    for f, field in enumerate(data.schema.categorical):
        looked_up[model.embedding.offset(field.name) + batch.categorical[:, f].long()] = True
    looked_up[model.embedding.offset("tags") + batch.sequence["tags"].values.long()] = True
    moved = (model.embedding.weight != 0.25).any(1)
    assert torch.equal(moved, looked_up)
    assert not looked_up.all()
