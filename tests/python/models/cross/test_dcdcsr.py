"""Benchmark factors against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import slow_ranking as slow
import torch


@pytest.fixture(scope="module")
def data() -> Any:
    """Scenes with users of one scene alone too."""
    rng = np.random.default_rng(3)
    rows = [
        (f"u{user}", f"i{item}", f"s{scene}")
        for user in range(24)
        for scene in range(3)
        if user % 4 in (scene, 3) or (user % 8 == 1 and scene == 2)
        for item in rng.choice(12, int(rng.integers(2, 6)), replace=False)
    ]
    names = ("user_id", "item_id", "scene")
    frame = pa.table({name: [row[k] for row in rows] for k, name in enumerate(names)})
    return ps.read_table(train=frame, task="ranking", label=None, min_count=1)


def make(data: Any, stage: int = 0, **options: Any) -> ps.Model:
    torch.manual_seed(0)
    model = slow.scrambled(ps.models.DCDCSR(data.schema, dim=4, hidden=5, embedding_l2=0.0, **options))
    model.prepare(data.train)
    model.stage.fill_(stage)
    return model


def bounds(v: np.ndarray) -> tuple[float, float]:
    middle = (v.max() + v.min()) / 2
    return middle, v.max() - middle


def norm(v: np.ndarray) -> np.ndarray:
    middle, half = bounds(v)
    return (v - middle) / half


class Slow:
    """Vectors of users by the paper, one at a time."""

    def __init__(self, model: ps.Model, data: Any) -> None:
        self.state, self.known, self.options = slow.arrays(model), slow.pairs(data), model.options
        count = len(self.known)
        self.p, self.q = (slow.scene_table(self.state, side, count) for side in ("user", "item"))
        self.scenes = range(count)

    def others(self, user: int, scene: int) -> tuple[np.ndarray, float] | None:
        there = [s for s in self.scenes if s != scene and user in self.known[s]]
        if not there:
            return None
        return sum(self.p[s, user] for s in there) / len(there), sum(len(self.known[s][user]) for s in there) / len(
            there
        )

    def bridges(self, scene: int) -> list[int]:
        return [user for user in self.known[scene] if self.others(user, scene)]

    def benchmark(self, user: int, scene: int) -> np.ndarray:
        found = self.others(user, scene)
        if found is None:
            alike = sorted(((self.p[scene, user] @ self.p[scene, v], v) for v in self.bridges(scene)), reverse=True)
            near = alike[: self.options["neighbours"]]
            weights = [max(value, 0) for value, _ in near]
            weights = weights if sum(weights) > 0 else [1.0] * len(near)
            theirs = [self.others(v, scene) for _, v in near]
            vector = sum(w * one[0] for w, one in zip(weights, theirs, strict=True)) / sum(weights)
            found = vector, sum(one[1] for one in theirs) / len(theirs)
        vector, count = found
        own = len(self.known[scene][user])
        share = (own if self.options["weigh_by"] == "own" else count) / (own + count)
        return share * self.p[scene, user] + (1 - share) * vector

    def mapped(self, user: int, scene: int) -> np.ndarray:
        layer = lambda name, x: self.state[f"map.{scene}.{name}.weight"] @ x + self.state[f"map.{scene}.{name}.bias"]  # noqa: E731
        return np.tanh(layer("output", np.tanh(layer("linears.0", norm(self.p[scene, user])))))

    def loss(self, users: list[int]) -> float:
        errors = [
            ((self.mapped(user, scene) - norm(self.benchmark(user, scene))) ** 2).mean()
            for scene in self.scenes
            for user in users
            if user in self.known[scene] and self.bridges(scene)
        ]
        return float(np.mean(errors))

    def score(self, user: int, item: int, scene: int, stage: int) -> float:
        vector = self.p[scene, user]
        if stage == 2 and self.bridges(scene):
            if user in self.known[scene]:
                middle, half = bounds(vector)
                vector = self.mapped(user, scene) * half + middle
            elif found := self.others(user, scene):
                vector = found[0]
        return float(vector @ self.q[scene, item])


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("loss", ["bpr", "mse"])
def test_scores_and_loss_of_rows_match_loops(data: Any, loss: str, stage: int) -> None:
    model = make(data, stage, loss=loss)
    loops = Slow(model, data)
    score: slow.Score = lambda user, item, scene: loops.score(user, item, scene, stage)  # noqa: E731
    batch = ps.testing.batch(data, 24)
    value = model.loss(batch)
    assert value.item() == pytest.approx(np.mean(slow.row_losses(batch, score, loss)), rel=1e-9)
    value.backward()
    moved = {name for name, tensor in model.named_parameters() if tensor.grad is not None}
    assert moved == ({"item.weight"} if stage == 2 else {"item.weight", "user.weight"})
    for scene in range(3):
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


@pytest.mark.parametrize("neighbours", [1, 3, 1000])
@pytest.mark.parametrize("weigh_by", ["own", "other"])
def test_loss_of_the_mapping_matches_loops(data: Any, weigh_by: str, neighbours: int) -> None:
    model = make(data, 1, weigh_by=weigh_by, neighbours=neighbours)
    loops = Slow(model, data)
    assert any(user not in loops.bridges(scene) for scene in range(3) for user in loops.known[scene])
    batch = data.train.batch(torch.arange(0, len(data.train), 3))
    value = model.loss(batch)
    assert value.item() == pytest.approx(loops.loss(batch.user.tolist()), rel=1e-9)
    value.backward()
    assert {name.split(".")[0] for name, tensor in model.named_parameters() if tensor.grad is not None} == {"map"}


def test_phases_hold_what_they_say(data: Any) -> None:
    torch.manual_seed(0)
    model = ps.models.DCDCSR(data.schema, dim=4, map_epochs=3, map_batch=8)
    model.prepare(data.train)
    names = [phase.name for phase in model.phases()]
    scenes = data.schema.scenes
    assert names == [f"factors of {s}" for s in scenes] + ["map"] + [f"items of {s}" for s in scenes]
    states = []
    for epochs in (1, 3):
        torch.manual_seed(0)
        model = ps.models.DCDCSR(data.schema, dim=4, map_epochs=epochs)
        history = ps.Trainer(epochs=2, lr=0.01, batch_size=16).fit(model, data)
        assert [line["phase"] for line in history].count("map") == epochs
        assert model.stage.item() == 2
        states.append(model.state_dict())
    assert torch.equal(states[0]["user.weight"], states[1]["user.weight"])
    assert not torch.equal(states[0]["map.0.output.weight"], states[1]["map.0.output.weight"])
    assert not torch.equal(states[0]["item.weight"], states[1]["item.weight"])


def test_row_of_a_cold_user_says_nothing(data: Any) -> None:
    model = make(data, 2).eval()
    known = slow.pairs(data)
    cold = torch.tensor([user for user in range(2, 26) if user not in known[1]])
    items = torch.arange(model.schema.categorical[1].rows)
    with torch.no_grad():
        before = model.score_items(cold, 1, items)
        model.user.weight.view(3, -1, 4)[1, cold] += 9
        assert torch.equal(model.score_items(cold, 1, items), before)


@pytest.mark.parametrize(("scenes", "overlap"), [(1, True), (2, False), (17, True)])
def test_any_number_of_scenes(scenes: int, overlap: bool) -> None:
    data = slow.scenes_data(scenes, overlap=overlap)
    model = ps.models.DCDCSR(data.schema, dim=4, map_epochs=2)
    history = ps.Trainer(epochs=1).fit(model, data)
    mapped = overlap and scenes > 1
    assert len({line["phase"] for line in history}) == (2 * scenes + 1 if mapped else scenes)
    loops = Slow(model.double(), data)
    for scene in {0, scenes - 1}:
        score: slow.Score = lambda user, item, s: loops.score(user, item, s, 2 * mapped)  # noqa: E731
        torch.testing.assert_close(*slow.all_scores(model, score, scene))


def test_rows_that_are_constant_stay_finite(data: Any) -> None:
    model = make(data, 1)
    with torch.no_grad():
        model.user.weight.fill_(0.25)
    assert model.loss(data.train.batch(torch.arange(10))).isfinite()
    model.stage.fill_(2)
    assert model(ps.testing.batch(data, 10)).isfinite().all()


def test_comes_back_from_a_file(data: Any, tmp_path: Any) -> None:
    model = ps.models.DCDCSR(data.schema, dim=4).eval()
    model.prepare(data.train)
    model.stage.fill_(2)
    ps.save(model, tmp_path / "model.safetensors")
    loaded = ps.load(tmp_path / "model.safetensors").eval()
    batch = ps.testing.batch(data, 24)
    assert torch.equal(loaded(batch), model(batch))


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(data: Any, rows: int, stage: int) -> None:
    model = make(data, stage)
    batch = ps.testing.batch(data, 4).take(list(range(rows)))
    assert model(batch).shape == (rows,)
    assert model.loss(batch).isfinite()
    if stage == 1:
        assert model.loss(data.train.batch(torch.arange(rows))).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "neighbours must be positive"),
        ({"weigh_by": "both"}, "weigh_by must be 'own' or 'other', got 'both'"),
        ({"hidden": 0}, "hidden must be positive"),
        ({"map_epochs": -1}, "map_epochs must be 0 or more"),
        ({"map_batch": 0}, "map_batch must be positive"),
    ],
)
def test_bad_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.models.DCDCSR(data.schema, **options)
