"""Rankings against a slow per-user reference and scikit-learn; ties, masks, slices, sampled candidates."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import ndcg_score

METRICS = ("recall", "precision", "f1", "hit", "ndcg", "mrr", "map")


class Fixed(ps.Model):
    """Scores [S, U, I] that are given."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.scores: torch.Tensor | None = None

    def forward(self, batch: Any) -> torch.Tensor:
        assert self.scores is not None
        return self.scores[batch.scene, batch.user, batch.item]


def fixed(data: Any, scores: torch.Tensor) -> Fixed:
    model = Fixed(data.schema)
    model.scores = scores
    return model


def drawn(data: Any, seed: int = 0) -> torch.Tensor:
    sizes = [field.rows for field in data.schema.categorical]
    return torch.randn(len(data.schema.scenes), *sizes, generator=torch.Generator().manual_seed(seed))


def pairs(table: Any) -> list[tuple[int, int, int]]:
    return list(zip(table.scenes().tolist(), table.users().tolist(), table.items().tolist(), strict=True))


def slow(data: Any, scores: torch.Tensor, k: int) -> dict[tuple[int, int], dict[str, float]]:
    """Metrics of every user in every scene, by plain loops over sorted lists; scores without ties."""
    train, valid, test = (set(pairs(each)) for each in (data.train, data.valid, data.test))
    out = {}
    for scene, user in sorted({(s, u) for s, u, _ in test}):
        wanted = {i for s, u, i in test if (s, u) == (scene, user) and (s, u, i) not in train | valid}
        if not wanted:
            continue
        open_ = sorted({i for s, _, i in train if s == scene})
        open_ = [i for i in open_ if (scene, user, i) not in train | valid]
        order = sorted(open_, key=lambda i: -scores[scene, user, i].item())
        ranks = [rank for rank, i in enumerate(order, 1) if i in wanted and rank <= k]
        hits = len(ranks)
        ideal = sum(1 / math.log2(r + 1) for r in range(1, min(k, len(wanted)) + 1))
        recall, precision = hits / len(wanted), hits / k
        out[scene, user] = {
            "recall": recall,
            "precision": precision,
            "f1": 0.0 if hits == 0 else 2 * recall * precision / (recall + precision),
            "hit": float(hits > 0),
            "ndcg": sum(1 / math.log2(r + 1) for r in ranks) / ideal,
            "mrr": 1 / ranks[0] if ranks else 0.0,
            "map": sum((j + 1) / r for j, r in enumerate(ranks)) / min(k, len(wanted)),
        }
    return out


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking")


@pytest.mark.parametrize("k", [1, 3, 10])
def test_every_user_equals_a_slow_reference(data: Any, k: int) -> None:
    scores = drawn(data)
    result = ps.evaluate(fixed(data, scores), data.test, k=[k])
    expected = slow(data, scores, k)
    users = result.per_user
    names = data.schema.categorical[0].ids
    found = {}
    for q in range(len(users)):
        key = (data.schema.scenes.index(users.scene[q]), names.index(users.user[q]) + 2)
        found[key] = {name: users.values[f"{name}@{k}"][q] for name in METRICS}
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=1e-12)
    for name in METRICS:
        assert result.overall[f"{name}@{k}"] == pytest.approx(np.mean([v[name] for v in expected.values()]))
        of_scenes = [
            np.mean([v[name] for (scene, _), v in expected.items() if scene == s]) for s in range(len(result.scenes))
        ]
        assert [result.scenes[s][f"{name}@{k}"] for s in data.schema.scenes] == pytest.approx(of_scenes)
        assert result.macro[f"{name}@{k}"] == pytest.approx(np.mean(of_scenes))


def test_ndcg_equals_scikit_learn(data: Any) -> None:
    scores = drawn(data, 3)
    result = ps.evaluate(fixed(data, scores), data.test, metrics=["ndcg"], k=[5])
    train, valid, test = (set(pairs(each)) for each in (data.train, data.valid, data.test))
    users = result.per_user
    names = data.schema.categorical[0].ids
    for q in range(len(users)):
        s, u = data.schema.scenes.index(users.scene[q]), names.index(users.user[q]) + 2
        items = sorted({i for scene, _, i in train if scene == s})
        items = [i for i in items if (s, u, i) not in train | valid]
        relevant = [float((s, u, i) in test) for i in items]
        if users.facts["unreachable"][q] or sum(relevant) == 0:
            continue
        expected = ndcg_score([relevant], [scores[s, u, items].numpy()], k=5)
        assert users.values["ndcg@5"][q] == pytest.approx(expected, abs=1e-9)


def test_coverage_and_popularity_of_lists(data: Any) -> None:
    scores = drawn(data, 1)
    k = 3
    result = ps.evaluate(fixed(data, scores), data.test, metrics=["coverage", "pop_rank"], k=[k])
    train, valid, test = (set(pairs(each)) for each in (data.train, data.valid, data.test))
    shown_all, sizes, places_all = 0, 0, []
    for s, name in enumerate(data.schema.scenes):
        items = sorted({i for scene, _, i in train if scene == s})
        count = [len({u for scene, u, i in train if scene == s and i == item}) for item in items]
        place = {
            item: (sum(c > count[j] for c in count) + (sum(c == count[j] for c in count) - 1) / 2) / (len(items) - 1)
            for j, item in enumerate(items)
        }
        shown, places = set(), []
        for u in sorted({u for scene, u, i in test - train - valid if scene == s}):
            open_ = [i for i in items if (s, u, i) not in train | valid]
            best = sorted(open_, key=lambda i: -scores[s, u, i].item())[:k]
            shown |= set(best)
            places += [place[i] for i in best]
        assert result.scenes[name][f"coverage@{k}"] == pytest.approx(len(shown) / len(items))
        assert result.scenes[name][f"pop_rank@{k}"] == pytest.approx(np.mean(places), abs=1e-6)
        shown_all, sizes, places_all = shown_all + len(shown), sizes + len(items), places_all + places
    assert result.overall[f"coverage@{k}"] == pytest.approx(shown_all / sizes)
    assert result.overall[f"pop_rank@{k}"] == pytest.approx(np.mean(places_all), abs=1e-6)


def asked(data: Any) -> dict[tuple[int, int], tuple[set[int], list[int]]]:
    """(scene, user) -> the wanted items, and the items that are ranked for the user."""
    train, valid, test = (set(pairs(each)) for each in (data.train, data.valid, data.test))
    out = {}
    for s, u in sorted({(s, u) for s, u, _ in test - train - valid}):
        wanted = {i for a, b, i in test - train - valid if (a, b) == (s, u)}
        out[s, u] = (wanted, sorted({i for a, _, i in train if a == s and (s, u, i) not in train | valid}))
    return out


def by_user(data: Any, result: Any, name: str) -> dict[tuple[int, int], float]:
    """(scene, user) -> the value of a metric."""
    users, names = result.per_user, list(data.schema.categorical[0].ids)
    scenes = [data.schema.scenes.index(each) for each in users.scene]
    rows = [names.index(each) + 2 for each in users.user]
    return dict(zip(zip(scenes, rows, strict=True), users.values[name].tolist(), strict=True))


def test_a_constant_score_is_worth_what_chance_is(data: Any) -> None:
    """All n items of a user are tied: each has the rank in the middle, (n + 1) / 2."""
    constant = torch.zeros_like(drawn(data))
    for k in (1, 5, 6, 10):
        result = ps.evaluate(fixed(data, constant), data.test, k=[k])
        expected: dict[str, dict[tuple[int, int], float]] = {name: {} for name in ("hit", "recall", "mrr", "ndcg")}
        for key, (wanted, ranked) in asked(data).items():
            rank = (len(ranked) + 1) / 2
            hits = len(wanted & set(ranked)) if rank <= k else 0
            ideal = sum(1 / math.log2(r + 1) for r in range(1, min(k, len(wanted)) + 1))
            expected["hit"][key] = float(hits > 0)
            expected["recall"][key] = hits / len(wanted)
            expected["mrr"][key] = 1 / rank if hits else 0.0
            expected["ndcg"][key] = hits / math.log2(rank + 1) / ideal
        for name, values in expected.items():
            assert by_user(data, result, f"{name}@{k}") == pytest.approx(values, abs=1e-12)
        if k == 1:
            assert result.overall["hit@1"] == 0.0  # nobody is first among equals


def test_head_and_tail_share_the_wanted_items(data: Any) -> None:
    """The head: the most popular items, in groups of equal popularity, while a group's middle lies below 80 %."""
    scores, k = drawn(data), 5
    result = ps.evaluate(fixed(data, scores), data.test, metrics=["head_recall", "tail_recall"], k=[k])
    heads = []
    for s in range(len(data.schema.scenes)):
        count = Counter(i for a, _, i in set(pairs(data.train)) if a == s)
        heads.append(set())
        before = 0
        for level in sorted(set(count.values()), reverse=True):
            group = [i for i, number in count.items() if number == level]
            if before + level * len(group) / 2 < 0.8 * count.total():
                heads[s] |= set(group)
            before += level * len(group)
    head, tail = {}, {}
    for (s, u), (wanted, ranked) in asked(data).items():
        best = set(sorted(ranked, key=lambda i, s=s, u=u: -scores[s, u, i].item())[:k])
        for out, mine in ((head, wanted & heads[s]), (tail, wanted - heads[s])):
            out[s, u] = len(mine & best) / len(mine) if mine else math.nan
    assert by_user(data, result, f"head_recall@{k}") == pytest.approx(head, nan_ok=True)
    assert by_user(data, result, f"tail_recall@{k}") == pytest.approx(tail, nan_ok=True)
    assert np.nanmean([*head.values()]) != pytest.approx(np.nanmean([*tail.values()]), abs=0.01)


def test_what_training_and_validation_hold_is_left_out(data: Any) -> None:
    scores = drawn(data) * 0
    for s, u, i in pairs(data.train) + pairs(data.valid):
        scores[s, u, i] = 100  # would come first
    masked = ps.evaluate(fixed(data, scores), data.test, k=[10]).overall
    scores[scores == 100] = -100
    assert ps.evaluate(fixed(data, scores), data.test, k=[10]).overall == pytest.approx(masked, nan_ok=True)


def test_threads_and_order_do_not_matter(data: Any) -> None:
    model = fixed(data, drawn(data))
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(ps.evaluate(model, data.test, k=[3]).overall)
    finally:
        torch.set_num_threads(threads)
    mixed = data.test.take(torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0)))
    results.append(ps.evaluate(model, mixed, k=[3]).overall)
    assert all(each == pytest.approx(results[0], nan_ok=True, rel=1e-12) for each in results)
    for other in results[1:3]:
        assert other.keys() == results[0].keys()
        np.testing.assert_array_equal([*other.values()], [*results[0].values()])  # to the bit; nan equals nan


def test_sampled_candidates(data: Any) -> None:
    scores = drawn(data, 2)
    model = fixed(data, scores)
    full = ps.evaluate(model, data.test, metrics=["hit"], k=[3])
    few = ps.evaluate(model, data.test, metrics=["hit"], k=[3], candidates=4)
    again = ps.evaluate(model, data.test, metrics=["hit"], k=[3], candidates=4)
    other = ps.evaluate(model, data.test, metrics=["hit"], k=[3], candidates=4, seed=1)
    assert few.overall == again.overall
    assert few.overall != other.overall
    assert few.overall["hit@3"] > full.overall["hit@3"]  # they flatter
    assert len(few.per_user) == int(full.per_user.facts["positives"].sum())
    assert few.extra["candidates"] == 4
    # With as many candidates as there are, each wanted item is ranked among all that the user did not meet.
    every = ps.evaluate(model, data.test, metrics=["hit", "mrr"], k=[3], candidates=1000)
    expected = []
    train, valid, test = (set(pairs(each)) for each in (data.train, data.valid, data.test))
    for s, u, i in sorted(test - train - valid):
        items = {item for scene, _, item in train if scene == s}
        open_ = [each for each in items if (s, u, each) not in train | valid | test or each == i]
        better = sum(scores[s, u, each] > scores[s, u, i] for each in open_) if i in items else 10**6
        expected.append(float(better < 3))
    assert every.overall["hit@3"] == pytest.approx(np.mean(expected))


def test_items_without_training_rows_are_misses() -> None:
    rows = {"user_id": ["a", "b", "a", "b"], "item_id": ["x", "y", "y", "x"], "scene": ["s"] * 4}
    more = {"user_id": ["a", "b", "c"], "item_id": ["new", "x", "x"], "scene": ["s"] * 3}
    data = ps.read_table(train=pa.table(rows), test=pa.table(more), task="ranking")
    result = ps.evaluate(fixed(data, drawn(data)), data.test, metrics=["recall"], k=[10])
    assert result.extra["repeated"] == 1  # b met x in training
    users = dict(zip(result.per_user.user, result.per_user.values["recall@10"], strict=True))
    assert users == {"a": 0.0, "c": 1.0}
    assert dict(zip(result.per_user.user, result.per_user.facts["unreachable"], strict=True)) == {"a": 1, "c": 0}


def test_rows_without_a_user_are_nobodys() -> None:
    rows = {"user_id": ["a", "b", "a"], "item_id": ["x", "y", "z"], "scene": ["s"] * 3}
    test = {"user_id": ["a", None, None], "item_id": ["y", "x", "y"], "scene": ["s"] * 3}
    data = ps.read_table(train=pa.table(rows), test=pa.table(test), task="ranking")
    scores = drawn(data)
    for candidates in ("all", 2):
        result = ps.evaluate(fixed(data, scores), data.test, metrics=["hit"], k=[1], candidates=candidates)
        assert result.per_user.user.tolist() == ["a"]
        assert result.overall["hit@1"] == 1.0  # x and z were met: y alone is left


def test_many_positives_of_a_user_among_sampled_candidates(data: Any) -> None:
    """Each is ranked without the others, however many they are."""
    scores = drawn(data)
    result = ps.evaluate(fixed(data, scores), data.test, metrics=["hit"], k=[1], candidates=10**6)
    train, valid, test = (set(pairs(each)) for each in (data.train, data.valid, data.test))
    expected = []
    for s, u, i in sorted(test - train - valid):
        items = {each for scene, _, each in train if scene == s}
        rivals = [each for each in items if (s, u, each) not in train | valid | test]
        expected.append(float(i in items and all(scores[s, u, i] > scores[s, u, each] for each in rivals)))
    assert result.overall["hit@1"] == pytest.approx(np.mean(expected))


def test_slices_by_what_training_knew(data: Any) -> None:
    users = ps.evaluate(fixed(data, drawn(data)), data.test).per_user
    names, train = data.schema.categorical[0].ids, set(pairs(data.train))
    for q in range(len(users)):
        s, u = data.schema.scenes.index(users.scene[q]), names.index(users.user[q]) + 2
        assert users.facts["known_here"][q] == len({i for a, b, i in train if (a, b) == (s, u)})
        assert users.facts["known_elsewhere"][q] == sum(1 for a, b, _ in train if b == u and a != s)
    slices = users.slices()
    by_size = np.stack([slices[name] for name in ("cold", "few", "some", "many")])
    assert (by_size.sum(0) == 1).all()
    means = users.means("recall@10")
    few = slices["few"]
    assert means["few"]["overall"] == pytest.approx(users.values["recall@10"][few].mean())
    assert means["few"]["users"] == few.sum()
    with pytest.raises(ValueError, match="unknown metric 'auc'; known: f1@10"):
        users.means("auc")


def test_per_user_values_survive_a_file(data: Any, tmp_path: Any) -> None:
    users = ps.evaluate(fixed(data, drawn(data)), data.test).per_user
    users.write(tmp_path / "per_user.parquet")
    again = type(users).read(tmp_path / "per_user.parquet")
    assert again.user.tolist() == users.user.tolist()
    assert again.values.keys() == users.values.keys()
    for name, values in users.values.items():
        np.testing.assert_array_equal(again.values[name], values)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metrics": ["ndgc"]}, "unknown metric 'ndgc' of task ranking; known metrics: recall, .*did you mean 'ndcg'"),
        ({"metrics": ["ndcg@x"]}, "metric 'ndcg@x' must end in @ and a positive whole number"),
        ({"k": [0]}, "k must be positive, got 0"),
        ({"candidates": 0}, "candidates must be 'all' or a positive whole number, got 0"),
        ({"candidates": "some"}, "candidates must be 'all' or a positive whole number, got 'some'"),
    ],
)
def test_wrong_requests(data: Any, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.evaluate(fixed(data, drawn(data)), data.test, **asked)


def test_nan_scores_are_refused(data: Any) -> None:
    scores = drawn(data)
    scores[1] = torch.nan
    with pytest.raises(ValueError, match="a score of user row .* in scene 'tablet' is NaN"):
        ps.evaluate(fixed(data, scores), data.test)


def test_nan_scores_are_refused_where_nothing_wanted_can_be_ranked() -> None:
    columns = ("user_id", "item_id", "scene")

    def table(*rows: tuple[str, str, str]) -> pa.Table:
        return pa.table(dict(zip(columns, zip(*rows, strict=True), strict=True)))

    train = table(("a", "x", "s"), ("a", "y", "s"), ("b", "x", "s"), ("b", "z", "s"))
    data = ps.read_table(train=train, test=table(("a", "new", "s")), task="ranking", label=None)
    model = ps.models.BPRMF(data.schema, dim=2)
    ps.Trainer(epochs=1, patience=0, threads=1).fit(model, data.train)
    assert ps.evaluate(model, data.test, ["hit"], k=[1]).overall["hit@1"] == 0
    with torch.no_grad():
        model.item.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="a score of user row .* in scene 's' is NaN"):
        ps.evaluate(model, data.test)
