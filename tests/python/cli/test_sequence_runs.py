"""Runs of sequences from a config: end to end, resumed, evaluated and recommended from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
from polyscene import runs


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users walk from item to item in two scenes; context of new users lies beside."""
    folder = tmp_path_factory.mktemp("sequences")
    draw = np.random.default_rng(0)

    def walk(user: str, length: int) -> list[str]:
        item, out = int(draw.integers(20)), []
        for _ in range(length):
            out.append(f"{user},i{item},{'ab'[item % 2]}\n")
            item = (item + 1 + int(draw.random() < 0.1)) % 20
        return out

    rows = {"train": [line for u in range(60) for line in walk(f"u{u}", 10)], "valid": [], "test": [], "context": []}
    for part in ("valid", "test"):
        for n in range(20):
            lines = walk(f"{part}{n}", 6)
            rows["context"] += lines[:-1]
            rows[part] += lines[-1:]
    for part, lines in rows.items():
        (folder / f"{part}.csv").write_text("user_id,item_id,scene\n" + "".join(lines))
    dataset: dict[str, Any] = {"name": "table", "task": "sequence"}
    dataset |= {part: str(folder / f"{part}.csv") for part in rows}
    train = {"lr": 0.01, "batch_size": 16, "epochs": 4, "patience": 0, "threads": 1, "mask": 0.1}
    model = {"name": "sasrec", "dim": 16, "loss": "ce", "dropout": 0.1}
    text = {"dataset": dataset, "model": model, "train": train, "evaluate": {"k": [3], "exclude_seen": False}}
    (folder / "config.json").write_text(json.dumps(text))
    return folder / "config.json"


def test_a_run_end_to_end(config: Path, cli: Any) -> None:
    out = config.parent / "run"
    assert cli("run", str(config), "--out", str(out)).code == 0
    result = ps.Result.load(out)
    assert result.overall["hit@3"] > 0.6 and sum(count["users"] for count in result.counts.values()) == 20
    assert (out / "per_user.parquet").exists() and (out / "report.html").stat().st_size > 1000
    again = cli("evaluate", str(out), str(config.parent / "test.csv"), "--metric", "hit@3", "--json")
    assert again.code == 0 and "overall" in again.out
    with_past = cli(
        *("evaluate", str(out), str(config.parent / "test.csv"), "--context", str(config.parent / "context.csv")),
        *("--metric", "hit@3", "--keep-seen", "--json"),
    )
    assert json.loads(with_past.out)["overall"]["hit@3"] == pytest.approx(result.overall["hit@3"])
    events = config.parent / "events.json"
    events.write_text(json.dumps([{"user": "x", "item": "i3"}, {"user": "x", "item": "i4"}]))
    told = cli("recommend", str(out), "x", "--events", str(events), "-k", "2", "--scene", "b")
    assert told.code == 0 and '"i5"' in told.out.splitlines()[1]


def test_a_stopped_run_goes_on_to_the_same_bits(config: Path) -> None:
    whole = runs.resolve(config, ["report.html=false"])
    run = runs.execute(whole, runs.folder_for(whole, config.parent / "whole", resume=False))
    part = runs.resolve(config, ["report.html=false", "train.epochs=2"])
    runs.execute(part, runs.folder_for(part, config.parent / "part", resume=False))
    rest = runs.execute(whole, runs.folder_for(whole, config.parent / "part", resume=True), resume=True)
    for (name, a), (_, b) in zip(run.model.state_dict().items(), rest.model.state_dict().items(), strict=True):
        assert a.equal(b), name
    assert [row["train_loss"] for row in run.history] == [row["train_loss"] for row in rest.history]


def test_what_a_config_may_say(config: Path) -> None:
    with pytest.raises(ValueError, match="evaluate: unknown metric 'auc' of task ranking"):
        runs.resolve(config, ['evaluate.metrics=["auc"]'])
    with pytest.raises(ValueError, match=r"train.*probabilities in \[0, 1\), got 1.5"):
        runs.resolve(config, ["train.mask=1.5"])
