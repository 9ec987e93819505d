"""Every mechanism by its name: in the flow, in a config, from a start that is the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import commands
import polyscene as ps
import pytest
import torch
from polyscene._extension import _C
from polyscene.cli import main
from polyscene.transfer import mechanisms, migrate, plan, state_of

from .conftest import TRAIN

OTHERS = [name for name in mechanisms() if name != "migrate"]
SETTINGS = {
    "lora": {"rank": 2},
    "adapters": {"bottleneck": 2},
    "reptile": {"rounds": 5},
    "fomaml": {"rounds": 5},
    "dann": {"rows": 48, "discriminator": [8]},
}
SMALL = {**TRAIN, "epochs": 2}


def make(world: Any, name: str = "wide_deep", **options: Any) -> ps.Model:
    ps.seed_everything(1)
    return ps.models.create(name, world.schema, **({"hidden": [8], "dim": 4} | options))


@pytest.mark.parametrize("name", OTHERS)
def test_flow_runs_by_each_mechanism(name: str, world: Any) -> None:
    options = {"mechanism": name, "settings": SETTINGS.get(name)}
    flow = plan(make(world), world, target="scene_2", trainer=SMALL, guard=0.0, **options)
    model, history, verdict = flow.run()
    names = list(verdict["candidates"])
    together = name in ("uncertainty", "pcgrad", "reptile", "fomaml")
    assert names == ["target alone", "fused", "joint", *([name] if together else [f"fused, {name}", f"joint, {name}"])]
    assert f"continued by {name}" in verdict["way"]
    assert json.loads(json.dumps(verdict, allow_nan=False)) == verdict
    assert model.name == "specialist" and [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert ps.evaluate(model, world.test).overall["auc"] > 0.4
    for candidate in flow.candidates:
        assert flow.score(candidate.state, flow.valid, candidate.model).shape == (len(flow.valid),)


@pytest.mark.parametrize("name", ["adapters", "side_tuning"])
def test_model_that_holds_one_answers_as_it_was_kept(name: str, world: Any) -> None:
    flow = plan(make(world), world, target="scene_2", trainer=SMALL, guard=0.0, mechanism=name)
    flow.run()
    for candidate in flow.candidates:
        if candidate.model is None:
            continue
        joint = next(each for each in flow.candidates if each.name == "joint")
        whole = flow.assemble(candidate, joint.state)
        assert whole.options["model"] == ("adapted" if name == "adapters" else "side_tuned")
        rows = world.test.take((world.test.scenes() == 2).nonzero().squeeze(1))
        want = flow.score(candidate.state, rows, candidate.model)
        assert whole.predict(rows).tolist() == pytest.approx(want.tolist(), abs=1e-6)
        rows = world.test.take((world.test.scenes() == 0).nonzero().squeeze(1))
        assert whole.predict(rows).tolist() == pytest.approx(flow.score(joint.state, rows).tolist(), abs=1e-6)


@pytest.mark.parametrize("fusion", ["arithmetic", "learned"])
def test_fusions_by_task_arithmetic(fusion: str, world: Any) -> None:
    flow = plan(ps.models.MF(world.schema, dim=4), world, target="scene_2", trainer=SMALL, fusion=fusion)
    _, _, verdict = flow.run()
    assert set(verdict["weights"]) == {"scene_0", "scene_1"}
    states = [flow.trained[name][0] for name in verdict["weights"]]
    want = ps.transfer.add_tasks(flow.initial, states, list(verdict["weights"].values()))
    fused = next(each for each in flow.candidates if each.name == "fused")
    assert all(torch.equal(fused.state[name], want[name]) for name in want)


def test_configs_know_mechanisms_and_their_settings(tmp_path: Path) -> None:
    def resolve(**transfer: Any) -> dict[str, Any]:
        return json.loads(_C.train.resolve_config(json.dumps({"transfer": transfer}), "x.json"))["transfer"]

    assert "settings" not in resolve() and "settings" not in resolve(mechanism="migrate")
    assert resolve(mechanism="lora", settings={"rank": 2})["settings"] == mechanisms()["lora"].options | {"rank": 2}
    assert resolve(mechanism="linear_probe")["settings"]["top"] == 1
    with pytest.raises(ValueError, match=r"x.json: transfer.mechanism must be one of .* got 'laro'"):
        resolve(mechanism="laro")
    with pytest.raises(ValueError, match=r"x.json: unknown key 'transfer.settings.rnak'; known keys: rank"):
        resolve(mechanism="lora", settings={"rnak": 2})
    with pytest.raises(ValueError, match=r"x.json: transfer.settings.rank must be int, got 'two'"):
        resolve(mechanism="lora", settings={"rank": "two"})


def test_wrong_settings_are_told(world: Any) -> None:
    model = make(world)
    with pytest.raises(ValueError, match=r"migrate: mechanism must be one of migrate, .* got 'laro'.*lora"):
        migrate(model, world, mechanism="laro")
    with pytest.raises(ValueError, match=r"lora: unknown option 'rnak'; known options: rank, .*rank"):
        migrate(model, world, mechanism="lora", settings={"rnak": 1})
    with pytest.raises(ValueError, match="migrate: frozen is for migrate and fine_tune, the mechanism is lora"):
        migrate(model, world, mechanism="lora", frozen=["deep"])


def test_run_by_a_mechanism_from_the_command_line(tmp_path: Path) -> None:
    data = {"name": "simulator", "users": 300, "events": 12, "items": 40, "interests": 5, "scenes": 3}
    data |= {"sparse_scene": 2, "sparsity": 0.2}
    train = commands.TINY["train"] | {"epochs": 2, "patience": 2}
    transfer = {"mechanism": "adapters", "settings": {"bottleneck": 2}, "target": "scene_2", "guard": 0.0}
    model = {"name": "wide_deep", "hidden": [8], "dim": 4}
    config = commands.write_config(
        tmp_path / "config.json", dataset=data, transfer=transfer, train=train, report=None, model=model
    )
    assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 0
    assert ps.load(tmp_path / "run").name == "specialist"
    verdict = json.loads((tmp_path / "run" / "metrics.json").read_text())["transfer"]
    assert "joint, adapters" in verdict["candidates"]


def test_mechanism_starts_from_the_candidate_that_it_continues(world: Any) -> None:
    """A training of no steps to speak of leaves what was migrated, by every mechanism that adds nothing at first."""
    still = {**SMALL, "lr": 1e-12, "epochs": 1}
    for name in ("fine_tune", "lora", "adapters", "side_tuning", "ewc", "distillation", "coral", "mean_teacher"):
        flow = plan(make(world), world, target="scene_2", trainer=still, mechanism=name)
        candidates = {each.name: each for each in (flow.run(), flow.candidates)[1]}
        before = flow.score(candidates["joint"].state, flow.valid)
        moved = candidates[f"joint, {name}"]
        assert flow.score(moved.state, flow.valid, moved.model).tolist() == pytest.approx(before.tolist(), abs=1e-4)
    assert state_of(flow.model)
