"""Interest migration over events: next item, next interest and next scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from sequence_checks import candidates, make
from slow_interests import SlowInterestSequence, events_of, gap_step

OPTIONS: list[dict[str, Any]] = [
    {},
    {"heads": 1, "transition": "bernoulli", "gaps": False},
    {"interest_weight": 0.7, "transition_weight": 0.9, "scene_weight": 0.0},
]


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("sequence")


@pytest.mark.parametrize("options", OPTIONS)
def test_scores_and_explanations_match_the_slow_reference(options: dict[str, Any], data: Any) -> None:
    model = make("interest_sequence", data, **options).double()
    reference, items = SlowInterestSequence(model, 3), candidates(data)
    batch = data.test.batch(torch.arange(12), history=6)
    out, found = model(batch), model.explain(batch)
    for b, past in enumerate(events_of(batch.history)):
        scene, n = int(batch.scene[b]), len(past)
        expected = reference.answer(past, reference.states(past), n - 1, scene)
        scores = model.state_dict()["item.weight"][items[scene]].numpy() @ expected["state"]
        np.testing.assert_allclose(out[b, : len(scores)].detach().numpy(), scores, rtol=1e-9, atol=1e-9)
        assert int(found["events"][b]) == n
        for name in ("interests", "transitions", "state"):
            np.testing.assert_allclose(found[name][b].detach().numpy(), expected[name], rtol=1e-9, atol=1e-9)
        shares = found["attention"][b].detach().numpy()
        np.testing.assert_allclose(shares[:, :n], expected["attention"], rtol=1e-9, atol=1e-9)
        assert (shares[:, n:] == 0).all()
        asked = np.exp(expected["scene_logits"])
        np.testing.assert_allclose(found["next_scene"][b].detach().numpy(), asked / asked.sum(), rtol=1e-9)


@pytest.mark.parametrize("loss", ["ce", "bce", "bpr"])
@pytest.mark.parametrize("options", OPTIONS)
def test_loss_matches_the_slow_reference(options: dict[str, Any], loss: str, data: Any) -> None:
    model = make("interest_sequence", data, loss=loss, **options).double()
    batch = data.train.batch(torch.arange(40, 60), history=6, negatives=0 if loss == "ce" else 3)
    expected = SlowInterestSequence(model, 3).loss(batch, [each.tolist() for each in candidates(data)])
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("encoder", ["gru", "lstm", "cnn", "transformer"])
def test_a_window_says_after_each_event_what_the_shorter_past_said(encoder: str, data: Any) -> None:
    plain = {"interest_weight": 0.0, "transition_weight": 0.0, "scene_weight": 0.0}
    model = make("interest_sequence", data, encoder=encoder, **plain).double()
    rows, items, before = torch.arange(26, 32), candidates(data), 0.0
    batch = data.train.batch(rows, history=6)
    assert batch.history.offsets.diff().tolist() == [0, 1, 2, 3, 4, 5]
    for n in range(1, 6):
        one = batch.take([n])
        scores = model(one)[0]
        place = items[int(one.scene[0])].tolist().index(int(one.item[0]))
        total = n * model.loss(one).item()
        assert total - before == pytest.approx((scores.logsumexp(0) - scores[place]).item(), rel=1e-9)
        before = total


def test_gaps_are_powers_of_two_seconds(data: Any) -> None:
    assert [gap_step(gap) for gap in (-5, 0, 1, 2, 3, 4, 2**30, 2**40)] == [0, 0, 1, 2, 2, 3, 31, 31]
    model = make("interest_sequence", data).double()
    reference = SlowInterestSequence(model, 3)
    batch = data.test.batch(torch.tensor([0]), history=6)
    newest = int(batch.history.time[-1])
    for gap in (0, 1, 2, 3, 4, 7, 8, 2**30 - 1, 2**30, 2**35):
        batch.history.time[:-1] = newest - gap
        (past,) = events_of(batch.history)
        expected = reference.answer(past, reference.states(past), len(past) - 1, int(batch.scene[0]))["attention"]
        np.testing.assert_allclose(model.explain(batch)["attention"][0].detach().numpy(), expected, rtol=1e-9)


def test_interests_are_latent_where_the_data_name_none(data: Any) -> None:
    bare = ps.testing.tiny_data("sequence", bare=True)
    model = make("interest_sequence", bare, interests=3)
    assert model.explain(bare.test.batch(torch.arange(4)))["transitions"].shape == (4, 3)
    assert "event_interest" not in model.state_dict()
    model.loss(bare.train.batch(torch.arange(60), history=6)).backward()
    for name, parameter in model.named_parameters():
        # Without times every gap is 0: what it adds cancels in the softmax.
        assert parameter.grad is not None and (name == "interest_gap_bias" or parameter.grad.abs().sum() > 0), name


def test_what_augmentation_hides_teaches_no_interest(data: Any) -> None:
    only = {"interest_weight": 0.0, "scene_weight": 0.0}
    with_moves = make("interest_sequence", data, transition_weight=1.0, **only).double()
    without = make("interest_sequence", data, transition_weight=0.0, **only).double()
    without.load_state_dict(with_moves.state_dict())
    batch = data.train.batch(torch.tensor([45]), history=6)
    reference = SlowInterestSequence(with_moves, 3)
    batch.history.item[2] = 1  # masked: what followed event 1 is not shown
    difference = (with_moves.loss(batch) - without.loss(batch)).item()
    (past,) = events_of(batch.history)
    states, own = reference.states(past), batch.interest.values.tolist()
    follower = [event.interests for event in past[1:]] + [own]
    terms = []
    for t in [t for t in range(len(past)) if t != 1]:
        found = reference.answer(past, states, t, int(batch.next_scene[t]))["transitions"]
        terms.append(-np.log(found[follower[t]]).mean())
    assert difference == pytest.approx(np.mean(terms), rel=1e-6)


def test_transition_matrix_is_the_mean_over_training_events(data: Any) -> None:
    model = make("interest_sequence", data, max_length=50).double()
    reference = SlowInterestSequence(model, 3)
    batch = data.valid.batch(torch.arange(len(data.valid)), history=50)  # all training events of each user
    total, count = np.zeros((5, 5)), np.zeros((5, 1))
    assert len(batch.history.item) == len(data.train)
    for past in events_of(batch.history):
        states = reference.states(past)
        for t in range(len(past) - 1):
            if (past[t].scene, past[t + 1].scene) == (0, 2):
                for k in past[t].interests:
                    total[k] += reference.answer(past, states, t, 2)["transitions"]
                    count[k] += 1
    assert (count > 0).all()
    found = model.transition_matrix("phone", "television")
    np.testing.assert_allclose(found.numpy(), total / count, rtol=1e-6)
    np.testing.assert_allclose(found.sum(1).numpy(), 1, rtol=1e-9)


def test_next_scenes_start_as_the_chain_of_training_rows(data: Any) -> None:
    model = ps.models.InterestSequence(data.schema, dim=8)
    model.prepare(data.train)
    count = np.ones((3, 3))
    batch = data.train.batch(torch.arange(len(data.train)), history=1)
    came = [past[0].scene if past else None for past in events_of(batch.history)]
    for before, after in zip(came, batch.scene.tolist(), strict=True):
        if before is not None:
            count[before, after] += 1
    expected = count / count.sum(1, keepdims=True)
    np.testing.assert_allclose(model.state_dict()["scene_followed"].exp().numpy(), expected, rtol=1e-6)
    batch = data.test.batch(torch.arange(5), history=6)
    came = [past[-1].scene for past in events_of(batch.history)]
    np.testing.assert_allclose(model.eval().explain(batch)["next_scene"].detach().numpy(), expected[came], rtol=1e-5)


def test_it_learns_the_next_interest_and_the_next_scene() -> None:
    # Interests and scenes go round: 0 -> 1 -> 2 -> 0, whatever the item.
    rng = np.random.default_rng(3)
    rows = [
        {"user": f"u{u}", "item": f"i{(u + t) % 3}{rng.integers(4)}", "scene": "abc"[(u + t) % 3], "timestamp": t,
         "interest": f"k{(u + t) % 3}"}
        for u in range(40)
        for t in range(10)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    roles = {"user": "user", "item": "item", "time": "timestamp", "interest": "interest"}
    data = ps.read_table(table, task="sequence", split="leave_one_out", **roles)
    torch.manual_seed(0)
    model = ps.models.InterestSequence(data.schema, dim=16, scene_weight=1.0, transition_weight=1.0, dropout=0.0)
    ps.Trainer(lr=0.02, epochs=20, batch_size=16, patience=0, seed=1).fit(model, data)
    batch = data.test.batch(torch.arange(len(data.test)), history=model.history_length)
    found = model.explain(batch)
    assert (found["next_scene"].argmax(1) == batch.scene).float().mean() > 0.95
    assert (found["transitions"].argmax(1) == batch.interest.values).float().mean() > 0.95
    move = model.transition_matrix("a", "b")
    k = [list(model.schema.interests).index(name) for name in ("k0", "k1")]
    assert move[k[0], k[1]] > 0.9


def test_wrong_options_are_refused(data: Any) -> None:
    for option, value, message in (
        ("scope", "scene", "InterestSequence: scope must be 'overall', interests move between scenes, got 'scene'"),
        ("heads", 3, r"InterestSequence: heads must divide dim \(64\), got 3"),
        ("interests", 0, "InterestSequence: interests must be positive, got 0"),
        ("transition", "soft", "InterestSequence: transition must be one of softmax, bernoulli, got 'soft'"),
        ("scene_weight", -1.0, "InterestSequence: scene_weight must be 0 or more, got -1"),
        ("encoder", "rnn", "SequenceEncoder: kind must be one of gru, lstm, cnn, transformer, got 'rnn'"),
    ):
        with pytest.raises(ValueError, match=message):
            ps.models.create("interest_sequence", data.schema, **{option: value})
    with pytest.raises(ValueError, match="transition_matrix needs a trained model"):
        ps.models.InterestSequence(data.schema).transition_matrix("phone", "tablet")


def test_events_of_unknown_items_have_no_attention_in_their_places(data: Any) -> None:
    model = make("interest_sequence", data)
    batch = data.test.batch(torch.tensor([3]), history=6)
    n = len(batch.history.item)
    batch.history.item[[1, n - 1]] = 0
    found = model.explain(batch)
    shares = found["attention"][0]
    assert int(found["events"][0]) == n == shares.size(1)
    assert shares[:, [1, n - 1]].eq(0).all() and shares[:, [0, 2, n - 2]].gt(0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(5))


def test_people_whom_no_row_tells_apart_do_not_follow_each_other() -> None:
    # Everybody stays in a scene; people of one row are unknown, and what they did is kept together.
    rows = [{"user": f"u{u}", "item": f"i{t}", "scene": "ab"[u % 2], "time": t} for u in range(20) for t in range(6)]
    rows += [{"user": f"v{u}", "item": "i0", "scene": "ab"[u % 2], "time": u} for u in range(20)]
    roles = {"user": "user", "item": "item", "time": "time", "min_count": 3}
    data = ps.read_table(train=pa.Table.from_pylist(rows), task="sequence", label=None, **roles)
    model = ps.models.InterestSequence(data.schema, dim=8)
    model.prepare(data.train)
    assert len(data.schema.categorical[0].ids) == 20
    expected = torch.tensor([[51.0, 1.0], [1.0, 51.0]]) / 52
    torch.testing.assert_close(model.state_dict()["scene_followed"].exp(), expected)
