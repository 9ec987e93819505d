"""How models of sequences weigh events: attention against a slow reference, and leaving events out."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow_sequences as slow
import torch
from polyscene._extension import _C
from polyscene._timelines import carriers, picked, weights_by_attention, weights_by_leaving_out
from sequence_checks import make

STATES = {"sasrec": slow.sasrec_states, "bert4rec": slow.bert_states}


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("sequence")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Weights [heads, T] of every question that a slow reference asks, in its order."""
    found: list[np.ndarray] = []
    answer = slow.attention

    def recorded(query: np.ndarray, keys: list[np.ndarray], values: list[np.ndarray], heads: int) -> np.ndarray:
        width = len(query) // heads
        weights = np.empty((heads, len(keys)))
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            scores = np.array([query[part] @ key[part] for key in keys]) / np.sqrt(width)
            weights[h] = np.exp(scores) / np.exp(scores).sum()
        found.append(weights)
        return answer(query, keys, values, heads)

    monkeypatch.setattr(slow, "attention", recorded)
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sasrec", {}),
        ("sasrec", {"heads": 2, "positions": "oldest"}),
        ("sasrec", {"norm": "post", "heads": 2, "layers": 1}),
        ("sasrec", {"scope": "scene", "max_length": 3}),
        ("bert4rec", {}),
        ("bert4rec", {"scope": "scene", "max_length": 4, "layers": 1}),
    ],
)
def test_attention_matches_the_slow_reference(
    name: str, options: dict[str, Any], data: Any, asked: list[np.ndarray]
) -> None:
    model = make(name, data, **options).double()
    w, longest, heads = slow.weights(model), model.options["max_length"], model.options["heads"]
    batch = data.test.batch(torch.arange(12), history=9)
    told = model.explain(batch)
    assert told["attention"].shape == (12, heads, 9)
    assert told["events"].tolist() == batch.history.offsets.diff().tolist()
    for b, past in enumerate(slow.lists(batch.history)):
        scene = int(batch.scene[b])
        mine = [t for t, (_, where) in enumerate(past) if model.options["scope"] == "overall" or where == scene]
        mine = mine[-longest:] if name == "sasrec" else mine[-longest + 1 :]
        expected = np.zeros((heads, 9))
        if mine:
            asked.clear()
            items = [past[t][0] for t in mine]
            STATES[name](w, model.options, items if name == "sasrec" else [*items, 1])
            expected[:, mine] = asked[-1][:, : len(mine)]  # without the mask, which the newest state stands on
        np.testing.assert_allclose(told["attention"][b].detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_unknown_items_have_no_weight(data: Any) -> None:
    model = make("sasrec", data)
    batch = data.test.batch(torch.arange(3), history=5)
    history = batch.history
    item = history.item.clone()
    item[1::5] = 0
    batch.history = _C.data.Events(history.offsets, item, history.scene, history.label, history.time)
    weights = model.explain(batch)["attention"]
    assert (weights[:, :, 1] == 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 1))


def test_a_batch_without_events_has_no_weights(data: Any) -> None:
    batch = data.test.batch(torch.arange(2), history=5)
    past = batch.history
    none = (past.item[:0], past.scene[:0], past.label[:0], past.time[:0])
    batch.history = _C.data.Events(torch.zeros(3, dtype=torch.int64), *none)
    for name in ("sasrec", "bert4rec"):
        told = make(name, data).explain(batch)
        assert told["attention"].shape == (2, told["attention"].size(1), 0) and told["events"].tolist() == [0, 0]
        assert weights_by_attention(make(name, data), batch) is None
        message = rf"{name}: the batch carries no history; table.batch\(rows, history=6\) does"
        with pytest.raises(ValueError, match=message):
            make(name, data).explain(data.test.batch(torch.arange(2), history=0))


def test_models_without_attention_tell_their_state_alone(data: Any) -> None:
    batch = data.test.batch(torch.arange(3), history=5)
    for name in ("gru4rec", "c2dsr", "tri_cdr"):
        assert set(make(name, data).explain(batch)) == {"state"}


@pytest.mark.parametrize("name", ["gru4rec", "c2dsr", "tri_cdr", "sasrec"])
def test_a_score_falls_by_what_it_is_without_the_event(name: str, data: Any) -> None:
    model = make(name, data).double()
    rows = torch.arange(4)
    batch = data.test.batch(rows, history=6)
    with torch.no_grad():
        found = weights_by_leaving_out(model, batch, [0, 1, 2, 3], most=4)
        whole = model(batch)
        for row, past in enumerate(slow.lists(batch.history)):
            assert found[row].shape == (6,) and not found[row][:2].any()
            for t in range(2, 6):
                rest = [each for j, each in enumerate(past) if j != t]
                one = batch.take([row])
                one.history = _C.data.Events(
                    torch.tensor([0, 5]),
                    torch.tensor([item for item, _ in rest], dtype=torch.int32),
                    torch.tensor([scene for _, scene in rest]),
                    torch.ones(5),
                    torch.arange(5),
                )
                np.testing.assert_allclose(
                    found[row][t], float(whole[row, row] - model(one)[0, row]), rtol=1e-9, atol=1e-12
                )


def test_item_knn_is_carried_by_the_events_that_its_score_sums(data: Any) -> None:
    """Without weights of recency the score is a sum over events, so that what falls adds up to it."""
    model = ps.models.ItemKNN(data.schema, recency=1.0)
    ps.Trainer(epochs=1).fit(model, data)
    batch = data.test.batch(torch.arange(8), history=5)
    with torch.no_grad():
        scores = model.eval()(batch)
        place = [int(row.argmax()) for row in scores]
        found = weights_by_leaving_out(model, batch, place)
    for row in range(8):
        assert found[row].sum() == pytest.approx(float(scores[row, place[row]]), abs=1e-5)
        assert (found[row] >= -1e-6).all()


def test_bst_is_told_oldest_first() -> None:
    data = ps.testing.tiny_data()
    model = ps.models.BST(data.schema).eval()
    batch = ps.testing.batch(data, 16)
    told, found = model.explain(batch), weights_by_attention(model, batch)
    for row, n in enumerate(told["events"].tolist()):
        np.testing.assert_allclose(
            found[row][len(found[row]) - n :], told["attention"][row, :n].detach().double().numpy()[::-1]
        )


def test_attention_over_experts_is_not_of_events() -> None:
    data = ps.testing.tiny_data()
    assert weights_by_attention(ps.models.M2M(data.schema), ps.testing.batch(data, 4)) is None


def test_carriers_hold_half_of_what_speaks_for_the_prediction() -> None:
    assert carriers(np.array([0.1, 0.4, 0.2, 0.3])).tolist() == [1, 3]
    assert carriers(np.array([0.5, 0.25, 0.25])).tolist() == [0]
    assert carriers(np.array([-1.0, 0.0])).tolist() == []
    assert carriers(np.array([])).tolist() == []
    assert len(carriers(np.full(40, 1 / 40))) == 5


def test_lists_are_picked_from_one() -> None:
    data = ps.testing.tiny_data()
    whole = data.test.batch(torch.arange(len(data.test))).history
    events = whole.take(whole.offsets.diff().argmax().unsqueeze(0))
    wanted = torch.zeros(2, len(events.item), dtype=torch.bool)
    wanted[0, 1] = wanted[1, 0] = wanted[1, 2] = True
    found = picked(events, wanted)
    assert found.offsets.tolist() == [0, 1, 3]
    assert found.item.tolist() == events.item[[1, 0, 2]].tolist()
    assert found.time.tolist() == events.time[[1, 0, 2]].tolist()
    assert len(found.interest) == 3
