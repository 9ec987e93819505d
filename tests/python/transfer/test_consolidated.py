"""Elastic weight consolidation against loops, and the fusion of what several scenes say."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, scramble
from polyscene.transfer import Consolidated, consolidate, fisher, state_of


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(data: Any) -> ps.Model:
    torch.manual_seed(0)
    return scramble(ps.models.MF(data.schema, dim=3))


@pytest.mark.parametrize("normalize", [True, False])
def test_penalty_matches_a_loop(normalize: bool, data: Any) -> None:
    model = make(data).double().eval()
    anchor = {name: value + 0.1 for name, value in state_of(model).items()}
    generator = torch.Generator().manual_seed(1)
    weight = {name: torch.rand(value.shape, generator=generator).double() for name, value in anchor.items()}
    held = Consolidated(model, anchor, weight, strength=3.0, normalize=normalize)
    mean = sum(w.sum().item() for w in weight.values()) / sum(w.numel() for w in weight.values())
    total = 0.0
    for name, value in model.state_dict().items():
        for theta, at, f in zip(value.flatten(), anchor[name].flatten(), weight[name].flatten(), strict=True):
            total += 0.5 * float(f) / (mean if normalize else 1.0) * float(theta - at) ** 2
    assert held.penalty().item() == pytest.approx(total, rel=1e-6)
    batch = draw(model, data, 16)
    assert held.loss(batch).item() == pytest.approx(model.loss(batch).item() + 3.0 * total, rel=1e-6)
    assert torch.autograd.gradcheck(lambda *_: held.penalty(), list(held.parameters()))


def test_at_the_anchor_and_without_strength_it_is_the_model(data: Any) -> None:
    model = make(data)
    start = state_of(model)
    information = fisher(model, data.train, batches=4)
    assert Consolidated(model, start, information).penalty().item() == 0
    states = []
    for wrapped in (False, True):
        model.load_state_dict(start)
        fitted = Consolidated(model, start, information, strength=0) if wrapped else model
        ps.Trainer(epochs=2, lr=0.01, batch_size=64).fit(fitted, data)
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in start)


def test_what_matters_moves_less(data: Any) -> None:
    model = make(data)
    start = state_of(model)
    information = {name: torch.zeros_like(value) for name, value in start.items()}
    information["user.weight"] += 1
    held = Consolidated(model, start, information, strength=100.0)
    ps.Trainer(epochs=5, lr=0.02, batch_size=64).fit(held, data)
    moved = {name: (model.state_dict()[name] - start[name]).abs().mean().item() for name in start}
    assert moved["user.weight"] < 0.2 * moved["item.weight"]


def test_unseen_rows_are_free(data: Any) -> None:
    model = make(data)
    rows = ps.transfer.rows_of(data.train, ["phone"])
    seen = torch.zeros(model.user.weight.shape[0], dtype=torch.bool)
    seen[rows.users()] = True
    found = fisher(model, rows, batches=10_000, batch_size=1)
    assert (found["user.weight"][~seen] == 0).all() and (found["user.weight"][seen].sum(1) > 0).all()


def test_online_form_keeps_one_information() -> None:
    a, b = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([4.0, 0.0])}
    assert consolidate(consolidate({}, a, 0.5), b, 0.5)["w"].tolist() == [4.5, 1.0]
    with pytest.raises(ValueError, match=r"consolidate: gamma must lie in \[0, 1\], got 2"):
        consolidate(a, b, 2)
    with pytest.raises(ValueError, match="consolidate: other parameters: v, w"):
        consolidate(a, {"v": torch.zeros(1)})


def test_what_does_not_fit_is_told(data: Any) -> None:
    model = make(data)
    start = state_of(model)
    with pytest.raises(ValueError, match="Consolidated: information of 'mean' must be finite and not negative"):
        Consolidated(model, start, {"mean": torch.tensor(-1.0)})
    with pytest.raises(ValueError, match="Consolidated: anchor and information share no parameter with mf"):
        Consolidated(model, start, {"x": torch.tensor(1.0)})
    with pytest.raises(ValueError, match=r"Consolidated: parameter 'mean' is \[\], but the information has \[2\]"):
        Consolidated(model, start, {"mean": torch.zeros(2)})
    assert Consolidated(model, start, {"mean": torch.tensor(1.0)}).unmatched[0] == "user.weight"
