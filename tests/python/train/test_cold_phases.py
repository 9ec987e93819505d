"""Phases that cannot score cold users yet are not judged by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest


@pytest.fixture(scope="module")
def data() -> Any:
    """Two scenes with tastes in common; validation and test rows are those of users without training rows there."""
    draw = np.random.default_rng(0)
    users, items, rows = 200, 40, []
    taste = draw.normal(size=(users, 4))
    for scene in "ab":
        of_item, popular = draw.normal(size=(items, 4)), draw.normal(size=items)
        for user in range(users):
            score = 1.5 * taste[user] @ of_item.T + popular + draw.gumbel(size=items)
            rows += [(f"u{user}", f"{scene}{item}", scene) for item in np.argsort(-score)[:8]]
    user, item, scene = zip(*rows, strict=True)
    table = pa.table({"user_id": user, "item_id": item, "scene": scene})
    return ps.read_table(table, task="ranking", label=None, split={"by": "cold_scene", "ratios": [6, 2, 2]})


@pytest.mark.parametrize("name", ["emcdr", "sscdr", "dcdcsr", "ptupcdr"])
def test_factors_are_trained_before_cold_users_judge(data: Any, name: str) -> None:
    ps.seed_everything(1)
    model = ps.models.create(name, data.schema, dim=16)
    history = ps.Trainer(epochs=40, batch_size=256, lr=1e-2, seed=3, threads=1, patience=5).fit(model, data)
    first = [row for row in history if row["phase"] == history[0]["phase"]]
    assert first[0]["phase"].startswith("factors")
    assert len(first) == 30  # nobody can judge them: so many epochs, and the newest is kept
    assert all("ndcg@10" not in row["valid"] for row in first)
    last = [row for row in history if row["phase"] == history[-1]["phase"]]
    assert all("ndcg@10" in row["valid"] for row in last)
    popularity = ps.models.Popularity(data.schema)
    ps.Trainer().fit(popularity, data)
    found, chance = (ps.evaluate(each, data.test, ["ndcg"], k=[10]).overall["ndcg@10"] for each in (model, popularity))
    assert found > 1.2 * chance


def test_known_users_alone_judge_factors() -> None:
    draw = np.random.default_rng(1)
    rows = {(f"u{user}", f"{s}{item}", s) for s in "ab" for user in range(40) for item in draw.integers(0, 20, 6)}
    cold = [("u0", f"b{item}", "b") for item in range(3)]
    train = [row for row in sorted(rows) if (row[0], row[2]) != ("u0", "b")]
    valid, train = train[::7] + cold, [row for n, row in enumerate(train) if n % 7]

    def table(part: list[tuple[str, str, str]]) -> pa.Table:
        return pa.table(dict(zip(("user_id", "item_id", "scene"), zip(*part, strict=True), strict=True)))

    data = ps.read_table(train=table(train), valid=table(valid), task="ranking", label=None)
    known = ps.read_table(
        train=table(train), valid=table([r for r in valid if r not in cold]), task="ranking", label=None
    )
    values = []
    for each in (data, known):
        ps.seed_everything(0)
        model = ps.models.PTUPCDR(each.schema, dim=4)
        history = ps.Trainer(epochs=2, patience=0, seed=0, threads=1).fit(model, each)
        values.append([row["valid"]["ndcg@10"] for row in history if row["phase"] == "factors"])
    assert values[0] == values[1]
    assert len(values[0]) == 2


@pytest.mark.parametrize("name", ["emcdr", "ptupcdr"])
def test_maps_that_nobody_judges_end_and_stay_trained(name: str) -> None:
    draw = np.random.default_rng(2)
    rows = {(f"u{user}", f"{s}{item}", s) for s in "ab" for user in range(40) for item in draw.integers(0, 20, 6)}
    user, item, scene = zip(*sorted(rows), strict=True)
    table = pa.table({"user_id": user, "item_id": item, "scene": scene})
    data = ps.read_table(table, task="ranking", label=None, split={"by": "user", "ratios": [6, 2, 2]})
    ps.seed_everything(0)
    model = ps.models.create(name, data.schema, dim=4)
    history = ps.Trainer(epochs=50, patience=3, seed=0, threads=1, lr=1e-2).fit(model, data)
    last = [row for row in history if row["phase"] == history[-1]["phase"]]
    assert len(last) == 30 and len({row["valid"]["ndcg@10"] for row in last}) == 1  # users whom each scene knows
    assert all(row["best"] for row in last) and last[-1]["train_loss"] < last[0]["train_loss"]
