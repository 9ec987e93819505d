"""Fine-tuning block by block: which blocks there are, what moves when and how fast, what stands still."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, scramble
from polyscene.transfer import FineTuned, state_of


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(data: Any, name: str = "wide_deep", **options: Any) -> ps.Model:
    torch.manual_seed(0)
    return scramble(ps.models.create(name, data.schema, **({"hidden": [6, 5]} | options)))


def changed(model: ps.Model, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_blocks_go_from_tables_to_the_head(data: Any) -> None:
    model = make(data)
    blocks = FineTuned(model).groups
    assert sorted(name for block in blocks for name in block) == sorted(n for n, _ in model.named_parameters())
    assert set(blocks[0]) == set(model.table_parameters())
    assert "deep.layer0_weight" in blocks[1] and "deep.layer1_weight" in blocks[2]
    assert "deep.output_weight" in blocks[-1] and "scene_bias" in blocks[-1]
    assert FineTuned(make(data, "star", hidden=[6])).groups[1][0].startswith("layer0")


def test_whole_and_unchanged_it_is_plain_training(data: Any) -> None:
    states = []
    for wrapped in (False, True):
        model = make(data)
        ps.Trainer(epochs=2, lr=0.01, batch_size=64).fit(FineTuned(model) if wrapped else model, data)
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_top_blocks_move_alone(data: Any) -> None:
    model = make(data)
    before = state_of(model)
    tuned = FineTuned(model, top=1)
    ps.Trainer(epochs=2, lr=0.01, batch_size=64).fit(tuned, data)
    assert changed(model, before) <= set(tuned.groups[-1])
    assert "deep.output_weight" in changed(model, before)


def test_frozen_never_moves_and_statistics_stand_still(data: Any) -> None:
    model = make(data, norm="batch")
    before = state_of(model)
    tuned = FineTuned(model, frozen=["deep.layer0_weight", "deep.layer0_scale", "deep.layer0_shift", "embedding"])
    ps.Trainer(epochs=2, lr=0.01, batch_size=64).fit(tuned, data)
    moved = changed(model, before)
    assert not any(name.startswith(("deep.layer0", "embedding")) for name in moved)
    assert {"deep.layer1_weight", "deep.layer1_running_mean"} <= moved
    whole = FineTuned(model, top=1, frozen=["deep"])
    assert not next(m for n, m in whole.train().named_modules() if n == "deep").training


def test_gradual_unfreezing_opens_a_block_at_a_time(data: Any) -> None:
    model = make(data)
    before = state_of(model)
    tuned = FineTuned(model, gradual=True, block_epochs=1)
    seen: list[tuple[str, set[str]]] = []
    history = ps.Trainer(epochs=2, lr=0.01, batch_size=64, patience=0).fit(
        tuned, data, callbacks=lambda row: seen.append((row["phase"], changed(model, before)))
    )
    count = len(tuned.groups)
    assert [row["phase"] for row in history] == [f"top {k}" for k in range(1, count + 1)] + [f"top {count}"]
    for number, (_, moved) in enumerate(seen[:count]):
        open_now = {name for block in tuned.groups[count - number - 1 :] for name in block}
        assert moved <= open_now
        assert moved & set(tuned.groups[count - number - 1])


def test_rates_fall_block_by_block(data: Any) -> None:
    model = make(data)
    tuned = FineTuned(model, decay=2.0, lr_scale=0.5)
    rates = tuned.phases()[0].lr_scales
    assert tuned.phases()[0].lr_scale == 0.5
    for height, block in enumerate(reversed(tuned.groups)):
        assert all(rates[name] == pytest.approx(2.0**-height) for name in block)
    # Gradient descent: one step of a block is as long as its rate says.
    steps = {}
    for decay in (1.0, 2.0):
        model = make(data)
        before = state_of(model)
        fitted = FineTuned(model, decay=decay)
        ps.Trainer(epochs=1, lr=0.1, batch_size=10_000, optimizer="sgd").fit(fitted, data.train)
        steps[decay] = {name: model.state_dict()[name] - before[name] for name in before}
    for height, block in enumerate(reversed(tuned.groups)):
        for name in block:
            torch.testing.assert_close(steps[2.0][name], steps[1.0][name] * 2.0**-height, rtol=1e-3, atol=1e-6)


def test_head_starts_anew(data: Any) -> None:
    model = make(data)
    before = state_of(model)
    FineTuned(model, reset_head=True, top=1)
    assert changed(model, before) == {"deep.output_weight", "deep.output_bias"}
    assert model(draw(model, data, 4)).isfinite().all()


def test_what_does_not_fit_is_told(data: Any) -> None:
    model = make(data)
    with pytest.raises(ValueError, match="FineTuned: top must be between 0 and 4, the blocks of wide_deep, got 9"):
        FineTuned(model, top=9)
    with pytest.raises(ValueError, match=r"FineTuned: frozen must be names or prefixes of parameters, got 'deeep'"):
        FineTuned(model, frozen=["deeep"])
    with pytest.raises(ValueError, match="FineTuned: everything is frozen"):
        FineTuned(model, top=1, frozen=[name for name, _ in model.named_parameters()])
    with pytest.raises(ValueError, match="FineTuned: decay must be positive, got 0"):
        FineTuned(model, decay=0.0)
