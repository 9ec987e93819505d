"""Rows of rankings: pairs of users and items, what is dropped, cores, and negatives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene.data.cores import core_rows
from scipy import stats


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking")


def triples(table: Any) -> list[tuple[int, int, int]]:
    return list(zip(table.scenes().tolist(), table.users().tolist(), table.items().tolist(), strict=True))


# -- reading -----------------------------------------------------------------------------------------


def test_rows_below_the_threshold_are_nobodys_choice() -> None:
    rows = {"user_id": list("aabbcc"), "item_id": list("xyxyxz"), "rating": [5, 2, 3, 4, 1, 5], "scene": ["s"] * 6}
    label = {"column": "rating", "at_least": 3}
    data = ps.read_table(train=pa.table(rows), task="ranking", label=label)
    assert len(data.train) == 4
    assert data.report["dropped"] == {"label 0": 2}
    assert len(ps.read_table(train=pa.table(rows), task="ranking", label="rating").train) == 6


@pytest.mark.parametrize("label", ["label", {"column": "label"}, {"column": "label", "at_least": 1}])
def test_rows_of_label_0_are_dropped(label: Any) -> None:
    rows = {"user_id": list("aabbc"), "item_id": list("xyxyz"), "label": [1, 0, 0, 2, None]}
    data = ps.read_table(train=pa.table(rows), task="ranking", label=label)
    names = [list(field.ids) for field in data.schema.categorical]
    found = [(names[0][u - 2], names[1][i - 2]) for _, u, i in triples(data.train)]
    assert sorted(found) == [("a", "x"), ("b", "y")]
    assert data.report["dropped"] == {"empty label": 1, "label 0": 2} and data.report["rows_read"] == 5
    report = ps.datasets.check(pa.table(rows), task="ranking", label=label)
    assert [each.count for each in report.findings if "of label 0 are dropped" in each.what] == [2]
    whole = ps.read_table(train=pa.table(rows), task="ranking", label=None)
    assert len(whole.train) == 5 and whole.report["dropped"] == {}
    assert len(ps.read_table(train=pa.table(rows).drop(["label"]), task="ranking").train) == 5


def test_predictions_are_of_every_row() -> None:
    rows = {"user_id": list("aabbcc") * 3, "item_id": list("xyxzyz") * 3, "label": [1, 1, 1, 1, 1, 0] * 3}
    data = ps.read_table(train=pa.table(rows), task="ranking")
    model = ps.models.create("bpr_mf", data.schema)
    ps.Trainer(epochs=1).fit(model, data)
    new = pa.table(rows).slice(0, 6)
    found = model.predict(new)
    assert len(found) == 6 and ps.data.encode(new, data.schema).size == 5
    assert np.array_equal(found, model.predict(new.drop(["label"])))
    assert np.array_equal(found[:5], model.predict(ps.data.encode(new, data.schema)))


def test_labels_that_are_all_0() -> None:
    rows = pa.table({"user_id": ["a", "b"], "item_id": ["x", "y"], "label": [0, 0]})
    with pytest.raises(ValueError, match=r"label: every label in column 'label' of train is 0.*label=None where every"):
        ps.read_table(train=rows, task="ranking")
    report = ps.datasets.check(rows, task="ranking")
    assert not report.ok and "every label in column 'label' of data is 0" in report.text()
    with pytest.raises(ValueError, match="every label that is made of it in column 'label'"):
        ps.read_table(train=rows, task="ranking", label={"column": "label", "at_least": 3})


@pytest.mark.parametrize("nobody", [None, float("nan")])
def test_rows_of_nobody_and_nothing(nobody: Any, tmp_path: Any) -> None:
    rows = {"user_id": [1.0, nobody, 2.0, 3.0], "item_id": [7.0, 7.0, nobody, 8.0]}
    table = pa.table({name: pa.array(cells, pa.float64()) for name, cells in rows.items()})
    data = ps.read_table(train=table, task="ranking")
    assert data.report["dropped"] == {"empty user": 1, "empty item": 1}
    assert [list(field.ids) for field in data.schema.categorical] == [["1", "3"], ["7", "8"]]
    assert [row[1:] for row in triples(data.train)] == [(2, 2), (3, 3)]
    with pytest.raises(ValueError, match=r"train: row 2, column 'user_id': the user is empty"):
        ps.read_table(train=table, task="ranking", clean={"incomplete": "error"})
    (tmp_path / "a.csv").write_text("user_id,item_id\nu,i\n,j\nv,\n")
    assert len(ps.read_table(train=tmp_path / "a.csv", task="ranking").train) == 1
    findings = {each.column: each for each in ps.datasets.check(tmp_path / "a.csv", task="ranking").findings}
    assert (findings["user_id"].row, findings["item_id"].row) == (2, 3)
    assert findings["user_id"].what == "the user is empty; these rows are dropped"
    # in other tasks an empty id is one that nobody knows
    labelled = ps.read_table(train=table.append_column("label", pa.array([0, 1, 0, 1])), min_count=1)
    assert len(labelled.train) == 4 and labelled.report["missing"] == {"user_id": 1, "item_id": 1}


def test_an_item_of_one_row_is_ranked_too() -> None:
    rows = {"user_id": ["a", "b"], "item_id": ["x", "y"]}
    assert ps.read_table(train=pa.table(rows), task="ranking").schema.categorical[1].rows == 4
    assert ps.read_table(train=pa.table(rows), task="ranking", min_count=2).schema.categorical[1].rows == 2


def test_users_and_items_are_needed() -> None:
    data = ps.read_table(train=pa.table({"user_id": ["a"], "thing": ["x"]}), task="ranking")
    for name in ps.models.list("ranking"):
        with pytest.raises(ValueError, match="must have a user and an item column|must have an item column"):
            ps.models.create(name, data.schema)
    with pytest.raises(ValueError, match="Interactions: the data must name a user and an item column"):
        type(ps.testing.tiny_data("ranking").train.history.interactions()).of(data.train)


def test_scenes_may_be_files(tmp_path: Any) -> None:
    (tmp_path / "book.inter").write_text("user_id:token\titem_id:token\nu1\tb1\nu2\tb2\nu1\tb2\n")
    (tmp_path / "music.inter").write_text("user_id:token\titem_id:token\nu1\tm1\nu3\tm1\n")
    data = ps.read_table(train={"book": tmp_path / "book.inter", "music": tmp_path / "music.inter"}, task="ranking")
    assert data.schema.scenes == ["book", "music"]
    known = data.train.history.interactions()
    assert [len(known.scene(s)) for s in (0, 1)] == [3, 2]
    ids = data.schema.categorical[0].ids
    both = set(known.scene(0).visitors.tolist()) & set(known.scene(1).visitors.tolist())
    assert [ids[row - 2] for row in both] == ["u1"]


# -- cores -------------------------------------------------------------------------------------------


def slow_core(rows: list[tuple[int, int, int]], least_user: int, least_item: int) -> list[int]:
    keep = [i for i, (user, item, _) in enumerate(rows) if user >= 0 and item >= 0]
    while True:
        users = Counter((rows[i][2], rows[i][0]) for i in keep)
        items = Counter((rows[i][2], rows[i][1]) for i in keep)
        next_ = [
            i
            for i in keep
            if users[rows[i][2], rows[i][0]] >= least_user and items[rows[i][2], rows[i][1]] >= least_item
        ]
        if len(next_) == len(keep):
            return keep
        keep = next_


@pytest.mark.parametrize("least", [(2, 2), (3, 2), (0, 4), (4, 4), (50, 1)])
def test_cores_equal_plain_loops(least: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    user, item, scene = draw.integers(-1, 12, 120), draw.integers(-1, 15, 120), draw.integers(0, 3, 120)
    found = core_rows(user.astype(np.int32), item.astype(np.int32), scene.astype(np.int32), least)
    assert found.tolist() == slow_core(list(zip(user, item, scene, strict=True)), *least)


def test_cores_come_before_the_split() -> None:
    rows = {"user_id": list("aaabbbc"), "item_id": list("xyzxyzw"), "scene": ["s"] * 7}
    data = ps.read_table(pa.table(rows), task="ranking", core=2, split={"by": "random", "ratios": [1, 0, 0]})
    assert data.report["dropped"] == {"core": 1}
    assert len(data.train) == data.report["rows"] == 6
    with pytest.raises(ValueError, match="no user and item has 5 and 5 rows in a scene"):
        ps.read_table(pa.table(rows), task="ranking", core=5)
    with pytest.raises(ValueError, match="core would change the test rows that were given"):
        ps.read_table(train=pa.table(rows), task="ranking", core=2)
    with pytest.raises(ValueError, match="core: unknown key 'users'.*user"):
        ps.read_table(pa.table(rows), task="ranking", core={"users": 2})
    with pytest.raises(ValueError, match="user must be a whole number of at least 1, got 0"):
        ps.read_table(pa.table(rows), task="ranking", core={"user": 0})
    with pytest.raises(TypeError, match="core must be a whole number or"):
        ps.read_table(pa.table(rows), task="ranking", core="five")


# -- pairs -------------------------------------------------------------------------------------------


def test_pairs_by_user_and_by_item(data: Any) -> None:
    known = data.train.history.interactions()
    rows = set(triples(data.train))
    for s in range(3):
        mine = known.scene(s)
        forward, backward = set(), set()
        for u in range(len(mine.user_offsets) - 1):
            items = mine.items[mine.user_offsets[u] : mine.user_offsets[u + 1]].tolist()
            assert items == sorted(items)
            forward |= {(s, u, i) for i in items}
        for i in range(len(mine.item_offsets) - 1):
            backward |= {(s, int(u), i) for u in mine.users[mine.item_offsets[i] : mine.item_offsets[i + 1]]}
        assert forward == backward == {each for each in rows if each[0] == s}
        assert mine.candidates.tolist() == sorted({i for scene, _, i in rows if scene == s})
        assert mine.visitors.tolist() == sorted({u for scene, u, _ in rows if scene == s})
    assert len(known) == len(rows)
    assert len(known.pooled()) == len({(u, i) for _, u, i in rows})
    with pytest.raises(IndexError, match=r"scene must be in \[0, 3\), got 3"):
        known.scene(3)


def test_pairs_hold_no_row_of_validation_or_test(data: Any) -> None:
    known, train = data.train.history.interactions(), set(triples(data.train))
    for table in (data.valid, data.test):
        for s, u, i in set(triples(table)) - train:
            mine = known.scene(s)
            assert i not in mine.items[mine.user_offsets[u] : mine.user_offsets[u + 1]].tolist()


def test_repeated_rows_are_one_pair() -> None:
    rows = {"user_id": list("aaab"), "item_id": list("xxyx"), "scene": ["s"] * 4}
    data = ps.read_table(train=pa.table(rows), task="ranking")
    assert len(data.train.history.interactions()) == 3


# -- negatives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["uniform", "popularity", "in_batch"])
def test_negatives_were_never_met_and_belong_to_the_scene(data: Any, sampler: str) -> None:
    known, train = data.train.history.interactions(), set(triples(data.train))
    batch = data.train.batch(torch.arange(len(data.train)), negatives=7, sampler=sampler)
    assert batch.negative.shape == (len(data.train), 7)
    inside = [set(known.scene(s).candidates.tolist()) for s in range(3)]
    for s, u, items in zip(batch.scene.tolist(), batch.user.tolist(), batch.negative.tolist(), strict=True):
        assert all(i in inside[s] and (s, u, i) not in train for i in items)


def test_uniform_negatives_are_uniform_over_the_unseen(data: Any) -> None:
    known = data.train.history.interactions()
    row = 0
    s, u = int(data.train.scenes()[row]), int(data.train.users()[row])
    mine = known.scene(s)
    seen = set(mine.items[mine.user_offsets[u] : mine.user_offsets[u + 1]].tolist())
    unseen = [i for i in mine.candidates.tolist() if i not in seen]
    found = Counter(
        i
        for seed in range(40)
        for i in data.train.batch(torch.tensor([row]), negatives=200, seed=seed).negative[0].tolist()
    )
    counts = [found[i] for i in unseen]
    assert sum(counts) == 8000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_popular_negatives_follow_the_counts(data: Any) -> None:
    known = data.train.history.interactions()
    s, u = int(data.train.scenes()[0]), int(data.train.users()[0])
    mine = known.scene(s)
    seen = set(mine.items[mine.user_offsets[u] : mine.user_offsets[u + 1]].tolist())
    unseen = [i for i in mine.candidates.tolist() if i not in seen]
    weight = np.array([(mine.item_offsets[i + 1] - mine.item_offsets[i]).item() ** 0.75 for i in unseen])
    batches = [data.train.batch(torch.tensor([0]), negatives=200, sampler="popularity", seed=k) for k in range(40)]
    found = Counter(i for batch in batches for i in batch.negative[0].tolist())
    counts = np.array([found[i] for i in unseen])
    assert stats.chisquare(counts, weight / weight.sum() * counts.sum()).pvalue > 1e-3


def test_negatives_depend_on_the_row_alone(data: Any) -> None:
    whole = data.train.batch(torch.arange(50), negatives=3, seed=4)
    part = data.train.batch(torch.tensor([30, 7]), negatives=3, seed=4)
    assert torch.equal(part.negative, whole.negative[[30, 7]])
    assert not torch.equal(whole.negative, data.train.batch(torch.arange(50), negatives=3, seed=5).negative)
    assert torch.equal(whole.take([3, 1]).negative, whole.negative[[3, 1]])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = data.train.batch(torch.arange(50), negatives=3, seed=4)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again.negative, whole.negative)


def test_who_met_everything_gets_any_item() -> None:
    rows = {"user_id": list("aab"), "item_id": list("xyx"), "scene": ["s"] * 3}
    data = ps.read_table(train=pa.table(rows), task="ranking")
    for sampler in ("uniform", "popularity", "in_batch"):
        batch = data.train.batch(torch.arange(3), negatives=4, sampler=sampler)
        assert set(batch.negative[0].tolist()) <= {2, 3}
        assert batch.negative[2].tolist() == [3] * 4  # b did not meet y
    with pytest.raises(ValueError, match="must be one of uniform, popularity, in_batch, got 'unifrom'; did you mean"):
        data.train.batch(torch.arange(1), negatives=1, sampler="unifrom")
