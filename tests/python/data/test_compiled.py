"""The compiled form: what is saved comes back, splits change without rewriting it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from polyscene.data import open_data, read_table

from .conftest import ROLES, make_rows

KNN = ROLES | {
    "numeric": [{"name": "age", "missing": "knn", "outliers": "interpolate"}, {"name": "price", "outliers": "drop"}]
}


@pytest.mark.parametrize("roles", [ROLES, KNN], ids=["plain", "imputed"])
def test_what_was_saved_comes_back(roles, tmp_path):
    data = read_table(make_rows(300), **roles, split={"by": "user"}, name="mine")
    data.save(tmp_path / "mine")
    again = open_data(tmp_path / "mine")
    assert (again.name, again.digest, again.split_digest) == (data.name, data.digest, data.split_digest)
    assert again.schema.digest == data.schema.digest
    assert again.split == data.split
    for part, table in data.tables.items():
        a, b = table.batch(torch.arange(len(table))), again.tables[part].batch(torch.arange(len(table)))
        assert torch.equal(a.categorical, b.categorical)
        assert torch.equal(a.numeric, b.numeric)
        assert torch.equal(a.history.item, b.history.item)
        assert torch.equal(a.sequence["clicked"].values, b.sequence["clicked"].values)


def test_another_split_leaves_the_columns_alone(tmp_path):
    data = read_table(make_rows(300), **KNN)
    data.save(tmp_path / "d")
    before = (tmp_path / "d" / "columns.safetensors").read_bytes()
    new = {"by": "leave_one_out", "seed": 3}
    again = open_data(tmp_path / "d", split=new)
    fresh = read_table(make_rows(300), **KNN, split=new)
    assert again.split_digest == fresh.split_digest
    assert again.schema.digest == fresh.schema.digest
    assert (tmp_path / "d" / "columns.safetensors").read_bytes() == before


def test_saving_again_replaces(tmp_path):
    read_table(make_rows(300), **ROLES).save(tmp_path / "d")
    data = read_table(make_rows(100), split={"by": "random", "ratios": [1, 0, 0]})
    data.save(tmp_path / "d")
    again = open_data(tmp_path / "d")
    assert again.digest == data.digest
    assert again.test is None


def test_history_can_be_left_out(tmp_path):
    read_table(make_rows(300), **ROLES).save(tmp_path / "d")
    assert not open_data(tmp_path / "d", history=False).train.history.keeps_events
    assert open_data(tmp_path / "d").train.history.keeps_events


def test_what_is_no_compiled_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"open_data: .*/none holds no compiled data set"):
        open_data(tmp_path / "none")
    data = read_table(make_rows(100))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is no compiled data set; name a new folder"):
        data.save(tmp_path / "other")
    data.save(tmp_path / "d")
    facts = json.loads((tmp_path / "d" / "dataset.json").read_text())
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(facts | {"format_version": 9}))
    with pytest.raises(ValueError, match="format_version must be 1, got 9; a newer polyscene wrote it"):
        open_data(tmp_path / "d")
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="leave split out"):
        open_data(tmp_path / "d", split="files")


def test_a_data_set_describes_itself():
    data = read_table(make_rows(200), **ROLES, name="shop")
    assert (
        repr(data) == "Dataset('shop', train=160, valid=20, test=20, 2 scenes, 3 categorical, 2 numeric, 2 list fields)"
    )
    page = data._repr_html_()
    for scene in ("home", "search"):
        rows = np.array(make_rows(200).column("scene").to_pylist())[data.train.rows.numpy()]
        assert f"<td>{scene}</td><td style='text-align:right'>{(rows == scene).sum()}</td>" in page
