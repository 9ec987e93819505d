"""Low-rank adaptation: against the products by hand, on any model, saved alone, merged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, scramble
from polyscene.transfer import LowRank, load_part, save_part, state_of
from torch import nn

SMALL = {"wide_deep": {"hidden": [16, 8]}, "shared_bottom": {"bottom": [16], "tower": [8]}, "mf": {"dim": 12}}
SMALL |= {"mmoe": {"expert": [12], "tower": [8], "experts": 2}, "star": {"hidden": [12], "auxiliary": [8]}}
SMALL |= {"interest_migration": {}, "factorization_machine": {}}


class Plain(ps.Model):
    """A model written in Python."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.item = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, 12)
        self.head = nn.Linear(12, 1)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.head(self.item(batch.item)).squeeze(1)


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(name: str, data: Any) -> ps.Model:
    torch.manual_seed(0)
    model = Plain(data.schema) if name == "python" else ps.models.create(name, data.schema, **SMALL[name])
    model.prepare(data.train)
    return scramble(model)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def moved(model: LowRank) -> LowRank:
    """With factors other than those of the start."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("low_rank."):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)) * 0.3)
    return model


@pytest.mark.parametrize("name", [*SMALL, "python"])
def test_starts_as_the_model_and_matches_products_by_hand(name: str, data: Any) -> None:
    model = make(name, data).eval()
    adapted = LowRank(model, rank=2, alpha=3.0).eval()
    batch = draw(model, data, 24)
    torch.testing.assert_close(adapted(batch), model(batch), rtol=0, atol=0)
    own = dict(moved(adapted).named_parameters())
    by_hand = copy.deepcopy(model)
    state = state_of(model)
    assert adapted.matrices
    for matrix in adapted.matrices:
        up, down = (own[f"low_rank.{matrix}.{part}"].detach().double() for part in ("up", "down"))
        product = torch.einsum("...mr,...rn->...mn", up, down)
        assert up.shape[-1] == 2 and up.shape[:-1] == state[matrix].shape[:-1]
        state[matrix] = (state[matrix].double() + 1.5 * product).float()
    by_hand.load_state_dict(state)
    torch.testing.assert_close(adapted(batch), by_hand(batch), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(adapted(batch), model(batch), atol=1e-3)
    merged = adapted.merge()
    assert type(merged) is type(model)
    torch.testing.assert_close(merged(batch), adapted(batch), rtol=0, atol=1e-6)
    assert all(p.requires_grad for p in merged.parameters())
    assert same(adapted.base_state(), state_of(model))


@pytest.mark.parametrize("name", ["wide_deep", "shared_bottom", "python"])
def test_gradients_are_those_of_the_factors(name: str, data: Any) -> None:
    model = make(name, data).double().eval()
    adapted = moved(LowRank(model, rank=1, alpha=2.0)).eval()
    batch = draw(model, data, 6)
    adapted.loss(batch).backward()
    found = {n: p.grad.clone() for n, p in adapted.named_parameters() if n.startswith("low_rank.")}
    adapted.zero_grad()
    assert found and not any(p.requires_grad for n, p in adapted.named_parameters() if n not in found)
    # Differences: a pass writes the matrices anew, so that autograd's own check, which keeps a graph meanwhile, cannot.
    with torch.no_grad():
        for path, parameter in adapted.named_parameters():
            if path not in found:
                continue
            flat = parameter.view(-1)
            for entry in range(0, len(flat), 7):
                value, both = flat[entry].item(), []
                for step in (1e-6, -1e-6):
                    flat[entry] = value + step
                    both.append(adapted.loss(batch).item())
                flat[entry] = value
                slope = (both[0] - both[1]) / 2e-6
                assert found[path].view(-1)[entry].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def factors(adapted: LowRank, matrix: str) -> list[torch.Tensor]:
    own = dict(adapted.named_parameters())
    return [own[f"low_rank.{matrix}.{part}"].detach().clone() for part in ("up", "down")]


@pytest.mark.parametrize("name", ["wide_deep", "mmoe", "python"])
def test_dropout_drops_inputs_of_the_added_path_in_training_alone(name: str, data: Any) -> None:
    model = make(name, data).double().eval()
    chosen = ["item.weight", "head.weight"] if name == "python" else []
    adapted = moved(LowRank(model, rank=1, alpha=2.0, dropout=0.4, parameters=chosen))
    batch, base = draw(model, data, 24), adapted.base_state()
    tables = {f"{prefix}.weight" for prefix in ("embedding", "item", "base")}
    dropped = columns = 0
    for seed in range(30):
        torch.manual_seed(seed)
        with torch.no_grad():
            loss = adapted.train().loss(batch)
        used = {matrix: adapted.state_dict()[matrix].clone() for matrix in adapted.matrices}
        by_hand = copy.deepcopy(model)
        by_hand.load_state_dict(base | used)
        torch.testing.assert_close(loss, by_hand.loss(batch), rtol=1e-12, atol=1e-12)
        for matrix, weight in used.items():
            up, down = factors(adapted, matrix)
            full = 2.0 * up @ down
            found = (weight - base[matrix]).abs().sum(-2) / full.abs().sum(-2)  # of each input
            if any(matrix.startswith(table) for table in tables):
                torch.testing.assert_close(found, torch.ones_like(found))
                continue
            zero = found < 1e-9
            torch.testing.assert_close(found[~zero], torch.full_like(found[~zero], 1 / 0.6))
            dropped, columns = dropped + int(zero.sum()), columns + zero.numel()
    assert columns > 300 and dropped / columns == pytest.approx(0.4, abs=0.05)
    # Nothing of it stays: in evaluation, in what is merged, in the tensors between passes.
    adapted.eval()
    expected = copy.deepcopy(model)
    state = {m: base[m] + 2.0 * torch.matmul(*factors(adapted, m)) for m in adapted.matrices}
    expected.load_state_dict(base | state)
    torch.testing.assert_close({m: adapted.state_dict()[m] for m in state}, state, rtol=0, atol=1e-12)
    torch.testing.assert_close(adapted(batch), expected(batch), rtol=0, atol=1e-12)
    adapted.train().loss(batch)
    torch.testing.assert_close(adapted.merge().eval()(batch), expected(batch), rtol=0, atol=1e-6)
    torch.testing.assert_close(adapted.eval()(batch), expected(batch), rtol=0, atol=1e-6)


def test_gradients_under_dropout_are_those_of_the_pass(data: Any) -> None:
    model = make("wide_deep", data).double().eval()
    adapted = moved(LowRank(model, rank=1, alpha=2.0, dropout=0.5)).train()
    batch = draw(model, data, 6)

    def lost() -> torch.Tensor:
        torch.manual_seed(11)
        return adapted.loss(batch)

    lost().backward()
    found = {n: p.grad.clone() for n, p in adapted.named_parameters() if n.startswith("low_rank.")}
    adapted.zero_grad()
    with torch.no_grad():
        for path, parameter in adapted.named_parameters():
            flat = parameter.view(-1)
            for entry in range(0, len(flat) if path in found else 0, 7):
                value, both = flat[entry].item(), []
                for step in (1e-6, -1e-6):
                    flat[entry] = value + step
                    both.append(lost().item())
                flat[entry] = value
                slope = (both[0] - both[1]) / 2e-6
                assert found[path].to_dense().view(-1)[entry].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_the_mechanism_trains_with_dropout_and_repeats_itself(data: Any) -> None:
    assert ps.transfer.mechanisms()["lora"].options["dropout"] == 0
    states = {}
    for run, dropout in (("none", 0.0), ("some", 0.5), ("again", 0.5)):
        model = make("wide_deep", data)
        torch.manual_seed(3)
        adapted = LowRank(model, rank=2, dropout=dropout)
        ps.Trainer(epochs=2, lr=0.02, batch_size=64, threads=1 + (run == "again")).fit(adapted, data)
        states[run] = adapted.merged_state()
    assert same(states["some"], states["again"]) and not same(states["some"], states["none"])
    settings = {"rank": 2, "dropout": 0.3}
    _, _, verdict = ps.transfer.migrate(
        make("wide_deep", data), data, mechanism="lora", settings=settings, trainer={"epochs": 1}
    )
    assert verdict["target"] == "television"


def test_two_passes_share_one_backward(data: Any) -> None:
    model = make("wide_deep", data).eval()
    adapted = moved(LowRank(model, rank=2)).eval()
    first, second = draw(model, data, 8, seed=1), draw(model, data, 8, seed=2)
    (adapted.loss(first) + adapted.loss(second)).backward()
    together = {n: p.grad.clone() for n, p in adapted.named_parameters() if n.startswith("low_rank.")}
    adapted.zero_grad()
    adapted.loss(first).backward()
    adapted.loss(second).backward()
    assert together
    for name, parameter in adapted.named_parameters():
        if name in together:
            torch.testing.assert_close(parameter.grad, together[name])


@pytest.mark.parametrize("optimizer", ["lazy_adam", "adam"])
@pytest.mark.parametrize("name", ["mf", "wide_deep", "python"])
def test_trainer_moves_the_factors_alone(name: str, optimizer: str, data: Any) -> None:
    model = make(name, data)
    before = state_of(model)
    adapted = LowRank(model, rank=2)
    lost = model.eval().loss(draw(model, data, 300)).item()
    ps.Trainer(epochs=4, lr=0.02, batch_size=64, optimizer=optimizer).fit(adapted, data)
    assert same(adapted.base_state(), before) and same(state_of(model), before)
    merged = adapted.merge().eval()
    assert merged.loss(draw(model, data, 300)).item() < lost
    changed = {n for n, v in merged.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == set(adapted.matrices)
    batch = draw(model, data, 30)
    torch.testing.assert_close(merged(batch), adapted.eval()(batch), rtol=0, atol=1e-6)


def test_trained_parameters_train_in_full(data: Any) -> None:
    model = make("wide_deep", data)
    adapted = LowRank(model, rank=1, parameters=["deep"], trained=["base", "deep.output_bias"])
    assert adapted.matrices == ["deep.layer0_weight", "deep.layer1_weight"]
    ps.Trainer(epochs=1, lr=0.02, batch_size=64).fit(adapted, data)
    changed = {n for n, v in adapted.merged_state().items() if not torch.equal(v, model.state_dict()[n])}
    assert changed == {*adapted.matrices, "base", "deep.output_bias"}


def test_saved_alone_it_is_small_and_comes_back(data: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ps.models.WideDeep(data.schema, dim=64, hidden=[512, 512])
    ps.save(model, tmp_path / "model.safetensors")
    adapted = LowRank(model, rank=2, parameters=["deep"])
    ps.Trainer(epochs=1, lr=0.01, batch_size=64).fit(adapted, data)
    save_part(adapted, tmp_path / "part.safetensors")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("part", "model")]
    assert sizes[0] < 0.05 * sizes[1]
    found = load_part(ps.load(tmp_path / "model.safetensors"), tmp_path / "part.safetensors")
    batch = draw(model, data, 40)
    want = adapted.eval()(batch)
    torch.testing.assert_close(found(batch), want, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.merge()(batch), want, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"load_part: .* was learned on another model than this wide_deep: digest"):
        load_part(scramble(model), tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="holds no part that save_part wrote"):
        load_part(model, tmp_path / "model.safetensors")


def test_same_seed_gives_the_same_bits(data: Any) -> None:
    states = []
    for threads in (1, 2):
        model = make("wide_deep", data)
        torch.manual_seed(3)
        adapted = LowRank(model, rank=2)
        ps.Trainer(epochs=2, lr=0.02, batch_size=64, threads=threads).fit(adapted, data)
        states.append(adapted.merged_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_does_not_fit_is_told(data: Any) -> None:
    model = make("mf", data)
    with pytest.raises(ValueError, match="LowRank: rank must be positive, got 0"):
        LowRank(model, rank=0)
    with pytest.raises(ValueError, match=r"LowRank: dropout must be in \[0, 1\), got 1"):
        LowRank(model, dropout=1.0)
    with pytest.raises(ValueError, match="LowRank: mf has no matrix for which rank 30 is a saving"):
        LowRank(model, rank=30)
    with pytest.raises(
        ValueError, match=r"LowRank: parameters must be names .* got 'user.wieght'; .* did you mean 'user"
    ):
        LowRank(model, parameters=["user.wieght"])
    with pytest.raises(ValueError, match=r"LowRank: parameters must be matrices of numbers, 'mean' is \[\]"):
        LowRank(model, parameters=["mean"])
    with pytest.raises(TypeError, match="LowRank: is no model of its own"):
        copy.deepcopy(LowRank(model, rank=1))
