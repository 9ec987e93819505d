"""Embedding and mapping against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pair_models
import polyscene as ps
import pytest
import slow_ranking as slow
import torch


def make(data: Any, **options: Any) -> ps.Model:
    torch.manual_seed(0)
    model = slow.scrambled(ps.models.EMCDR(data.schema, dim=4, embedding_l2=0.0, **options))
    model.prepare(data.train)
    return model


def score_of(model: ps.Model, data: Any, mapped: bool) -> slow.Score:
    state, known = slow.arrays(model), slow.pairs(data)
    count = len(known)
    p, q = (slow.scene_table(state, side, count) for side in ("user", "item"))

    def score(user: int, item: int, scene: int) -> float:
        sources = slow.served(known, user, scene, model.options["map_users"]) if mapped else []
        vectors = [slow.map_vector(state, count, s, scene, p[s, user], bounded=False) for s in sources]
        vector = sum(vectors) / len(vectors) if vectors else p[scene, user]
        return float(vector @ q[scene, item])

    return score


@pytest.mark.parametrize("loss", ["bpr", "mse", "bce"])
def test_factors_match_loops(data: Any, loss: str) -> None:
    model = make(data, loss=loss, negatives=2)
    batch = ps.testing.batch(data, 24, negatives=2)
    score = score_of(model, data, mapped=False)
    assert model.loss(batch).item() == pytest.approx(np.mean(slow.row_losses(batch, score, loss)), rel=1e-9)
    for scene in range(3):
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


@pytest.mark.parametrize("map_users", ["cold", "overlapping"])
@pytest.mark.parametrize("mapping", ["linear", "mlp"])
def test_mapping_matches_loops(data: Any, mapping: str, map_users: str) -> None:
    model = slow.at_mapping(make(data, mapping=mapping, hidden=5, map_users=map_users), data)
    score = score_of(model, data, mapped=True)
    for scene in range(3):
        torch.testing.assert_close(*slow.all_scores(model, score, scene))
    batch = ps.testing.batch(data, 24)
    assert model(batch).tolist() == pytest.approx([score(u, i, s) for u, i, s, _ in slow.rows(batch)], rel=1e-9)

    state, known = slow.arrays(model), slow.pairs(data)
    p = slow.scene_table(state, "user", 3)
    batch = data.train.batch(torch.arange(20))
    errors = []
    for user in batch.user.tolist():
        for s in range(3):
            for t in range(3):
                if s != t and user in known[s] and user in known[t]:
                    wrong = slow.map_vector(state, 3, s, t, p[s, user], bounded=False) - p[t, user]
                    errors.append((wrong**2).mean())
    loss = model.train().loss(batch)
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-9)
    loss.backward()
    assert {name for name, value in model.named_parameters() if value.grad is not None} == {
        name for name, _ in model.named_parameters() if name.startswith("map.")
    }


def test_phases(data: Any) -> None:
    model = make(data, map_epochs=3, map_batch=7)
    *factors, mapping = model.phases()
    assert [phase.scenes for phase in factors] == [[name] for name in data.schema.scenes]
    assert (mapping.name, mapping.frozen, mapping.epochs, mapping.batch_size) == ("map", ["user", "item"], 3, 7)


def test_mapping_leaves_the_tables_and_goes_on_without_cold_validation_users(data: Any) -> None:
    fitted = []
    for epochs in (1, 6):
        torch.manual_seed(0)
        model = ps.models.EMCDR(data.schema, dim=4, map_epochs=epochs)
        history = ps.Trainer(epochs=2, lr=0.01, patience=2).fit(model, data)
        assert model.stage.item() == 1
        fitted.append((model.state_dict(), [line for line in history if line["phase"] == "map"]))
    (one, _), (six, lines) = fitted
    for name in ("user.weight", "item.weight"):
        assert torch.equal(one[name], six[name])
    assert not torch.equal(one["map.first"], six["map.first"])
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]


def test_row_of_a_cold_user_says_nothing(data: Any) -> None:
    model = slow.at_mapping(make(data), data).eval()
    known = slow.pairs(data)
    cold = [user for user in range(2, 40) if user not in known[1] and any(user in scene for scene in known)]
    assert cold
    users, items = torch.tensor(cold), torch.arange(model.schema.categorical[1].rows)
    with torch.no_grad():
        before = model.score_items(users, 1, items)
        model.user.weight.view(3, -1, 4)[1, users] += 9
        assert torch.equal(model.score_items(users, 1, items), before)


@pytest.mark.parametrize(("scenes", "overlap"), [(1, True), (2, False), (17, True)])
def test_any_number_of_scenes(scenes: int, overlap: bool) -> None:
    data = slow.scenes_data(scenes, overlap=overlap)
    model = ps.models.EMCDR(data.schema, dim=4, map_epochs=2)
    history = ps.Trainer(epochs=2).fit(model, data)
    mapped = overlap and scenes > 1
    assert (history[-1]["phase"] == "map") == mapped
    assert len({line["phase"] for line in history}) == scenes + mapped
    score = score_of(model.double(), data, mapped)
    for scene in {0, scenes - 1}:
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


def test_comes_back_from_a_file(data: Any, tmp_path: Any) -> None:
    model = slow.at_mapping(ps.models.EMCDR(data.schema, dim=4), data).eval()
    pair_models.check_file(model, ps.testing.batch(data, 24), tmp_path)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(data: Any, rows: int) -> None:
    pair_models.check_few_rows(slow.at_mapping(make(data), data), data, rows)


def test_unprepared_model_scores(data: Any) -> None:
    model = ps.models.EMCDR(data.schema, dim=4)
    assert model(ps.testing.batch(data, 5)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mapping": "cubic"}, "mapping must be 'linear' or 'mlp', got 'cubic'"),
        ({"map_users": "all"}, "map_users must be 'cold' or 'overlapping', got 'all'"),
        ({"hidden": 0}, "hidden must be positive"),
        ({"map_epochs": -1}, "map_epochs must be 0 or more"),
        ({"map_batch": 0}, "map_batch must be positive"),
        ({"loss": "hinge"}, "loss must be one of"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.EMCDR(data.schema, **options)
