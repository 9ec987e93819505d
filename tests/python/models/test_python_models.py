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


class Dots(ps.Model):
    """Products of factors, ranked by one matrix product; a forward that would rank the other way round."""

    def __init__(self, schema: Any, *, negatives: int = 2) -> None:
        super().__init__(schema)
        user, item = (schema.categorical[schema.field(name)].rows for name in (schema.user, schema.item))
        self.user, self.item = nn.Embedding(user, 4), nn.Embedding(item, 4)
        self.negatives = negatives
        self.called: list[str] = []
        self.seen: list[Any] = []

    def forward(self, batch: Any) -> torch.Tensor:
        self.called.append("forward")
        return -(self.user(batch.user) * self.item(batch.item)).sum(1)

    def loss(self, batch: Any) -> torch.Tensor:
        self.seen.append(batch)
        user = self.user(batch.user)
        own, drawn = (user * self.item(batch.item)).sum(1), (user.unsqueeze(1) * self.item(batch.negative)).sum(2)
        return nn.functional.softplus(drawn - own.unsqueeze(1)).mean()

    def sampling(self) -> Any:
        return ps.models.Sampling(self.negatives, source="popularity", exponent=0.5)

    def phases(self) -> list[Any]:
        return [ps.models.Phase("first", epochs=1), ps.models.Phase("second", scenes=["phone"], epochs=1)]

    def begin_phase(self, phase: Any) -> None:
        self.called.append(f"phase {phase.name} {phase.scenes}")

    def encode(self) -> None:
        self.called.append("encode")
        self.items = self.item.weight.detach().T.contiguous()

    def score_items(self, users: torch.Tensor, scene: int, items: torch.Tensor) -> torch.Tensor:
        self.called.append("score_items")
        return self.user(users) @ self.items[:, items] + scene


class Broken(ps.Model):
    def forward(self, batch: Any) -> torch.Tensor:
        raise ZeroDivisionError("on purpose")


class Plain(ps.Model):
    """Says nothing of its own but a forward."""

    def forward(self, batch: Any) -> torch.Tensor:
        return 100.0 * batch.user + batch.item + 0.25 * batch.scene


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


@pytest.fixture(scope="module")
def ranked() -> Any:
    return ps.testing.tiny_data("ranking")


def test_evaluation_and_recommendations_rank_by_score_items(ranked: Any) -> None:
    torch.manual_seed(0)
    model = Dots(ranked.schema)
    model.prepare(ranked.train)
    with torch.no_grad():
        model.encode()
        everybody, all_items = torch.arange(len(model.user.weight)), torch.arange(len(model.item.weight))
        scores = torch.stack([model.score_items(everybody, scene, all_items) for scene in range(3)])
    model.called.clear()
    result = ps.evaluate(model, ranked.test, k=[3])
    assert model.called[0] == "encode" and model.called.count("encode") == 1
    assert set(model.called[1:]) == {"score_items"}
    fixed = Given(ranked.schema)
    fixed.scores = scores
    assert result.overall == ps.evaluate(fixed, ranked.test, k=[3]).overall
    fixed.scores = -scores
    assert result.overall["ndcg@3"] != ps.evaluate(fixed, ranked.test, k=[3]).overall["ndcg@3"]

    model.called.clear()
    found = model.recommend(["u3"], k=4, scene="tablet", exclude_seen=False)
    assert model.called == ["encode", "score_items"]
    user = list(ranked.schema.categorical[0].ids).index("u3") + 2
    items = ranked.train.history.interactions().scene(1).candidates
    best = scores[1, user, items].topk(4)
    assert found.scores[0] == pytest.approx(best.values.numpy())
    assert found.items[0].tolist() == [ranked.schema.categorical[1].ids[i - 2] for i in items[best.indices]]


class Given(ps.Model):
    """Scores [S, U, I] that are given."""

    scores: torch.Tensor

    def forward(self, batch: Any) -> torch.Tensor:
        return self.scores[batch.scene, batch.user, batch.item]


def test_training_draws_the_negatives_that_sampling_asks_for(ranked: Any) -> None:
    model = Dots(ranked.schema)
    before = model.user.weight.clone()
    ps.Trainer(lr=0.05, batch_size=64, patience=0, seed=1).fit(model, ranked)
    phases = [each for each in model.called if each.startswith("phase")]
    assert phases == ["phase first []", "phase second ['phone']"]
    assert sum(len(batch) for batch in model.seen[: -(-len(ranked.train) // 64)]) == len(ranked.train)
    known = ranked.train.history.interactions()
    met = {(s, u, i) for s in range(3) for u, i in pairs_of(known.scene(s))}
    candidates = [set(known.scene(s).candidates.tolist()) for s in range(3)]
    for batch in model.seen:
        assert batch.negative.shape == (len(batch), 2)
        for s, u, drawn in zip(batch.scene.tolist(), batch.user.tolist(), batch.negative.tolist(), strict=True):
            assert all(item in candidates[s] and (s, u, item) not in met for item in drawn)
    assert not torch.equal(model.user.weight, before)


def pairs_of(scene: Any) -> list[tuple[int, int]]:
    users = torch.arange(len(scene.user_offsets) - 1).repeat_interleave(scene.user_offsets.diff())
    return list(zip(users.tolist(), scene.items.tolist(), strict=True))


def test_sampling_reaches_cpp_whole(ranked: Any) -> None:
    wanted = _C.models.Model.sampling((model := Dots(ranked.schema, negatives=3))._native())
    assert (wanted.negatives, wanted.source, wanted.exponent) == (3, "popularity", 0.5)
    model.sampling = lambda: 4
    with pytest.raises(TypeError, match=r"Dots: sampling\(\) must return a polyscene.models.Sampling, got int"):
        _C.models.Model.sampling(model._native())
    wanted = ps.models.BPRMF(ranked.schema, negatives=5, sampler="in_batch").sampling()
    assert (wanted.negatives, wanted.source) == (5, "in_batch")


def test_defaults_of_a_ranking_model_in_python(ranked: Any) -> None:
    model = Plain(ranked.schema)
    native = model._native()
    assert _C.models.Model.sampling(native).negatives == 0
    _C.models.Model.encode(native)
    _C.models.Model.begin_phase(native, ps.models.Phase("a"))
    found = _C.models.Model.score_items(native, torch.tensor([4, 2]), 1, torch.tensor([3, 5, 7]))
    assert found.tolist() == [[403.25, 405.25, 407.25], [203.25, 205.25, 207.25]]
    assert torch.equal(model.score_items(torch.tensor([4, 2]), 1, torch.tensor([3, 5, 7])), found)


def test_scores_of_another_shape_are_refused(ranked: Any) -> None:
    model = Dots(ranked.schema)
    model.prepare(ranked.train)
    model.score_items = lambda users, scene, items: torch.zeros(len(items))
    with pytest.raises(ValueError, match=r"Dots: score_items must return \[1, 14\], got \[14\]"):
        model.recommend(["u3"], scene="phone")


@pytest.mark.parametrize("method", ["encode", "score_items", "sampling", "begin_phase"])
def test_a_cpp_model_with_a_method_of_its_own_is_refused(method: str, ranked: Any) -> None:
    changed = type("Mine", (ps.models.BPRMF,), {method: lambda self, *given: None})
    with pytest.raises(TypeError, match=rf"Mine: C\+\+ would not call its own {method}\(\)"):
        ps.evaluate(changed(ranked.schema), ranked.test)
