"""New users given by items, similar items and reasons, against slow references from the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from served import PAIRS_ALONE, RANKING, fitted, inside, met, own_scores, scores_of


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking", seed=4)


def wide_data() -> Any:
    """Fewer users than items, in two scenes."""
    draw = np.random.default_rng(1)
    rows = [
        (f"u{u}", f"{s}{i}", s) for u in range(9) for s in "ab" for i in draw.choice(25, 6, False) if u + ord(s) != 99
    ]
    user, item, scene = zip(*rows, strict=True)
    frame = pa.table({"user_id": user, "item_id": item, "scene": scene})
    return ps.read_table(train=frame, task="ranking", label=None)


@pytest.mark.parametrize("side", ["items", "users"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("ease", {}), ("ease", {"scope": "overall"}), ("item_knn", {}), ("item_knn", {"scope": "overall", "shrink": 2.0})],
)
def test_closed_forms_score_a_newcomer_as_the_user_with_the_same_items(
    name: str, options: dict[str, Any], side: str, data: Any
) -> None:
    data = data if side == "items" else wide_data()
    model = fitted(name, data, **options | ({"l2": 3.0} if name == "ease" else {}))
    for user in (2, 5, 9):
        for s, scene in enumerate(data.schema.scenes):
            wanted = own_scores(model, data, user, s)
            if not met(data, user) or len(set(wanted.values())) == 1:
                continue
            found = model.recommend(items=met(data, user), scene=scene, k=60, exclude_seen=False)
            got = scores_of(found)
            assert got.keys() == wanted.keys()
            assert [got[item] for item in wanted] == pytest.approx(list(wanted.values()), rel=1e-4, abs=1e-5)
            # exact parts: their sum is the score
            item = found.items[0, 0]
            parts = model.explain_recommendation(data.schema.categorical[0].ids[user - 2], item, scene)
            assert sum(each.part for each in parts) == pytest.approx(wanted[item], rel=1e-4, abs=1e-5)
            assert sorted((each.item, each.scene) for each in parts) == met(data, user)


@pytest.mark.parametrize("side", ["items", "users"])
def test_cross_ease_gives_exact_reasons_for_everybody(side: str, data: Any) -> None:
    data = data if side == "items" else wide_data()
    model = fitted("cross_ease", data, l2=3.0, ridge=2.0)
    with torch.no_grad():
        model.gates.fill_(0.7)
    train = data.train
    for user in range(2, data.schema.categorical[0].rows):
        for s, scene in enumerate(data.schema.scenes):
            counted = dict.fromkeys(inside(data, s), 0.0)
            visitors = sorted(set(train.users()[train.scenes() == s].tolist()))
            for v in visitors:  # the prior: the mean of rows / sqrt(length)
                row = set(train.items()[(train.scenes() == s) & (train.users() == v)].tolist())
                for i in row:
                    counted[i] += 1 / np.sqrt(len(row)) / len(visitors)
            wanted = own_scores(model, data, user, s)
            item = max(wanted, key=lambda name: wanted[name])
            prior = 0.7 * counted[2 + list(data.schema.categorical[1].ids).index(item)]
            parts = model.explain_recommendation(data.schema.categorical[0].ids[user - 2], item, scene)
            assert sum(each.part for each in parts) + prior == pytest.approx(wanted[item], abs=2e-5)
            if any(where == scene for _, where in met(data, user)):
                continue
            # Who is new in the scene takes no part in what it teaches: a newcomer with the same items is the same.
            got = scores_of(model.recommend(items=met(data, user), scene=scene, k=60, exclude_seen=False))
            assert [got[item] for item in wanted] == pytest.approx(list(wanted.values()), abs=2e-5)


def ridge(model: Any, data: Any, items: list[tuple[str, str]], table: np.ndarray, users: np.ndarray) -> tuple[Any, Any]:
    """The vector of the docstring and M, for vectors that all scenes share."""
    ids = list(data.schema.categorical[1].ids)
    q = np.stack([table[2 + ids.index(item)] for item, _ in items])
    every = np.concatenate([table[inside(data, s)] for s in range(len(data.schema.scenes))])
    square = every.T @ every
    m = q.T @ q + 0.05 * (square + np.trace(square) / len(square) * np.eye(len(square)))
    p = np.linalg.solve(m, q.sum(0))
    lengths = [
        np.linalg.norm(users[u])
        for s in range(len(data.schema.scenes))
        for u in sorted(set(data.train.users()[data.train.scenes() == s].tolist()))
    ]
    gain = np.mean(lengths) / np.linalg.norm(p)
    return p * gain, (m, q, gain)


def test_factors_of_a_newcomer_are_one_ridge_solve(data: Any) -> None:
    model = fitted("bpr_mf", data, dim=6)
    q, b, users = (each.weight.detach().double().numpy() for each in (model.item, model.bias, model.user))
    liked = [("i3", "phone"), ("i8", "phone"), ("i8", "tablet"), ("i28", "television")]
    p, (m, met_vectors, gain) = ridge(model, data, liked, q, users)
    ids = list(data.schema.categorical[1].ids)
    for s, scene in enumerate(data.schema.scenes):
        found = model.recommend(items=liked, scene=scene, k=30, exclude_seen=False)
        wanted = {ids[i - 2]: p @ q[i] + b[i, 0] for i in inside(data, s)}
        assert scores_of(found) == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    # An item without a scene counts in every scene that has it.
    free = model.recommend(items=["i3", "i8", "i28"], scene="phone", k=5)
    said = model.recommend(items=liked, scene="phone", k=5)
    assert (free.items == said.items).all()
    assert not {"i3", "i8"} & set(free.items[0])
    item = free.items[0, 0]
    parts = model.explain_recommendation(None, item, "phone", items=liked)
    slow = gain * met_vectors @ np.linalg.solve(m, q[2 + ids.index(item)])
    got = {(each.item, each.scene): each.part for each in parts}
    assert [got[pair] for pair in liked] == pytest.approx(slow.tolist(), rel=1e-4, abs=1e-6)
    assert [each.part for each in parts] == sorted(got.values(), reverse=True)


def test_emcdr_maps_a_newcomer_from_scene_to_scene(data: Any) -> None:
    model = fitted("emcdr", data, dim=4, mapping="linear")
    assert model.stage == 1
    rows, items = data.schema.categorical[0].rows, data.schema.categorical[1].rows
    users, table = (each.weight.detach().double().numpy() for each in (model.user, model.item))
    maps = model.map.first.detach().double().numpy()
    ids = list(data.schema.categorical[1].ids)

    def fold(liked: list[str], s: int) -> np.ndarray:
        q = np.stack([table[s * items + 2 + ids.index(item)] for item in liked])
        every = table[[s * items + i for i in inside(data, s)]]
        square = every.T @ every
        p = np.linalg.solve(q.T @ q + 0.05 * (square + np.trace(square) / 4 * np.eye(4)), q.sum(0))
        here = sorted(set(data.train.users()[data.train.scenes() == s].tolist()))
        return p / np.linalg.norm(p) * np.mean([np.linalg.norm(users[s * rows + u]) for u in here])

    def check(liked: list[tuple[str, str]], scene: int, p: np.ndarray) -> None:
        found = model.recommend(items=liked, scene=data.schema.scenes[scene], k=30, exclude_seen=False)
        wanted = {ids[i - 2]: p @ table[scene * items + i] for i in inside(data, scene)}
        assert scores_of(found) == pytest.approx(wanted, rel=1e-3, abs=1e-5)

    phone, tablet = [("i3", "phone"), ("i8", "phone")], [("i9", "tablet"), ("i20", "tablet")]
    check(phone + tablet, 0, fold(["i3", "i8"], 0))  # what was met in the scene itself
    # From s to t is map s (S - 1) + t - [t > s].
    mapped = (fold(["i3", "i8"], 0) @ maps[1] + fold(["i9", "i20"], 1) @ maps[3]) / 2
    check(phone + tablet, 2, mapped)
    # Parts are differences.
    item = model.recommend(items=phone + tablet, scene="television", k=1).items[0, 0]
    parts = {
        each.item: each.part for each in model.explain_recommendation(None, item, "television", items=phone + tablet)
    }
    whole, less = (
        scores_of(model.recommend(items=liked, scene="television", k=30, exclude_seen=False))[item]
        for liked in (phone + tablet, phone[1:] + tablet)
    )
    assert parts["i3"] == pytest.approx(whole - less, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("name", "options"), [("ptupcdr", {}), ("sscdr", {"hops": 0})])
def test_a_newcomer_is_moved_as_the_user_with_the_same_vector(name: str, options: dict[str, Any]) -> None:
    draw = np.random.default_rng(2)
    drawn = [
        (f"u{u}", f"{s}{i}", s) for u in range(30) for s in "ab"[: 1 + (u < 20)] for i in draw.choice(12, 5, False)
    ]
    user, item, scene = zip(*drawn, strict=True)
    table = pa.table({"user_id": user, "item_id": item, "scene": scene})
    data = ps.read_table(train=table, task="ranking", label=None)
    model = fitted(name, data, dim=4, **options)
    users = data.schema.categorical[0].rows
    columns = (data.train.users(), data.train.scenes())
    cold = next(u for u in range(2, users) if {s for _, s in met(data, u)} == {"a"})
    ids = list(data.schema.categorical[1].ids)
    table, rows = model.item.weight.detach().double(), model.user.weight.detach()
    q = torch.stack([table[2 + ids.index(item)] for item, _ in met(data, cold)])
    if name == "sscdr":  # the mean of the points
        p = (q / q.norm(dim=1, keepdim=True).clamp(min=1)).mean(0)
    else:
        every = table[inside(data, 0)]
        square = every.T @ every
        p = torch.linalg.solve(q.T @ q + 0.05 * (square + square.trace() / 4 * torch.eye(4)), q.sum(0))
        here = sorted(set(columns[0][columns[1] == 0].tolist()) - {cold})
        p = p / p.norm() * rows[here].norm(dim=1).mean()
    with torch.no_grad():
        model.user.weight[cold] = p.float()
    got = scores_of(model.recommend(items=met(data, cold), scene="b", k=30, exclude_seen=False))
    wanted = own_scores(model, data, cold, 1)
    if name == "sscdr":  # distances up to a scale
        scale = sum(got.values()) / sum(wanted.values())
        wanted = {item: score * scale for item, score in wanted.items()}
    assert got == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_light_gcn_parts_are_what_neighbours_send(data: Any) -> None:
    model = fitted("light_gcn", data, dim=5, layers=2)
    users, items = (field.rows for field in data.schema.categorical)
    train = data.train
    edges = np.zeros((users + items, users + items))
    for u, i in zip(train.users().tolist(), train.items().tolist(), strict=True):
        edges[u, users + i] = edges[users + i, u] = 1
    degree = np.maximum(edges.sum(1), 1)
    edges /= np.sqrt(degree[:, None] * degree[None])
    x = torch.cat([model.user.weight, model.item.weight]).detach().double().numpy()
    layers = [x, edges @ x, edges @ edges @ x]
    nodes, sent = sum(layers) / 3, (layers[0] + layers[1]) / 3
    ids = list(data.schema.categorical[1].ids)
    for user in (2, 7, 30):
        name = data.schema.categorical[0].ids[user - 2]
        parts = model.explain_recommendation(name, "i10", "tablet")
        target = nodes[users + 2 + ids.index("i10")]
        got: dict[str, float] = {}
        for each in parts:
            got[each.item] = got.get(each.item, 0.0) + each.part
        for item, part in got.items():
            j = users + 2 + ids.index(item)
            assert part == pytest.approx(edges[user, j] * sent[j] @ target, rel=1e-4, abs=1e-6)
        assert sum(got.values()) + x[user] @ target / 3 == pytest.approx(nodes[user] @ target, rel=1e-4, abs=1e-6)
        assert [each.share for each in parts] == pytest.approx(
            [each.part / sum(max(one.part, 0) for one in parts) for each in parts]
        )


def test_natr_parts_are_its_attention(data: Any) -> None:
    model = fitted("natr", data, dim=4, epochs=2)
    rows, items = (field.rows for field in data.schema.categorical)
    state = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    ids, scenes = list(data.schema.categorical[1].ids), list(data.schema.scenes)
    where = [set(inside(data, s)) for s in range(3)]
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    checked = 0
    for user in range(2, 12):
        for s in range(3):
            item = inside(data, s)[3]
            own = [2 + ids.index(name) for name, scene in met(data, user) if scene == scenes[s]]
            read = [j for j in own if j != item and any(j in where[t] for t in range(3) if t != s)]
            name = data.schema.categorical[0].ids[user - 2]
            reasons = model.explain_recommendation(name, ids[item - 2], scenes[s])
            parts = {each.item: each.part for each in reasons if each.scene == scenes[s]}
            if not read:
                assert not any(parts.values())
                continue
            p, q = state["user.weight"][s * rows + user], state["item.weight"][s * items + item]
            h = []
            for j in read:
                others = [state["source_item.weight"][t * items + j] for t in range(3) if t != s and j in where[t]]
                h.append(state["transfer"][s] @ np.mean(others, 0) + state["transfer_bias"][s])
            logits = np.array([state["history_attention"][s] @ relu(p * each) for each in h])
            weight = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            taste = sum(w * each for w, each in zip(weight, h, strict=True))
            w2 = state["fusion_attention"][s]
            beta = 1 / (1 + np.exp(-(w2 @ relu(taste * q) - w2 @ relu(p * q))))
            for j, w, each in zip(read, weight, h, strict=True):
                assert parts[ids[j - 2]] == pytest.approx(beta * w * (each @ q), rel=1e-3, abs=1e-6)
            rest = own_scores(model, data, user, s)[ids[item - 2]] - sum(parts.values())
            assert rest == pytest.approx((1 - beta) * p @ q, rel=1e-3, abs=1e-5)
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("name", RANKING)
def test_every_model_serves_newcomers_or_names_those_that_do(name: str, data: Any) -> None:
    model = fitted(name, data, epochs=1)
    if name in PAIRS_ALONE:
        message = rf"recommend: {name} has nothing for people whom training did not know; .*bpr_mf.*cross_ease"
        with pytest.raises(ValueError, match=message):
            model.recommend(items=["i3"], scene="phone")
        with pytest.raises(ValueError, match=rf"similar_items: {name} has nothing to compare items by; .*bpr_mf"):
            model.similar_items("i3")
        # Somebody whom training knew is served from the row, and does not get what was met since.
        first = model.recommend(["u3"], k=1, scene="phone").items[0, 0]
        again = model.recommend(["u3"], k=30, scene="phone", events=[{"user": "u3", "item": first}])
        assert first not in again.items[0] and again.items[0, 0] is not None
        return
    for scene in (None, *data.schema.scenes):
        liked = ["i3", "i8"] if scene != "television" or name not in ("ease", "item_knn") else ["i20", "i25"]
        found = model.recommend(items=liked, scene=scene, k=4)
        assert found.users == ["new user"] and None not in found.items[0] and np.isfinite(found.scores).all()
        assert not set(liked) & set(found.items[0])
        # The same as a stranger with events, and again after loading.
        events = [{"user": "somebody", "item": item} for item in liked]
        again = model.recommend(["somebody"], scene=scene, k=4, events=events)
        assert (again.items == found.items).all() and (again.scores == found.scores).all()


@pytest.mark.parametrize("name", RANKING)
def test_users_of_another_scene_alone_are_served(name: str, data: Any) -> None:
    model = fitted(name, data, epochs=1)
    names = data.schema.categorical[0].ids
    users = [u for u in range(2, 42) if met(data, u) and "phone" not in {scene for _, scene in met(data, u)}]
    assert len(users) > 3
    if name in ("ease", "item_knn"):  # know nothing of them there, and say so
        with pytest.warns(UserWarning, match=rf"nothing that {name} can use is known of .*, served by popularity"):
            found = model.recommend([names[u - 2] for u in users], scene="phone", k=3)
        counts = torch.bincount(data.train.items()[data.train.scenes() == 0])
        assert found.items[0, 0] == data.schema.categorical[1].ids[int(counts.argmax()) - 2]
        return
    found = model.recommend([names[u - 2] for u in users], scene="phone", k=3)
    assert found.items.shape == (len(users), 3) and np.isfinite(found.scores).all()


@pytest.fixture(scope="module")
def groups() -> Any:
    """Three groups of users who like a third of the items in each of two scenes."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(200):
        taste = np.where(np.arange(60) % 3 == user % 3, 12.0, 1.0) / 280
        for scene in ("book", "film"):
            rows += [(f"u{user}", f"{scene}{item}", scene) for item in draw.choice(60, 8, False, taste)]
    user, item, scene = zip(*rows, strict=True)
    table = pa.table({"user_id": user, "item_id": item, "scene": scene})
    return ps.read_table(train=table, task="ranking", label=None)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bpr_mf", {"dim": 16}),
        ("light_gcn", {"dim": 16}),
        ("cmf", {"dim": 16}),
        ("bi_tgcf", {"dim": 16}),
        ("emcdr", {"dim": 16}),
        ("ease", {"scope": "overall"}),
        ("item_knn", {"scope": "overall"}),
        ("cross_ease", {}),
    ],
)
def test_newcomers_get_what_their_like_get_in_another_scene(name: str, options: dict[str, Any], groups: Any) -> None:
    model = fitted(name, groups, epochs=40, **options)
    hits = []
    for group in range(3):
        liked = [f"book{i}" for i in range(group, 60, 9)]
        found = model.recommend(items=liked, scene="film", k=10, explain=True)
        hits += [int(item.removeprefix("film")) % 3 == group for item in found.items[0]]
        assert all(each.item in liked for reasons in found.because[0] for each in reasons)
    assert sum(hits) >= 20, sum(hits)  # of 30; 10 by chance


def test_an_item_counts_in_scenes_that_have_it_alone() -> None:
    table = pa.table({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "scene": ["left", "right", "left"]})
    data = ps.read_table(train=table, task="ranking", label=None)
    model = ps.models.EASE(data.schema)
    ps.Trainer().fit(model, data)
    assert model.recommend(items=[("x", "left")], k=1).users == ["new user"]
    with pytest.raises(ValueError, match="item 'x' has no training rows in scene 'right'; it has some in: left"):
        model.recommend(items=[("x", "right")], k=1)
