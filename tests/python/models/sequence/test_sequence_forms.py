"""Models of sequences over plain tensors: what their forms answer is what the models do."""

from __future__ import annotations

import json
from typing import Any

import polyscene as ps
import pytest
import torch
from interest_models import with_events, without_events
from sequence_checks import SMALL, candidates, make

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("sasrec", {}),
    ("sasrec", {"heads": 2, "positions": "oldest", "feedforward": 5, "scope": "scene"}),
    ("sasrec", {"norm": "post", "heads": 2, "layers": 1}),
    ("sasrec", {"norm": "post", "positions": "oldest", "max_length": 1}),
    ("gru4rec", {}),
    ("gru4rec", {"layers": 2, "recurrent_bias": True, "scope": "scene"}),
    ("gru4rec", {"loss": "bpr_max", "final_activation": "elu"}),
    ("bert4rec", {}),
    ("bert4rec", {"heads": 1, "layers": 3, "feedforward": 7, "scope": "scene"}),
    ("bert4rec", {"max_length": 2}),
    ("interest_sequence", {}),
    ("interest_sequence", {"encoder": "lstm", "transition": "bernoulli", "gaps": False, "heads": 1}),
    ("interest_sequence", {"encoder": "cnn", "layers": 2}),
    ("interest_sequence", {"encoder": "transformer", "max_length": 3}),
]
forms = pytest.mark.parametrize(("name", "options"), FORMS)
every = pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec", "interest_sequence"])


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("sequence")


def trained(name: str, data: Any, **options: Any) -> ps.Model:
    """A float32 model in evaluation mode, a few steps from its start."""
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, **SMALL[name] | options)
    ps.Trainer(lr=0.05, epochs=2, batch_size=64, patience=0, threads=1, seed=1).fit(model, data)
    return model.eval()


def rows_of(table: Any, model: ps.Model) -> Any:
    return table.batch(torch.arange(len(table)), history=model.history_length)


def check(form: Any, model: ps.Model, batch: Any) -> None:
    """Where no row asks for the largest scene, forward leaves out columns that are -inf."""
    found, expected = form(*model.export_inputs(batch)), model(batch)
    torch.testing.assert_close(found[:, : expected.size(1)], expected, rtol=1e-5, atol=1e-5)
    assert (found[:, expected.size(1) :] == -torch.inf).all()


@forms
def test_equals_forward_on_all_rows(name: str, options: dict[str, Any], data: Any) -> None:
    model = trained(name, data, **options)
    form = model.export_form()
    assert not isinstance(form, ps.Model)
    for table in (data.train, data.test):
        batch = rows_of(table, model)
        check(form, model, batch)
    past = rows_of(data.train, model)
    assert int((past.history.offsets.diff() == 0).sum()) > 0  # somebody's first events
    check(form, model, without_events(past))
    for scene in range(3):
        check(form, model, past.take((past.scene == scene).nonzero().squeeze(1)))


@forms
def test_is_exported_for_any_number_of_rows(name: str, options: dict[str, Any], data: Any) -> None:
    model = trained(name, data, **options)
    one = data.test.batch(torch.arange(7), history=model.history_length)
    inputs = model.export_inputs(one)
    rows = torch.export.Dim("rows", min=2)
    shapes = tuple({0: rows} for _ in inputs)
    program = torch.export.export(model.export_form(), inputs, dynamic_shapes=shapes, strict=False)
    check(program.module(), model, rows_of(data.train, model))


@every
def test_unknown_items_and_older_events_are_left_out(name: str, data: Any) -> None:
    for scope in ("overall", "scene") if name != "interest_sequence" else ("overall",):
        model = trained(name, data, scope=scope)
        batch = data.test.batch(torch.arange(20), history=12)  # more than the model follows
        holes = batch.history.item.clone()
        holes[::3] = 0  # unknown
        holes[1::7] = 1  # missing, as a mask
        batch = with_events(batch, item=holes)
        item, valid, scene, *_ = model.export_inputs(batch)
        longest = 5 if name == "bert4rec" else 6
        assert item.shape == valid.shape == (20, longest) and torch.equal(scene, batch.scene)
        assert (item[valid] > 0).all() and (item[~valid] == 0).all() and valid.any()
        check(model.export_form(), model, batch)


def test_of_the_scope_scene_are_events_of_the_rows_scene(data: Any) -> None:
    model = trained("gru4rec", data, scope="scene", max_length=3)
    batch = data.test.batch(torch.arange(20), history=12)
    item, valid, scene = model.export_inputs(batch)
    events = batch.history
    for b in range(20):
        mine = slice(int(events.offsets[b]), int(events.offsets[b + 1]))
        expected = events.item[mine][events.scene[mine] == batch.scene[b]][-3:].tolist()
        assert item[b, valid[b]].tolist() == expected
        assert valid[b].tolist() == [True] * len(expected) + [False] * (3 - len(expected))
        assert int(scene[b]) == int(batch.scene[b])


@every
def test_scenes_with_fewer_items_end_in_minus_infinity(name: str) -> None:
    few = ps.testing.tiny_data("sequence", rows=120)
    sizes = [len(items) for items in candidates(few)]
    assert len(set(sizes)) > 1
    model = make(name, few)
    form, batch = model.export_form(), rows_of(few.test, model)
    check(form, model, batch)
    found = form(*model.export_inputs(batch))
    assert found.shape == (len(batch), max(sizes))
    assert found.isfinite().sum(1).tolist() == [sizes[scene] for scene in batch.scene.tolist()]


@every
def test_candidates_are_the_items_of_each_scene(name: str, data: Any) -> None:
    model = trained(name, data)
    form = model.export_form()
    for scene, items in enumerate(candidates(data)):
        assert form.candidates[scene, : len(items)].tolist() == items.tolist()
        assert (form.candidates[scene, len(items) :] == -1).all()
    bare = ps.models.create(name, data.schema, **SMALL[name])  # before training every item is one
    batch = data.test.batch(torch.arange(4), history=6)
    check(bare.eval().export_form(), bare, batch)


@every
def test_keeps_what_it_was_made_of(name: str, data: Any) -> None:
    model = trained(name, data)
    form, batch = model.export_form(), data.test.batch(torch.arange(9), history=6)
    inputs = model.export_inputs(batch)
    before = form(*inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(form(*inputs), before)
    compiled = torch.compile(form, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), before)


def test_latent_interests_need_none_of_the_data() -> None:
    bare = ps.testing.tiny_data("sequence", bare=True)
    model = trained("interest_sequence", bare, interests=3)
    batch = rows_of(bare.test, model)
    assert len(model.export_inputs(batch)) == 5
    check(model.export_form(), model, batch)


def test_gaps_of_all_lengths(data: Any) -> None:
    model = make("interest_sequence", data)  # all biases are moved
    form, batch = model.export_form(), data.test.batch(torch.arange(5), history=6)
    newest = (batch.history.offsets[1:] - 1).tolist()
    for gap in (-5, 0, 1, 2, 3, 4, 7, 8, 2**30 - 1, 2**30, 2**35, 2**45):
        time = torch.zeros_like(batch.history.time)
        time[newest] = gap
        check(form, model, with_events(batch, time=time))


@pytest.mark.parametrize("name", ["sasrec", "interest_sequence"])
def test_two_models_in_one(name: str, data: Any) -> None:
    settings = {"dim": 8, "max_length": 6}
    torch.manual_seed(0)
    model = ps.models.Specialist(data.schema, model=name, settings=json.dumps(settings), scenes=["tablet"])
    model.prepare(data.train)
    check(model.eval().export_form(), model, data.test.batch(torch.arange(20), history=6))


def test_what_has_no_form_says_so(data: Any) -> None:
    batch = ps.testing.batch(data, 4, history=0)
    with pytest.raises(ValueError, match="export_inputs: the batch carries no history, the model needs 6 events a row"):
        ps.models.create("sasrec", data.schema, **SMALL["sasrec"]).export_inputs(batch)
    for name, owner in (("c2dsr", "C2DSR"), ("tri_cdr", "TriCDR")):
        with pytest.raises(TypeError, match=f"{owner}: this model has no export form"):
            ps.models.create(name, data.schema, **SMALL[name]).export_form()
