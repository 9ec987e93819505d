"""Fusion, Fisher information, counts of lookups, and carrying parameters, through Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from polyscene.transfer import Migrated, carry, fisher, fuse, lookups, rows_of, state_of
from polyscene.transfer.fusing import Evidence, fuse_sources


def slow_fuse(initial: dict[str, Any], models: list[Any], tables: list[str]) -> dict[str, np.ndarray]:
    """Entry by entry, as the formula says."""
    out = {}
    norms = [np.sqrt(sum((f.double() ** 2).sum().item() for f in m.importance.values())) for m in models]
    for name, start in initial.items():
        result = np.empty(start.shape)
        for place in np.ndindex(*start.shape):
            shares, information, values = [], [], []
            for model, norm in zip(models, norms, strict=True):
                tensor, share = model.state[name], model.weight
                if name in tables:
                    seen = (tensor[place[0]] != start[place[0]]).any().item()
                    share *= model.rows[name][place[0]].item() if name in model.rows else float(seen)
                shares.append(share)
                information.append(share * model.importance[name][place].item() / norm if norm else 0.0)
                values.append(tensor[place].item())
            by = information if sum(information) > 0 else shares
            total = sum(by)
            result[place] = np.dot(by, values) / total if total > 0 else start[place].item()
        out[name] = result
    return out


def draw(seed: int, start: dict[str, torch.Tensor], information: bool) -> Migrated:
    generator = torch.Generator().manual_seed(seed)
    state = {name: x + torch.randn(x.shape, generator=generator) for name, x in start.items()}
    state["t"][torch.rand(6, generator=generator) < 0.5] = 0.0  # rows that were not seen
    rows = {"u": torch.randint(0, 3, (5,), generator=generator)}
    f = {name: torch.rand(x.shape, generator=generator) * (x * 0 + (seed > 1)) for name, x in start.items()}
    return Migrated(state, weight=1.0 + seed, importance=f if information else {}, rows=rows)


@pytest.mark.parametrize("information", [False, True])
def test_fuse_matches_slow_reference(information: bool) -> None:
    start = {"w": torch.ones(3, 2), "b": torch.zeros(4), "t": torch.zeros(6, 2), "u": torch.ones(5, 3)}
    models = [draw(seed, start, information) for seed in (1, 2, 3)]
    fused = fuse(start, models, ["t", "u"])
    for name, expected in slow_fuse(start, models, ["t", "u"]).items():
        np.testing.assert_allclose(fused[name].numpy(), expected, atol=1e-6)


def test_states_and_migrated_models_mix_and_errors_are_value_errors() -> None:
    start, a, b = ({"w": torch.tensor([value])} for value in (0.0, 1.0, 3.0))
    assert fuse(start, [a, Migrated(b)])["w"].item() == 2.0
    with pytest.raises(ValueError, match=r"fuse: model 0 has 'v', which the initial state lacks"):
        fuse(start, [a | {"v": torch.zeros(1)}])


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


@pytest.fixture(scope="module")
def trained(data: Any) -> tuple[ps.Model, dict[str, torch.Tensor], dict[str, tuple[Any, Any]]]:
    torch.manual_seed(0)
    model = ps.models.MF(data.schema, dim=3)
    initial, out = state_of(model), {}
    for scene in ("phone", "television"):
        rows = rows_of(data.train, [scene])
        model.load_state_dict(initial)
        ps.Trainer(epochs=3, lr=0.05, batch_size=32, optimizer="lazy_adam").fit(
            model, rows, rows_of(data.valid, [scene])
        )
        out[scene] = (state_of(model), rows)
    return model, initial, out


def test_lookups_count_rows(data: Any, trained: Any) -> None:
    model = trained[0]
    counts = lookups(model, data.train)
    users = data.train.users().numpy()
    np.testing.assert_array_equal(
        counts["user.weight"].numpy(), np.bincount(users, minlength=model.user.weight.shape[0])
    )
    sequential = ps.models.InterestMigration(data.schema, max_length=2)
    found = lookups(sequential, data.train)["embedding.weight"]
    field = data.schema.field(data.schema.item)
    offset = sum(each.rows for each in data.schema.categorical[:field])
    batch = data.train.batch(torch.arange(len(data.train)), history=2)
    expected = torch.bincount(torch.cat([batch.item, batch.history.item.long()]))
    torch.testing.assert_close(found[offset : offset + len(expected)], expected)


def test_fisher_of_a_model_of_one_scene_sees_older_events_of_it() -> None:
    data = ps.testing.tiny_data("sequence")
    model = ps.models.SASRec(data.schema, dim=8, scope="scene", max_length=1)
    model.prepare(data.train)
    past = data.test.batch(torch.arange(len(data.test)), history=1_000)
    rows = []  # whose newest event is of another scene
    for row, own in enumerate(past.scene.tolist()):
        first, last = past.history.offsets[row : row + 2].tolist()
        scenes = past.history.scene[first:last].tolist()
        if scenes and scenes[-1] != own and own in scenes:
            rows.append(int(past.row[row]))
    assert len(rows) > 10
    found = fisher(model, data.test.take(torch.tensor(rows)), batches=2, batch_size=5)
    assert found["positions"].sum() > 0  # of events that were read


def test_greedy_asks_all_rows_that_can_tell(trained: Any) -> None:
    model, initial, sources = trained
    states = {scene: state for scene, (state, _) in sources.items()}
    alone = [each["user.weight"] for each in states.values()]

    def judge(*values: float) -> Any:
        """Scores of the first, of the second, and of both together."""
        return lambda state: values[next((i for i, x in enumerate(alone) if x is state["user.weight"]), 2)]

    both = {"phone": 1.0, "television": 1.0}
    none = judge(float("nan"), float("nan"), float("nan"))  # rows of one class
    few, many = Evidence(states, judge(0.9, 0.5, 0.6), 10), Evidence(states, judge(0.5, 0.6, 0.7), 90)
    for evidence, expected in [
        ([few], {"phone": 1.0, "television": 0.0}),
        ([few, many], both),  # 0.54, 0.59 and 0.69
        ([few, Evidence(states, none, 1_000)], {"phone": 1.0, "television": 0.0}),
        ([Evidence(states, none, 10)], {"phone": 1.0, "television": 0.0}),  # nothing to tell by: the first
    ]:
        assert fuse_sources("greedy", model, initial, sources, evidence, seed=1)[1] == expected


@pytest.mark.parametrize("method", ["rows", "uniform", "fisher", "greedy"])
def test_fuse_sources(method: str, trained: Any) -> None:
    model, initial, sources = trained
    quality = {id(state): value for (state, _), value in zip(sources.values(), (0.6, 0.7), strict=True)}

    def score(state: Any) -> float:
        return quality.get(id(state), 0.65)  # the fusion is no better than the better source

    states = {scene: state for scene, (state, _) in sources.items()}
    fused, weights = fuse_sources(method, model, initial, sources, [Evidence(states, score, 10)], seed=1)
    if method == "greedy":
        assert weights == {"phone": 0.0, "television": 1.0}
        assert all(torch.equal(fused[name], states["television"][name]) for name in fused)
        return
    sizes = {scene: float(len(rows)) for scene, (_, rows) in sources.items()}
    assert weights == (sizes if method == "rows" else {"phone": 1.0, "television": 1.0})
    a, b = states["phone"]["user.weight"], states["television"]["user.weight"]
    seen = [(x != initial["user.weight"]).any(1) for x in (a, b)]
    fusion, nobody = fused["user.weight"], ~(seen[0] | seen[1])
    assert nobody[:2].all() and (seen[0] & ~seen[1]).any() and (seen[0] & seen[1]).any()
    assert torch.equal(fusion[nobody], initial["user.weight"][nobody])
    assert torch.equal(fusion[seen[0] & ~seen[1]], a[seen[0] & ~seen[1]])
    both = seen[0] & seen[1]
    if method == "uniform":
        torch.testing.assert_close(fusion[both], (a[both] + b[both]) / 2)
        torch.testing.assert_close(fused["mean"], (states["phone"]["mean"] + states["television"]["mean"]) / 2)
    if method == "rows":
        n, m = (lookups(model, rows)["user.weight"].unsqueeze(1) for _, rows in sources.values())
        torch.testing.assert_close(fusion[both], ((n * a + m * b) / (n + m))[both])
        share = sizes["phone"] / (sizes["phone"] + sizes["television"])
        expected = share * states["phone"]["mean"] + (1 - share) * states["television"]["mean"]
        torch.testing.assert_close(fused["mean"], expected)


def test_fisher_leaves_mode_and_gradients_alone(data: Any, trained: Any) -> None:
    model = trained[0]
    model.eval()
    found = fisher(model, data.train, batches=4, batch_size=16, seed=3)
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert found["mean"].item() > 0 and all((f >= 0).all() for f in found.values())
    with pytest.raises(ValueError, match="fisher: unknown option 'batch'; known options: batches, batch_size, seed"):
        fisher(model, data.train, batch=3)


def test_carry_between_schemas_follows_ids(data: Any) -> None:
    other = ps.testing.tiny_data(rows=80)  # fewer rows: some ids are missing
    torch.manual_seed(0)
    source, target = ps.models.MF(data.schema, dim=3), ps.models.MF(other.schema, dim=3)
    assert source.user.weight.shape != target.user.weight.shape
    report = carry(target, source)
    ids = [list(schema.categorical[schema.field("user_id")].ids) for schema in (data.schema, other.schema)]
    shared = [name for name in ids[1] if name in ids[0]]
    assert len(shared) > 10
    for name in shared:
        assert torch.equal(target.user.weight[ids[1].index(name) + 2], source.user.weight[ids[0].index(name) + 2])
    assert report.rows["user.weight"] == len(shared) + 2 and report.copied == ["mean"] and not report.unused
