"""Splits: whole, disjoint, reproducible, and what their names say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from polyscene.data import read_table

from .conftest import make_rows

BY = ["random", "torch_random", "user", "scene", "time", "leave_one_out", "cold_user"]


def parts_of(data) -> dict[str, np.ndarray]:
    return {name: table.rows.numpy() for name, table in data.tables.items()}


def split(table, by, **more):
    return read_table(table, time="time", split={"by": by, **more})


@pytest.mark.parametrize("by", BY)
def test_every_row_is_in_exactly_one_part(by):
    table = make_rows(500)
    parts = parts_of(split(table, by))
    assert set(parts) == {"train", "valid", "test"}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(500))


@pytest.mark.parametrize("by", BY)
def test_a_split_is_a_function_of_data_and_seed_and_not_of_threads(by):
    table = make_rows(500)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = split(table, by)
        torch.set_num_threads(2)
        two = split(table, by)
    finally:
        torch.set_num_threads(before)
    assert one.split_digest == two.split_digest
    other = split(table, by, seed=7)
    assert (other.split_digest != one.split_digest) == (by not in ("time", "leave_one_out"))


def test_random_ratios_are_exact():
    data = split(make_rows(1000), "random", ratios=[7, 2, 1])
    assert {name: len(table) for name, table in data.tables.items()} == {"train": 700, "valid": 200, "test": 100}


def test_torch_random_is_random_split_of_torch():
    for n, seed in ((1000, 2022), (537, 7)):
        parts = parts_of(split(make_rows(n), "torch_random", ratios=[8, 1, 1], seed=seed))
        sizes = (n - 2 * (n // 10), n // 10, n // 10)
        torch.manual_seed(seed)
        wanted = torch.utils.data.random_split(range(n), sizes)
        for name, each in zip(("train", "valid", "test"), wanted, strict=True):
            assert np.array_equal(np.sort(parts[name]), np.sort(each.indices))


def test_random_parts_look_random():
    test = np.concatenate([parts_of(split(make_rows(1000), "random", seed=s))["test"] for s in range(20)])
    counts = np.bincount(test // 100, minlength=10)
    assert counts.sum() == 2000
    assert ((counts - 200) ** 2 / 200).sum() < 30  # chi-square with 9 degrees of freedom, p < 0.0005


@pytest.mark.parametrize(("by", "column"), [("user", "user_id"), ("scene", "scene")])
def test_each_group_is_divided_by_the_ratios(by, column):
    table = make_rows(600)
    groups = np.array(table.column(column).to_pylist())
    parts = parts_of(split(table, by))
    for group in np.unique(groups):
        n = (groups == group).sum()
        assert [(groups[parts[name]] == group).sum() for name in ("valid", "test")] == [n // 10, n // 10]


def test_time_puts_the_newest_rows_last():
    table = make_rows(400)
    time = table.column("time").to_numpy()
    parts = parts_of(split(table, "time"))
    assert time[parts["train"]].max() < time[parts["valid"]].min()
    assert time[parts["valid"]].max() < time[parts["test"]].min()


@pytest.mark.parametrize(("within", "column"), [("user", "user_id"), ("scene", "scene")])
def test_time_within_groups(within, column):
    table = make_rows(400)
    time, groups = table.column("time").to_numpy(), np.array(table.column(column).to_pylist())
    parts = parts_of(split(table, "time", within=within))
    for group in np.unique(groups):
        own = {name: time[rows[groups[rows] == group]] for name, rows in parts.items()}
        assert own["train"].max() < np.concatenate([own["valid"], own["test"], [np.inf]]).min()
        assert len(own["test"]) == len(time[groups == group]) // 10


def test_leave_one_out_takes_the_last_row_by_time_of_each_user():
    table = make_rows(300)
    time, user = table.column("time").to_numpy(), table.column("user_id").to_numpy()
    parts = parts_of(split(table, "leave_one_out"))
    wanted = [np.flatnonzero(user == u)[np.argsort(time[user == u])] for u in np.unique(user)]
    assert sorted(parts["test"]) == sorted(rows[-1] for rows in wanted)
    assert sorted(parts["valid"]) == sorted(rows[-2] for rows in wanted)


def test_leave_one_out_without_time_takes_the_last_row_of_the_file():
    table = pa.table({"user_id": ["a", "b", "a", "a", "c"], "label": [0, 1, 0, 1, 1]})
    parts = parts_of(read_table(table, split={"by": "leave_one_out"}))
    assert {name: rows.tolist() for name, rows in parts.items()} == {"train": [0, 1, 4], "valid": [2], "test": [3]}


def test_leave_one_out_within_scenes():
    table = make_rows(400)
    pair = np.array([f"{u}/{s}" for u, s in zip(table["user_id"].to_pylist(), table["scene"].to_pylist(), strict=True)])
    time = table.column("time").to_numpy()
    parts = parts_of(split(table, "leave_one_out", within="scene"))
    for each in np.unique(pair[parts["test"]]):
        own = parts["test"][pair[parts["test"]] == each]
        assert len(own) == 1
        assert time[own[0]] == time[pair == each].max()
    assert len(parts["test"]) == sum((pair == each).sum() >= 2 for each in np.unique(pair))


def test_cold_users_are_in_one_part_only():
    table = make_rows(500)
    user = table.column("user_id").to_numpy()
    users = [set(user[rows]) for rows in parts_of(split(table, "cold_user")).values()]
    assert len(users[0] | users[1] | users[2]) == sum(map(len, users)) == 20
    assert [len(each) for each in users] == [16, 2, 2]


def test_parts_given_as_files():
    parts = {name: make_rows(n, seed) for seed, (name, n) in enumerate({"train": 50, "valid": 20, "test": 30}.items())}
    data = read_table(**parts)
    assert {name: len(table) for name, table in data.tables.items()} == {"train": 50, "valid": 20, "test": 30}
    assert [table.role for table in data.tables.values()] == ["train", "valid", "test"]
    data = read_table(train=parts["train"], test=parts["test"])
    assert data.valid is None


def test_a_part_of_ratio_zero_is_none():
    data = read_table(make_rows(50), split={"by": "random", "ratios": [9, 0, 1]})
    assert data.valid is None
    assert (len(data.train), len(data.test)) == (45, 5)


def test_one_row_can_be_trained_on():
    data = read_table(make_rows(1), split={"by": "random", "ratios": [1, 0, 0]})
    assert len(data.train) == 1
