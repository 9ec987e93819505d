"""The search: its trials, how it goes on, what it reads, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
from polyscene import runs, tuning
from polyscene.cli import main

pytest.importorskip("optuna")

CONFIG = {
    "dataset": {"name": "simulator", "users": 80, "events": 8},
    "model": {"name": "mf", "dim": 16},
    "train": {"epochs": 3, "threads": 1},
}
SPACE = {"train.lr": {"low": 1e-3, "high": 1e-1, "log": True}, "model.dim": [4, 16]}


def plain(search: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in each.items() if "seconds" not in key} for each in search.trials]


def test_the_best_trial_is_the_config_that_it_names(tmp_path: Path) -> None:
    found = ps.tune(CONFIG, 6, tmp_path / "trials.db", SPACE)
    values = [each["value"] for each in found.trials]
    assert [each["number"] for each in found.trials] == list(range(6))
    assert found.metric == "auc"
    assert found.value == max(values)
    best = found.trials[int(np.argmax(values))]
    assert found.best["train"]["lr"] == best["settings"]["train.lr"]
    assert found.best["model"]["dim"] == best["settings"]["model.dim"]
    # The first trial has the config's own values where the space holds them.
    assert found.trials[0]["settings"] == {"train.lr": 1e-3, "model.dim": 16}
    for each in found.trials:
        assert 1e-3 <= each["settings"]["train.lr"] <= 1e-1
        assert each["settings"]["model.dim"] in (4, 16)
        assert each["state"] == "complete"
        assert each["epochs"] == 3
        assert each["seconds"] >= 0
        assert each["cpu_seconds"] >= 0
    # The trainer, by hand, on what the best config says.
    path = found.save(tmp_path / "best.json")
    config = runs.resolve(path)
    data = runs.load_data(config)
    ps.seed_everything(config["train"]["seed"])
    model = ps.models.MF(data.schema, **{key: value for key, value in config["model"].items() if key != "name"})
    ps.Trainer(**config["train"]).fit(model, data)
    assert ps.evaluate(model, data.valid).overall["auc"] == pytest.approx(found.value, abs=1e-6)
    budget = config["tune"]["found"]
    assert (budget["trials"], budget["trial"], budget["epochs"]) == (6, best["number"], 18)
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--set", "report.html=false"]) == 0
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["valid"]["overall"]["auc"] == pytest.approx(found.value, abs=1e-6)


def test_a_search_that_stops_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    whole = ps.tune(CONFIG, 9, tmp_path / "whole.db", SPACE)

    def stop(trial: dict[str, Any]) -> None:
        if trial["number"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ps.tune(CONFIG, 9, tmp_path / "parts.db", SPACE, on_trial=stop)
    again = ps.tune(CONFIG, 9, tmp_path / "parts.db", SPACE)
    assert plain(again) == plain(whole)
    assert again.best["train"] == whole.best["train"]
    told: list[Any] = []
    kept = ps.tune(CONFIG, 9, tmp_path / "parts.db", SPACE, on_trial=told.append)
    assert told == []
    assert plain(kept) == plain(whole)


@pytest.mark.parametrize("at", [0, 2])
def test_a_trial_that_is_stopped_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    whole = ps.tune(CONFIG, 4, tmp_path / "whole.db", SPACE)
    fit, count = ps.Trainer.fit, iter(range(100))

    def stopped(*args: Any, **options: Any) -> Any:
        if next(count) == at:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(tuning.Trainer, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        ps.tune(CONFIG, 4, tmp_path / "parts.db", SPACE)
    assert plain(ps.tune(CONFIG, 4, tmp_path / "parts.db", SPACE)) == plain(whole)


def files(folder: Path, spoiled: bool) -> dict[str, Any]:
    """Rows of two scenes in three files; the test labels are as made, or all turned round and noisy."""
    folder.mkdir()
    rng = np.random.default_rng(7)
    taste = rng.normal(size=(40, 12))
    for part, rows in (("train", 1500), ("valid", 400), ("test", 400)):
        user, item = rng.integers(40, size=rows), rng.integers(12, size=rows)
        label = (taste[user, item] + rng.normal(size=rows) > 0).astype(int)
        if part == "test" and spoiled:
            label = 1 - label
            item = item[::-1]
        lines = [f"{u},{i},{'ab'[u % 2]},{y}" for u, i, y in zip(user, item, label, strict=True)]
        (folder / f"{part}.csv").write_text("user_id,item_id,scene,label\n" + "\n".join(lines) + "\n")
    parts = {part: str(folder / f"{part}.csv") for part in ("train", "valid", "test")}
    return CONFIG | {"dataset": {"name": "table", **parts, "categorical": ["user_id", "item_id"]}}


def test_test_rows_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = ps.tune(files(tmp_path / "good", False), 5, tmp_path / "good.db", SPACE)
    other = ps.tune(files(tmp_path / "spoiled", True), 5, tmp_path / "spoiled.db", SPACE)
    assert plain(one) == plain(other)
    assert one.best["train"] == other.best["train"]
    assert one.best["model"] == other.best["model"]
    read = []
    fit = ps.Trainer.fit

    def watched(self: Any, model: Any, train: Any, valid: Any = None, **options: Any) -> Any:
        read.extend([train.role, valid.role])
        return fit(self, model, train, valid, **options)

    monkeypatch.setattr(tuning.Trainer, "fit", watched)
    ps.tune(files(tmp_path / "third", False), 2, tmp_path / "third.db", SPACE)
    assert read == ["train", "valid"] * 2


def test_pruned_and_failed_trials_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_FIRST", 1)
    monkeypatch.setattr(tuning, "_EPOCHS", 1)
    config = CONFIG | {"train": {"epochs": 8, "threads": 1, "optimizer": "sgd"}}
    space = {"train.lr": {"low": 1e-6, "high": 1e2, "log": True}}
    found = ps.tune(config, 12, tmp_path / "trials.db", space)
    states = [each["state"] for each in found.trials]
    assert "pruned" in states
    assert all(each["epochs"] < 8 for each in found.trials if each["state"] == "pruned")
    assert found.best["tune"]["found"]["pruned"] == states.count("pruned")
    assert found.value == max(each["value"] for each in found.trials if each["state"] == "complete")
    unpruned = ps.tune(config | {"tune": {"prune": False}}, 12, tmp_path / "all.db", space)
    assert "pruned" not in [each["state"] for each in unpruned.trials]

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the loss is no longer finite")

    monkeypatch.setattr(tuning.Trainer, "fit", fails)
    with pytest.raises(ValueError, match="tune: none of 2 trials gave a value; the last said: the loss is no longer"):
        ps.tune(CONFIG, 2, tmp_path / "none.db", SPACE)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.dimm": [4]}, r"tune\.space: no option 'model\.dimm' to search; did you mean 'model\.dim'\?"),
        ({"dataset.users": [4]}, r"tune\.space: no option 'dataset\.users' to search"),
        ({"train.seed": [1, 2]}, "'train.seed' decides how trials are measured and cannot be searched"),
        ({"model.dim": []}, r"tune\.space\.model\.dim: an empty list"),
        ({"model.dim": 4}, r"tune\.space\.model\.dim must be a list of choices or"),
        ({"model.dim": [4, -1]}, r"tune\.space\.model\.dim: -1 is not possible: .*dim must be positive, got -1"),
        ({"model.dim": ["four"]}, r"tune\.space\.model\.dim: \"four\" is not possible: .*must be int"),
        ({"model.dim": {"low": 1.5, "high": 4}}, r"tune\.space\.model\.dim\.low must be a whole number"),
        ({"train.lr": {"low": 0.1, "high": 0.01}}, "low must not be above high, got 0.1 and 0.01"),
        ({"train.lr": {"low": 0, "high": 1, "log": True}}, "a logarithmic range must begin above 0, got low 0"),
        ({"train.lr": {"low": -1, "high": 1}}, r"tune\.space\.train\.lr: -1 is not possible: .*lr must be positive"),
        ({"train.lr": {"lo": 1, "high": 1}}, r"tune\.space\.train\.lr: unknown key 'lo'; .*did you mean 'low'\?"),
        ({"train.optimizer": {"low": 1, "high": 2}}, "a range needs an option that is a number, this one is str"),
        ([], "tune.space must be an object"),
    ],
)
def test_spaces_that_are_none(tmp_path: Path, space: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.tune(CONFIG | {"tune": {"space": space or [0]}}, 2, tmp_path / "trials.db")


def test_what_cannot_be_searched(tmp_path: Path) -> None:
    storage = tmp_path / "trials.db"
    ps.tune(CONFIG, 1, storage, SPACE)
    with pytest.raises(ValueError, match="holds a search of another space; leave"):
        ps.tune(CONFIG, 2, storage, {"model.dim": [4, 8]})
    with pytest.raises(ValueError, match="holds a search of another model, train, metric; leave"):
        other = {"model": {"name": "mf", "dim": 8}, "train": CONFIG["train"] | {"monitor": "log_loss"}}
        ps.tune(CONFIG | other, 2, storage, SPACE)
    (tmp_path / "text.db").write_text("no SQLite file, but long enough")
    with pytest.raises(ValueError, match="it is another kind of file"):
        ps.tune(CONFIG, 2, tmp_path / "text.db", SPACE)
    with pytest.raises(ValueError, match=r"tune\.trials must be a whole number of 1 or more, got 0"):
        ps.tune(CONFIG, 0, storage, SPACE)
    with pytest.raises(ValueError, match=r"tune: unknown key 'trails'; .*did you mean 'trials'\?"):
        ps.tune(CONFIG | {"tune": {"trails": 3}}, None, storage, SPACE)
    with pytest.raises(ValueError, match="tune must be an object, got int"):
        ps.tune(CONFIG | {"tune": 3}, None, storage, SPACE)
    no_valid = CONFIG | {"dataset": CONFIG["dataset"] | {"split": {"by": "random", "ratios": [9, 0, 1]}}}
    with pytest.raises(ValueError, match="a search needs training and validation rows, got train, test"):
        ps.tune(no_valid, 2, tmp_path / "other.db", SPACE)


def test_lower_is_better_for_losses(tmp_path: Path) -> None:
    config = CONFIG | {"train": CONFIG["train"] | {"monitor": "log_loss"}}
    found = ps.tune(config, 5, tmp_path / "trials.db", SPACE)
    assert found.metric == "log_loss"
    assert found.value == min(each["value"] for each in found.trials)


def test_default_space_of_every_model() -> None:
    from polyscene._search_space import default_space, space_of

    for name in ps.models.list():
        space = default_space(name)
        assert {path.partition(".")[2] for path in space if path.startswith("model.")} <= set(ps.models.options(name))
        assert set(space_of(space, name, "space")) == set(space)
    assert "model.dropout" in default_space("mmoe")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, space = tmp_path / "config.json", tmp_path / "space.json"
    config.write_text("// comments are fine\n" + json.dumps(CONFIG | {"tune": {"trials": 2, "space": SPACE}}))
    storage = tmp_path / "search" / "trials.db"
    assert main(["tune", str(config), "--storage", str(storage)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("trial 0: complete, auc 0.")
    assert said[0].endswith(" s: train.lr 0.001, model.dim 16")
    assert said[2].startswith("best: trial ")
    assert said[3:] == [f"trials: {storage}", f"config: {tmp_path / 'search' / 'best.json'}"]
    assert (
        main(["tune", str(config), "--storage", str(storage), "--trials", "3", "--out", str(tmp_path / "b.json")]) == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("trial 2: complete")
    assert json.loads((tmp_path / "b.json").read_text())["tune"]["found"]["trials"] == 3
    space.write_text('{"model.dimm": [1]}')
    assert main(["tune", str(config), "--space", str(space), "--storage", str(storage)]) == 2
    assert capsys.readouterr().err == (
        f"polyscene: {space}: no option 'model.dimm' to search; did you mean 'model.dim'?\n"
    )
    assert main(["tune", str(config), "--space", str(tmp_path / "none.json")]) == 2
    assert "no such file of a search space" in capsys.readouterr().err
    assert main(["tune", str(tmp_path / "confg.json")]) == 2
    assert "did you mean 'config.json'?" in capsys.readouterr().err
