"""The smoothed click rate against counting by hand."""

from __future__ import annotations

import math
from typing import Any

import polyscene as ps
import pytest
import torch


def slow_rate(data: Any, scope: str, k: float, scene: int, item: int) -> tuple[float, int]:
    labels = data.train.labels().double().tolist()
    rows = list(zip(data.train.scenes().tolist(), data.train.items().tolist(), labels, strict=True))
    over_all = [label for _, i, label in rows if i == item]
    prior = sum(labels) / len(labels)
    overall = (sum(over_all) + k * prior) / (len(over_all) + k)
    if scope == "overall":
        return overall, len(over_all)
    here = [label for s, i, label in rows if i == item and s == scene]
    return (sum(here) + k * overall) / (len(here) + k), len(here)


@pytest.mark.parametrize("task", ["ctr", "rating"])
@pytest.mark.parametrize("scope", ["scene", "overall"])
def test_matches_counting(task: str, scope: str) -> None:
    data = ps.testing.tiny_data(task)
    model = ps.models.Popularity(data.schema, scope=scope, smoothing=3)
    assert model.fit_closed_form(data.train)
    batch = data.test.batch(torch.arange(len(data.test)))
    out, parts = model(batch), model.explain(batch)
    for b in range(len(batch)):
        rate, rows = slow_rate(data, scope, 3, int(batch.scene[b]), int(batch.item[b]))
        assert parts["rate"][b].item() == pytest.approx(rate, rel=1e-6)
        assert parts["rows"][b].item() == rows
        expected = rate if task == "rating" else math.log(rate / (1 - rate))
        assert out[b].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_before_fitting_every_item_has_the_mean() -> None:
    data = ps.testing.tiny_data()
    model = ps.models.Popularity(data.schema)
    rate = data.train.labels().mean().item()
    torch.testing.assert_close(model(ps.testing.batch(data, 8)).sigmoid(), torch.full((8,), rate))


def test_item_without_rows_in_a_scene_backs_off() -> None:
    data = ps.testing.tiny_data(rows=90)
    by_scene, overall = ps.models.Popularity(data.schema), ps.models.Popularity(data.schema, scope="overall")
    by_scene.fit_closed_form(data.train)
    overall.fit_closed_form(data.train)
    absent = by_scene.rows == 0
    assert absent.any()
    torch.testing.assert_close(by_scene.rate[absent], overall.rate.expand_as(absent)[absent])


def test_wrong_options_and_data() -> None:
    schema = ps.testing.tiny_data().schema
    with pytest.raises(ValueError, match="Popularity: scope must be 'scene' or 'overall', got 'user'"):
        ps.models.Popularity(schema, scope="user")
    with pytest.raises(ValueError, match="Popularity: smoothing must be positive, got 0"):
        ps.models.Popularity(schema, smoothing=0)
