"""What every model of task sequence must hold, against slow references and by properties."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow_sequences as slow
import torch
from polyscene._extension import _C
from sequence_checks import candidates, make, state

NAMES = ["sasrec", "gru4rec", "bert4rec", "c2dsr", "tri_cdr", "interest_sequence"]
BY_SCENE = {"c2dsr", "tri_cdr", "interest_sequence"}  # that tell scenes apart by themselves
every = pytest.mark.parametrize("name", NAMES)
STATES = {"sasrec": slow.sasrec_states, "gru4rec": slow.gru_states}
LOSSES = [("sasrec", loss) for loss in ("bce", "ce", "bpr")]
LOSSES += [("gru4rec", loss) for loss in ("ce", "bce", "bpr", "top1", "bpr_max")]


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("sequence")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sasrec", {}),
        ("sasrec", {"heads": 2, "positions": "oldest", "feedforward": 5}),
        ("sasrec", {"norm": "post", "heads": 2, "layers": 1}),
        ("sasrec", {"scope": "scene"}),
        ("gru4rec", {}),
        ("gru4rec", {"recurrent_bias": True}),
        ("gru4rec", {"scope": "scene"}),
    ],
)
def test_scores_match_the_slow_reference(name: str, options: dict[str, Any], data: Any) -> None:
    model = make(name, data, **options).double()
    w, longest = slow.weights(model), model.options["max_length"]
    batch = data.test.batch(torch.arange(12), history=longest)
    out = model(batch)
    items = candidates(data)
    for b, past in enumerate(slow.lists(batch.history)):
        scene = int(batch.scene[b])
        mine = [item for item, where in past if model.options["scope"] == "overall" or where == scene]
        h = STATES[name](w, model.options, mine)[-1] if mine else np.zeros(8)
        expected = w["item.weight"][items[scene].numpy()] @ h
        np.testing.assert_allclose(out[b, : len(expected)].detach().numpy(), expected, rtol=1e-9, atol=1e-9)
        assert (out[b, len(expected) :] == -np.inf).all()


def test_bert4rec_scores_match_the_slow_reference(data: Any) -> None:
    model = make("bert4rec", data).double()
    w = slow.weights(model)
    batch = data.test.batch(torch.arange(8), history=6)
    out, items = model(batch), candidates(data)
    for b, past in enumerate(slow.lists(batch.history)):
        h = slow.bert_states(w, model.options, [*[item for item, _ in past][-5:], 1])[-1]
        mine = items[int(batch.scene[b])].numpy()
        expected = w["item.weight"][mine] @ h + w["bias.weight"][mine, 0]
        np.testing.assert_allclose(out[b, : len(expected)].detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "loss"), LOSSES)
@pytest.mark.parametrize("scope", ["overall", "scene"])
def test_losses_match_the_slow_reference(name: str, loss: str, scope: str, data: Any) -> None:
    model = make(name, data, loss=loss, scope=scope).double()
    batch = data.train.batch(torch.arange(40, 70), history=6, negatives=0 if loss == "ce" else 3)
    items = [each.tolist() for each in candidates(data)]
    expected = slow.slow_loss(model, batch, STATES[name], items)
    assert model.loss(batch).item() == pytest.approx(expected, rel=1e-9)


def test_golden_value_of_bpr_max() -> None:
    positive, negative = torch.tensor([1.0], dtype=torch.float64), torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    assert ps.nn.bpr_max(positive, negative, 1.0).item() == pytest.approx(4.6501163230, abs=1e-9)
    assert ps.nn.bpr_max(positive, negative, 0.0).item() == pytest.approx(1.1269280110, abs=1e-9)


def test_bert4rec_loss_is_that_of_masked_events(data: Any) -> None:
    # Only the newest event is masked, so that the loss is what serving would have given for it.
    model = make("bert4rec", data, last_ratio=1.0).double().train()
    batch = data.train.batch(torch.arange(41, 51), history=5)
    w, items, total = slow.weights(model), candidates(data), 0.0
    for b, past in enumerate(slow.lists(batch.history)):
        h = slow.bert_states(w, model.options, [item for item, _ in past] + [1])[-1]
        mine = items[int(batch.scene[b])]
        scores = w["item.weight"][mine.numpy()] @ h + w["bias.weight"][mine.numpy(), 0]
        place = mine.tolist().index(int(batch.item[b]))
        total += np.log(np.exp(scores).sum()) - scores[place]
    assert model.loss(batch).item() == pytest.approx(total / 10, rel=1e-9)


@every
def test_a_row_does_not_depend_on_the_others(name: str, data: Any) -> None:
    model = make(name, data)
    batch = data.test.batch(torch.arange(10), history=6)
    one, other = model(batch.take([0, 1, 2])), model(batch.take([0, 7, 8, 9]))
    width = len(candidates(data)[int(batch.scene[0])])
    torch.testing.assert_close(one[0, :width], other[0, :width], rtol=0, atol=1e-6)
    alone = model(batch.take([0]))
    assert alone.shape == (1, width) and alone.isfinite().all()


@every
def test_an_empty_history_is_finite(name: str, data: Any) -> None:
    model = make(name, data)
    assert state(model, data, []).eq(0).all()
    batch = data.train.batch(torch.arange(6), history=6, negatives=1)  # the first row of a user has no past
    assert batch.history.offsets.diff().min() == 0
    assert model(batch).isfinite().any() and model.loss(batch).isfinite()


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_later_events_do_not_change_earlier_states(name: str, data: Any) -> None:
    # The loss of a window grows by that of its newest event alone, as the scores after the shorter past give it.
    model = make(name, data, loss="ce", **({"positions": "oldest"} if name == "sasrec" else {})).double()
    rows, items, before = torch.arange(13 * 2, 13 * 2 + 6), candidates(data), 0.0
    batch = data.train.batch(rows, history=6)
    assert batch.history.offsets.diff().tolist() == [0, 1, 2, 3, 4, 5] and len(set(batch.user.tolist())) == 1
    for n in range(1, 6):
        one = batch.take([n])
        scores = model(one)[0]
        place = items[int(one.scene[0])].tolist().index(int(one.item[0]))
        total = n * model.loss(one).item()
        assert total - before == pytest.approx((scores.logsumexp(0) - scores[place]).item(), rel=1e-9)
        before = total


@every
def test_unknown_items_and_older_events_change_nothing(name: str, data: Any) -> None:
    model = make(name, data)
    past = [(2, 0), (12, 1), (20, 1), (5, 0), (9, 0), (28, 2)]
    plain = state(model, data, past)
    torch.testing.assert_close(state(model, data, [*past[:3], (0, 1), *past[3:]]), plain, rtol=0, atol=0)
    torch.testing.assert_close(state(model, data, [(7, 0), (8, 0), *past]), plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BY_SCENE])
def test_scope_scene_reads_the_rows_scene_alone(name: str, data: Any) -> None:
    model = make(name, data, scope="scene")
    past = [(2, 0), (12, 1), (20, 1), (5, 0)]
    torch.testing.assert_close(state(model, data, past), state(model, data, [past[0], past[3]]), rtol=0, atol=0)


@every
def test_every_parameter_gets_a_gradient(name: str, data: Any) -> None:
    model = make(name, data).train()
    model.loss(data.train.batch(torch.arange(200), history=6, negatives=1)).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@every
def test_sparse_gradients_equal_dense_ones(name: str, data: Any) -> None:
    model = make(name, data)
    model.train(name != "bert4rec")
    batch = data.train.batch(torch.arange(100), history=6, negatives=2)

    def gradient(sparse: bool) -> torch.Tensor:
        torch.manual_seed(3)
        model.zero_grad()
        model.sparse_gradients(sparse)
        model.loss(batch).backward()
        grad = dict(model.named_parameters())["item.weight"].grad
        assert grad.is_sparse == sparse
        return grad.to_dense().clone()

    torch.testing.assert_close(gradient(True), gradient(False), rtol=0, atol=0)


@every
def test_saved_and_copied_models_answer_alike(name: str, data: Any, tmp_path: Any) -> None:
    model = make(name, data)
    ps.save(model, tmp_path / "m.safetensors")
    batch = data.test.batch(torch.arange(10), history=6)
    for other in (ps.load(tmp_path / "m.safetensors"), copy.deepcopy(model)):
        assert torch.equal(other.eval()(batch), model(batch))


@every
def test_over_fits_64_rows(name: str, data: Any) -> None:
    # Distinct items: every past is followed by one thing.
    wide = {"dim": 32, "loss": "ce"} | ({"hidden": 32} if name == "gru4rec" else {})
    wide |= {"last_ratio": 1.0} if name == "bert4rec" else {}
    model = make(name, data, **wide).train()
    batch = data.train.batch(torch.arange(60, 124), history=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    model.eval()
    out, items = model(batch), candidates(data)
    some = batch.history.offsets.diff() > 0
    hits = [int(out[b].argmax()) == items[int(batch.scene[b])].tolist().index(int(batch.item[b])) for b in range(64)]
    assert np.mean(np.asarray(hits)[some.numpy()]) > 0.9


@every
def test_beats_popularity_and_is_the_same_with_threads(name: str, data: Any) -> None:
    alone = 1 if name == "tri_cdr" else 0  # epochs of a stage of its own

    def trained(threads: int) -> Any:
        wide = {"dim": 32, "max_length": 12, "dropout": 0.1} | ({} if name == "bert4rec" else {"loss": "ce"})
        wide |= {"warm_up": alone, "triplet": 0.1, "scale": 10.0} if alone else {}
        torch.manual_seed(0)
        model = ps.models.create(name, data.schema, **wide)
        options = {"lr": 0.01, "batch_size": 16, "epochs": {"bert4rec": 24, "tri_cdr": 12}.get(name, 6), "patience": 0}
        # The threads of more epochs cost more than the test.
        options["epochs"] = options["epochs"] if threads == 1 else 2 - alone
        history = ps.Trainer(threads=threads, seed=5, **options).fit(model, data)
        return model, history

    model, history = trained(1)
    popular = ps.models.Popularity(data.schema)
    ps.Trainer().fit(popular, data)
    reached = ps.evaluate(model, data.test, k=[3]).overall["ndcg@3"]
    assert reached > (1.15 if name == "bert4rec" else 1.3) * ps.evaluate(popular, data.test, k=[3]).overall["ndcg@3"]
    _, again = trained(2)
    assert [row["train_loss"] for row in history[:2]] == [row["train_loss"] for row in again]


@every
def test_wrong_options_name_the_right_ones(name: str, data: Any) -> None:
    with pytest.raises(ValueError, match="loss must be one of .*, got 'cee'"):
        ps.models.create(name, data.schema, loss="cee")
    with pytest.raises(ValueError, match="scope must be one of overall, scene, got 'all'"):
        ps.models.create(name, data.schema, scope="all")
    with pytest.raises(ValueError, match="max_length must be"):
        ps.models.create(name, data.schema, max_length=0)
    with pytest.raises(ValueError, match="made for task sequence, the data's task is 'ranking'"):
        ps.models.create(name, ps.testing.tiny_data("ranking").schema)


@every
def test_recommends_to_users_and_to_newcomers(name: str, data: Any) -> None:
    model = make(name, data)
    known = model.recommend(["u1", "u2"], k=3, scene="phone")
    assert known.items.shape == (2, 3) and bool(known.known.all())
    given = [{"user": "somebody", "item": "i3"}, {"user": "somebody", "item": "i14"}]
    new = model.recommend(["somebody"], k=3, scene="phone", events=given)
    assert "i3" not in new.items[0] and bool(new.known.all())
    more = model.recommend(["somebody"], k=3, scene="phone", events=[*given, {"user": "somebody", "item": "i7"}])
    assert not np.array_equal(new.scores, more.scores)
    with pytest.warns(UserWarning, match="served by popularity"):
        model.recommend(["nobody"], k=3)


def test_negatives_are_asked_for(data: Any) -> None:
    model = make("sasrec", data)
    with pytest.raises(ValueError, match="sasrec: the batch has no negatives; the trainer draws them"):
        model.loss(data.train.batch(torch.arange(30, 40), history=6))


def test_the_softmax_may_run_in_blocks(data: Any) -> None:
    # More classes than the loss holds at once.
    torch.manual_seed(0)
    x, w = torch.randn(700, 4, dtype=torch.float64), torch.randn(9000, 4, dtype=torch.float64)
    target = torch.randint(0, 9000, (700,))
    for tensor in (x, w):
        tensor.requires_grad_()
    own = ps.nn.softmax_loss(x, w, target)
    expected = torch.nn.functional.cross_entropy(x @ w.T, target, reduction="sum")
    torch.testing.assert_close(own, expected)
    for a, b in zip(torch.autograd.grad(own, (x, w)), torch.autograd.grad(expected, (x, w)), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_gradients(data: Any) -> None:
    torch.manual_seed(0)
    q, kv = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 8, dtype=torch.float64)
    offsets = torch.tensor([0, 3, 3, 9])
    for causal in (True, False):
        for heads in (1, 2):
            inputs = (q.requires_grad_(), kv.requires_grad_())
            assert torch.autograd.gradcheck(
                partial(ps.nn.ragged_attention, offsets=offsets, heads=heads, causal=causal), inputs
            )
    out = ps.nn.ragged_attention(q.detach(), kv.detach(), offsets, 2, True)
    for first, last in ((0, 3), (3, 9)):
        for i in range(first, last):
            keys = [kv[j, :4].detach().numpy() for j in range(first, i + 1)]
            values = [kv[j, 4:].detach().numpy() for j in range(first, i + 1)]
            np.testing.assert_allclose(out[i].numpy(), slow.attention(q[i].detach().numpy(), keys, values, 2))


def test_attention_drops_weights_evenly(data: Any) -> None:
    torch.manual_seed(0)
    n = 400
    q, kv = torch.zeros(n, 2), torch.ones(n, 4)
    out = ps.nn.ragged_attention(q, kv, torch.tensor([0, n]), 1, False, dropout=0.25)
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert out[:, 0].std().item() == pytest.approx(np.sqrt(0.25 / 0.75 / n), rel=0.2)


def test_bert4rec_asks_for_the_tables_rows_alone(data: Any) -> None:
    model = make("bert4rec", data, mask_ratio=0.6).train()
    mine = (data.train.scenes() == 1).nonzero().squeeze(1)
    table = data.train.take(mine)
    asked: set[int] = set()
    for batch in _C.data.WindowBatches(table, _C.data.Windows(table, 6), 6, 16, 0, 1):
        asked |= set(batch.next_scene[batch.next_item > 1].tolist())
        model.loss(batch).backward()
    assert asked == {1}
    grad = dict(model.named_parameters())["bias.weight"].grad[:, 0]  # of the softmaxes' items
    others = torch.cat([candidates(data)[0], candidates(data)[2]])
    assert grad[candidates(data)[1]].abs().sum() > 0 and grad[others].eq(0).all()
