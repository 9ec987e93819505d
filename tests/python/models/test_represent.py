"""What the head of a model reads of each row."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import data_of, draw, every_model, make, scramble
from torch import nn

WITHOUT = {"popularity", "item_knn", "ease", "cross_ease"}


@every_model
def test_a_row_has_a_representation_of_its_own(name: str, data: Any) -> None:
    data = data_of(name)
    model = scramble(make(name, data)).eval()
    batch = draw(model, data, 12)
    if name in WITHOUT:
        with pytest.raises(ValueError, match=f"{name}: has no hidden layer in front of its head"):
            model.represent(batch)
        return
    found = model.represent(batch)
    assert found.dim() == 2 and found.shape[0] == 12 and found.isfinite().all()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.represent(batch.take(order)), found[order], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.represent(batch.take([3, 7])), found[[3, 7]], rtol=1e-4, atol=1e-5)


def test_it_is_what_the_last_layer_reads() -> None:
    data = ps.testing.tiny_data()
    torch.manual_seed(0)
    model = scramble(ps.models.SharedBottom(data.schema, bottom=[6], tower=[5])).eval()
    batch = draw(model, data, 20)
    h = model.represent(batch)
    weight, bias = model.towers.output_weight[:, 0, 0], model.towers.output_bias[:, 0, 0]
    torch.testing.assert_close((h * weight[batch.scene]).sum(1) + bias[batch.scene], model(batch))
    mf = scramble(ps.models.MF(data.schema, dim=3)).eval()
    want = torch.cat([mf.user.weight[batch.user], mf.item.weight[batch.item]], 1)
    torch.testing.assert_close(mf.represent(batch), want)
    h.sum().backward()
    assert model.embedding.weight.grad.abs().sum() > 0


def test_models_written_in_python_define_it() -> None:
    data = ps.testing.tiny_data()

    class Items(ps.Model):
        def __init__(self, schema: Any, own: bool) -> None:
            super().__init__(schema)
            self.item = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, 3)
            self.own = own

        def forward(self, batch: Any) -> torch.Tensor:
            return self.item(batch.item).sum(1)

    class Shown(Items):
        def represent(self, batch: Any) -> torch.Tensor:
            return self.item(batch.item)

    batch = ps.testing.batch(data, 5)
    shown = Shown(data.schema, True)
    torch.testing.assert_close(shown.represent(batch), shown.item(batch.item))
    aligned = ps.transfer.Aligned(shown, data.train, kind="coral", rows=12)
    assert aligned.loss(batch).isfinite()
    with pytest.raises(ValueError, match=r"Items: a model written in Python must define represent\(batch\)"):
        Items(data.schema, False).represent(batch)
