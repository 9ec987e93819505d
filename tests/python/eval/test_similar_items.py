"""Similar items by cosine and by weight, reasons beside recommendations, and what is asked wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
from served import PAIRS_ALONE, RANKING, fitted, inside


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking", seed=4)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return b @ a / np.maximum(np.linalg.norm(b, axis=1) * np.linalg.norm(a), 1e-12)


def test_similar_items_by_cosine_over_all_scenes(data: Any) -> None:
    model = fitted("bpr_mf", data, dim=6)
    q = model.item.weight.detach().double().numpy()
    ids = list(data.schema.categorical[1].ids)
    everything = sorted({i for s in range(3) for i in inside(data, s)} - {2 + ids.index("i3")})
    value = dict(zip((ids[i - 2] for i in everything), cosines(q[2 + ids.index("i3")], q[everything]), strict=True))
    best = sorted(value, key=lambda name: -value[name])[:6]
    found = model.similar_items("i3", k=6)
    assert [each.item for each in found] == best
    assert [each.score for each in found] == pytest.approx([value[name] for name in best], rel=1e-4)
    here = model.similar_items("i3", "television", k=40)
    assert {each.scene for each in here} == {"television"}
    assert [each.item for each in here] == [
        name for name in sorted(value, key=lambda n: -value[n]) if 2 + ids.index(name) in inside(data, 2)
    ]


def test_similar_items_by_weight(data: Any) -> None:
    model = fitted("ease", data, l2=3.0)
    ids = list(data.schema.categorical[1].ids)
    rows = sorted(set(data.train.users().tolist()))
    here = inside(data, 1)
    x = np.zeros((len(rows), len(here)))
    for u, i, s in zip(
        *(c.tolist() for c in (data.train.users(), data.train.items(), data.train.scenes())), strict=True
    ):
        if s == 1:
            x[rows.index(u), here.index(i)] = 1
    p = np.linalg.inv(x.T @ x + 3 * np.eye(len(here)))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    j = here.index(2 + ids.index("i10"))
    found = model.similar_items("i10", "tablet", k=5, source="tablet")
    order = sorted((c for c in range(len(here)) if c != j), key=lambda c: -b[j, c])[:5]
    assert [each.item for each in found] == [ids[here[c] - 2] for c in order]
    assert [each.score for each in found] == pytest.approx([b[j, c] for c in order], rel=1e-4)
    with pytest.raises(ValueError, match=r"ease cannot compare items of 'phone' with those of 'television'"):
        model.similar_items("i3", "television")


@pytest.mark.parametrize("name", [name for name in RANKING if name not in PAIRS_ALONE | {"popularity"}])
def test_similar_items_of_every_model(name: str, data: Any) -> None:
    model = fitted(name, data, epochs=1)
    found = model.similar_items("i10", k=5)
    assert len(found) == 5 and "i10" not in [each.item for each in found]
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert len({each.item for each in found}) == 5


def test_recommendations_say_why(data: Any) -> None:
    model = fitted("ease", data, l2=3.0, scope="overall")
    found = model.recommend(["u3", "u5"], k=3, scene="tablet", explain=True)
    assert found.because.shape == (2, 3)
    for u, user in enumerate(("u3", "u5")):
        for r in range(3):
            whole = model.explain_recommendation(user, found.items[u, r], "tablet")
            positive = [each for each in whole if each.part > 0]
            assert found.because[u, r] == positive[:3]
            assert sum(each.share for each in positive) == pytest.approx(1)
    pytest.importorskip("pandas")
    text = found.frame()["because"][0]
    first = found.because[0, 0][0]
    assert text.startswith(f"{first.item} ({first.scene}) {100 * first.share:.2g} %")
    new = model.recommend(items=["i3", "i8"], k=2, explain=True)
    assert {each.item for each in new.because[0, 0]} <= {"i3", "i8"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.recommend(items=["i30"]), ValueError, r"recommend: unknown item 'i30'; .*did you mean 'i"),
        (lambda m: m.recommend(items=[]), ValueError, "items must name at least one item"),
        (lambda m: m.recommend(items="i3"), TypeError, r"write \['i3'\]"),
        (lambda m: m.recommend(), TypeError, "give users, or the items of one new user"),
        (lambda m: m.recommend(["u1"], items=["i3"]), TypeError, "give users, or the items of one new user"),
        (lambda m: m.recommend(items=[("i3", "phones")]), ValueError, "unknown scene 'phones'.*did you mean 'phone'"),
        (lambda m: m.similar_items("i33x"), ValueError, "similar_items: unknown item 'i33x'"),
        (lambda m: m.similar_items("i3", "fone"), ValueError, "unknown scene 'fone'"),
        (lambda m: m.similar_items("i3", k=0), ValueError, "k must be a whole number of at least 1, got 0"),
        (lambda m: m.explain_recommendation("nobody", "i3"), ValueError, "nothing is known of user 'nobody'"),
        (lambda m: m.explain_recommendation(None, "i3"), TypeError, "give a user, or the items of a new one"),
        (lambda m: m.explain_recommendation("u1", "x"), ValueError, "explain: unknown item 'x'"),
    ],
)
def test_what_is_asked_wrongly_is_named(call: Any, error: type[Exception], message: str, data: Any) -> None:
    model = fitted("bpr_mf", data, epochs=1)
    with pytest.raises(error, match=message):
        call(model)


def test_models_before_training_say_so(data: Any) -> None:
    model = ps.models.BPRMF(data.schema)
    for call in (
        lambda: model.recommend(items=["i3"]),
        lambda: model.similar_items("i3"),
        lambda: model.explain_recommendation("u1", "i3"),
    ):
        with pytest.raises(ValueError, match="bpr_mf was not trained yet, it knows no items; fit it"):
            call()


def test_popularity_gives_no_reasons(data: Any) -> None:
    model = fitted("popularity", data)
    with pytest.raises(ValueError, match="explain: popularity does not know which of a user's items .*ease"):
        model.recommend(["u1"], explain=True)
