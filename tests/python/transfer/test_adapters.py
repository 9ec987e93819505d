"""Adapters and side-tuning: against the equations row by row, near identity at the start, saved alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, scramble
from polyscene.transfer import adapted, load_part, save_part, side_tuned, state_of

SMALL = {
    "shared_bottom": {"bottom": [6], "tower": [5]},
    "mmoe": {"expert": [6], "tower": [5], "experts": 2},
    "wide_deep": {"hidden": [6, 5]},
    "interest_migration": {},
}


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(name: str, data: Any, **options: Any) -> ps.Model:
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, **SMALL.get(name, {}), **options)
    model.prepare(data.train)
    return scramble(model)


@pytest.mark.parametrize("by_scene", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_starts_as_the_model_that_it_holds(name: str, by_scene: bool, data: Any) -> None:
    model = make(name, data).eval()
    held = adapted(model, bottleneck=2, by_scene=by_scene)
    batch = draw(model, data, 30)
    torch.testing.assert_close(held(batch), model(batch), rtol=0, atol=1e-6)
    torch.testing.assert_close(held.train()(batch), model(batch), rtol=0, atol=1e-6)  # no dropout, no batch statistics


def test_matches_the_equations_row_by_row() -> None:
    data = ps.testing.tiny_data(bare=True)
    model = make("shared_bottom", data).double().eval()
    held = scramble(adapted(model, bottleneck=2, activation="tanh").double(), seed=4).eval()
    own = {name: tensor.detach() for name, tensor in held.state_dict().items()}
    batch = draw(model, data, 30)
    out = []
    for b in range(30):
        one, s = batch.take([b]), int(batch.scene[b])
        x = torch.cat([held_embedding(own, model, one), one.numeric[0].double()])

        def through(h: torch.Tensor, path: str, layer: int, scene: int, adapter: int) -> torch.Tensor:
            w, bias = own[f"base.{path}.layer{layer}_weight"], own.get(f"base.{path}.layer{layer}_bias")
            h = w[scene, 0] @ h + (0 if bias is None else bias[scene, 0])
            if f"base.{path}.layer{layer}_scale" in own:
                mean, var = (own[f"base.{path}.layer{layer}_running_{k}"][scene, 0] for k in ("mean", "var"))
                scale, shift = (own[f"base.{path}.layer{layer}_{k}"][scene, 0] for k in ("scale", "shift"))
                h = (h - mean) / (var + 1e-5).sqrt() * scale + shift
            h = h.relu()
            at = f"adapter_{path}.layer{layer}_"
            low = (own[at + "down"][adapter, 0] @ h + own[at + "down_bias"][adapter, 0]).tanh()
            return h + own[at + "up"][adapter, 0] @ low + own[at + "up_bias"][adapter, 0]

        h = through(x, "bottom", 0, 0, s)
        h = through(h, "towers", 0, s, s)
        out.append(own["base.towers.output_weight"][s, 0, 0] @ h + own["base.towers.output_bias"][s, 0, 0])
    torch.testing.assert_close(held(batch), torch.stack(out), rtol=1e-9, atol=1e-9)


def held_embedding(own: dict[str, torch.Tensor], model: ps.Model, one: Any) -> torch.Tensor:
    width = own["base.embedding.weight"].shape[1]
    slots, begin = [], 0
    for f, field in enumerate(model.schema.categorical):
        slots.append(own["base.embedding.weight"][begin + int(one.categorical[0, f])])
        begin += field.rows
    assert all(len(slot) == width for slot in slots)
    return torch.cat(slots)


def test_adapters_and_what_was_asked_for_train_alone(data: Any) -> None:
    model = make("shared_bottom", data)
    held = adapted(model, bottleneck=2, trained=["towers.output_weight"])
    before = state_of(held)
    ps.Trainer(epochs=2, lr=0.02, batch_size=64).fit(held, data)
    changed = {name for name, value in state_of(held).items() if not torch.equal(value, before[name])}
    free = {name for name, parameter in held.named_parameters() if parameter.requires_grad}
    assert changed <= free and "base.towers.output_weight" in changed
    assert all(n.startswith("adapter_") or n.endswith(("_scale", "_shift", "output_weight")) for n in free)
    assert not any("running" in name for name in changed)


def test_batch_of_one_scene_leaves_the_adapters_of_others(data: Any) -> None:
    held = scramble(adapted(make("shared_bottom", data), bottleneck=2))
    batch = draw(held, data, 60)
    held.loss(batch.take((batch.scene == 1).nonzero().squeeze(1))).backward()
    for name, parameter in held.named_parameters():
        if name.startswith("adapter_"):
            assert parameter.grad[1].abs().sum() > 0 and parameter.grad[[0, 2]].abs().sum() == 0


def test_saved_alone_it_is_small_and_comes_back(data: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ps.models.WideDeep(data.schema, dim=64, hidden=[512, 512])
    ps.save(model, tmp_path / "model.safetensors")
    held = adapted(model, bottleneck=2)
    ps.Trainer(epochs=1, lr=0.01, batch_size=64).fit(held, data)
    save_part(held, tmp_path / "part.safetensors")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("part", "model")]
    assert sizes[0] < 0.05 * sizes[1]
    found = load_part(ps.load(tmp_path / "model.safetensors"), tmp_path / "part.safetensors")
    batch = draw(model, data, 40)
    torch.testing.assert_close(found(batch), held.eval()(batch), rtol=0, atol=1e-6)
    ps.save(held, tmp_path / "whole.safetensors")
    torch.testing.assert_close(ps.load(tmp_path / "whole.safetensors")(batch), held(batch), rtol=0, atol=0)
    with pytest.raises(ValueError, match="was learned on another model"):
        load_part(scramble(model), tmp_path / "part.safetensors")


def test_what_has_no_hidden_layers_is_told(data: Any) -> None:
    with pytest.raises(ValueError, match="Adapted: mf has no hidden layers to put adapters behind"):
        adapted(make("mf", data))
    with pytest.raises(ValueError, match="Adapted: model must be a plain model, got 'specialist'"):
        ps.models.Adapted(data.schema, model="specialist")
    with pytest.raises(TypeError, match=r"save_part: wanted a LowRank or an adapted model, got MF \(mf\)"):
        save_part(make("mf", data), "x.safetensors")


@pytest.mark.parametrize("task", ["ctr", "rating"])
def test_side_tuning_blends(task: str) -> None:
    data = ps.testing.tiny_data(task)
    torch.manual_seed(0)
    model = scramble(ps.models.MF(data.schema, dim=4)).eval()
    both = side_tuned(model)
    batch = draw(model, data, 20)
    torch.testing.assert_close(both(batch), model(batch), rtol=0, atol=0)
    scramble(both, seed=5)
    base, side = (ps.models.MF(data.schema, dim=4).eval() for _ in range(2))
    for name, part in (("base", base), ("side", side)):
        part.load_state_dict({n: both.state_dict()[f"{name}.{n}"] for n in part.state_dict()})
    g = both.state_dict()["gate"].sigmoid()
    torch.testing.assert_close(both(batch), g * base(batch) + (1 - g) * side(batch), rtol=1e-5, atol=1e-6)


def test_side_tuning_trains_the_side_and_the_gate(data: Any) -> None:
    both = side_tuned(make("mf", data, dim=4))
    before = state_of(both)
    ps.Trainer(epochs=2, lr=0.02, batch_size=64).fit(both, data)
    changed = {name.split(".")[0] for name, value in state_of(both).items() if not torch.equal(value, before[name])}
    assert changed == {"side", "gate"}
