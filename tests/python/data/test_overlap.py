"""What scenes share: counts, twins, published data sets and cold scenes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
from polyscene.data.overlap import count_overlap
from polyscene.data.splits import Split, assign

REAL = os.environ.get("POLYSCENE_TEST_DATA")
on_real_data = pytest.mark.skipif(not REAL, reason="POLYSCENE_TEST_DATA names no folder")


def test_counts_equal_plain_loops() -> None:
    draw = np.random.default_rng(0)
    user, item, scene = draw.integers(-1, 20, 300), draw.integers(-1, 12, 300), draw.integers(0, 3, 300)
    names = [f"i{k}" for k in range(12)]
    found = count_overlap(user, item, scene, ["a", "b", "c"], names, least=3, alike=0.4)
    rows = [(s, u, i) for s, u, i in zip(scene, user, item, strict=True) if u >= 0 and i >= 0]
    users = [{u for s, u, _ in rows if s == k} for k in range(3)]
    items = [{i for s, _, i in rows if s == k} for k in range(3)]
    for k, size in enumerate(found.scenes):
        assert (size.rows, size.users, size.items) == ((scene == k).sum(), len(users[k]), len(items[k]))
        assert size.pairs == len({(u, i) for s, u, i in rows if s == k})
        assert size.density == size.pairs / (size.users * size.items)
    of = {(k, i): {u for s, u, j in rows if (s, j) == (k, i)} for k in range(3) for i in range(12)}
    for pair, (a, b) in zip(found.pairs, [(0, 1), (0, 2), (1, 2)], strict=True):
        assert (pair.users, pair.items) == (len(users[a] & users[b]), len(items[a] & items[b]))
        expected = {
            (names[i], names[j], len(of[a, i] & of[b, j]))
            for i in range(12)
            for j in range(12)
            if i != j
            and len(of[a, i] & of[b, j]) >= 3
            and len(of[a, i] & of[b, j]) / max(len(of[a, i] | of[b, j]), 1) >= 0.4
        }
        assert {(twin.first, twin.second, twin.shared) for twin in pair.twins} == expected
        assert [twin.shared for twin in pair.twins] == sorted((t.shared for t in pair.twins), reverse=True)


def test_check_tells_of_scenes_and_twins(tmp_path: Path) -> None:
    for name, item in (("book", "b"), ("music", "m")):
        rows = "".join(f"u{u}\t{item}1\n" for u in range(60))
        (tmp_path / f"{name}.inter").write_text("user_id:token\titem_id:token\n" + rows)
    files = {name: tmp_path / f"{name}.inter" for name in ("book", "music")}
    report = ps.datasets.check(files, task="ranking")
    assert report.ok
    assert "'book' and 'music' share 60 users and 0 items, 1 twin (" in report.text()
    assert any("listed twice, under one id in each scene" in each.what for each in report.findings)
    assert ps.datasets.check(files["book"], task="ranking").overlap is None


def test_overlap_needs_users_and_items() -> None:
    data = ps.read_table(train=pa.table({"f": ["a", "b"], "label": [0, 1]}), categorical=["f"], user=None, item=None)
    with pytest.raises(ValueError, match="overlap: the data must name a user and an item column"):
        ps.datasets.overlap(data)


# -- cold scenes -------------------------------------------------------------------------------------


def test_cold_users_lose_all_their_rows_of_one_scene() -> None:
    draw = np.random.default_rng(1)
    user, scene = draw.integers(0, 60, 800).astype(np.int32), draw.integers(0, 3, 800).astype(np.int32)
    user[:5] = -1
    part = assign(Split("cold_scene", (6, 2, 2), 3), scene, user, None, "test")
    several = [u for u in range(60) if len(set(scene[user == u])) > 1]
    cold: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    for u in range(60):
        lost = {(int(s), int(p)) for s, p in zip(scene[user == u], part[user == u], strict=True) if p}
        assert len(lost) <= 1
        for s, p in lost:
            assert (part[(user == u) & (scene == s)] == p).all()
            cold[p].append((u, s))
            assert u in several
    assert len(cold[1]) == len(cold[2]) == len(several) * 2 // 10
    for of_part in cold.values():  # every direction in turn
        counts = np.bincount([s for _, s in of_part], minlength=3)
        assert counts.max() - counts.min() <= 2
    assert (part[:5] == 0).all()
    assert (assign(Split("cold_scene", (6, 2, 2), 4), scene, user, None, "test") != part).any()


def test_cold_scenes_need_users_in_several() -> None:
    with pytest.raises(ValueError, match="needs users with rows in several scenes, there are none"):
        assign(Split("cold_scene"), np.zeros(9, np.int32), np.arange(9, dtype=np.int32), None, "read_table")
    with pytest.raises(ValueError, match="needs a user column"):
        assign(Split("cold_scene"), np.zeros(9, np.int32), None, None, "read_table")


# -- published data ----------------------------------------------------------------------------------


@on_real_data
@pytest.mark.parametrize(
    ("name", "folder", "rows", "twins"),
    [("amazon-sport-phone", "amazon-cdr", 100_701, 149), ("amazon-sport-cloth", "amazon-cdr", 196_307, 2_844)],
)
def test_amazon_pairs(name: str, folder: str, rows: int, twins: int) -> None:
    assert REAL is not None
    data = ps.datasets.load(name, root=Path(REAL) / folder)
    assert sum(map(len, (data.train, data.valid, data.test))) == rows == ps.datasets.info(name)["rows"]
    found = ps.datasets.overlap(data)
    assert len(found.pairs[0].twins) == twins
    assert found.pairs[0].users == found.scenes[0].users == found.scenes[1].users
    # A user's validation row is one of at least five; its item keeps a training row.
    train, valid = (
        list(zip(t.scenes().tolist(), t.users().tolist(), t.items().tolist(), strict=True))
        for t in (data.train, data.valid)
    )
    assert len({(s, u) for s, u, _ in valid}) == len(valid)
    items = {(s, i) for s, _, i in train}
    assert all((s, i) in items for s, _, i in valid)
    sizes: dict[Any, int] = {}
    for s, u, _ in train:
        sizes[s, u] = sizes.get((s, u), 0) + 1
    assert all(sizes[s, u] >= 4 for s, u, _ in valid)
    again = ps.datasets.load(name, root=Path(REAL) / folder)
    other = ps.datasets.load(name, root=Path(REAL) / folder, split={"by": "files", "seed": 1})
    assert again.split_digest == data.split_digest != other.split_digest
    assert len(other.test) == len(data.test)


@on_real_data
def test_douban_pair() -> None:
    assert REAL is not None
    data = ps.datasets.load("douban-book-music", root=Path(REAL) / "douban", split={"by": "user"})
    assert data.report["dropped"] == {"label 0": 10_505, "core": 3_417}
    assert [(each.users, each.items) for each in ps.datasets.overlap(data).scenes] == [(1653, 6570), (1138, 5369)]
    cold = ps.datasets.load("douban-book-music", root=Path(REAL) / "douban", split="cold_scene")
    model = ps.models.Popularity(cold.schema)
    ps.Trainer().fit(model, cold)
    users = ps.evaluate(model, cold.test).per_user
    assert users.slices()["cold"].all()
    assert len(users) == 98
