"""Transfer of models of rankings and of sequences, which have no labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from polyscene.transfer import Distilled, fisher, migrate, negative_transfer, plan, warm_start
from polyscene.transfer.choosing import compare, query_values, usable
from polyscene.transfer.stages import rows_of

MODELS = {
    "sequence": ("sasrec", {"dim": 16, "loss": "ce", "max_length": 8}),
    "ranking": ("bpr_mf", {"dim": 16}),
}
TRAINER = {"epochs": 3, "batch_size": 32, "lr": 0.01}
every_task = pytest.mark.parametrize("task", list(MODELS))


def made(task: str) -> tuple[Any, Any]:
    data = ps.testing.tiny_data(task)
    name, options = MODELS[task]
    torch.manual_seed(0)
    return data, ps.models.create(name, data.schema, **options)


@every_task
@pytest.mark.parametrize("mechanism", ["migrate", "fine_tune", "lora", "ewc", "distillation", "dann", "mean_teacher",
                                       "pcgrad", "reptile"])  # fmt: skip
def test_mechanisms_carry_models_without_labels(task: str, mechanism: str) -> None:
    data, model = made(task)
    if task == "ranking" and mechanism == "dann":
        mechanism = "coral"
    final, history, verdict = migrate(model, data, target="television", trainer=TRAINER, mechanism=mechanism)
    assert verdict["metric"] == "ndcg@10" and verdict["evidence"]["folds"] == 0
    valid = rows_of(data.valid, ["television"])
    assert verdict["evidence"]["rows"] == len(query_values(model, valid)[0]) > 0
    assert history and all(np.isfinite(row["train_loss"]) for row in history)
    found = ps.evaluate(final, valid).scenes["television"]["ndcg@10"]
    assert found == pytest.approx(verdict["candidates"][verdict["kept"]]["valid"], abs=1e-9)


@every_task
def test_the_other_scenes_are_answered_by_the_sources(task: str, tmp_path: Any) -> None:
    data, model = made(task)
    final, _, _ = migrate(model, data, target="television", trainer=TRAINER, guard=0.0)
    assert final.name == "specialist"
    ps.save(final, tmp_path / "m.safetensors")
    loaded = ps.load(tmp_path / "m.safetensors")
    general, special = final.part("general"), final.part("special")
    for scene, part in (("phone", general), ("tablet", general), ("television", special)):
        rows = rows_of(data.test, [scene])
        expected = query_values(part, rows)[0]
        np.testing.assert_array_equal(query_values(final, rows)[0], expected)
        np.testing.assert_array_equal(query_values(loaded, rows)[0], expected)
    whole = ps.evaluate(final, data.test)
    assert whole.scenes["phone"]["ndcg@10"] == ps.evaluate(general, data.test).scenes["phone"]["ndcg@10"]
    some = final.recommend(["u1", "u2"], k=3, scene="television")
    np.testing.assert_array_equal(some.items, special.recommend(["u1", "u2"], k=3, scene="television").items)


@pytest.mark.parametrize("name", ["bpr_mf", "light_gcn"])
def test_newcomers_similar_items_and_reasons_come_from_the_part_that_answers(name: str, tmp_path: Any) -> None:
    data, liked = ps.testing.tiny_data("ranking"), ["i3", "i8"]
    final = ps.models.Specialist(data.schema, model=name, scenes=["television"])
    ps.Trainer(**TRAINER).fit(final, data)
    with torch.no_grad():
        for parameter in final.part("special").parameters():
            parameter.add_(torch.randn(parameter.shape) * parameter.std())
    ps.save(final, tmp_path / "m.safetensors")
    for model in (final, ps.load(tmp_path / "m.safetensors")):
        for scene, side in (("phone", "general"), ("television", "special")):
            part = model.part(side)
            found = model.recommend(items=liked, scene=scene, k=4)
            assert found.items.tolist() == part.recommend(items=liked, scene=scene, k=4).items.tolist()
            assert (found.scores == part.recommend(items=liked, scene=scene, k=4).scores).all()
            similar = model.similar_items("i3", k=4, source="phone", scene=scene)
            assert similar == part.similar_items("i3", k=4, source="phone", scene=scene) and len(similar) > 0
            reasons = model.explain_recommendation("u3", found.items[0, 0], scene)
            assert reasons == part.explain_recommendation("u3", found.items[0, 0], scene) and len(reasons) > 0


def test_a_part_without_parameters_answers_too() -> None:
    data = ps.testing.tiny_data("ranking")
    final = ps.models.Specialist(data.schema, model="item_knn", scenes=["television"])
    final.prepare(data.train)
    for scene, side in (("phone", "general"), ("television", "special")):
        found = final.recommend(["u1", "u3"], k=4, scene=scene)
        assert found.items.tolist() == final.part(side).recommend(["u1", "u3"], k=4, scene=scene).items.tolist()


def test_a_specialist_of_a_model_that_knows_no_newcomers_says_so() -> None:
    data = ps.testing.tiny_data("ranking")
    model = ps.models.Specialist(data.schema, model="co_net")
    model.prepare(data.train)
    with pytest.raises(ValueError, match="specialist has nothing for people whom training did not know"):
        model.recommend(items=["i3"], scene="phone")
    with pytest.raises(ValueError, match="specialist has nothing to compare items by"):
        model.similar_items("i3")
    with pytest.raises(ValueError, match="specialist does not know which of a user's items carried a score"):
        model.explain_recommendation("u3", "i3", "phone")


@pytest.mark.parametrize("name", ["emcdr", "sscdr", "dcdcsr", "ptupcdr", "natr"])
def test_models_with_a_phase_for_each_scene_are_migrated(name: str) -> None:
    data = ps.testing.tiny_data("ranking")
    model = ps.models.create(name, data.schema, dim=4)
    final, history, verdict = migrate(model, data, target="television", trainer={"epochs": 2, "threads": 1})
    assert verdict["metric"] == "ndcg@10" and len(history) > 4
    assert np.isfinite(final.recommend(["u1", "u2"], k=3, scene="television").scores).all()


def test_phases_need_rows_of_some_scene_and_users_in_common() -> None:
    data = ps.testing.tiny_data("ranking")
    model = ps.models.EMCDR(data.schema, dim=4)
    history = ps.Trainer(epochs=2, threads=1).fit(model, rows_of(data.train, ["phone", "television"]))
    assert {row["phase"] for row in history} == {"factors of phone", "factors of television", "map"}
    history = ps.Trainer(epochs=2, threads=1).fit(model, rows_of(data.train, ["phone"]))
    assert {row["phase"] for row in history} == {"factors of phone", "map"}


def test_a_mixed_batch_of_sequences_is_answered_by_both() -> None:
    data, model = made("sequence")
    final, _, _ = migrate(model, data, target="television", trainer=TRAINER, guard=0.0)
    batch = data.test.batch(torch.arange(20), history=8)
    assert len(set(batch.scene.tolist())) == 3
    final.eval()
    out = final(batch)
    for row in range(20):
        part = final.part("special" if int(batch.scene[row]) == 2 else "general").eval()
        alone = part(batch.take([row]))[0]
        torch.testing.assert_close(out[row, : len(alone)], alone, rtol=0, atol=1e-6)


def test_gains_are_means_over_queries() -> None:
    first, second = np.array([0.0, 0.5, 1.0, 0.25]), np.array([0.5, 0.5, 1.0, 0.0])
    found = compare(first, first, second, "ndcg@10")
    assert (found.first, found.second, found.gain, found.rows) == (0.4375, 0.5, 0.0625, 4)
    # As wide as Student's t has it for four values: 3.1824 against 1.9600.
    assert found.variance == pytest.approx(
        np.var([0.5, 0, 0, -0.25], ddof=1) / 4 * (3.182446 / 1.959964) ** 2, rel=1e-5
    )
    assert [usable(np.zeros(n), "ndcg@10") for n in (9, 10)] == [False, True]


@every_task
def test_harm_is_told_scene_by_scene(task: str) -> None:
    data, own = made(task)
    _, moved = made(task)
    ps.Trainer(**TRAINER).fit(own, data)
    ps.Trainer(**TRAINER | {"epochs": 1}).fit(moved, data)
    found = negative_transfer(own, moved, data.test, "ndcg@10")
    a, b = ps.evaluate(own, data.test), ps.evaluate(moved, data.test)
    scene = query_values(own, data.test)[1]
    assert set(found["scenes"]) == {name for code, name in enumerate(data.schema.scenes) if (scene == code).sum() >= 10}
    assert len(found["scenes"]) > 1
    for scene, each in found["scenes"].items():
        assert each["own"] == pytest.approx(a.scenes[scene]["ndcg@10"], abs=1e-9)
        assert each["moved"] == pytest.approx(b.scenes[scene]["ndcg@10"], abs=1e-9)
        assert each["low"] < each["gain"] < each["high"]


@every_task
def test_a_target_without_validation_rows_is_refused(task: str) -> None:
    data, model = made(task)
    data.valid = rows_of(data.valid, ["phone", "tablet"])
    with pytest.raises(
        ValueError, match=f"models of task '{task}' are compared on validation rows, and 'television' has"
    ):
        migrate(model, data, target="television", trainer=TRAINER)


@every_task
def test_what_was_seen_is_left_out_as_the_evaluation_has_it(task: str) -> None:
    data, model = made(task)
    ps.Trainer(**TRAINER).fit(model, data)
    for exclude_seen in (True, False):
        values, scene = query_values(model, data.valid, exclude_seen)
        found = ps.evaluate(model, data.valid, exclude_seen=exclude_seen).scenes["phone"]["ndcg@10"]
        assert values[scene == 0].mean() == pytest.approx(found, abs=1e-9)
    config = {"transfer": {}, "train": TRAINER, "evaluate": {"exclude_seen": False}}
    block = {"mechanism": "migrate", "sources": [], "target": "phone", "fusion": "rows", "strength": 0.1, "frozen": []}
    config["transfer"] = block | {"lr_scale": 0.2, "source_epochs": 0, "guard": 2.0, "settings": {}}
    assert plan(model, data, config).exclude_seen is False and plan(model, data).exclude_seen is True


@pytest.mark.parametrize("name", ["light_gcn", "bi_tgcf"])
def test_a_loaded_specialist_knows_its_history_from_the_first_call(name: str, tmp_path: Any) -> None:
    data = ps.testing.tiny_data("ranking")
    model = ps.models.Specialist(data.schema, model=name, scenes=["tablet"])
    ps.Trainer(**TRAINER).fit(model, data)
    model.eval()
    ps.save(model, tmp_path / "m.safetensors")
    batch = data.train.batch(torch.arange(40), negatives=1)
    expected = model.represent(batch)
    assert torch.equal(ps.load(tmp_path / "m.safetensors").eval().represent(batch), expected)


@pytest.mark.parametrize("task", ["ranking", "sequence", "text", "image", "rating", "ctr"])
def test_a_specialist_is_of_the_plainest_model_of_a_task(task: str) -> None:
    model = ps.models.Specialist(ps.testing.tiny_data(task).schema)
    plainest = {"ranking": "bpr_mf", "sequence": "sasrec", "text": "text_classifier", "image": "image_classifier"}
    assert model.options["model"] == plainest.get(task, "mf")


def test_soft_labels_of_sequences_are_shares_of_the_scenes_items() -> None:
    data, student = made("sequence")
    _, teacher = made("sequence")
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    for model in (student, teacher):
        model.prepare(data.train)
        model.double().eval()
    # Scenes of different numbers of items: what ends in -inf must not spoil the others.
    batch = data.train.batch(torch.arange(60, 90), history=8)
    distilled = Distilled(student, [teacher], share=1.0, temperature=2.0)
    expected = []
    with torch.no_grad():
        for row in range(30):
            one = batch.take([row])
            mine, theirs = (model(one)[0] / 2 for model in (student, teacher))
            p = theirs.softmax(0)
            expected.append(float((p * (p.log() - mine.log_softmax(0))).sum()) * 4)
    assert distilled.loss(batch).item() == pytest.approx(np.mean(expected), rel=1e-9)


def test_fisher_of_a_sequence_is_that_of_the_items_of_the_scene() -> None:
    # One row, whose next item may be any of a scene: the expectation over these can be written out.
    data, model = made("sequence")
    model.prepare(data.train)
    row = data.train.take(torch.tensor([100]))
    batch = row.batch(torch.tensor([0]), history=8)
    scores = model.eval()(batch)[0]
    expected = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for place, share in enumerate(scores.detach().softmax(0)):
        model.zero_grad()
        (-scores.log_softmax(0)[place]).backward(retain_graph=True)
        for name, value in model.named_parameters():
            if value.grad is not None:
                expected[name] += share * value.grad.square()
    found: dict[str, torch.Tensor] = {}
    draws = 400
    for seed in range(draws):
        for name, value in fisher(model, row, seed=seed).items():
            found[name] = found.get(name, 0) + value / draws
    total = sum(float(value.sum()) for value in expected.values())
    assert sum(float(value.sum()) for value in found.values()) == pytest.approx(total, rel=0.1)
    table = "item.weight"
    torch.testing.assert_close(found[table], expected[table], rtol=0.3, atol=0.05 * float(expected[table].max()))


def test_warm_starts_draw_negatives() -> None:
    data, model = made("ranking")
    model.prepare(data.train)
    tasks = [rows_of(data.train, [scene]) for scene in ("phone", "tablet")]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = warm_start(model, tasks, rounds=30, inner_lr=0.5, outer_lr=1.0, seed=3)
    assert np.mean(first[-5:]) < np.mean(first[:5])
    again = made("ranking")[1]
    again.load_state_dict(before)
    again.prepare(data.train)
    assert warm_start(again, tasks, rounds=30, inner_lr=0.5, outer_lr=1.0, seed=3) == first
