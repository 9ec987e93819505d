"""Rankings that ask for items piece by piece: the same figures as from all scores, ties and strangers too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polyscene as ps
import pytest
import torch

ITEMS = 2_600  # beyond what is scored at once
METRICS = ["recall", "precision", "f1", "hit", "ndcg", "mrr", "map", "head_recall", "tail_recall"]


def rows(seed: int, each: int, items: int = ITEMS) -> pd.DataFrame:
    """Rows of 700 users in two scenes, popular items more often."""
    rng = np.random.default_rng(seed)
    item = (items * rng.random(each) ** 2).astype(int)
    return pd.DataFrame(
        {
            "user": [f"u{u}" for u in rng.integers(0, 700, each)],
            "item": [f"i{i}" for i in item],
            "scene": [("left", "right")[s] for s in rng.integers(0, 2, each)],
        }
    )


@pytest.fixture(scope="module")
def data() -> Any:
    every = pd.DataFrame({"item": [f"i{i}" for i in range(ITEMS)]})
    every["user"] = [f"u{i % 700}" for i in range(ITEMS)]
    train = pd.concat([rows(1, 6_000), every.assign(scene="left"), every.assign(scene="right")], ignore_index=True)
    strange = pd.DataFrame({"user": ["u1", "new", "u2"], "item": ["unheard", "i3", "i5"], "scene": "left"})
    test = pd.concat([strange, rows(2, 1_500)], ignore_index=True)
    return ps.read_table(train=train, test=test, task="ranking", label=None, user="user", item="item", scene="scene")


def drawn(model: Any, whole: bool) -> Any:
    """Random parameters; whole numbers make many scores equal."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 1, generator=generator)
            if whole:
                parameter.round_()
    return model


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["cmf", "bi_tgcf", "neu_mf", "co_net", "ptupcdr"])
def test_pieces_give_what_all_scores_give(data: Any, name: str, whole: bool) -> None:
    model = ps.models.create(name, data.schema, dim=8)
    ps.Trainer(epochs=1, batch_size=4_096, patience=0).fit(model, data.train)
    drawn(model, whole)
    # Coverage reads everybody's list, which takes all scores.
    short = ps.evaluate(model, data.test, METRICS, k=[1, 10, 200])
    full = ps.evaluate(model, data.test, [*METRICS, "coverage"], k=[1, 10, 200])
    assert 0 < full.overall["recall@200"] < 1
    for scene in ("left", "right"):
        for metric, value in short.scenes[scene].items():
            assert value == full.scenes[scene][metric], (scene, metric)
    mine, theirs = short.per_user, full.per_user
    assert np.array_equal(mine.user, theirs.user)
    assert np.array_equal(mine.scene, theirs.scene)
    for metric, values in mine.values.items():
        np.testing.assert_array_equal(values, theirs.values[metric])


@pytest.mark.parametrize("who", ["item", "user"])
def test_a_number_that_is_none_is_told(data: Any, who: str) -> None:
    model = ps.models.create("bpr_mf", data.schema, dim=8)
    ps.Trainer(epochs=1, batch_size=4_096, patience=0).fit(model, data.train)
    drawn(model, whole=False)
    tables = {name: table for name, table in model.named_parameters() if table.dim() == 2}
    table = next(table for name, table in tables.items() if who in name)
    with torch.no_grad():
        table[-1] = float("nan")  # the last that came: hardly anybody's
    with pytest.raises(ValueError, match="is NaN"):
        ps.evaluate(model, data.test, ["ndcg"])
