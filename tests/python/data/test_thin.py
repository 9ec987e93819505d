"""Scenes that lose rows: a share of them, or all but some of each label."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.datasets.load("simulator", users=120, events=8, items=30, split={"by": "random", "ratios": [6, 2, 2]})


def labels(table: Any, scene: str) -> list[float]:
    code = table.columns.scene_names.index(scene)
    mine = table.columns.scene[table.rows] == code
    return table.labels()[mine].tolist()


def test_some_rows_of_each_label_are_kept(data: Any) -> None:
    few = data.thin("scene_1", each=3, seed=5)
    for part in ("train", "valid"):
        assert sorted(labels(getattr(few, part), "scene_1")) == [0.0] * 3 + [1.0] * 3
        assert labels(getattr(few, part), "scene_2") == labels(getattr(data, part), "scene_2")
    assert few.test.rows.equal(data.test.rows)
    assert few.train.rows.equal(data.thin("scene_1", each=3, seed=5).train.rows)
    assert not few.train.rows.equal(data.thin("scene_1", each=3, seed=6).train.rows)
    train = data.thin("scene_1", each=2, parts=("train",))
    assert train.valid.rows.equal(data.valid.rows)
    # Where there are no more, all are kept.
    assert len(data.thin("scene_1", each=10**6).train) == len(data.train)


def test_a_scene_without_rows_stays_without(data: Any) -> None:
    none = data.without("scene_1")
    assert len(none.thin("scene_1", each=3).train) == len(none.train)


def test_what_was_wanted_is_told(data: Any) -> None:
    for given in ({}, {"share": 0.5, "each": 2}):
        with pytest.raises(ValueError, match="wanted a share of the rows or each"):
            data.thin("scene_1", **given)
    with pytest.raises(ValueError, match="wanted 1 or more rows of each label, got 0"):
        data.thin("scene_1", each=0)


def test_rows_to_align_come_from_one_source(data: Any) -> None:
    from polyscene.transfer import plan, rows_of

    few = data.thin("scene_1", 0.2)
    other = ps.datasets.load("simulator", users=50, events=8, items=30)
    model = ps.models.DeepFM(few.schema, dim=4, hidden=[8])
    shown = ps.data.Table(few.columns, few.schema, rows=rows_of(data.train, ["scene_1"]).rows, role="train")
    flow = plan(model, few, target="scene_1", mechanism="dann", unlabelled=shown, trainer={"epochs": 1})
    ground = flow.tie(flow.where)["ground"]
    assert len(ground.aligned) == len(ground.together) - len(flow.rows) + len(shown)
    assert torch.equal(ground.aligned.rows[-len(shown) :], shown.rows)
    strange = ps.data.Table(other.columns, other.schema, role="train")
    flow = plan(model, few, target="scene_1", mechanism="dann", unlabelled=strange, trainer={"epochs": 1})
    with pytest.raises(ValueError, match="unlabelled rows that are aligned must be rows of the data set"):
        flow.tie(flow.where)
    flow.options["mechanism"] = "pseudo_labels"  # which draws them by themselves
    assert flow.tie(flow.where)["ground"].unlabelled is strange
