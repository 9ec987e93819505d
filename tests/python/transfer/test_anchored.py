"""The migration loss around a model: same parameters, trained by the C++ trainer, also around Python models."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch
from polyscene.transfer import Anchored, state_of
from torch import nn


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


class ItemBias(ps.Model):
    def __init__(self, schema: Any, *, scale: float = 1.0) -> None:
        super().__init__(schema)
        self.bias = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, 1)
        self.offset = nn.Parameter(torch.zeros(1))
        self.scale = scale

    def forward(self, batch: Any) -> torch.Tensor:
        return self.scale * self.bias(batch.item).squeeze(1) + self.offset


def make(kind: str, data: Any) -> ps.Model:
    torch.manual_seed(0)
    return ItemBias(data.schema) if kind == "python" else ps.models.MF(data.schema, dim=3)


@pytest.mark.parametrize("kind", ["cpp", "python"])
def test_loss_is_that_of_the_model_and_the_distance(kind: str, data: Any) -> None:
    model = make(kind, data).eval()
    start = state_of(model)
    first = {name: tensor + 1 for name, tensor in start.items()}
    second = {name: tensor - 3 for name, tensor in start.items()}
    tied = Anchored(model, [first, second], strength=0.5)
    entries = sum(tensor.numel() for tensor in start.values())
    torch.testing.assert_close(tied.migration_loss(), torch.tensor((1 + 9) / 2 * entries), rtol=1e-5, atol=0)
    batch = ps.testing.batch(data, 16)
    torch.testing.assert_close(tied(batch), model(batch))
    torch.testing.assert_close(tied.loss(batch), model.loss(batch) + 0.5 * tied.migration_loss())
    assert [name for name, _ in tied.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert all(a is b for a, b in zip(tied.parameters(), model.parameters(), strict=True))
    assert tied.unmatched == [] and tied.unused == []


@pytest.mark.parametrize("kind", ["cpp", "python"])
def test_trainer_trains_the_model_behind_it(kind: str, data: Any) -> None:
    model = make(kind, data)
    start = state_of(model)
    frozen = "bias" if kind == "python" else "user"
    tied = Anchored(model, start, strength=1e-3, frozen=[frozen])
    before = model.loss(ps.testing.batch(data, 200)).item()
    ps.Trainer(epochs=4, lr=0.05, batch_size=64).fit(tied, data)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])}
    assert moved == {name for name in start if not name.startswith(frozen + ".")}
    assert model.loss(ps.testing.batch(data, 200)).item() < before


def test_strength_pulls_back(data: Any) -> None:
    distance = {}
    for strength in (0.0, 0.01, 1.0):
        model = make("cpp", data)
        start = state_of(model)
        ps.Trainer(epochs=5, lr=0.02, batch_size=64).fit(Anchored(model, start, strength=strength), data)
        distance[strength] = sum((model.state_dict()[name] - start[name]).square().sum().item() for name in start)
    assert distance[1.0] < 0.3 * distance[0.01] < 0.3 * distance[0.0]


def test_lr_scale_is_that_of_the_trainer(data: Any) -> None:
    states = []
    for lr, scale in ((0.02, 1.0), (0.04, 0.5)):
        model = make("cpp", data)
        ps.Trainer(epochs=2, lr=lr).fit(Anchored(model, state_of(model), lr_scale=scale), data)
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_does_not_fit_is_told(data: Any) -> None:
    model = make("cpp", data)
    with pytest.raises(ValueError, match="Anchored: the anchors share no parameter with mf"):
        Anchored(model, {"x": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"Anchored: frozen must be .* got 'usr'; parameters: mean, user.weight"):
        Anchored(model, state_of(model), frozen=["usr"])
    tied = Anchored(model, {"mean": torch.zeros(()), "no.such": torch.zeros(1)})
    assert set(tied.unmatched) == {"user.weight", "item.weight", "user_bias.weight", "item_bias.weight"}
    assert tied.unused == ["no.such"]
