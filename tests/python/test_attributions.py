"""Attributions of predictions: Shapley values by hand, what is taken away, and every model of the registry."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from every_model import IMAGE, SEQUENCE, TEXT, data_of, draw, make, scramble
from polyscene._extension import _C
from polyscene.explaining import attributions


def shapley(value: Any, players: int) -> np.ndarray:
    """Shapley values by their definition: weighted differences over all subsets."""
    out = np.zeros(players)
    for i in range(players):
        others = [p for p in range(players) if p != i]
        for size in range(players):
            weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            for some in itertools.combinations(others, size):
                out[i] += weight * (value({*some, i}) - value(set(some)))
    return out


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


@pytest.fixture(scope="module")
def fitted(data: Any) -> Any:
    torch.manual_seed(1)
    model = ps.models.WideDeep(data.schema, hidden=[6], dim=4)
    ps.Trainer(epochs=2, lr=0.05, seed=1).fit(model, data)
    return model.double().eval()


def without(data: Any, batch: Any, left: set[int]) -> Any:
    """A row of tiny_data with the features outside of ``left`` missing: 4 fields, 2 numbers, a list of tags."""
    out = batch.take([0])
    codes, numbers = out.categorical.clone(), out.numeric.clone()
    for f in range(4):
        if f not in left:
            codes[0, f] = 1
    for f, field in enumerate(data.schema.numeric):
        if 4 + f not in left:
            numbers[0, f] = (field.fill - field.shift) / field.scale
    out.categorical, out.numeric = codes, numbers
    if 6 not in left:
        out.sequence = {"tags": _C.data.Ragged(torch.empty(0, dtype=torch.int32), torch.tensor([0, 0]))}
    return out


def test_shapley_values_are_those_of_the_definition(data: Any, fitted: Any) -> None:
    batch = ps.testing.batch(data, 1, seed=3)

    def value(left: set[int]) -> float:
        with torch.no_grad():
            return float(fitted(without(data, batch, left)))

    expected = shapley(value, 7)
    found = attributions(fitted, batch, "exact", kinds=["field"])
    assert list(found.feature) == ["user_id", "item_id", "age_group", "genre", "age", "minutes", "tags"]
    np.testing.assert_allclose(found.attribution, expected, atol=1e-5)
    assert found.attribution.sum() == pytest.approx(value(set(range(7))) - value(set()), abs=1e-5)
    np.testing.assert_allclose(found.score, value(set(range(7))), atol=1e-9)
    assert set(found.row) == {0} and set(found.kind) == {"field"}
    drawn = attributions(fitted, batch, "shapley", kinds="field", samples=400)
    np.testing.assert_allclose(drawn.attribution, expected, atol=0.06 * np.abs(expected).max() + 1e-9)
    assert drawn.attribution.sum() == pytest.approx(expected.sum(), abs=1e-5)
    alone = attributions(fitted, batch, "ablation", kinds="field")
    losses = [value(set(range(7))) - value(set(range(7)) - {p}) for p in range(7)]
    np.testing.assert_allclose(alone.attribution, losses, atol=1e-6)


def test_drawn_orders_follow_the_seed_alone(data: Any, fitted: Any) -> None:
    batch = ps.testing.batch(data, 2, seed=3)
    torch.manual_seed(0)
    first = attributions(fitted, batch, kinds="field", samples=3)
    before = torch.rand(1)
    torch.manual_seed(9)
    assert first.equals(attributions(fitted, batch, kinds="field", samples=3))
    assert not first.equals(attributions(fitted, batch, kinds="field", samples=3, seed=7))
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), before)  # the generator of the caller is left alone


def test_integrated_gradients_of_a_linear_model_are_its_terms(data: Any) -> None:
    model = scramble(make("logistic", data)).double().eval()
    batch = ps.testing.batch(data, 3, seed=4)
    found = attributions(model, batch, "integrated_gradients", samples=5)
    assert list(found.feature) == ["age", "minutes"] * 3
    absent = torch.tensor([(field.fill - field.shift) / field.scale for field in data.schema.numeric])
    expected = (batch.numeric - absent).double() * model.numeric.detach()
    np.testing.assert_allclose(found.attribution.to_numpy().reshape(3, 2), expected.numpy(), atol=1e-6)


def test_integrated_gradients_add_up_to_the_way_from_missing_numbers(data: Any, fitted: Any) -> None:
    batch = ps.testing.batch(data, 2, seed=5)
    found = attributions(fitted, batch, "integrated_gradients", samples=300)
    for row in range(2):
        one = batch.take([row])
        there = float(fitted(one).detach())
        one.numeric = torch.tensor([[(f.fill - f.shift) / f.scale for f in data.schema.numeric]])
        mine = found[found.row == row]
        assert mine.attribution.sum() == pytest.approx(there - float(fitted(one).detach()), abs=2e-3)


def test_events_of_a_model_that_follows_users(data: Any) -> None:
    model = scramble(make("din", data, dim=4)).eval()
    whole = data.test.batch(torch.arange(len(data.test)), history=4)
    row = int(whole.history.offsets.diff().argmax())
    batch = whole.take([row])
    found = attributions(model, batch, "ablation", kinds="event")
    items = data.schema.categorical[data.schema.field("item_id")].ids
    assert list(found.feature) == ["event 1", "event 2", "event 3", "event 4"]
    item, scene = int(batch.history.item[0]), int(batch.history.scene[0])
    assert found.value[0] == f"{items[item - 2]} · {data.schema.scenes[scene]}"
    with torch.no_grad():
        for left_out in range(4):
            kept = [t for t in range(4) if t != left_out]
            rest, past = batch.take([0]), batch.history
            columns = (past.item[kept], past.scene[kept], past.label[kept], past.time[kept])
            interest = past.interest.take(torch.tensor(kept))
            rest.history = _C.data.Events(torch.tensor([0, 3]), *columns, interest)
            assert found.attribution[left_out] == pytest.approx(float(model(batch) - model(rest)), abs=1e-6)


def test_words_of_a_text() -> None:
    data = ps.testing.tiny_data("text")
    model = scramble(ps.models.TextClassifier(data.schema)).eval()
    batch = data.test.batch(torch.arange(2))
    found = attributions(model, batch, "ablation", target=1)
    values, ids = batch.sequence["text"], data.schema.lists[0].ids
    for row in range(2):
        first, last = values.offsets[row : row + 2].tolist()
        mine = found[found.row == row].reset_index(drop=True)
        assert list(mine.kind) == ["word"] * (last - first)
        assert list(mine.value) == [
            ids[code - 2] if code > 1 else "unknown" for code in values.values[first:last].tolist()
        ]
        for k in range(last - first):
            rest = batch.take([row])
            codes = torch.cat([values.values[first : first + k], values.values[first + k + 1 : last]])
            rest.sequence = {"text": _C.data.Ragged(codes, torch.tensor([0, len(codes)]))}
            with torch.no_grad():
                expected = float(model(batch)[row, 1] - model(rest)[0, 1])
            assert mine.attribution[k] == pytest.approx(expected, abs=1e-5)


def test_patches_of_an_image() -> None:
    data = ps.testing.tiny_data("image")
    model = scramble(ps.models.ImageClassifier(data.schema)).eval()
    batch = data.test.batch(torch.arange(3))
    found = attributions(model, batch, "ablation", patch=3)
    mine = found[found.row == 1].reset_index(drop=True)
    assert len(mine) == 9 and mine.feature[4] == "image 3:3" and mine.value[8] == "row 6, column 6"
    pixels = batch.take([1]).sequence["image"].values.clone().view(8, 8)
    pixels[3:6, 3:6] = 0
    rest = batch.take([1])
    rest.sequence = {"image": _C.data.Ragged(pixels.flatten(), torch.tensor([0, 64]))}
    with torch.no_grad():
        said = int(model(batch)[1].argmax())
        expected = float(model(batch)[1, said] - model(rest)[0, said])
    assert mine.attribution[4] == pytest.approx(expected, abs=1e-5)


def test_users_and_items_of_rankings_are_taken_away() -> None:
    data = ps.testing.tiny_data("ranking")
    model = scramble(make("bpr_mf", data)).eval()
    batch = ps.testing.batch(data, 1)
    found = attributions(model, batch, "exact")

    assert set(found.feature) == {"user_id", "item_id"} and found.attribution.abs().min() > 0

    def value(left: set[int]) -> float:
        one = batch.take([0])
        one.user = one.user if 0 in left else torch.tensor([1])
        one.item = one.item if 1 in left else torch.tensor([1])
        return float(model(one))

    with torch.no_grad():
        np.testing.assert_allclose(found.attribution, shapley(value, 2), atol=1e-6)


@pytest.mark.parametrize("name", ps.models.list())
def test_every_model_is_attributed(name: str) -> None:
    task = "sequence" if name in SEQUENCE else "text" if name in TEXT else "image" if name in IMAGE else None
    data = data_of(name) if task is None else ps.testing.tiny_data(task)
    model = make(name, data).eval()
    batch = (
        draw(model, data, 1) if task is None else data.test.batch(torch.arange(1), history=model.history_length or 5)
    )
    found = attributions(model, batch, "shapley", samples=1)
    assert np.isfinite(found.attribution).all()
    kinds = {"text": {"word"}, "image": {"patch"}}.get(str(task), {"field"})
    assert kinds <= set(found.kind) <= kinds | {"event"}
    with torch.no_grad():
        out = model(batch)
    score = float(out[0]) if out.dim() == 1 else float(out[0].max())
    assert found.score[0] == pytest.approx(score, rel=1e-4, abs=1e-5)
    if task == "sequence":
        assert "event" in set(found.kind) and "item_id" not in set(found.feature)


def test_what_is_not_known_is_refused(data: Any, fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ps.testing.batch(data, 1)
    for wanted, options in (
        (r"attributions: method must be of shapley, exact, ablation, integrated_gradients, got 'shaply'; did you mean",
         {"method": "shaply"}),
        (r"attributions: kinds must be of field, event, word, patch, got 'words'; did you mean 'word'\?",
         {"kinds": ["words"]}),
        (r"attributions: samples must be positive, got 0", {"samples": 0}),
        (r"attributions: patch must be positive, got 0", {"patch": 0}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=wanted):
            attributions(fitted, batch, **options)
    follower = make("din", data)
    longest = data.test.batch(torch.arange(len(data.test)), history=5).history.offsets.diff().argmax().unsqueeze(0)
    with pytest.raises(ValueError, match="attributions: method 'exact' orders at most 7 features, the row has "):
        attributions(follower, data.test.batch(longest, history=5), "exact")
    bare = ps.testing.tiny_data(bare=True)
    with pytest.raises(
        ValueError, match="attributions: integrated_gradients are of numeric fields, the data have none"
    ):
        attributions(make("mf", bare), ps.testing.batch(bare, 1), "integrated_gradients")
    texts = ps.testing.tiny_data("text")
    with pytest.raises(ValueError, match=r"attributions: target must be in \[0, 3\), got 3"):
        attributions(make("text_classifier", texts), ps.testing.batch(texts, 1), target=3)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r'attributions need the package captum: pip install "polyscene\[explain\]"'):
        attributions(fitted, batch)
