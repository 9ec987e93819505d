"""Semi-supervised mapping of a metric space against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pair_models
import polyscene as ps
import pytest
import slow_ranking as slow
import torch


def make(data: Any, **options: Any) -> ps.Model:
    torch.manual_seed(0)
    model = slow.scrambled(ps.models.SSCDR(data.schema, dim=4, **options))
    model.prepare(data.train)
    return model


def inside(v: np.ndarray) -> np.ndarray:
    return v / max(1.0, float(np.linalg.norm(v)))


def distance(a: np.ndarray, b: np.ndarray, kind: str = "squared") -> float:
    squared = float(((inside(a) - inside(b)) ** 2).sum())
    return squared if kind == "squared" else squared**0.5


def walk(known: dict[int, set[int]], user: int, hops: int) -> list[dict[tuple[str, int], float]]:
    """Where a walk from a user along training pairs is after each hop, and how often."""
    out = [{("user", user): 1.0}]
    for _ in range(hops):
        after: dict[tuple[str, int], float] = {}
        for (side, node), chance in out[-1].items():
            near = known[node] if side == "user" else [u for u, met in known.items() if node in met]
            for other in near:
                key = ("item" if side == "user" else "user", other)
                after[key] = after.get(key, 0) + chance / len(near)
        out.append(after)
    return out


def score_of(model: ps.Model, data: Any, mapped: bool) -> slow.Score:
    state, known = slow.arrays(model), slow.pairs(data)
    count = len(known)
    tables = {side: slow.scene_table(state, side, count) for side in ("user", "item")}
    hops = model.options["hops"]

    def vector(user: int, scene: int) -> np.ndarray:
        out = []
        for s in slow.served(known, user, scene, model.options["map_users"]) if mapped else []:
            for places in walk(known[s], user, hops):
                for (side, node), chance in places.items():
                    out.append(chance * slow.map_vector(state, count, s, scene, tables[side][s, node], bounded=True))
        if not out:
            return tables["user"][scene, user]
        return sum(out) / ((hops + 1) * len(slow.served(known, user, scene, model.options["map_users"])))

    cache: dict[tuple[int, int], np.ndarray] = {}

    def score(user: int, item: int, scene: int) -> float:
        if (user, scene) not in cache:
            cache[user, scene] = vector(user, scene)
        return -distance(cache[user, scene], tables["item"][scene, item])

    return score


@pytest.mark.parametrize("kind", ["squared", "plain"])
def test_factors_match_loops(data: Any, kind: str) -> None:
    model = make(data, distance=kind, margin=0.7, negatives=2)
    batch = ps.testing.batch(data, 24, negatives=2)
    score = score_of(model, data, mapped=False)
    power = 1.0 if kind == "squared" else 0.5
    losses = [
        np.mean([max(0.0, 0.7 + (-score(u, i, s)) ** power - (-score(u, j, s)) ** power) for j in drawn])
        for u, i, s, drawn in slow.rows(batch)
    ]
    assert model.loss(batch).item() == pytest.approx(np.mean(losses), rel=1e-9)
    for scene in range(3):
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


@pytest.mark.parametrize("hops", [0, 1, 2])
@pytest.mark.parametrize("map_users", ["cold", "overlapping"])
def test_mapped_users_match_loops(data: Any, map_users: str, hops: int) -> None:
    model = slow.at_mapping(make(data, hidden=5, hops=hops, map_users=map_users), data)
    score = score_of(model, data, mapped=True)
    for scene in range(3):
        torch.testing.assert_close(*slow.all_scores(model, score, scene), rtol=1e-5, atol=1e-6)
    batch = ps.testing.batch(data, 12)
    assert model(batch).tolist() == pytest.approx([score(u, i, s) for u, i, s, _ in slow.rows(batch)], abs=1e-6)


def pairs_of(model: ps.Model, data: Any, users: list[int]) -> list[tuple[int, int, int]]:
    known = slow.pairs(data)
    return [(u, s, t) for t in range(3) for s in range(3) if s != t for u in users if u in known[s] and u in known[t]]


def test_supervised_part_matches_loops(data: Any) -> None:
    model = slow.at_mapping(make(data, hidden=5, unsupervised=0.0), data)
    batch = data.train.batch(torch.arange(20))
    state = slow.arrays(model)
    p = slow.scene_table(state, "user", 3)
    errors = [
        ((slow.map_vector(state, 3, s, t, p[s, u], bounded=True) - inside(p[t, u])) ** 2).mean()
        for u, s, t in pairs_of(model, data, batch.user.tolist())
    ]
    loss = model.loss(batch)
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-9)
    loss.backward()
    moved = {name for name, value in model.named_parameters() if value.grad is not None}
    assert moved == {"map.first", "map.first_bias", "map.second", "map.second_bias"}


def test_unsupervised_part_is_that_of_items_met_and_not_met(data: Any) -> None:
    """Its mean over draws is the mean over all of a user's items and all that the user did not meet."""
    model = slow.at_mapping(make(data, hidden=5, unsupervised=2.0, margin=0.4), data)
    plain = slow.at_mapping(make(data, hidden=5, unsupervised=0.0), data)
    user = next(int(u) for u in data.train.users() if sum(int(u) in scene for scene in slow.pairs(data)) == 3)
    rows = (data.train.users() == user).nonzero().squeeze(1)[:1]
    state, known = slow.arrays(model), slow.pairs(data)
    p, q = (slow.scene_table(state, side, 3) for side in ("user", "item"))
    wanted = []
    for u, s, t in pairs_of(model, data, [user]):
        there = set().union(*known[s].values())
        far = {
            item: distance(p[t, u], slow.map_vector(state, 3, s, t, q[s, item], bounded=True)) for item in sorted(there)
        }
        met = known[s][u]
        wanted.append(np.mean([max(0.0, 0.4 + far[i] - far[j]) for i in met for j in there - met]))
    with torch.no_grad():
        torch.manual_seed(1)
        batch = data.train.batch(rows.repeat(4000))
        extra = (model.loss(batch) - plain.loss(batch)).item()
    assert extra == pytest.approx(2 * np.mean(wanted), rel=0.03)


def test_mapping_leaves_the_tables(data: Any) -> None:
    states = []
    for epochs in (1, 4):
        torch.manual_seed(0)
        model = ps.models.SSCDR(data.schema, dim=4, map_epochs=epochs)
        ps.Trainer(epochs=2, lr=0.01).fit(model, data)
        states.append(model.state_dict())
    for name in ("user.weight", "item.weight"):
        assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0]["map.first"], states[1]["map.first"])


@pytest.mark.parametrize("hops", [0, 1])
def test_row_of_a_cold_user_says_nothing(data: Any, hops: int) -> None:
    model = slow.at_mapping(make(data, hops=hops), data).eval()
    known = slow.pairs(data)
    cold = [user for user in range(2, 40) if user not in known[1] and any(user in scene for scene in known)]
    users, items = torch.tensor(cold), torch.arange(model.schema.categorical[1].rows)
    with torch.no_grad():
        model.encode()
        before = model.score_items(users, 1, items)
        model.user.weight.view(3, -1, 4)[1, users] += 9
        model.encode()
        assert torch.equal(model.score_items(users, 1, items), before)


@pytest.mark.parametrize(("scenes", "overlap"), [(1, True), (2, False), (17, True)])
def test_any_number_of_scenes(scenes: int, overlap: bool) -> None:
    data = slow.scenes_data(scenes, overlap=overlap)
    model = ps.models.SSCDR(data.schema, dim=4, map_epochs=2)
    history = ps.Trainer(epochs=2).fit(model, data)
    mapped = overlap and scenes > 1
    assert (history[-1]["phase"] == "map") == mapped
    score = score_of(model.double(), data, mapped)
    for scene in {0, scenes - 1}:
        torch.testing.assert_close(*slow.all_scores(model, score, scene), rtol=1e-5, atol=1e-6)


def test_comes_back_from_a_file(data: Any, tmp_path: Any) -> None:
    model = slow.at_mapping(ps.models.SSCDR(data.schema, dim=4), data).eval()
    pair_models.check_file(model, ps.testing.batch(data, 24), tmp_path)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(data: Any, rows: int) -> None:
    pair_models.check_few_rows(slow.at_mapping(make(data), data), data, rows)


def test_unprepared_model_scores(data: Any) -> None:
    model = ps.models.SSCDR(data.schema, dim=4)
    assert model(ps.testing.batch(data, 5)).isfinite().all()
    with pytest.raises(ValueError, match="the batch has no negatives"):
        model.loss(data.train.batch(torch.arange(4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -1.0}, "margin must be 0 or more"),
        ({"distance": "cosine"}, "distance must be 'squared' or 'plain', got 'cosine'"),
        ({"unsupervised": -0.1}, "unsupervised must be 0 or more"),
        ({"hidden": 0}, "hidden must be positive"),
        ({"hops": -1}, "hops must be 0 or more"),
        ({"map_users": "all"}, "map_users must be 'cold' or 'overlapping'"),
        ({"map_epochs": -1}, "map_epochs must be 0 or more"),
        ({"map_batch": 0}, "map_batch must be positive"),
        ({"loss": "bpr"}, "unknown option 'loss'"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.SSCDR(data.schema, **options)
