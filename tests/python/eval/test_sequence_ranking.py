"""Rankings of sequences: a query a row, after its own past, against a slow evaluation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch


@pytest.fixture(scope="module")
def data() -> Any:
    """Items come again, some test users are new, and some of their items are unknown to training."""
    draw = np.random.default_rng(3)

    def rows(users: list[str], length: int) -> list[tuple[str, str, str]]:
        out = []
        for user in users:
            for item in draw.integers(0, 24, length):
                out.append((user, f"i{item}", "ab"[item % 2]))
        return out

    def frame(given: list[tuple[str, str, str]]) -> pa.Table:
        user, item, scene = zip(*given, strict=True)
        return pa.table({"user_id": user, "item_id": item, "scene": scene})

    train = rows([f"u{n}" for n in range(30)], 7)
    context = [*rows([f"n{n}" for n in range(10)], 4), ("n1", "strange", "a")]
    test = [*rows([f"u{n}" for n in range(8)] + [f"n{n}" for n in range(10)], 2), ("n2", "odd", "b")]
    return ps.read_table(
        train=frame(train),
        valid=frame(train[:20]),
        test=frame(test),
        context=frame(context),
        task="sequence",
        label=None,
    )


def past_of(data: Any, row: int) -> list[tuple[int, int]]:
    events = data.test.batch(torch.tensor([row]), history=1000).history
    return list(zip(events.item.tolist(), events.scene.tolist(), strict=True))


def similarity(data: Any, scope: str, scene: int, nearness: float = 1, shrink: float = 0) -> dict[Any, float]:
    batch = data.train.batch(torch.arange(len(data.train)))
    walks: dict[int, list[int]] = {}  # the rows of a user stand in their order
    for user, item, where in zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True):
        if scope == "overall" or where == scene:
            walks.setdefault(user, []).append(item)
    together: dict[tuple[int, int], float] = {}
    users: dict[int, int] = {}
    for own in walks.values():
        for i in set(own):
            users[i] = users.get(i, 0) + 1
            for j in set(own) - {i}:
                gap = min(abs(a - b) for a, x in enumerate(own) for b, y in enumerate(own) if (x, y) == (i, j))
                together[i, j] = together.get((i, j), 0) + nearness ** (gap - 1)
    return {(i, j): n / (math.sqrt(users[i] * users[j]) + shrink) for (i, j), n in together.items()}


def slow_values(
    data: Any, scope: str, recency: float, exclude_seen: bool, k: int, elsewhere: float = 1, **similar: float
) -> dict[int, float]:
    """NDCG@k of each row that is ranked."""
    out = {}
    for row in range(len(data.test)):
        own = data.test.batch(torch.tensor([row]))
        item, scene = int(own.item), int(own.scene)
        past = past_of(data, row)
        here = {i for i, where in past if where == scene}
        if exclude_seen and item in here and item >= 2:
            continue
        alike = similarity(data, scope, scene, **similar)
        candidates = data.train.history.interactions().scene(scene).candidates.tolist()
        mine = [
            (i, 1 if where == scene else elsewhere)
            for i, where in past
            if i >= 2 and (scope == "overall" or where == scene)
        ]
        scores = {
            c: sum(w * recency**back * alike.get((j, c), 0.0) for back, (j, w) in enumerate(reversed(mine)))
            for c in candidates
        }
        shown = {c: v for c, v in scores.items() if not exclude_seen or c not in here}
        if item not in shown:
            out[row] = 0.0
            continue
        better = sum(v > shown[item] + 1e-7 for v in shown.values())
        same = sum(abs(v - shown[item]) <= 1e-7 for v in shown.values())
        rank = 1 + better + 0.5 * (same - 1)
        out[row] = 1 / math.log2(rank + 1) if rank <= k else 0.0
    return out


@pytest.mark.parametrize("scope", ["scene", "overall"])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_item_knn_with_recency_matches_a_slow_evaluation(scope: str, exclude_seen: bool, data: Any) -> None:
    model = ps.models.ItemKNN(data.schema, scope=scope, recency=0.6)
    ps.Trainer().fit(model, data)
    result = ps.evaluate(model, data.test, k=[5], exclude_seen=exclude_seen)
    expected = slow_values(data, scope, 0.6, exclude_seen, 5)
    users = result.per_user
    assert dict(zip(users.facts["row"].tolist(), users.values["ndcg@5"].tolist(), strict=True)) == pytest.approx(
        expected
    )
    assert result.overall["ndcg@5"] == pytest.approx(np.mean(list(expected.values())))
    assert result.extra["repeated"] == len(data.test) - len(expected)
    scenes = data.test.scenes().tolist()
    for name, row, here, there in zip(
        users.scene, users.facts["row"], users.facts["known_here"], users.facts["known_elsewhere"], strict=True
    ):
        past = past_of(data, int(row))
        assert name == data.schema.scenes[scenes[row]]
        assert here == sum(where == scenes[row] for _, where in past) and here + there == len(past)
    ids = data.test.columns.ids[0].list()
    codes = data.test.columns.codes[data.test.rows, 0].tolist()
    assert [ids[codes[row]] for row in users.facts["row"]] == list(users.user)


@pytest.mark.parametrize("scope", ["scene", "overall"])
def test_item_knn_with_nearness_matches_a_slow_evaluation(scope: str, data: Any) -> None:
    options = {"shrink": 1.5, "nearness": 0.7} | ({"elsewhere": 0.3} if scope == "overall" else {})
    model = ps.models.ItemKNN(data.schema, scope=scope, recency=0.8, **options)
    ps.Trainer().fit(model, data)
    users = ps.evaluate(model, data.test, k=[5]).per_user
    given = dict(zip(users.facts["row"].tolist(), users.values["ndcg@5"].tolist(), strict=True))
    assert given == pytest.approx(slow_values(data, scope, 0.8, True, 5, **options))
    assert given != pytest.approx(slow_values(data, scope, 0.8, True, 5, shrink=1.5))


def test_nearness_of_almost_one_is_that_of_pairs(data: Any) -> None:
    batch = data.test.batch(torch.arange(6), history=1000)
    out = []
    for nearness in (1.0, 1 - 1e-9):  # from sets of pairs, from events in their order
        model = ps.models.ItemKNN(data.schema, scope="overall", nearness=nearness)
        ps.Trainer().fit(model, data)
        out.append(model(batch))
    torch.testing.assert_close(out[0], out[1])


def test_events_elsewhere_that_count_nothing(data: Any) -> None:
    batch = data.test.batch(torch.arange(len(data.test)), history=1000)
    model = ps.models.ItemKNN(data.schema, scope="overall", elsewhere=0.0)
    ps.Trainer().fit(model, data)
    first = model(batch)
    everywhere = ps.models.ItemKNN(data.schema, scope="overall")
    ps.Trainer().fit(everywhere, data)
    assert not torch.equal(first, everywhere(batch))
    alone = [data.test.batch(torch.tensor([row]), history=1000) for row in range(len(data.test))]
    here = [row for row, each in enumerate(alone) if bool((each.history.scene == each.scene).all())]
    assert here  # without events elsewhere both are the same
    torch.testing.assert_close(first[here], everywhere(batch)[here])


def test_forward_is_what_is_ranked(data: Any) -> None:
    for model in (ps.models.ItemKNN(data.schema, recency=0.5), ps.models.Popularity(data.schema)):
        ps.Trainer().fit(model, data)
        batch = data.test.batch(torch.arange(6))
        out = model(batch)
        for b in range(6):
            one = model(batch.take([b]))
            assert torch.equal(out[b, : one.shape[1]], one[0]) and (out[b, one.shape[1] :] == -np.inf).all()
        counts = data.train.history.interactions()
        assert out.shape[1] == max(len(counts.scene(int(s)).candidates) for s in batch.scene)


def test_popularity_of_a_sequence_counts_users(data: Any) -> None:
    model = ps.models.Popularity(data.schema)
    ps.Trainer().fit(model, data)
    batch = data.train.batch(torch.arange(len(data.train)))
    scene = int(data.test.batch(torch.tensor([0])).scene)
    candidates = data.train.history.interactions().scene(scene).candidates.tolist()
    scores = model(data.test.batch(torch.tensor([0])))[0].tolist()
    for item, score in zip(candidates, scores, strict=True):
        users = {
            u
            for u, i, s in zip(batch.user.tolist(), batch.item.tolist(), batch.scene.tolist(), strict=True)
            if i == item and s == scene
        }
        assert int(score) == len(users)


def test_sampled_candidates_do_not_hold_the_past(data: Any) -> None:
    model = ps.models.ItemKNN(data.schema)
    ps.Trainer().fit(model, data)
    sampled = ps.evaluate(model, data.test, metrics=["hit@3"], candidates=3, seed=1)
    assert sampled.overall == ps.evaluate(model, data.test, metrics=["hit@3"], candidates=3, seed=1).overall
    assert sampled.overall["hit@3"] > ps.evaluate(model, data.test, metrics=["hit@3"]).overall["hit@3"]


class Last(ps.Model):
    """Wants the neighbour in number of the last event's item: a model written in Python."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.shift = torch.nn.Parameter(torch.zeros(()))

    @property
    def history_length(self) -> int:
        return 4

    def forward(self, batch: Any) -> torch.Tensor:
        scene = int(batch.scene[0])
        items = self.items[scene]
        ends = batch.history.offsets[1:] - 1
        last = batch.history.item[ends.clamp_min(0)].long()
        return -(items[None, :] - last[:, None] - 1 - self.shift).abs().float()

    def loss(self, batch: Any) -> torch.Tensor:
        assert batch.next_item.numel() == batch.history.item.numel()
        return (batch.next_item - batch.history.item - self.shift).square().mean()

    def prepare(self, train: Any) -> None:
        super().prepare(train)
        known = train.history.interactions()
        self.items = [known.scene(s).candidates for s in range(len(self.schema.scenes))]


def test_a_model_written_in_python_trains_and_is_ranked() -> None:
    data = ps.testing.tiny_data("sequence")
    model = Last(data.schema)
    history = ps.Trainer(lr=0.1, epochs=2, batch_size=16).fit(model, data)
    assert len(history) == 2 and model.shift.item() != 0
    result = ps.evaluate(model, data.test, k=[3])
    assert result.per_user.values["ndcg@3"].shape == (40,)


def test_predictions_are_the_scores_of_the_rows_own_items(data: Any) -> None:
    model = ps.models.ItemKNN(data.schema, scope="overall", recency=0.5)
    ps.Trainer().fit(model, data)
    scores = model.predict(data.test)
    out = model(data.test.batch(torch.arange(len(data.test)), history=1000))
    for row, score in enumerate(scores):
        own = data.test.batch(torch.tensor([row]))
        candidates = data.train.history.interactions().scene(int(own.scene)).candidates.tolist()
        wanted = int(own.item)
        raw = float(out[row, candidates.index(wanted)]) if wanted in candidates else -math.inf
        assert score == pytest.approx(raw, rel=1e-5) or score == pytest.approx(1 / (1 + math.exp(-raw)), rel=1e-5)


def test_options_that_do_not_fit_are_told(data: Any) -> None:
    with pytest.raises(ValueError, match=r"ItemKNN: recency must lie in \(0, 1\], got 0"):
        ps.models.ItemKNN(data.schema, recency=0.0)
    with pytest.raises(ValueError, match="recency weighs events in their order, which task 'sequence' alone knows"):
        ps.models.ItemKNN(ps.testing.tiny_data("ranking").schema, recency=0.5)
    with pytest.raises(ValueError, match=r"ItemKNN: nearness must lie in \(0, 1\], got 1.5"):
        ps.models.ItemKNN(data.schema, nearness=1.5)
    with pytest.raises(ValueError, match=r"ItemKNN: elsewhere must lie in \[0, 1\], got -1"):
        ps.models.ItemKNN(data.schema, scope="overall", elsewhere=-1.0)
    with pytest.raises(
        ValueError, match="elsewhere weighs what scope 'overall' alone sees, got 0.5 with scope 'scene'"
    ):
        ps.models.ItemKNN(data.schema, elsewhere=0.5)
    model = ps.models.SASRec(data.schema, dim=4)
    with pytest.raises(ValueError, match="class_weight and scene_weight weigh rows"):
        ps.Trainer(scene_weight="balanced", epochs=1).fit(model, data)
    with pytest.raises(ValueError, match="crop, mask, reorder and substitute change windows of events"):
        ranking = ps.testing.tiny_data("ranking")
        ps.Trainer(mask=0.2, epochs=1).fit(ps.models.BPRMF(ranking.schema), ranking)
    with pytest.raises(ValueError, match="substitute takes another item of the same interest"):
        ps.Trainer(substitute=0.2, epochs=1).fit(model, data)


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec"])
def test_a_model_of_one_scene_follows_the_newest_events_of_that_scene(name: str, data: Any) -> None:
    """Everywhere the same: in metrics and predictions, for recommendations, in sessions; never fewer than there are."""
    torch.manual_seed(0)
    model = ps.models.create(name, data.schema, dim=8, max_length=3, scope="scene", dropout=0.0)
    model.prepare(data.train)
    scores = []
    with torch.no_grad():
        for row in range(len(data.test)):
            batch = data.test.batch(torch.tensor([row]), history=1000)
            candidates = data.train.history.interactions().scene(int(batch.scene)).candidates.tolist()
            known = int(batch.item) in candidates
            scores.append(model.eval()(batch)[0, candidates.index(int(batch.item))].item() if known else -math.inf)
    past = [past_of(data, row) for row in range(len(data.test))]
    scenes = data.test.scenes().tolist()
    assert any(sum(where == scenes[r] for _, where in each[-3:]) < 3 for r, each in enumerate(past))
    given = model.predict(data.test)
    np.testing.assert_allclose(given, 1 / (1 + np.exp(-np.array(scores))), rtol=1e-5)
    # The rank of the wanted item says the same.
    users = ps.evaluate(model, data.test, k=[1000]).per_user
    for row, value in zip(users.facts["row"].tolist(), users.values["mrr@1000"].tolist(), strict=True):
        batch = data.test.batch(torch.tensor([row]), history=1000)
        scene, item = int(batch.scene), int(batch.item)
        candidates = data.train.history.interactions().scene(scene).candidates
        if item not in candidates.tolist():
            continue
        here = torch.tensor([i for i, where in past[row] if where == scene])
        with torch.no_grad():
            shown = model(batch)[0].masked_fill(torch.isin(candidates, here), -math.inf)
        assert value == pytest.approx(1 / (1 + int((shown > shown[candidates.tolist().index(item)]).sum())))
    # From training events alone, for people.
    people = [f"u{n}" for n in range(12)]
    found = [list(each) for each in model.recommend(people, k=3, scene="a").items]
    assert found == [np.ravel(model.session(each).recommend(k=3, scene="a").items).tolist() for each in people]
    ids = data.schema.categorical[0].ids
    newest = data.train.history.before(torch.tensor([ids.index(each) + 2 for each in people]), length=3)
    assert not newest.scene.eq(0).all()
