"""The next scene and the next interest, against truth and against a chain."""

from __future__ import annotations

import json
import math
from typing import Any

import polyscene as ps
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from polyscene.cli import main
from polyscene.display import tables_as_text
from polyscene.explaining import explanation
from polyscene.results import Result


def walks(people: int, length: int, **columns: Any) -> pa.Table:
    """Scenes a, b, c go round, and so do interests, the other way."""
    rows = [
        {"user": f"u{u}", "item": f"i{(u + t) % 3}", "scene": "abc"[(u + t) % 3], "time": t, "about": f"k{(u - t) % 3}"}
        for u in range(people)
        for t in range(length)
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="module")
def data() -> Any:
    roles = {"user": "user", "item": "item", "time": "time", "interest": "about"}
    return ps.read_table(walks(30, 8), task="sequence", split="leave_one_out", **roles)


class Said(ps.models.InterestSequence):
    """Says what it is told to."""

    told: dict[str, torch.Tensor]

    def explain(self, batch: Any) -> dict[str, torch.Tensor]:
        return {name: values[: len(batch.scene)] for name, values in self.told.items()}


def test_figures_by_hand(data: Any) -> None:
    model = Said(data.schema, dim=8)
    n = len(data.test)
    always = torch.zeros(n, 3)
    always[:, data.schema.scene("b")] = 1
    k1 = torch.zeros(n, 3)
    k1[:, list(data.schema.interests).index("k1")] = 1
    model.told = {"next_scene": 0.5 * always + 1 / 6, "transitions": k1}
    found = ps.moves(model, data.test, data.train)
    assert found["overall"]["rows"] == n == 30
    assert found["b"]["scene_accuracy"] == 1 and found["a"]["scene_accuracy"] == 0
    assert found["overall"]["scene_accuracy"] == pytest.approx(1 / 3)
    assert found["b"]["scene_log_loss"] == pytest.approx(-math.log(2 / 3), abs=1e-6)
    assert found["a"]["scene_log_loss"] == pytest.approx(-math.log(1 / 6), abs=1e-6)
    # Scene (u + 7) % 3 and interest (u - 7) % 3 of the last event: k1 belongs to u = 2 mod 3, whose scene is "a".
    assert (found["a"]["interest_hit@1"], found["b"]["interest_hit@1"]) == (1, 0)
    # The chain has seen where everything goes.
    assert found["overall"]["chain_scene_accuracy"] == found["overall"]["chain_interest_hit@1"] == 1


def test_the_chain_counts_training_rows_alone() -> None:
    # Everybody comes from b and stays in a, until the rows that validate and test.
    scenes = ["b", "a", "a", "a", "b", "b"]
    rows = [{"user": f"u{u}", "item": f"i{t}", "scene": s, "time": t} for u in range(9) for t, s in enumerate(scenes)]
    roles = {"user": "user", "item": "item", "time": "time"}
    data = ps.read_table(pa.Table.from_pylist(rows), task="sequence", split="leave_one_out", **roles)
    model = Said(data.schema, dim=8)
    model.told = {"next_scene": torch.full((36, 2), 1 / 2)}
    assert ps.moves(model, data.test, data.train)["overall"]["chain_scene_accuracy"] == 0
    assert ps.moves(model, data.valid, data.train)["overall"]["chain_scene_accuracy"] == 0
    assert ps.moves(model, data.train, data.train)["overall"]["chain_scene_accuracy"] == 1


def test_interests_that_are_latent_or_missing_are_left_out() -> None:
    bare = ps.testing.tiny_data("sequence", bare=True)
    model = ps.models.InterestSequence(bare.schema, dim=8)
    ps.Trainer(epochs=1).fit(model, bare)
    found = ps.moves(model, bare.test, bare.train)["overall"]
    assert set(found) == {"rows", "scene_accuracy", "scene_log_loss", "chain_scene_accuracy"}
    assert set(ps.moves(model, bare.test)["overall"]) == {"rows", "scene_accuracy", "scene_log_loss"}


def test_models_of_clicks_tell_their_transitions() -> None:
    data = ps.testing.tiny_data()
    model = ps.models.InterestMigration(data.schema, dim=8, hidden=8)
    ps.Trainer(epochs=1).fit(model, data)
    found = ps.moves(model, data.test, data.train, k=[5])
    assert found["overall"]["interest_hit@5"] == 1  # of five interests
    assert set(found["overall"]) == {"rows", "interest_hit@5", "chain_interest_hit@5"}


def test_scenes_that_are_new_and_items_that_are_unknown() -> None:
    # A new scene shares a row of its own; a past of unknown items alone is none.
    rows = [
        {"user": f"u{u}", "item": f"i{t % 4}", "scene": "ab"[t % 2], "time": t} for u in range(12) for t in range(8)
    ]
    rows += [{"user": "u0", "item": "i1", "scene": "new", "time": 99}]
    rows += [
        {"user": "w", "item": "never", "scene": "a", "time": 98},
        {"user": "w", "item": "i2", "scene": "b", "time": 99},
    ]
    train = pa.Table.from_pylist([row for row in rows if row["time"] < 6])
    test = pa.Table.from_pylist([row for row in rows if row["time"] >= 6])
    roles = {"user": "user", "item": "item", "time": "time", "unseen_scene": "shared"}
    data = ps.read_table(train=train, test=test, task="sequence", label=None, **roles)
    model = ps.models.InterestSequence(data.schema, dim=8)
    ps.Trainer(epochs=1).fit(model, data)
    found = ps.moves(model, data.test, data.train)
    assert found["overall"]["rows"] == 12 * 2 + 1 and set(found) == {"overall", "a", "b"}
    assert found["a"]["rows"] == found["b"]["rows"] == 12  # w comes into b without a past that says something
    assert math.isfinite(found["overall"]["scene_log_loss"])
    assert explanation(model, data)["flow"]["names"] == ["a", "b"]


def test_an_empty_table_is_refused(data: Any) -> None:
    model = ps.models.InterestSequence(data.schema, dim=8)
    with pytest.raises(ValueError, match="moves: the table has no rows"):
        ps.moves(model, data.test.take(torch.arange(0)))


def test_models_that_expect_nothing_are_refused(data: Any) -> None:
    model = ps.models.SASRec(data.schema, dim=8)
    ps.Trainer(epochs=1).fit(model, data)
    with pytest.raises(ValueError, match="moves: sasrec expects neither scenes nor interests; interest_sequence and"):
        ps.moves(model, data.test)
    with pytest.raises(ValueError, match=r"moves: k must be a list of positive whole numbers, got \[0\]"):
        ps.moves(model, data.test, k=[0])


def test_a_run_tells_them(tmp_path: Any) -> None:
    pq.write_table(walks(30, 8), tmp_path / "walks.parquet")
    roles = {"user": "user", "item": "item", "time": "time", "interest": "about"}
    config = {
        "dataset": {"name": "table", "task": "sequence", "data": str(tmp_path / "walks.parquet"), **roles},
        "model": {"name": "interest_sequence", "dim": 8},
        "train": {"epochs": 1, "threads": 1},
    }
    config["dataset"]["split"] = {"by": "leave_one_out"}
    (tmp_path / "c.json").write_text(json.dumps(config))
    assert main(["run", str(tmp_path / "c.json"), "--out", str(tmp_path / "run")]) == 0
    done = json.loads((tmp_path / "run" / "metrics.json").read_text())["moves"]
    model = ps.load(tmp_path / "run")
    data = ps.read_table(tmp_path / "walks.parquet", task="sequence", split="leave_one_out", **roles)
    assert done == ps.moves(model, data.test, data.train)
    shown = tables_as_text(Result.load(tmp_path / "run"))
    assert "Where interest goes next" in shown and "By a chain, hit@3" in shown
    page = (tmp_path / "run" / "report.html").read_text()
    assert "beside a chain that counted" in page and page.count('<td class="n">1.0000</td>') >= 4  # the chain's
