"""Interest migration against loops over rows, events and heads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polyscene as ps
import pytest
import slow
import torch
from interest_models import check_export, draw, random_model, with_events, without_events

OPTIONS: dict[str, Any] = {
    "dim": 4,
    "hidden": 6,
    "factors": 3,
    "mlp": [5],
    "max_length": 4,
    "embedding_l2": 0.05,
    "interest_weight": 0.3,
    "transition_weight": 0.7,
}
VARIANTS = {
    "gru": {},
    "lstm": {"encoder": "lstm"},
    "cnn": {"encoder": "cnn"},
    "transformer": {"encoder": "transformer"},
    "pair": {"attention": "pair"},
    "bernoulli": {"transition": "bernoulli"},
    "past": {"profile_history": 6},
    "short past": {"profile_history": 2},
    "bare": {"profile": False, "mlp": []},
}


class Row(NamedTuple):
    logit: float
    penalty: float
    interest: np.ndarray  # logits
    transition: np.ndarray  # logits
    weights: np.ndarray  # [heads, T] of the last event


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def encode(state: slow.State, kind: str, x: np.ndarray) -> np.ndarray:
    if kind == "transformer":
        return slow.transformer(state, "encoder.transformer", x, heads=2)
    return {"gru": slow.gru, "lstm": slow.lstm, "cnn": slow.cnn}[kind](state, f"encoder.{kind}", x)


def probabilities(model: ps.Model, logits: np.ndarray) -> np.ndarray:
    return slow.softmax(logits) if model.options["transition"] == "softmax" else slow.sigmoid(logits)


def slow_row(model: ps.Model, batch: Any, b: int) -> Row:
    state, schema, o = slow.state_of(model), model.schema, model.options
    scene, interests = int(batch.scene[b]), state["event_interest"].shape[0]
    last, origin = np.zeros(o["hidden"]), scene
    context, weights = np.zeros(o["hidden"] * (2 if o["attention"] == "pair" else 1)), np.zeros((2, 0))
    events, x = slow.events_of(batch, b, o["max_length"]), []
    for j in events:
        item = slow.first_row(schema, schema.item) + int(batch.history.item[j])
        e = state["embedding.weight"][item] + state["event_label"][int(batch.history.label[j] > 0.5)]
        if batch.history.interest is not None:
            e = e + slow.interests_of(batch.history.interest, j, interests) @ state["event_interest"]
        x.append(e + state["encoder.scene_embedding.weight"][int(batch.history.scene[j])])
    if events:
        states = encode(state, o["encoder"], np.array(x))
        last, origin = states[-1], int(batch.history.scene[events[-1]])
        if o["attention"] == "pair":
            context = slow.pair_attention(state, "pair_attention", states)[-1]
        else:
            attended, every = slow.causal_attention(state, "attention", states, o["heads"])
            context, weights = attended[-1], every[:, -1]
    both = np.concatenate([context, last])
    interest = slow.linear(state, "interest_head", both)
    now = slow.sigmoid(interest)
    special = now @ state["scene_transition"][origin * (len(state["scene_bias"])) + scene]
    transition = slow.linear(state, "transition_head", np.concatenate([context, now])) + special
    z = slow.linear(state, "state_projection", both)
    z = z + slow.linear(state, "interest_projection", probabilities(model, transition))
    slots = slow.slots_of(state["embedding.weight"], schema, batch, b)
    flat = np.concatenate([z, slots[slow.candidate_slots(schema)].ravel(), batch.numeric[b].double().numpy()])
    for layer in range(len(o["mlp"])):
        flat = slow.relu(slow.linear(state, f"predictor.linears.{layer}", flat))
    logit = state["base"] + state["scene_bias"][scene] + slow.linear(state, "predictor.output", flat)[0]
    logit += sum(z @ slots[f] for f in slow.item_slots(schema))
    penalty = (slots**2).sum() + (z**2).sum()
    if o["profile"]:
        biases = slow.slots_of(state["bias.weight"], schema, batch, b)
        factors = slow.slots_of(state["factors.weight"], schema, batch, b)
        if "past.item.weight" in state:
            past = slow.event_pool(state["past.item.weight"], batch, b, o["profile_history"])
            factors = np.concatenate([factors, past[None]])
        logit += biases.sum() + sum(factors[f] @ factors[g] for f in range(len(factors)) for g in range(f))
        penalty += (factors**2).sum() + 0.5 * (biases**2).sum()
    return Row(float(logit), penalty, interest, transition, weights)


def slow_loss(model: ps.Model, batch: Any, rows: list[Row]) -> float:
    o, interests = model.options, len(model.schema.interests)
    total = np.mean([slow.cross_entropy(r.logit, float(y)) for r, y in zip(rows, batch.label, strict=True)])
    total += 0.5 * o["embedding_l2"] * np.mean([row.penalty for row in rows])
    if not interests:
        return total
    now, following = [], []
    for b, row in enumerate(rows):
        if int(batch.history.offsets[b + 1]) > int(batch.history.offsets[b]):
            target = slow.interests_of(batch.history.interest, int(batch.history.offsets[b + 1]) - 1, interests)
            now += [slow.cross_entropy(x, y) for x, y in zip(row.interest, target, strict=True)]
        target = slow.interests_of(batch.interest, b, interests)
        if not target.any():
            continue
        if o["transition"] == "softmax":
            following.append(-(target / target.sum() * np.log(slow.softmax(row.transition))).sum())
        else:
            following.append(np.mean([slow.cross_entropy(x, y) for x, y in zip(row.transition, target, strict=True)]))
    return total + o["interest_weight"] * np.mean(now) + o["transition_weight"] * np.mean(following)


@pytest.mark.parametrize("variant", VARIANTS)
def test_matches_loops(variant: str, data: Any) -> None:
    model = random_model("interest_migration", data, **OPTIONS | VARIANTS[variant])
    first = data.train.batch(torch.arange(4), history=4).row  # the oldest rows: nothing came before some of them
    batch = data.train.batch(torch.cat([first, draw(model, data, 12).row]), history=model.history_length)
    rows = [slow_row(model, batch, b) for b in range(16)]
    assert {len(slow.events_of(batch, b, 4)) for b in range(16)} >= {0, 1, 4}
    np.testing.assert_allclose(model(batch).detach(), [row.logit for row in rows], rtol=1e-9, atol=1e-9)
    assert model.loss(batch).item() == pytest.approx(slow_loss(model, batch, rows), rel=1e-9)
    found = model.explain(batch)
    np.testing.assert_allclose(found["interests"].detach(), slow.sigmoid(np.array([r.interest for r in rows])))
    moves = np.array([probabilities(model, row.transition) for row in rows])
    np.testing.assert_allclose(found["transitions"].detach(), moves, rtol=1e-9)
    assert found["events"].tolist() == [len(slow.events_of(batch, b, 4)) for b in range(16)]
    if model.options["attention"] == "multi_head":
        for weights, row in zip(found["attention"].detach().numpy(), rows, strict=True):
            np.testing.assert_allclose(weights[:, : row.weights.shape[1]], row.weights, rtol=1e-9)
            assert not weights[:, row.weights.shape[1] :].any()


@pytest.mark.parametrize("attention", ["multi_head", "pair"])
def test_latent_interests_where_the_data_name_none(attention: str) -> None:
    bare = ps.testing.tiny_data(bare=True)
    model = random_model("interest_migration", bare, **OPTIONS, interests=7, attention=attention)
    model.prepare(bare.train)
    bare.train.history = model._impl.history
    batch = draw(model, bare, 16)
    rows = [slow_row(model, batch, b) for b in range(16)]
    np.testing.assert_allclose(model(batch).detach(), [row.logit for row in rows], rtol=1e-9, atol=1e-9)
    assert model.loss(batch).item() == pytest.approx(slow_loss(model, batch, rows), rel=1e-9)
    assert model.explain(batch)["transitions"].shape == (16, 7)
    matrix = model.transition_matrix("phone", "tablet")
    assert matrix.shape == (7, 7)
    torch.testing.assert_close(matrix.sum(1), torch.ones(7, dtype=torch.float64))


def test_what_comes_later_and_the_interest_of_the_row_change_nothing(data: Any) -> None:
    """Only events strictly before a row reach it, and its own interest is a target, never an input."""
    model = random_model("interest_migration", data, **OPTIONS)
    batch = draw(model, data, 24)
    plain, found = model(batch), model.explain(batch)
    # Batches of the training table carry only earlier events.
    times = batch.history.time
    for b in range(24):
        first, last = int(batch.history.offsets[b]), int(batch.history.offsets[b + 1])
        assert (times[first:last] < batch.time[b]).all()
    # The interests of rows: other rows' interests in their place move the loss and nothing else.
    order = torch.arange(24).roll(1)
    other = batch.take(order)
    other.history, other.label, other.scene = batch.history, batch.label, batch.scene
    other.categorical, other.numeric, other.sequence = batch.categorical, batch.numeric, batch.sequence
    assert not torch.equal(other.interest.values, batch.interest.values)
    torch.testing.assert_close(model(other), plain, rtol=0, atol=0)
    assert abs(model.loss(other).item() - model.loss(batch).item()) > 1e-3
    # Every output at a step stays when the last event is another: through the attention weights of the step before.
    shorter = [b for b in range(24) if found["events"][b] >= 3][:4]
    taken = batch.take(shorter)
    changed = taken.history.item.clone()
    ends = taken.history.offsets[1:] - 1
    changed[ends] = (changed[ends] + 7) % 30 + 2
    moved = with_events(taken, item=changed)
    assert (model(moved) - model(taken)).abs().min() > 1e-6
    oldest = taken.history.item.clone()
    starts = taken.history.offsets[:-1]
    long = (taken.history.offsets.diff() > 4).nonzero().squeeze(1)
    oldest[starts[long]] = 2
    torch.testing.assert_close(model(with_events(taken, item=oldest))[long], model(taken)[long], rtol=0, atol=0)


@pytest.mark.parametrize("attention", ["multi_head", "pair"])
@pytest.mark.parametrize("encoder", ["gru", "lstm", "cnn", "transformer"])
def test_rows_without_any_event(encoder: str, attention: str, data: Any) -> None:
    model = random_model("interest_migration", data, **OPTIONS | {"encoder": encoder, "attention": attention})
    batch = draw(model, data, 12)
    bare = without_events(batch)
    out = model(bare)
    assert out.isfinite().all()
    np.testing.assert_allclose(out.detach(), [slow_row(model, bare, b).logit for b in range(12)], rtol=1e-9)
    loss = model.loss(bare)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert all(value.isfinite().all() for value in model.explain(bare).values())
    assert model.loss(batch.take([])).item() == 0


@pytest.mark.parametrize("transition", ["softmax", "bernoulli"])
def test_transition_matrix_is_the_mean_over_moves(transition: str, data: Any) -> None:
    options = OPTIONS | {"transition": transition, "max_length": 50, "encoder": "cnn"}
    model = random_model("interest_migration", data, **options)
    with pytest.raises(ValueError, match="needs a trained model"):
        model.transition_matrix("phone", "tablet")
    model.prepare(data.train)
    state, history = slow.state_of(model), data.train.history
    events = history.before(torch.arange(2, 42), length=1000)
    total, weight = np.zeros((5, 5)), np.zeros(5)
    for u in range(40):
        x = []
        index = range(int(events.offsets[u]), int(events.offsets[u + 1]))
        own = [slow.interests_of(events.interest, j, 5) for j in index]
        for j, interest in zip(index, own, strict=True):
            item = slow.first_row(model.schema, "item_id") + int(events.item[j])
            e = state["embedding.weight"][item] + state["event_label"][int(events.label[j] > 0.5)]
            scene = state["encoder.scene_embedding.weight"][int(events.scene[j])]
            x.append(e + interest @ state["event_interest"] + scene)
        if len(x) < 2:
            continue
        states = slow.cnn(state, "encoder.cnn", np.array(x))
        contexts, _ = slow.causal_attention(state, "attention", states, 2)
        for t, j in enumerate(index[:-1]):
            if (int(events.scene[j]), int(events.scene[j + 1])) != (0, 1):
                continue
            now = slow.sigmoid(slow.linear(state, "interest_head", np.concatenate([contexts[t], states[t]])))
            move = slow.linear(state, "transition_head", np.concatenate([contexts[t], now]))
            move = move + now @ state["scene_transition"][0 * 3 + 1]
            total += np.outer(own[t], probabilities(model, move))
            weight += own[t]
    assert (weight > 0).all()
    matrix = model.transition_matrix("phone", "tablet")
    np.testing.assert_allclose(matrix, total / weight[:, None], rtol=1e-9)
    if transition == "softmax":
        torch.testing.assert_close(matrix.sum(1), torch.ones(5, dtype=torch.float64))
    with pytest.raises(ValueError, match="unknown scene|known scenes"):
        model.transition_matrix("phone", "radio")


def test_windows_of_long_histories_miss_no_move(data: Any) -> None:
    """With states that see one event only, windows of any length give the same matrix."""
    found = []
    for length in (2, 3, 50):
        model = random_model("interest_migration", data, **OPTIONS | {"encoder": "cnn", "max_length": length})
        with torch.no_grad():
            model.get_submodule("encoder.cnn.convolutions.0").weight[:, :, :-1] = 0
            model.get_submodule("attention.value_projection").weight.zero_()
        model.prepare(data.train)
        found.append(model.transition_matrix("phone", "phone"))
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_export_form(variant: str, data: Any) -> None:
    model = random_model("interest_migration", data, **OPTIONS | VARIANTS[variant]).float()
    check_export(model, data)


@pytest.mark.parametrize("variant", ["gru", "past"])
def test_appended_events_move_the_recommendation(variant: str, data: Any) -> None:
    model = random_model("interest_migration", data, **OPTIONS | VARIANTS[variant]).float()
    model.prepare(data.train)
    item = data.schema.categorical[1].ids[3]
    before = model.recommend(["u3"], k=5, scene="phone")
    after = model.recommend(["u3"], k=5, scene="phone", events=[{"user": "u3", "item": item, "scene": "tablet"}])
    assert not np.allclose(before.scores, after.scores)
    assert item not in after.items[0]
