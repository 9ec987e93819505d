"""The flow of a transfer: what it trains, what it chooses by, what it leaves, and that it goes on where it stopped."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from polyscene._extension import _C
from polyscene.transfer import migrate, plan, rows_of, state_of
from sklearn.metrics import roc_auc_score
from torch import nn

NAMES = ["target alone", "fused", "fused, continued", "joint", "joint, continued"]


def make(world: Any, name: str = "mf", **options: Any) -> ps.Model:
    ps.seed_everything(1)
    return ps.models.create(name, world.schema, **options)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_time(history: list[dict[str, Any]]) -> str:
    """As text, where nan is nan and floats have all their digits."""
    return repr([{key: value for key, value in row.items() if key not in ("seconds", "rows_per_s")} for row in history])


@pytest.fixture(scope="module")
def done(world: Any) -> Any:
    from .conftest import TRAIN

    flow = plan(make(world, dim=4), world, target="scene_2", trainer=TRAIN)
    model, history, verdict = flow.run()
    return flow, model, history, verdict


def test_verdict_says_what_happened(world: Any, done: Any) -> None:
    flow, _, history, verdict = done
    assert verdict["sources"] == ["scene_0", "scene_1"] and verdict["target"] == "scene_2"
    assert list(verdict["candidates"]) == NAMES and verdict["kept"] in NAMES
    assert verdict["helped"] == (verdict["kept"] != "target alone")
    words = "helped: AUC" if verdict["helped"] else "did not help: the target's own model stays; AUC"
    assert verdict["message"].startswith(f"migrating scene_0, scene_1 into scene_2 {words}")
    assert verdict["way"].startswith("sources trained: scene_0, scene_1 -> scene_2 was not trained: trained on its own")
    assert verdict["rows"]["train"] == world.counts()["train"]["scene_2"]
    assert verdict["evidence"]["folds"] == 4
    assert verdict["evidence"]["rows"] == verdict["rows"]["train"] + verdict["rows"]["valid"]
    assert json.loads(json.dumps(verdict, allow_nan=False)) == verdict
    phases = list(dict.fromkeys(row["phase"] for row in history))
    assert phases == [
        "source scene_0",
        "source scene_1",
        "joint",
        "target alone",
        "fused, continued",
        "joint, continued",
    ]
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert {row["phase"] for row in history if row["best"]} <= {verdict["kept"]}
    assert flow.candidates[0].stage.best_epoch >= 1


def test_candidates_are_scored_on_validation_rows(world: Any, done: Any) -> None:
    flow, _, _, verdict = done
    valid = rows_of(world.valid, ["scene_2"])
    single = make(world, dim=4)
    for candidate in flow.candidates:
        single.load_state_dict(candidate.state)
        expected = roc_auc_score(valid.labels().numpy(), single.predict(valid))
        assert verdict["candidates"][candidate.name]["valid"] == pytest.approx(expected, abs=1e-12)
    gains = {name: values["gain"] for name, values in verdict["candidates"].items()}
    best = max(NAMES[1:], key=gains.get)
    assert verdict["helped"] == (gains[best] > 2 * verdict["candidates"][best]["standard_error"])
    assert verdict["kept"] == (best if verdict["helped"] else "target alone")


def test_target_alone_is_plain_training(world: Any, done: Any, train: Any) -> None:
    flow = done[0]
    model, rows = make(world, dim=4), rows_of(world.train, ["scene_2"])
    size = flow.stages.options(len(rows))["batch_size"]
    assert len(rows) >= 8 * size > len(rows) / 2 or size == train["batch_size"]
    ps.Trainer(**train | {"batch_size": size}).fit(model, rows, rows_of(world.valid, ["scene_2"]))
    assert same(state_of(model), flow.candidates[0].state)


def test_model_answers_for_all_scenes(world: Any, done: Any, tmp_path: Any) -> None:
    flow, model, _, verdict = done
    kept = next(c for c in flow.candidates if c.name == verdict["kept"])
    joint = next(c for c in flow.candidates if c.name == "joint")
    assert model.name == "specialist" and model.options["scenes"] == ["scene_2"]
    assert same(state_of(model.part("special")), kept.state)
    assert same(state_of(model.part("general")), joint.state)
    scores, scenes = model.predict(world.test), world.test.scenes().numpy()
    for part, mine in (("special", scenes == world.schema.scene("scene_2")), ("general", scenes != 2)):
        np.testing.assert_array_equal(scores[mine], model.part(part).predict(world.test)[mine])
    single = flow.model
    assert same(state_of(single), kept.state)
    ps.save(model, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(ps.load(tmp_path / "m.safetensors").predict(world.test), scores)


def test_steps_to_target_score(world: Any, done: Any) -> None:
    flow, _, history, verdict = done
    speed = verdict["steps_to_target_score"]
    mine = {name: [row["valid"]["auc"] for row in history if row["phase"] == name] for name in NAMES}
    goal = max(mine["target alone"])
    assert speed["score"] == goal and speed["metric"] == "auc"
    for name in ("target alone", "fused, continued", "joint, continued"):
        start = name.removesuffix(", continued")
        curve = [verdict["candidates"][start]["valid"] if start != name else -1, *mine[name]]
        first = next((epoch for epoch, value in enumerate(curve) if value >= goal), None)
        steps = next(c.stage.steps for c in flow.candidates if c.name == name)
        assert speed[name] == (None if first is None else {"epochs": first, "steps": first * steps})


def test_test_rows_have_no_say(world: Any, done: Any, train: Any) -> None:
    class Untested:
        schema, train, valid = world.schema, world.train, world.valid

    model, history, verdict = migrate(make(world, dim=4), Untested(), target="scene_2", trainer=train)
    assert verdict == done[3] and without_time(history) == without_time(done[2])
    assert same(state_of(model), state_of(done[1]))


class _Stop(Exception):
    pass


@pytest.mark.parametrize("error", [_Stop, KeyboardInterrupt])
@pytest.mark.parametrize("stopped", ["source scene_1", "joint", "target alone", "joint, continued"])
def test_resume_gives_the_same_bits(
    stopped: str, error: type[BaseException], world: Any, done: Any, train: Any, tmp_path: Any
) -> None:
    def stop(row: Any) -> None:
        if row["phase"] == stopped:
            raise error

    with pytest.raises(error):
        migrate(make(world, dim=4), world, target="scene_2", trainer=train, folder=tmp_path, callbacks=stop)
    rows: list[Any] = []
    model, history, verdict = migrate(
        make(world, dim=4), world, target="scene_2", trainer=train, folder=tmp_path, resume=True, callbacks=rows.append
    )
    assert verdict == done[3] and without_time(history) == without_time(done[2])
    assert same(state_of(model), state_of(done[1]))
    first = next(row["epoch"] for row in done[2] if row["phase"] == stopped)
    assert rows[0]["epoch"] in (first, first + 1)  # what was done is not done again


def test_another_transfer_in_the_same_folder_starts_anew(world: Any, train: Any, tmp_path: Any) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "joint-continued-000000.safetensors").write_text("old")
    migrate(make(world, dim=2), world, target="scene_2", trainer=train | {"epochs": 1}, folder=tmp_path)
    names = {path.name for path in (tmp_path / "stages").iterdir()}
    assert len(names) == 6 and "joint-continued-000000.safetensors" not in names


def test_one_source(world: Any, train: Any) -> None:
    _, history, verdict = migrate(
        make(world, "logistic"), world, sources=["scene_1"], target="scene_2", trainer=train, source_epochs=1
    )
    assert list(verdict["candidates"]) == ["target alone", "migrated", "migrated, continued"]
    assert verdict["weights"] == {"scene_1": 1.0}
    assert [row["phase"] for row in history].count("source scene_1") == 1


@pytest.mark.parametrize("fusion", ["uniform", "fisher", "greedy"])
def test_other_fusions(fusion: str, world: Any, train: Any) -> None:
    _, _, verdict = migrate(make(world, "logistic"), world, target="scene_2", trainer=train, fusion=fusion)
    assert verdict["fusion"] == fusion and set(verdict["weights"]) == {"scene_0", "scene_1"}


@pytest.mark.parametrize("fusion", ["greedy", "arithmetic"])
def test_fusion_is_chosen_on_training_rows(fusion: str, world: Any, train: Any) -> None:
    flow = plan(make(world, "logistic"), world, target="scene_2", trainer=train, fusion=fusion)
    asked, value = [], flow.value

    def watch(state: Any, table: Any) -> float:
        asked.append(table)
        return value(state, table)

    flow.value = watch
    flow.migrated()
    assert asked and all(table is flow.rows for table in asked)  # validation rows compare candidates, and stay clean
    asked.clear()
    flow.fuse(flow.rows.take(flow.parted(0)[1]))
    assert asked and {len(table) for table in asked} == {len(flow.rows) - len(flow.parted(0)[0])}


def test_guard_can_refuse_everything(world: Any, train: Any) -> None:
    model, _, verdict = migrate(make(world, "logistic"), world, target="scene_2", trainer=train, guard=1e6)
    assert not verdict["helped"] and verdict["kept"] == "target alone"
    assert "did not help: the target's own model stays" in verdict["message"]
    assert model.name == "specialist"


def test_ratings_and_few_rows(train: Any) -> None:
    data = ps.testing.tiny_data("rating")
    _, _, verdict = migrate(make(data, dim=3), data, trainer=train)
    assert verdict["target"] == "television" and verdict["metric"] == "rmse"
    label = rows_of(data.valid, ["television"]).labels().numpy()
    assert 0 < verdict["candidates"]["target alone"]["valid"] < np.ptp(label)
    assert "RMSE" in verdict["message"]


def test_validation_rows_of_one_class(world: Any, train: Any) -> None:
    valid = rows_of(world.valid, ["scene_2"])
    ones = valid.take(valid.labels().gt(0.5).nonzero().squeeze(1))

    class OneClass:
        schema, train = world.schema, world.train
        valid = ones

    flow = plan(make(world, dim=4), OneClass(), target="scene_2", trainer=train)
    initial = state_of(flow.model)
    _, _, verdict = flow.run()
    assert verdict["metric"] == "auc" and verdict["candidates"]["target alone"]["valid"] is None
    assert verdict["evidence"]["rows"] == len(flow.rows)  # the folds alone
    assert not same(flow.candidates[0].state, initial)


def test_without_validation_rows(world: Any, train: Any) -> None:
    class NoValid:
        schema, train, valid = world.schema, world.train, None

    _, _, verdict = migrate(make(world, "logistic"), NoValid(), target="scene_2", trainer=train)
    assert verdict["evidence"]["folds"] == 4 and verdict["steps_to_target_score"] == {}
    assert all(values["valid"] is None for values in verdict["candidates"].values())


class Bias(ps.Model):
    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.bias = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, 1)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.bias(batch.item).squeeze(1)


def test_python_model_that_is_not_registered(world: Any, train: Any) -> None:
    ps.seed_everything(1)
    flow = plan(Bias(world.schema), world, target="scene_2", trainer=train)
    model, _, verdict = flow.run()
    assert model is flow.model
    assert same(state_of(model), next(c.state for c in flow.candidates if c.name == verdict["kept"]))


def test_defaults_are_those_of_the_config() -> None:
    import inspect

    defaults = {name: p.default for name, p in inspect.signature(migrate).parameters.items()}
    for name, _, default, doc in _C.train.section_fields("transfer"):
        if name not in ("mechanism", "labels"):  # labels are known or not before there is a model
            assert list(defaults[name]) == default if isinstance(default, list) else defaults[name] == default
        assert doc


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "scene_9"}, "migrate: scene must be one of scene_0, scene_1, scene_2, got 'scene_9'"),
        ({"sources": ["scene_2"], "target": "scene_2"}, "'scene_2' is the target, it cannot be a source as well"),
        ({"sources": ["scene_0", "scene_0"]}, "sources must be different scenes, got scene_0, scene_0"),
        ({"fusion": "mean"}, "fusion must be one of rows, uniform, fisher, greedy, arithmetic, learned, got 'mean'"),
        ({"guard": -1}, "guard must not be negative, got -1"),
        ({"guard": float("nan")}, "guard must not be negative, got nan"),
        ({"source_epochs": -1}, "source_epochs must not be negative, got -1"),
        ({"strength": -1.0}, "Anchored: strength must be finite and not negative, got -1"),
        ({"frozen": ["nothing"]}, "Anchored: frozen must be names or prefixes of parameters, got 'nothing'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, world: Any) -> None:
    with pytest.raises(ValueError, match=message):
        migrate(make(world, "logistic"), world, trainer={"epochs": 1}, **options)


@pytest.mark.parametrize("lr_scale", [1e-9, 1.0])
def test_what_was_asked_is_told_beside_what_was_best(lr_scale: float, world: Any) -> None:
    options: dict[str, Any] = {"trainer": {"epochs": 3}, "mechanism": "fine_tune", "lr_scale": lr_scale}
    _, _, verdict = migrate(make(world, "logistic"), world, target="scene_2", **options)
    found = {name: each["gain"] for name, each in verdict["candidates"].items() if name != "target alone"}
    best, asked = max(found, key=lambda name: found[name]), list(found)[-1]
    assert asked.endswith(", fine_tune") and f"({best})" in verdict["message"]
    told = f"; {asked} {verdict['candidates'][asked]['score']:.4f}"
    assert (told in verdict["message"]) == (best != asked)


def test_what_is_no_data_set_and_mechanisms_of_labels_are_refused(world: Any) -> None:
    with pytest.raises(TypeError, match="migrate: data must be a data set with training rows, got Table"):
        migrate(make(world, "logistic"), world.train)
    with pytest.raises(ValueError, match="migrate: scene must be one of scene_0, .* got 'scene_22'; did you mean"):
        migrate(make(world, "logistic"), world, target="scene_22")
    data = ps.testing.tiny_data("sequence")
    with pytest.raises(
        ValueError, match="mechanism 'adapters' is for tasks with labels, the data's task is 'sequence'"
    ):
        migrate(ps.models.SASRec(data.schema, dim=4), data, mechanism="adapters")


def test_wrong_names_and_models(world: Any) -> None:
    with pytest.raises(TypeError, match="migrate: unknown option 'strenght'; did you mean 'strength'"):
        plan(make(world, "logistic"), world, strenght=1)
    with pytest.raises(ValueError, match="migrate: popularity has nothing to train, so there is nothing to migrate"):
        migrate(make(world, "popularity"), world)
