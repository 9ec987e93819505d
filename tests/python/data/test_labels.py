"""Labels and weights."""

from __future__ import annotations

import pyarrow as pa
import pytest
from polyscene.data import read_table

ALL = {"by": "random", "ratios": [1, 0, 0]}


def labels(cells, label="label", **roles):
    table = pa.table({"user_id": ["u"] * len(cells), "label": cells})
    return read_table(table, label=label, split=ALL, **roles).train.labels().tolist()


def test_at_least_includes_its_bound():
    assert labels([3, 4, 5, 3.9], {"column": "label", "at_least": 4}) == [0, 1, 1, 0]


def test_a_mapping_of_text_and_truth_values():
    assert labels(["yes", "no", "yes"], {"column": "label", "mapping": {"yes": 1, "no": 0}}) == [1, 0, 1]
    assert labels([True, False], {"column": "label", "mapping": {"true": 1, "false": 0}}) == [1, 0]
    assert labels([True, False], {"column": "label", "mapping": {True: 1, False: 0}}) == [1, 0]
    assert labels(["True", "False"], {"column": "label", "mapping": {True: 1, False: 0}}) == [1, 0]
    assert labels([1, 2, 3], {"column": "label", "mapping": {1: 0, 2: 1, 3: 1}}) == [0, 1, 1]


def test_ratings_are_any_number():
    assert labels([1, 2.5, -3], task="rating") == [1, 2.5, -3]


def test_rows_without_label_are_dropped_and_counted():
    table = pa.table({"user_id": ["u"] * 4, "label": [1, None, 0, None]})
    data = read_table(table, split=ALL)
    assert data.train.labels().tolist() == [1, 0]
    assert data.report["dropped"] == {"empty label": 2}
    assert (data.report["rows_read"], data.report["rows"]) == (4, 2)


def test_ranking_needs_no_label():
    table = pa.table({"user_id": ["u", "v"], "item_id": [1, 2]})
    assert read_table(table, task="ranking", split=ALL).train.labels() is None


def test_weights_reach_the_batch():
    table = pa.table({"user_id": ["u", "v"], "label": [0, 1], "w": [0.5, 2]})
    data = read_table(table, weight="w", split=ALL)
    batch = data.train.batch(data.train.rows)
    assert batch.weight.tolist() == pytest.approx([0.5, 2])
