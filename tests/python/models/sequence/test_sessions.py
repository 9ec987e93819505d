"""Following one person event by event gives what all events at once give."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from polyscene._extension import _C

REMEMBERS = [
    ("gru4rec", {}),
    ("gru4rec", {"layers": 2, "recurrent_bias": True}),
    ("sasrec", {"positions": "oldest", "heads": 2}),
    ("sasrec", {"positions": "oldest", "norm": "post", "heads": 2}),
]
OTHERS = [("sasrec", {}), ("bert4rec", {})]


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("sequence")


def make(name: str, data: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, dim=16, **options)
    model.prepare(data.train)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    return model


def acts(data: Any, n: int) -> list[dict[str, str]]:
    items = list(data.schema.categorical[data.schema.field(data.schema.item)].ids)
    draw = np.random.default_rng(1)
    return [
        {"user": "somebody", "item": items[draw.integers(len(items))], "scene": str(draw.choice(data.schema.scenes))}
        for _ in range(n)
    ]


def at_once(model: Any, data: Any, events: list[dict[str, str]], scene: str) -> dict[str, float]:
    found = model.recommend(["somebody"], k=1000, scene=scene, events=events, exclude_seen=False)
    return {item: score for item, score in zip(found.items[0], found.scores[0], strict=True) if item is not None}


def equal(one: dict[str, float], other: dict[str, float], close: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for item, score in one.items():
        assert score == pytest.approx(other[item], abs=close, rel=close), item


@pytest.mark.parametrize(("name", "options"), REMEMBERS)
def test_a_thousand_events_one_by_one_equal_all_at_once(name: str, options: dict[str, Any], data: Any) -> None:
    # A trained model: recurrences with wild weights can make any two roundings part over a thousand steps.
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, dim=16, max_length=1000, **options)
    ps.Trainer(lr=0.01, batch_size=16, epochs=3, patience=0, threads=1, seed=1).fit(model, data)
    person, events = model.session(), acts(data, 1000)
    for n, event in enumerate(events, 1):
        person.add(event["item"], event["scene"])
        if n in (1, 2, 200, 1000):
            equal(person.scores("phone"), at_once(model, data, events[:n], "phone"))
    assert person.events == 1000


@pytest.mark.parametrize(("name", "options"), REMEMBERS + OTHERS)
@pytest.mark.parametrize("scope", ["overall", "scene"])
def test_every_length_and_scene(name: str, options: dict[str, Any], scope: str, data: Any) -> None:
    # Past max_length events too, where the newest are computed again.
    model = make(name, data, max_length=5, scope=scope, **options).eval()
    person, events = model.session(), acts(data, 24)
    batch, ids = data.test.batch(torch.tensor([0])), list(data.schema.categorical[1].ids)
    assert data.schema.categorical[1].name == data.schema.item
    for n, event in enumerate(events, 1):
        person.add(event["item"], event["scene"])
        items = torch.tensor([ids.index(each["item"]) + 2 for each in events[:n]], dtype=torch.int32)
        where = torch.tensor([data.schema.scene(each["scene"]) for each in events[:n]])
        batch.history = _C.data.Events(torch.tensor([0, n]), items, where, torch.ones(n), torch.zeros(n).long())
        for code in range(len(data.schema.scenes)):
            batch.scene = torch.tensor([code])
            expected = model.explain(batch)["state"].detach()
            torch.testing.assert_close(person._impl.state(code), expected, rtol=1e-5, atol=1e-5)


def test_a_known_user_starts_from_training(data: Any) -> None:
    model = make("gru4rec", data)
    for exclude in (True, False):
        for scene in ("tablet", None):
            own = model.session("u1").recommend(k=4, scene=scene, exclude_seen=exclude)
            expected = model.recommend(["u1"], k=4, scene=scene, exclude_seen=exclude)
            np.testing.assert_array_equal(own.items, expected.items)
            np.testing.assert_array_equal(own.scenes, expected.scenes)
            np.testing.assert_allclose(own.scores, expected.scores, rtol=1e-5, atol=1e-6)
    assert model.session("u1").events > 0 and model.session("nobody").events == 0
    with pytest.warns(UserWarning, match="served by popularity"):
        served = model.session("nobody").recommend(k=3, scene="phone")
    with pytest.warns(UserWarning, match="served by popularity"):
        expected = model.recommend(["nobody"], k=3, scene="phone")
    np.testing.assert_array_equal(served.items, expected.items)
    assert not served.known[0]


def test_what_was_met_is_left_out_and_short_rows_are_padded(data: Any) -> None:
    model = make("sasrec", data, positions="oldest")
    person = model.session()
    for item in ("i3", "i8"):
        person.add(item)
    found = person.recommend(k=1000, scene="phone")
    assert not {"i3", "i8"} & set(found.items[0]) and found.items[0, -1] is None and found.scores[0, -1] == -np.inf


def test_unknown_items_are_passed_over(data: Any) -> None:
    model = make("gru4rec", data)
    person = model.session()
    person.add("i3", "phone")
    before = person.scores("phone")
    with pytest.warns(UserWarning, match="session: nothing is known of item 'never seen', it is passed over"):
        person.add("never seen", "phone")
    assert person.scores("phone") == before and person.events == 2


def test_a_model_in_training_is_followed_without_dropout(data: Any) -> None:
    model = make("sasrec", data, positions="oldest", dropout=0.5).train()
    one, other = model.session(), model.session()
    for person in (one, other):
        person.add("i3", "phone")
        person.add("i8", "tablet")
    assert one.scores("phone") == other.scores("phone") and model.training


def test_wrong_calls_say_what_was_wanted(data: Any) -> None:
    person = make("gru4rec", data).session()
    with pytest.raises(ValueError, match="session: unknown scene 'fone'; known scenes: .*; did you mean 'phone'"):
        person.add("i3", "fone")
    with pytest.raises(ValueError, match="session: k must be a whole number of at least 1, got 0"):
        person.recommend(k=0)
    knn = ps.models.ItemKNN(data.schema)
    with pytest.raises(ValueError, match="item_knn has no state after each event"):
        knn.session()
    with pytest.raises(TypeError, match=r"session: wanted a polyscene\.Model, got int"):
        ps.sessions.Session(3)
