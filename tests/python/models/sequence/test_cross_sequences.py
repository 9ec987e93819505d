"""Models of task sequence that follow each scene by itself beside all of them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow_sequences as slow
import torch
from polyscene._extension import _C
from sequence_checks import candidates, make, state


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("sequence")


def rows_of(*tables: Any) -> list[tuple[int, int, int]]:
    """(user, item, scene) of the rows, as each user met them."""
    batches = [table.batch(torch.arange(len(table))) for table in tables]
    columns = [torch.cat([getattr(batch, name) for batch in batches]) for name in ("time", "user", "item", "scene")]
    rows = sorted(zip(*(column.tolist() for column in columns), strict=True), key=lambda row: row[0])
    return [(user, item, scene) for _, user, item, scene in rows]


def past_of(data: Any) -> list[tuple[int, int]]:
    """Two events of scene 0 around two of scene 1, of items that training met there."""
    first, second = (each.tolist() for each in candidates(data)[:2])
    return [(first[0], 0), (second[0], 1), (second[1], 1), (first[1], 0)]


def slow_c2dsr(model: Any, data: Any) -> slow.SlowC2DSR:
    return slow.SlowC2DSR(model, rows_of(data.train), len(data.schema.scenes))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"heads": 2, "layers": 1, "positions": "oldest", "graph_layers": 2},
    {"graph_layers": 0, "joined_at": "own", "contrast": 0.0},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_c2dsr_scores_match_the_slow_reference(options: dict[str, Any], data: Any) -> None:
    model = make("c2dsr", data, **options).double()
    reference, items = slow_c2dsr(model, data), candidates(data)
    batch = data.test.batch(torch.arange(12), history=6)
    out = model(batch)
    for b, past in enumerate(slow.lists(batch.history)):
        scene = int(batch.scene[b])
        expected = reference.scores(reference.state(past, scene), items[scene].tolist())
        np.testing.assert_allclose(out[b, : len(expected)].detach().numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", [*OPTIONS, {"joined_at": "own"}])
def test_c2dsr_loss_matches_the_slow_reference(options: dict[str, Any], data: Any) -> None:
    model = make("c2dsr", data, **options).double()
    reference, items = slow_c2dsr(model, data), [each.tolist() for each in candidates(data)]
    batch = data.train.batch(torch.arange(40, 70), history=6)
    torch.manual_seed(7)
    seed = int(torch.empty(1, dtype=torch.int64).random_(-(2**63), None)) % 2**64
    drawn = _C.core.uniform(3 * len(batch.history.item), seed, "replaced").tolist()
    torch.manual_seed(7)
    loss, share = model.loss(batch).item(), model.options["contrast"]
    expected = (1 - share) * reference.predicted(batch, items)
    if share > 0:
        expected += share * reference.contrasted(batch, items, drawn)
    assert loss == pytest.approx(expected, rel=1e-6)


def test_c2dsr_graph_is_made_of_training_rows(data: Any) -> None:
    # Shares of float32 are exact to 6e-8: another graph is told apart.
    model = make("c2dsr", data).double()
    past = past_of(data)
    train = slow_c2dsr(model, data)
    leaky = slow.SlowC2DSR(model, rows_of(data.train, data.valid, data.test), 3)
    out = state(model, data, past).numpy()
    np.testing.assert_allclose(out, train.state(past, 0), rtol=1e-6, atol=1e-6)
    assert np.abs(out - leaky.state(past, 0)).max() > 1e-3


def test_c2dsr_sees_a_scene_by_itself(data: Any) -> None:
    model = make("c2dsr", data)
    past = past_of(data)
    with torch.no_grad():
        before = [state(model, data, past, scene) for scene in range(3)]
        rows = dict(model.named_parameters())["input.weight"].view(4, -1, 8)
        rows[2].add_(1)  # of scene 1
        after = [state(model, data, past, scene) for scene in range(3)]
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert not torch.equal(before[1], after[1])


def test_c2dsr_without_events_of_the_scene_follows_all(data: Any) -> None:
    model = make("c2dsr", data).double()
    past = past_of(data)
    reference = slow_c2dsr(model, data)
    alone = reference.encode(0, [item for item, _ in past])[-1]
    np.testing.assert_allclose(state(model, data, past, 2).numpy(), alone, rtol=1e-6, atol=1e-6)
    # An item that training did not meet in the scene says nothing of it.
    strange = [*past, (past[0][0], 2)]
    alone = reference.encode(0, [item for item, _ in strange])[-1]
    np.testing.assert_allclose(state(model, data, strange, 2).numpy(), alone, rtol=1e-6, atol=1e-6)


def test_c2dsr_states_change_when_parameters_do(data: Any) -> None:
    # What items are is kept between calls without gradients.
    model = make("c2dsr", data)
    past = past_of(data)
    with torch.no_grad():
        one = state(model, data, past)
        assert torch.equal(state(model, data, past), one)
        dict(model.named_parameters())["input.weight"].mul_(0.5)
        assert not torch.equal(state(model, data, past), one)
    model.prepare(data.train)
    assert state(model.double(), data, past).dtype == torch.float64


def test_c2dsr_draws_follow_the_seed(data: Any) -> None:
    model = make("c2dsr", data)
    batch = data.train.batch(torch.arange(40, 70), history=6)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model.loss(batch).item())
    assert losses[0] == losses[1] != losses[2]


def test_c2dsr_of_one_scene_has_nothing_to_contrast(data: Any) -> None:
    model = make("c2dsr", data).double()
    batch = data.train.batch(torch.arange(40, 70), history=1)
    reference, items = slow_c2dsr(model, data), [each.tolist() for each in candidates(data)]
    assert model.loss(batch).item() == pytest.approx(0.7 * reference.predicted(batch, items), rel=1e-6)


def test_c2dsr_refuses_wrong_options(data: Any) -> None:
    for option, value, message in (
        ("scope", "scene", "C2DSR: scope must be 'overall', the model follows each scene by itself besides"),
        ("contrast", 1.0, r"C2DSR: contrast must lie in \[0, 1\), got 1"),
        ("graph_layers", -1, "C2DSR: graph_layers must be 0 or more, got -1"),
        ("joined_at", "last", "C2DSR: joined_at must be 'newest' or 'own', got 'last'"),
        ("heads", 3, r"C2DSR: heads must divide dim \(64\), got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            ps.models.create("c2dsr", data.schema, **{option: value})


def slow_tri_cdr(model: Any, data: Any) -> slow.SlowTriCDR:
    return slow.SlowTriCDR(model, [set(each.tolist()) for each in candidates(data)])


TRIPLE: list[dict[str, Any]] = [
    {},
    {"heads": 2, "layers": 1, "positions": "oldest", "attention_hidden": [5]},
    {"warm_up": 3},
]


@pytest.mark.parametrize("options", TRIPLE)
def test_tri_cdr_scores_match_the_slow_reference(options: dict[str, Any], data: Any) -> None:
    model = make("tri_cdr", data, **options).double()
    reference, items = slow_tri_cdr(model, data), candidates(data)
    batch = data.test.batch(torch.arange(12), history=6)
    out = model(batch)
    for b, past in enumerate(slow.lists(batch.history)):
        scene = int(batch.scene[b])
        state_of = reference.state(past, scene, joint=model.options["warm_up"] == 0)
        expected = slow.unit(reference.w["item.weight"][items[scene].numpy()]) @ state_of
        np.testing.assert_allclose(out[b, : len(expected)].detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", ["bce", "ce", "bpr"])
@pytest.mark.parametrize("options", [*TRIPLE, {"contrast": 0.0, "margin": 1.0, "contrast_shares": [1.0, 2.0, 0.0]}])
def test_tri_cdr_loss_matches_the_slow_reference(options: dict[str, Any], loss: str, data: Any) -> None:
    model = make("tri_cdr", data, loss=loss, **options).double()
    reference, items = slow_tri_cdr(model, data), [each.tolist() for each in candidates(data)]
    batch = data.train.batch(torch.arange(40, 60), history=6, negatives=0 if loss == "ce" else 3)
    expected = reference.loss(batch, items, joint=model.options["warm_up"] == 0)
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-9)


def test_tri_cdr_sees_no_later_event_of_another_scene(data: Any) -> None:
    # With positions from the oldest event, a window that goes on says of its first steps what the short one said.
    model = make("tri_cdr", data, loss="ce", positions="oldest", contrast=0.0, triplet=0.0).double()
    rows, before = torch.arange(26, 32), 0.0
    batch = data.train.batch(rows, history=6)
    assert batch.history.offsets.diff().tolist() == [0, 1, 2, 3, 4, 5] and len(set(batch.user.tolist())) == 1
    for n in range(1, 6):
        one = batch.take([n])
        scores = model(one)[0]
        place = candidates(data)[int(one.scene[0])].tolist().index(int(one.item[0]))
        total = n * model.loss(one).item()
        assert total - before == pytest.approx((scores.logsumexp(0) - scores[place]).item(), rel=1e-9)
        before = total


def test_tri_cdr_trains_its_encoders_first(data: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.create("tri_cdr", data.schema, dim=8, warm_up=2)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    assert [phase.name for phase in model.phases()] == ["views", "fit"] and int(start["joined"]) == 0
    history = ps.Trainer(epochs=1, batch_size=16, patience=0).fit(model, data)
    assert len(history) == 3 and int(model.state_dict()["joined"]) == 1
    assert any(not torch.equal(start[name], value) for name, value in model.state_dict().items() if "attention" in name)


def test_tri_cdr_that_stops_in_the_warm_up_answers_by_its_encoders(data: Any, tmp_path: Any) -> None:
    """The best epoch of a warm-up is measured, saved and gone on from as what it was trained for."""
    rows: list[dict[str, Any]] = []

    def stop(row: dict[str, Any]) -> None:
        rows.append(row)
        if row["epoch"] == 3:
            raise InterruptedError

    trainer = ps.Trainer(epochs=2, batch_size=16, lr=0.02, patience=0, threads=1)

    def start() -> Any:
        torch.manual_seed(0)
        return make("tri_cdr", data, warm_up=4)

    whole = start()
    history = trainer.fit(whole, data)
    assert [row["phase"] for row in history] == ["views"] * 4 + ["fit"] * 2 and int(whole.state_dict()["joined"]) == 1
    model = start()
    with pytest.raises(InterruptedError):
        trainer.fit(model, data, callbacks=stop, checkpoint=tmp_path / "last.safetensors")
    ps.save(model, tmp_path / "m.safetensors")
    for each in (model, ps.load(tmp_path / "m.safetensors"), copy.deepcopy(model)):
        assert int(each.state_dict()["joined"]) == 0
        assert ps.evaluate(each, data.valid).overall["ndcg@10"] == max(row["valid"]["ndcg@10"] for row in rows)
    reference, batch = slow_tri_cdr(copy.deepcopy(model).double(), data), data.test.batch(torch.arange(12), history=6)
    out = model.eval()(batch).detach().numpy()
    for b, past in enumerate(slow.lists(batch.history)):
        items = slow.unit(reference.w["item.weight"][candidates(data)[int(batch.scene[b])].numpy()])
        expected = items @ reference.state(past, int(batch.scene[b]), joint=False)
        np.testing.assert_allclose(out[b, : len(expected)], expected, atol=1e-5)
    again = start()
    resumed = trainer.fit(again, data, checkpoint=tmp_path / "last.safetensors", resume=True)
    assert [row["train_loss"] for row in resumed] == [row["train_loss"] for row in history]
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_tri_cdr_without_events_of_the_scene_asks_with_zeros(data: Any) -> None:
    model = make("tri_cdr", data).double()
    past = past_of(data)
    reference = slow_tri_cdr(model, data)
    np.testing.assert_allclose(state(model, data, past, 2).numpy(), reference.state(past, 2), rtol=1e-9, atol=1e-9)
    strange = [*past, (past[0][0], 2)]  # training did not meet the item in that scene
    out = state(model, data, strange, 2).numpy()
    np.testing.assert_allclose(out, reference.state(strange, 2), rtol=1e-9, atol=1e-9)


def test_tri_cdr_refuses_wrong_options(data: Any) -> None:
    for option, value, message in (
        ("scope", "scene", "TriCDR: scope must be 'overall', the model follows each scene by itself besides"),
        ("contrast_shares", [1.0, 1.0], "TriCDR: contrast_shares must be three numbers of 0 or more, not all 0"),
        ("scale", 0.0, "TriCDR: scale must be positive, got 0"),
        ("attention_hidden", [], "ViewAttention: hidden must name at least one width"),
        ("warm_up", -1, "TriCDR: warm_up must be 0 or more, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            ps.models.create("tri_cdr", data.schema, **{option: value})
