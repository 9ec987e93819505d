"""Where scenes come from."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from polyscene.data import read_table

ALL = {"by": "random", "ratios": [1, 0, 0]}


def scenes_of(columns: dict, scene, **roles) -> list[str]:
    n = len(next(iter(columns.values())))
    table = pa.table({"user_id": ["u"] * n, "label": [i % 2 for i in range(n)], **columns})
    data = read_table(table, scene=scene, split=ALL, **roles)
    return [data.columns.scene_names[s] for s in data.columns.scene.tolist()]


def test_edges_are_left_closed_and_named():
    got = scenes_of({"age": [24, 25, 34, 35, 90]}, {"by": "age", "edges": [25, 35]})
    assert got == ["age<25", "25<=age<35", "25<=age<35", "age>=35", "age>=35"]


def test_edges_compare_as_the_numbers_are_stored():
    assert scenes_of({"p": [0.7, 0.69]}, {"by": "p", "edges": [0.7]}) == ["p>=0.7", "p<0.7"]


def test_scene_names_are_in_natural_order():
    table = pa.table({"user_id": ["u"] * 4, "label": [0, 1, 0, 1], "tab": [10, 9, 2, 10]})
    assert read_table(table, scene="tab", split=ALL).columns.scene_names == ["2", "9", "10"]
    table = pa.table({"user_id": ["u"] * 3, "label": [0, 1, 0], "age": [50, 10, 30]})
    wanted = ["age<25", "25<=age<35", "age>=35"]
    assert read_table(table, scene={"by": "age", "edges": [25, 35]}, split=ALL).columns.scene_names == wanted


def test_several_columns_make_one_scene():
    got = scenes_of({"tab": [1, 1, 2], "country": ["DE", "FR", "DE"]}, ["tab", "country"])
    assert got == ["tab=1,country=DE", "tab=1,country=FR", "tab=2,country=DE"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York"])
def test_time_of_day_and_day_of_week_follow_the_zone(zone):
    rng = np.random.default_rng(0)
    times = rng.integers(0, 1_700_000_000, 500)
    local = [datetime.fromtimestamp(int(t), UTC).astimezone(ZoneInfo(zone)) for t in times]
    names = ["hour<6", "6<=hour<12.5", "hour>=12.5"]
    wanted = [names[int(np.searchsorted([6, 12.5], t.hour + t.minute / 60, side="right"))] for t in local]
    assert scenes_of({"t": times}, {"by": "time_of_day", "edges": [6, 12.5], "tz": zone}, time="t") == wanted
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    assert scenes_of({"t": times}, {"by": "day_of_week", "tz": zone}, time="t") == [days[t.weekday()] for t in local]


def test_one_file_a_scene(tmp_path):
    for name, user in (("sport", "a"), ("phone", "b")):
        (tmp_path / f"{name}.csv").write_text("user_id,label\n" + f"{user},0\n{user},1\n" * 2)
    data = read_table({name: tmp_path / f"{name}.csv" for name in ("sport", "phone")}, split=ALL)
    assert data.columns.scene_names == ["sport", "phone"]
    assert data.columns.scene.tolist() == [0] * 4 + [1] * 4
    parts = {name: tmp_path / f"{name}.csv" for name in ("sport", "phone")}
    data = read_table(train=parts, valid=parts, test=parts)
    assert data.counts() == {part: {"sport": 4, "phone": 4} for part in ("train", "valid", "test")}


def test_without_a_scene_column_there_is_one_scene():
    table = pa.table({"user_id": ["u"] * 2, "label": [0, 1]})
    assert read_table(table, split=ALL).schema.scenes == ["all"]


def test_a_column_named_like_a_clock_word_is_a_column():
    assert scenes_of({"day_of_week": ["x", "y"]}, {"by": "day_of_week"}) == ["x", "y"]


def test_rows_without_a_scene_are_dropped_and_counted():
    table = pa.table({"user_id": ["u"] * 4, "label": [0, 1, 0, 1], "age": [10, None, 30, 50]})
    data = read_table(table, scene={"by": "age", "edges": [25]}, split=ALL)
    assert data.report["dropped"] == {"empty scene": 1}
    assert len(data.train) == 3
