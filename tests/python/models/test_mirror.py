"""Every registered model keeps the protocol of torch.nn.Module; what C++ would ignore raises or is forwarded."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import (
    RESTING,
    WITHOUT_PARAMETERS,
    draw,
    every_model,
    make,
    models_with_tables,
    models_with_tensors,
    scramble,
    trained_models,
)
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm


def groups(model: nn.Module) -> list[nn.Module]:
    return [module for path, module in model.named_modules() if path]


# -- nn.Module -------------------------------------------------------------------------------------


@every_model
def test_state_dict_moves_a_model(name: str, data: Any) -> None:
    model, other = scramble(make(name, data)).eval(), ps.models.create(name, data.schema).eval()
    other.prepare(data.train)
    state = model.state_dict()
    assert list(state) == [path for path, _, _ in model._impl.tensors()]
    result = other.load_state_dict(state)
    assert not result.missing_keys
    assert not result.unexpected_keys
    batch = draw(model, data, 8)
    assert torch.equal(other(batch), model(batch))


@models_with_tensors
def test_strict_loading_names_what_does_not_fit(name: str, data: Any) -> None:
    model = make(name, data)
    state = model.state_dict()
    first = next(iter(state))
    with pytest.raises(RuntimeError, match=rf"Missing key\(s\) in state_dict: \"{first}\""):
        model.load_state_dict({key: value for key, value in state.items() if key != first})
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"no.such\""):
        model.load_state_dict(state | {"no.such": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict(state | {first: torch.zeros(3, 1, 2)})
    assert model.load_state_dict(state | {"no.such": torch.zeros(1)}, strict=False).unexpected_keys == ["no.such"]


@models_with_tensors
def test_double_reaches_cpp(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    batch = draw(model, data, 8)
    single = model(batch)
    if name not in WITHOUT_PARAMETERS:
        model.loss(batch).backward()
    tensors = [*model.parameters(), *model.buffers()]
    assert model.double() is model
    assert all(a is b for a, b in zip(tensors, [*model.parameters(), *model.buffers()], strict=True))
    assert all(tensor.dtype == torch.float64 for tensor in tensors if tensor.is_floating_point())
    assert all(p.grad is None or p.grad.dtype == torch.float64 for p in model.parameters())
    assert model(batch).dtype == torch.float64
    torch.testing.assert_close(model(batch).float(), single, rtol=1e-4, atol=1e-5)
    if name not in WITHOUT_PARAMETERS:
        model.loss(batch).backward()
    assert model.to(torch.float32) is model
    torch.testing.assert_close(model(batch), single, rtol=1e-5, atol=1e-6)


@every_model
def test_train_and_eval_reach_every_part(name: str, data: Any) -> None:
    model = make(name, data)
    for mode in (False, True):
        assert model.train(mode) is model
        assert model._impl.training is mode
        rest = RESTING.get(name, "none")
        for path, _, training in model._impl.children():
            assert training is (mode and not path.startswith(rest))
            assert model.get_submodule(path).training is training
        assert model.training is mode


@every_model
def test_mode_of_a_part_is_its_own(name: str, data: Any) -> None:
    model = make(name, data)
    paths = [path for path, _, _ in model._impl.children()]
    assert paths == [path for path, _ in model.named_modules() if path]
    for path in paths:
        model.train()
        model.get_submodule(path).eval()
        frozen = {p for p in paths if p == path or p.startswith((f"{path}.", RESTING.get(name, "none")))}
        assert {p for p, _, training in model._impl.children() if not training} == frozen
        assert model._impl.training


def keeps(model: nn.Module, made: nn.Module, batch: Any) -> None:
    assert type(made) is type(model)
    assert torch.equal(made(batch), model(batch))
    assert not made.training
    assert made._impl.training is False
    assert made.note == {"by": ["me"]}
    for (path, a), (other, b) in zip(model.state_dict().items(), made.state_dict().items(), strict=True):
        assert path == other
        assert torch.equal(a, b)
        assert a.dtype == b.dtype
        if a.numel():
            assert a.data_ptr() != b.data_ptr()
    assert [p.requires_grad for p in made.parameters()] == [p.requires_grad for p in model.parameters()]
    assert made.options == model.options
    assert made.schema.digest == model.schema.digest
    assert (made._impl.history is None) == (model._impl.history is None)


def double_output(module: nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:
    return 2 * out


@every_model
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_copies_keep_everything(name: str, way: str, data: Any) -> None:
    model = scramble(make(name, data)).double().eval()
    model.note = {"by": ["me"]}
    model.register_forward_hook(double_output)
    for parameter in list(model.parameters())[:1]:
        parameter.requires_grad_(False)
    state = torch.random.get_rng_state()
    if way == "deepcopy":
        made = copy.deepcopy(model)
    elif way == "pickle":
        made = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        made = torch.load(file, weights_only=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    batch = draw(model, data, 8)
    keeps(model, made, batch)
    assert made.note is not model.note
    made._forward_hooks.clear()
    assert torch.equal(2 * made(batch), model(batch))
    if name not in WITHOUT_PARAMETERS:
        before = model(batch)
        scramble(made)
        assert torch.equal(model(batch), before)
        assert not torch.equal(2 * made(batch), before)


@models_with_tensors
def test_part_of_a_larger_module(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    whole = nn.Sequential(model, nn.Sigmoid())
    batch = draw(model, data, 8)
    assert torch.equal(whole(batch), model(batch).sigmoid())
    assert list(whole.state_dict()) == [f"0.{path}" for path in model.state_dict()]
    made = copy.deepcopy(whole)
    assert torch.equal(made(batch), whole(batch))
    whole.double()
    assert whole(batch).dtype == torch.float64


@every_model
def test_hooks_fire(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    batch = draw(model, data, 8)
    plain = model(batch)
    seen: list[str] = []
    model.register_forward_pre_hook(lambda module, args: seen.append("before"))
    model.register_forward_hook(double_output)
    assert torch.equal(model(batch), 2 * plain)
    assert seen == ["before"]
    for path, parameter in model.named_parameters():
        parameter.register_hook(lambda grad, path=path: seen.append(path))
    if name not in WITHOUT_PARAMETERS:
        model.loss(draw(model, data, 200)).backward()
        assert set(seen[1:]) == {path for path, p in model.named_parameters() if p.grad is not None}


# -- the mirror: what C++ would silently ignore ----------------------------------------------------


@every_model
def test_assignment_is_refused(name: str, data: Any) -> None:
    model = make(name, data).eval()
    batch = draw(model, data, 4)
    before = model(batch)
    for path, tensor in model.state_dict(keep_vars=True).items():
        parent, _, leaf = path.rpartition(".")
        owner = model.get_submodule(parent)
        with pytest.raises(TypeError, match=f"'{leaf}' cannot be replaced"):
            setattr(owner, leaf, nn.Parameter(tensor.detach().clone()) if tensor.requires_grad else tensor.clone())
        setattr(owner, leaf, tensor)  # itself
        with pytest.raises(TypeError, match=f"'{leaf}' cannot be removed"):
            delattr(owner, leaf)
    with pytest.raises(TypeError, match="structure is fixed"):
        model.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(TypeError, match="structure is fixed"):
        model.extra = nn.Linear(1, 1)
    for add in (
        lambda: model.register_parameter("extra", None),
        lambda: model.register_buffer("extra", torch.zeros(1)),
        lambda: model.add_module("extra", nn.Linear(1, 1)),
    ):
        with pytest.raises(TypeError, match="'extra' cannot be added"):
            add()
    with pytest.raises(TypeError, match=r"load_state_dict\(assign=True\) would leave C\+\+ with the old tensors"):
        model.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(model(batch), before)


@trained_models
def test_reparametrisations_are_refused(name: str, data: Any) -> None:
    model = make(name, data).eval()
    batch = draw(model, data, 4)
    before, keys = model(batch), list(model.state_dict())
    path = next(path for path, each in model.named_parameters() if each.dim() == 2)
    parent, _, leaf = path.rpartition(".")
    owner = model.get_submodule(parent)
    for change in (
        lambda: parametrize.register_parametrization(owner, leaf, nn.Identity()),
        lambda: parametrizations.weight_norm(owner, leaf),
        lambda: prune.l1_unstructured(owner, leaf, amount=1),
        lambda: spectral_norm(owner, leaf),
    ):
        with pytest.raises(TypeError, match="C\\+\\+ module"):
            change()
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(batch), before)


@models_with_tensors
def test_functional_call_is_refused(name: str, data: Any) -> None:
    model = make(name, data)
    batch = draw(model, data, 4)
    other = {path: tensor + 1 for path, tensor in model.state_dict().items() if tensor.is_floating_point()}
    with pytest.raises(RuntimeError, match="is not the tensor that C\\+\\+ computes with"):
        torch.func.functional_call(model, other, (batch,))
    assert model(batch).shape == (4,)


@models_with_tensors
def test_meta_device_is_refused(name: str, data: Any) -> None:
    model = make(name, data)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TypeError, match="cannot become a tensor on device 'meta'"):
        model.to("meta")
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


@models_with_tensors
def test_swapping_parameters_is_done_in_place(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    batch = draw(model, data, 4)
    single, state = model(batch), copy.deepcopy(model.state_dict())
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model.double()
        assert model(batch).dtype == torch.float64
        model.float()
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.zero_()
        model.load_state_dict(state)
        assert torch.__future__.get_swap_module_params_on_conversion()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    torch.testing.assert_close(model(batch), single)


@models_with_tensors
def test_replaced_tensors_are_noticed_at_forward(name: str, data: Any) -> None:
    model = make(name, data)
    path, holder, leaf, tensor = model._mirrored[0]
    holder[leaf] = tensor.detach().clone()  # what stateless calls do behind the module's back
    with pytest.raises(RuntimeError, match=f"'{path}' is not the tensor"):
        model(draw(model, data, 4))
    holder[leaf] = tensor
    assert model(draw(model, data, 4)).shape == (4,)


@every_model
def test_tracing_is_refused(name: str, data: Any) -> None:
    model = make(name, data).eval()
    batch = draw(model, data, 4)
    with pytest.raises(RuntimeError, match="trace export_form"):
        torch.jit.trace(lambda x: model(batch) * x, torch.ones(4))


@every_model
def test_parts_have_no_forward_and_no_copies(name: str, data: Any) -> None:
    for part in groups(make(name, data)):
        with pytest.raises(TypeError, match="has no forward of its own"):
            part(torch.zeros(1))
        with pytest.raises(TypeError, match="copy or pickle the whole module"):
            copy.deepcopy(part)
        with pytest.raises(TypeError, match="copy or pickle the whole module"):
            pickle.dumps(part)


@every_model
def test_names_are_free_in_nn_module(name: str, data: Any) -> None:
    model = make(name, data)
    for path, _ in [*model.named_modules(), *model.state_dict().items()]:
        assert not any(hasattr(nn.Module(), part) for part in path.split(".") if part)


@models_with_tables
def test_modes_and_sparse_gradients_survive_cpp(name: str, data: Any) -> None:
    model = make(name, data)
    model.sparse_gradients(True)
    paths = [path for path, _, _ in model._impl.children()]
    for path in paths[::2]:
        model.get_submodule(path).eval()
    before = {path: training for path, _, training in model._impl.children()}
    ps.evaluate(model, data.valid)
    ps.Trainer(epochs=1, patience=0).fit(model, data)
    assert {path: training for path, _, training in model._impl.children()} == before
    assert {path: module.training for path, module in model.named_modules() if path} == before
    assert model.training
    assert model._impl.training
    if name not in WITHOUT_PARAMETERS:
        model.loss(draw(model, data, 8)).backward()
        named = dict(model.named_parameters())
        gradients = [named[path].grad for path in model.table_parameters()]  # None for tables of another phase or scene
        assert any(gradient is not None for gradient in gradients)
        assert all(gradient.is_sparse for gradient in gradients if gradient is not None)


@every_model
def test_tied_tensors_are_mirrored_once(name: str, data: Any) -> None:
    model = make(name, data)
    state = model.state_dict(keep_vars=True)
    assert len({id(tensor) for tensor in state.values()}) == len(state)
    assert {target for _, target in model._impl.aliases()} <= set(state)
