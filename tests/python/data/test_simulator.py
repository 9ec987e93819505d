"""The simulator as a data set."""

from __future__ import annotations

import pytest
import torch
from polyscene import datasets
from polyscene.data import encode


def load(**options):
    return datasets.load("simulator", users=200, interests=5, items=50, scenes=3, **options)


def test_the_simulator_is_a_data_set_like_others():
    data = load(split={"by": "time"})
    assert data.schema.scenes == ["scene_0", "scene_1", "scene_2"]
    assert (data.schema.user, data.schema.item, data.schema.has_time) == ("user_id", "item_id", True)
    assert data.schema.interests == [f"interest_{k}" for k in range(5)]
    assert tuple(data.simulation.transition.shape) == (3, 3, 5, 5)
    assert data.train.times().max() <= data.valid.times().min() <= data.test.times().max()
    assert sum(len(table) for table in data.tables.values()) == data.columns.rows
    assert data.train.batch(torch.arange(10)).history is not None


def test_seeds_of_rows_and_of_the_split_are_apart():
    one, again = load(), load()
    assert (one.digest, one.split_digest) == (again.digest, again.split_digest)
    other_rows, other_split = load(seed=1), load(split={"seed": 1})
    assert other_rows.digest != one.digest
    assert other_split.digest == one.digest
    assert other_split.split_digest != one.split_digest


def test_empty_cells_are_reported():
    data = load(missing=0.2)
    assert data.report["missing"] == {
        name: int(torch.isnan(data.columns.numbers[:, m]).sum()) for m, name in enumerate(data.columns.numeric)
    }
    assert min(data.report["missing"].values()) > 0


def test_a_file_of_the_same_columns_can_be_encoded():
    import pyarrow as pa

    schema = load().schema
    rows = {
        "user_id": ["user_1", "user_2"],
        "item_id": ["item_1", "nothing"],
        "topic": ["x", "y"],
        "brand": ["x", "y"],
        "device": ["x", "y"],
        "segment": ["x", "y"],
        "age": [30, None],
        "price": [1.5, 2],
        "scene": ["scene_2", "scene_0"],
        "time": [1_700_000_000, 1_700_000_001],
    }
    table = encode(pa.table(rows), schema)
    assert table.scenes().tolist() == [2, 0]
    assert table.labels() is None


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"simulator: unknown option 'user'; known options: scenes, .* mean 'users'\?"):
        datasets.from_config({"name": "simulator", "user": 3})
    with pytest.raises(ValueError, match="simulator: scenes must be their number, got 'age'"):
        datasets.load("simulator", scenes="age")
    with pytest.raises(ValueError, match="simulator: labels are made with the data; leave label out"):
        datasets.load("simulator", label="x")
