"""Every registered model computes and trains as an ordinary torch.nn.Module does."""

from __future__ import annotations

import copy
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import (
    RANKING,
    WITHOUT_PARAMETERS,
    data_of,
    draw,
    every_model,
    make,
    models_with_tables,
    scramble,
    trained_models,
)
from torch import nn

MAPS = {f"map.{name}" for name in ("first", "first_bias", "second", "second_bias")}
# Parameters that one batch may leave without a gradient: those of phases of their own.
WITHOUT_GRADIENT: dict[str, set[str]] = {
    "emcdr": MAPS,
    "sscdr": MAPS,
    "dcdcsr": {f"map.{s}.{x}.{kind}" for s in range(3) for x in ("linears.0", "output") for kind in ("weight", "bias")},
    "natr": {"source_user.weight", "source_item.weight"},
    "ptupcdr": {
        "encoder_weight",
        *(f"{name}_{kind}" for name in ("encoder.layer0", "meta.layer0", "meta.output") for kind in ("weight", "bias")),
    },
}
# Learning rates of models whose stacked ReLU layers die at the 0.03 of the others: then all users are alike.
SMALLER_STEPS = {"cdrib": 0.01, "disen_cdr": 0.01, "uni_cdr": 0.01}
# Times the learning rates of all optimisers, where a step of 0.05 on every entry of a wide network overshoots.
SHORTER_STEPS = {"bst": 0.2}
# Options that are empty by default and then hold what the data ask for.
CHOSEN_BY_DATA: dict[str, dict[str, Any]] = {"specialist": {"model": "mf"}}
NEEDS_MORE: dict[str, str] = {}  # models that users, items and scenes alone do not suffice, and what they say
OPTIMISERS: list[tuple[Any, dict[str, Any]]] = [
    (torch.optim.SGD, {"lr": 0.05}),
    (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    (torch.optim.Adam, {"lr": 0.01}),
    (torch.optim.Adam, {"lr": 0.01, "fused": True}),
    (torch.optim.Adam, {"lr": 0.01, "foreach": True, "amsgrad": True}),
    (torch.optim.AdamW, {"lr": 0.01}),
    (torch.optim.Adagrad, {"lr": 0.05}),
    (torch.optim.Adadelta, {"lr": 1.0}),
    (torch.optim.Adamax, {"lr": 0.01}),
    (torch.optim.NAdam, {"lr": 0.01}),
    (torch.optim.RAdam, {"lr": 0.01}),
    (torch.optim.ASGD, {"lr": 0.05}),
    (torch.optim.Rprop, {"lr": 0.001}),
    (torch.optim.RMSprop, {"lr": 0.002}),  # its first steps are ten times as long
]


def auc(label: torch.Tensor, score: torch.Tensor) -> float:
    positive, negative = score[label == 1], score[label == 0]
    difference = positive[:, None] - negative[None, :]
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()


# -- forward ---------------------------------------------------------------------------------------


@every_model
def test_forward_gives_one_finite_logit_a_row(name: str, data: Any) -> None:
    model = make(name, data)
    assert isinstance(model, nn.Module)
    out = model(draw(model, data, 16))
    assert out.shape == (16,)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


@every_model
def test_row_does_not_depend_on_the_rest_of_the_batch(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    batch = draw(model, data, 12)
    one, other = batch.take([0, 1, 2, 3]), batch.take([0, 8, 9, 10, 11])
    torch.testing.assert_close(model(one)[0], model(other)[0], rtol=1e-5, atol=1e-6)


@every_model
def test_answers_in_batch_order(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    batch = draw(model, data, 20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(model(batch.take(order)), model(batch)[order], rtol=1e-5, atol=1e-6)
    grouped = data.train.batch(torch.arange(40).flip(0), grouped=True, history=model.history_length)
    by_hand = data.train.batch(grouped.row, history=model.history_length)
    assert (grouped.scene.diff() >= 0).all()
    torch.testing.assert_close(model(grouped), model(by_hand), rtol=1e-5, atol=1e-6)


@every_model
@pytest.mark.parametrize("rows", [0, 1])
def test_empty_and_single_row_batches(name: str, rows: int, data: Any) -> None:
    model = make(name, data)
    batch = draw(model, data, 4).take(list(range(rows)))
    assert model(batch).shape == (rows,)
    if name not in WITHOUT_PARAMETERS & RANKING:
        assert model.loss(batch).isfinite()
    if name not in WITHOUT_PARAMETERS:
        model.loss(batch).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every_model
def test_explaining_a_model_in_training_knows_no_dropout(name: str, data: Any) -> None:
    model = make(name, data).train()
    batch = draw(model, data, 6)
    once, again = model.explain(batch), model.explain(batch)
    assert model.training and all(torch.equal(once[key], again[key]) for key in once)


@every_model
def test_bare_data_runs_or_says_what_is_missing(name: str) -> None:
    bare = data_of(name, bare=True)
    if name in NEEDS_MORE:
        with pytest.raises(ValueError, match=NEEDS_MORE[name]):
            make(name, bare)
        return
    model = make(name, bare)
    out = model(draw(model, bare, 8))
    assert out.shape == (8,)
    assert out.isfinite().all()


@every_model
def test_other_schema_is_refused(name: str, data: Any) -> None:
    model, other = make(name, data), data_of(name, seed=5)
    with pytest.raises(ValueError, match=f"{name}: the batch was encoded with schema .*, the model has"):
        model(draw(model, other, 4))
    with pytest.raises(ValueError, match="another schema"):
        model.prepare(other.train)


@every_model
def test_wrong_options_name_the_right_ones(name: str, data: Any) -> None:
    known = ", ".join(ps.models.options(name))
    with pytest.raises(ValueError, match=f"unknown option 'no_such'; known options: {known}"):
        ps.models.create(name, data.schema, no_such=1)
    first = next(iter(ps.models.options(name)))
    with pytest.raises(TypeError, match=f"{name}: option '{first}' must be .* got None; leave it out for its default"):
        ps.models.create(name, data.schema, **{first: None})
    with pytest.raises(TypeError, match=f"option '{first}' must be"):
        ps.models.create(name, data.schema, **{first: object()})
    with pytest.raises(ValueError, match=f"option '{first}' must be .*, got"):
        ps.models.create(name, data.schema, **{first: ["x", "y"]})


@every_model
def test_options_are_complete_and_documented(name: str, data: Any) -> None:
    model = ps.models.create(name, data.schema)
    known = ps.models.options(name)
    assert model.options == {option: field.default for option, field in known.items()} | CHOSEN_BY_DATA.get(name, {})
    assert all(field.doc for field in known.values())
    assert f"{next(iter(known))}=" in repr(model)
    doc = type(model).__doc__ or ""
    assert "Args:" in doc
    assert all(f"{option}:" in doc for option in known)


# -- training --------------------------------------------------------------------------------------


@trained_models
def test_every_trainable_parameter_gets_a_gradient(name: str, data: Any) -> None:
    model = scramble(make(name, data))
    model.loss(draw(model, data, 200)).backward()
    without = {path for path, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= WITHOUT_GRADIENT.get(name, set())


@trained_models
@pytest.mark.parametrize(("kind", "settings"), OPTIMISERS, ids=lambda value: getattr(value, "__name__", ""))
def test_optimisers_lower_the_loss(name: str, kind: Any, settings: dict[str, Any], data: Any) -> None:
    model = make(name, data).eval()  # without dropout, so that losses compare
    batch = draw(model, data, 128)
    optimiser = kind(model.parameters(), **settings | {"lr": settings["lr"] * SHORTER_STEPS.get(name, 1)})
    before = model.loss(batch).item()
    for _ in range(12):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    assert model.loss(batch).item() < before - 1e-5


@trained_models
def test_lbfgs_lowers_the_loss(name: str, data: Any) -> None:
    model = make(name, data).eval()
    batch = draw(model, data, 128)
    optimiser = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        return loss

    before = model.loss(batch).item()
    optimiser.step(closure)
    assert model.loss(batch).item() < before


@models_with_tables
def test_sparse_gradients_with_sparse_adam(name: str, data: Any) -> None:
    model = scramble(make(name, data)).eval()
    tables = set(model.table_parameters())
    assert tables <= dict(model.named_parameters()).keys()
    tables -= WITHOUT_GRADIENT.get(name, set())
    if not tables:
        pytest.fail(f"{name} names no lookup table")
    batch = draw(model, data, 24)  # rows of every scene
    model.loss(batch).backward()
    dense = {path: p.grad.clone() for path, p in model.named_parameters() if path in tables}
    model.zero_grad()
    model.sparse_gradients(True)
    model.loss(batch).backward()
    named = dict(model.named_parameters())
    assert all(named[path].grad.is_sparse for path in tables)
    for path in tables:
        torch.testing.assert_close(named[path].grad.to_dense(), dense[path], rtol=1e-5, atol=1e-7)
    before = {path: named[path].detach().clone() for path in tables}
    torch.optim.SparseAdam([named[path] for path in tables], lr=0.01).step()
    for path in tables:
        still = (named[path].detach() == before[path]).flatten(1).all(1)
        looked_up = torch.zeros_like(still)
        looked_up[named[path].grad.coalesce().indices()[0]] = True
        assert still[~looked_up].all()
        assert not still.all()
    model.sparse_gradients(False)
    model.zero_grad()
    model.loss(batch).backward()
    assert not any(named[path].grad.is_sparse for path in tables)


@pytest.mark.usefixtures("process_group")
@trained_models
def test_distributed_data_parallel(name: str, data: Any) -> None:
    plain = scramble(make(name, data)).eval()
    whole = nn.parallel.DistributedDataParallel(copy.deepcopy(plain), find_unused_parameters=True)
    batch = draw(plain, data, 32)
    label = torch.arange(32).remainder(2).float() if batch.label is None else batch.label
    nn.functional.binary_cross_entropy_with_logits(whole(batch), label).backward()
    nn.functional.binary_cross_entropy_with_logits(plain(batch), label).backward()
    for expected, got in zip(plain.parameters(), whole.module.parameters(), strict=True):
        assert (expected.grad is None or not expected.grad.any()) == (got.grad is None or not got.grad.any())
        if expected.grad is not None and got.grad is not None:
            torch.testing.assert_close(got.grad, expected.grad)


@trained_models
def test_gradient_clipping(name: str, data: Any) -> None:
    model = scramble(make(name, data))
    model.loss(draw(model, data, 64)).backward()
    before = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    returned = nn.utils.clip_grad_norm_(model.parameters(), before.item() / 4)
    torch.testing.assert_close(returned, before)
    after = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    torch.testing.assert_close(after, before / 4, rtol=1e-3, atol=1e-6)
    nn.utils.clip_grad_value_(model.parameters(), 1e-4)
    assert max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None) <= 1e-4


@trained_models
def test_over_fits_64_rows(name: str, data: Any) -> None:
    model = make(name, data)
    batch = draw(model, data, 64)
    optimiser = torch.optim.Adam(model.parameters(), lr=SMALLER_STEPS.get(name, 0.03))
    for _ in range(200):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        if name in RANKING:  # its own items before the drawn ones, in the scene of the row
            model.encode()
            scores = torch.zeros(64, 2)
            for scene in batch.scene.unique().tolist():
                rows = (batch.scene == scene).nonzero().squeeze(1)
                for side, items in enumerate((batch.item, batch.negative[:, 0])):
                    scores[rows, side] = model.score_items(batch.user[rows], scene, items[rows]).diagonal()
            assert (scores[:, 0] > scores[:, 1]).all()
        else:
            assert auc(batch.label, model(batch)) > 0.99


# -- export ----------------------------------------------------------------------------------------


@every_model
def test_export_form_equals_forward(name: str) -> None:
    data = data_of(name, bare=True)
    if make(name, data).history_length > 0:
        data = ps.testing.tiny_data()  # with behaviour
    model = scramble(make(name, data)).eval()
    if type(model).export_form is ps.Model.export_form:
        with pytest.raises(TypeError, match="has no export form"):
            model.export_form()
        return
    form = model.export_form().eval()
    assert not isinstance(form, ps.Model)
    one, other = draw(model, data, 16), draw(model, data, 9, seed=1)
    torch.testing.assert_close(form(*model.export_inputs(one)), model(one))
    traced = torch.jit.trace(form, model.export_inputs(one))
    torch.testing.assert_close(traced(*model.export_inputs(other)), model(other))
    before = form(*model.export_inputs(one))
    scramble(model)
    assert torch.equal(form(*model.export_inputs(one)), before)
