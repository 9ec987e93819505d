"""Models written in Python: what C++ sees of them, and that they copy, pickle and register like the others."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import polyscene as ps
import pytest
import torch
from polyscene import _C
from torch import nn


class Bias(ps.Model):
    """Item biases over a C++ model, with a buffer and a record of what was called."""

    def __init__(self, schema: Any, *, scale: float = 1.0, widths: list[int] = [3, 2]) -> None:  # noqa: B006
        super().__init__(schema)
        self.base = ps.models.Logistic(schema)
        self.bias = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, 1)
        self.mlp = nn.Sequential(nn.Linear(1, widths[0]), nn.Dropout(0.5), nn.Linear(widths[0], 1))
        self.register_buffer("shift", torch.tensor(0.25))
        self.scale = scale
        self.called: list[str] = []

    def forward(self, batch: Any) -> torch.Tensor:
        self.called.append("forward")
        bias = self.bias(batch.item)
        return self.scale * self.base(batch) + bias.squeeze(1) + self.mlp(bias).squeeze(1) + self.shift

    def begin_epoch(self, epoch: int) -> None:
        self.called.append(f"epoch {epoch}")

    def explain(self, batch: Any) -> dict[str, torch.Tensor]:
        return {"bias": self.bias(batch.item).squeeze(1)}


class Broken(ps.Model):
    def forward(self, batch: Any) -> torch.Tensor:
        raise ZeroDivisionError("on purpose")


class Changed(ps.models.Logistic):
    def forward(self, batch: Any) -> torch.Tensor:
        return 2 * super().forward(batch)


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def test_cpp_calls_the_python_methods(data: Any) -> None:
    model = Bias(data.schema).eval()
    batch = ps.testing.batch(data, 8)
    native = model._native()
    assert torch.equal(_C.models.Model.forward(native, batch), model(batch))
    assert model.called == ["forward", "forward"]
    assert list(dict(_C.models.Model.explain(native, batch))) == ["bias"]
    _C.models.Model.begin_epoch(native, 3)
    assert model.called[-1] == "epoch 3"
    assert native.options == model.options == {"scale": 1.0, "widths": [3, 2]}
    assert native.name == "Bias"
    expected = nn.functional.binary_cross_entropy_with_logits(model(batch), batch.label)
    torch.testing.assert_close(_C.models.Model.loss(native, batch), expected)
    torch.testing.assert_close(model.loss(batch), expected)
    assert _C.models.Model.fit_closed_form(native, data.train) is False
    assert [phase.name for phase in _C.models.Model.phases(native)] == ["fit"]


def test_cpp_holds_the_tensors_themselves(data: Any) -> None:
    model = Bias(data.schema)
    seen = {path: (tensor, is_buffer) for path, tensor, is_buffer in model._native().tensors()}
    assert {path for path, (_, is_buffer) in seen.items() if not is_buffer} == dict(model.named_parameters()).keys()
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert seen[path][0] is tensor
    model.double()
    model.bias.weight = nn.Parameter(torch.zeros_like(model.bias.weight))
    seen = {path: tensor for path, tensor, _ in model._native().tensors()}
    assert all(seen[path] is tensor for path, tensor in [*model.named_parameters(), *model.named_buffers()])
    assert seen["shift"].dtype == torch.float64


def test_cpp_sets_the_mode_and_sparse_gradients(data: Any) -> None:
    model = Bias(data.schema)
    native = model.eval()._native()
    assert native.training is False
    assert model.table_parameters() == ["base.fields.weight", "bias.weight"]
    assert _C.models.Model.table_parameters(native) == model.table_parameters()
    _C.models.Model.sparse_gradients(native, True)
    model.loss(ps.testing.batch(data, 4)).backward()
    named = dict(model.named_parameters())
    assert {path for path, p in named.items() if p.grad is not None and p.grad.is_sparse} == set(
        model.table_parameters()
    )


def test_trains_in_the_cpp_trainer(data: Any) -> None:
    torch.manual_seed(0)
    model = Bias(data.schema)
    tensors = [*model.parameters(), *model.buffers()]
    modes = {path: module.training for path, module in model.named_modules()}
    before = ps.evaluate(model, data.train, metrics=["log_loss"]).overall["log_loss"]
    history = ps.Trainer(epochs=4, lr=0.02, batch_size=64, patience=0).fit(model, data)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert ps.evaluate(model, data.train, metrics=["log_loss"]).overall["log_loss"] < before - 0.01
    assert all(a is b for a, b in zip(tensors, [*model.parameters(), *model.buffers()], strict=True))
    assert {path: module.training for path, module in model.named_modules()} == modes
    assert "epoch 3" in model.called
    assert not model.bias.sparse


def test_error_in_python_ends_the_run_with_its_own_type(data: Any) -> None:
    model = Broken(data.schema)
    model.weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        ps.Trainer(epochs=1).fit(model, data)


def test_errors_keep_their_type(data: Any) -> None:
    native = Broken(data.schema)._native()
    with pytest.raises(ValueError, match="the Python object of this model is gone"):
        _C.models.Model.forward(native, ps.testing.batch(data, 4))
    model = Broken(data.schema)
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        _C.models.Model.loss(model._native(), ps.testing.batch(data, 4))
    with pytest.raises(TypeError, match=r"a Python model must define forward\(batch\)"):
        ps.Model(data.schema)(ps.testing.batch(data, 4))
    with pytest.raises(TypeError, match="Changed: C\\+\\+ would not call its own forward"):
        Changed(data.schema)._native()


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(way: Any, data: Any) -> None:
    model = Bias(data.schema, scale=2.0).double().eval()
    model.prepare(data.train)
    model.base.fields.weight.requires_grad_(False)
    made, batch = way(model), ps.testing.batch(data, 8)
    assert torch.equal(made(batch), model(batch))
    assert made.options == {"scale": 2.0, "widths": [3, 2]}
    assert not made.training
    assert not made.base.fields.weight.requires_grad
    assert made._impl.history is not None
    with torch.no_grad():
        made.bias.weight.add_(1)
        made.base.bias.add_(1)
    assert not torch.allclose(made(batch), model(batch))
    assert {path for path, tensor, _ in made._native().tensors() if tensor is made.bias.weight} == {"bias.weight"}


def test_objects_are_freed(data: Any) -> None:
    model = Bias(data.schema)
    model._native()
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_registered_class_is_found_by_name(data: Any) -> None:
    ps.models.register("test_bias", Bias, tasks=("ctr",))
    assert "test_bias" in ps.models.list("ctr")
    assert ps.models.options("test_bias")["scale"] == ps.models.Option("float", 1.0, "")
    model = ps.models.create("test_bias", data.schema, scale=3)
    assert isinstance(model, Bias)
    assert model.name == "test_bias"
    assert model.options["scale"] == 3
    assert repr(model).startswith("Bias(\n  scale=3, widths=[3, 2]")
    with pytest.raises(ValueError, match="the name 'test_bias' is taken"):
        ps.models.register("test_bias", Bias)
    with pytest.raises(ValueError, match="made for task ctr, the data's task is 'rating'"):
        ps.models.create("test_bias", ps.testing.tiny_data("rating").schema)


def test_classes_that_cannot_be_registered() -> None:
    class NoDefault(ps.Model):
        def __init__(self, schema: Any, *, width: int) -> None:
            super().__init__(schema)

    class NoneDefault(ps.Model):
        def __init__(self, schema: Any, *, width: int | None = None) -> None:
            super().__init__(schema)

    with pytest.raises(TypeError, match="option 'width' of NoDefault must be keyword-only with a default"):
        ps.models.register("no_default", NoDefault)
    with pytest.raises(TypeError, match=r"option 'width' must be .* got None"):
        ps.models.register("none_default", NoneDefault)
    with pytest.raises(TypeError, match=r"must be a subclass of polyscene\.Model written in Python"):
        ps.models.register("linear", nn.Linear)
    with pytest.raises(TypeError, match=r"must be a subclass of polyscene\.Model written in Python"):
        ps.models.register("again", ps.models.MF)
    assert not {"no_default", "none_default", "linear", "again"} & set(ps.models.list())


def test_options_given_to_the_base_are_refused(data: Any) -> None:
    class Wrong(ps.Model):
        def __init__(self, schema: Any, *, width: int = 3) -> None:
            super().__init__(schema, width=width)

    with pytest.raises(TypeError, match=r"Wrong: Model\.__init__ takes the schema alone, got width"):
        Wrong(data.schema)


def test_unknown_model_names_the_known_ones(data: Any) -> None:
    with pytest.raises(
        ValueError, match=r"models: unknown model 'mff'; known models: .*logistic.*; did you mean 'mf'\?"
    ):
        ps.models.create("mff", data.schema)
    with pytest.raises(ValueError, match="unknown model 'mff'"):
        ps.models.options("mff")
