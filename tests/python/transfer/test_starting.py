"""Starts: task arithmetic, learned weights, statistics recomputed, Reptile and first-order MAML."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, scramble
from polyscene.transfer import add_tasks, learn_weights, recompute_statistics, rows_of, state_of, warm_start


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(data: Any, name: str = "mf", **options: Any) -> ps.Model:
    torch.manual_seed(0)
    return scramble(ps.models.create(name, data.schema, **({"dim": 3} | options)))


def test_task_arithmetic_matches_by_hand(data: Any) -> None:
    start = state_of(make(data))
    moved = [
        {n: v + torch.randn(v.shape, generator=torch.Generator().manual_seed(i)) for n, v in start.items()}
        for i in range(2)
    ]
    found = add_tasks(start, moved, [0.5, -2.0])
    for name, value in start.items():
        want = value + 0.5 * (moved[0][name] - value) - 2.0 * (moved[1][name] - value)
        torch.testing.assert_close(found[name], want, rtol=1e-5, atol=1e-6)
    same = add_tasks(start, moved, [1.0, 0.0])
    assert all(torch.allclose(same[n], moved[0][n], rtol=1e-6, atol=1e-7) for n in same)
    with pytest.raises(ValueError, match="add_tasks: there must be a weight for each of 2 models, got 1"):
        add_tasks(start, moved, [1.0])


def test_learned_weights_find_the_better_model(data: Any) -> None:
    model = make(data)
    start = state_of(model)
    ps.Trainer(epochs=20, lr=0.05, batch_size=64, patience=0).fit(model, data.train)
    good = state_of(model)
    noise = {n: v + 0.5 * torch.randn(v.shape, generator=torch.Generator().manual_seed(3)) for n, v in start.items()}
    weights = learn_weights(model, start, [good, noise], data.train, steps=80, lr=0.05)
    assert weights[0] > 0.6 and abs(weights[1]) < 0.3
    model.load_state_dict(add_tasks(start, [good, noise], [0.5, 0.5]))
    batch = draw(model, data, 300)
    mean = model.eval().loss(batch).item()
    model.load_state_dict(add_tasks(start, [good, noise], weights))
    assert model.loss(batch).item() < mean


def test_gradient_of_the_weights_is_the_product(data: Any) -> None:
    model = make(data).double().eval()
    start = state_of(model)
    ends = [
        {
            n: v + 0.3 * torch.randn(v.shape, generator=torch.Generator().manual_seed(i)).double()
            for n, v in start.items()
        }
        for i in (1, 2)
    ]
    one = learn_weights(model, start, ends, data.train, steps=1, lr=0.01, rows=10_000)

    def loss(weights: list[float]) -> float:
        model.load_state_dict(add_tasks(start, ends, weights))
        return model.loss(data.train.batch(torch.arange(len(data.train)))).item()

    for i in range(2):
        up, down = ([0.5 + (h if j == i else 0) for j in range(2)] for h in (1e-5, -1e-5))
        slope = (loss(up) - loss(down)) / 2e-5
        assert one[i] - 0.5 == pytest.approx(-0.01 if slope > 0 else 0.01, rel=1e-3)  # Adam's first step


def test_statistics_are_those_of_the_rows() -> None:
    data = ps.testing.tiny_data(bare=True)
    model = make(data, "wide_deep", hidden=[5], norm="batch")
    wanted = ps.models.create("wide_deep", data.schema, dim=3, hidden=[5], norm="batch")
    wanted.load_state_dict(state_of(model))
    rows = data.train
    before = state_of(model)
    assert recompute_statistics(model, rows, batch_size=len(rows)) == 2
    mean, var = (dict(model.named_buffers())[f"deep.layer0_running_{k}"] for k in ("mean", "var"))
    assert not torch.allclose(mean, before["deep.layer0_running_mean"])
    # One batch of all rows: what the norm itself would see, mean and unbiased variance.
    batch = rows.batch(torch.arange(len(rows)))
    slots = [wanted.embedding.weight[code.long() + begin] for code, begin in columns(wanted, batch)]
    scene = wanted.scene_embedding[batch.scene] if "scene_embedding" in before else None
    x = torch.cat([*slots, *([scene] if scene is not None else []), batch.numeric], 1)
    z = x @ wanted.deep.layer0_weight[0, 0].T
    torch.testing.assert_close(mean.flatten(), z.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(var.flatten(), z.var(0), rtol=1e-4, atol=1e-5)
    others = [name for name in before if "running" not in name]
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in others)
    assert recompute_statistics(make(data), rows) == 0


def columns(model: ps.Model, batch: Any) -> list[tuple[torch.Tensor, int]]:
    out, begin = [], 0
    for f, field in enumerate(model.schema.categorical):
        out.append((batch.categorical[:, f], begin))
        begin += field.rows
    return out


def test_scene_without_rows_keeps_its_statistics(data: Any) -> None:
    model = make(data, "shared_bottom", bottom=[5], tower=[4], norm="batch")
    before = state_of(model)
    recompute_statistics(model, rows_of(data.train, ["phone"]))
    now = model.state_dict()["towers.layer0_running_mean"]
    assert torch.equal(now[1:], before["towers.layer0_running_mean"][1:])
    assert not torch.allclose(now[0], before["towers.layer0_running_mean"][0])


def tasks(data: Any) -> list[Any]:
    return [rows_of(data.train, [scene]) for scene in data.schema.scenes]


def test_reptile_goes_a_share_of_the_way(data: Any) -> None:
    # A task of one row twice: whatever is drawn, the step is the same, and can be made by hand.
    model = make(data).double()
    row = tasks(data)[0].take(torch.tensor([0, 0]))
    start = state_of(model)
    history = warm_start(model, [row, row], rounds=1, inner_steps=2, inner_lr=0.1, outer_lr=0.25, rows=5)
    moved = state_of(model)
    model.load_state_dict(start)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss = model.loss(row.batch(torch.tensor([0])))
        loss.backward()
        optimizer.step()
    assert history == [pytest.approx(loss.item())]
    for name, value in state_of(model).items():
        torch.testing.assert_close(moved[name], start[name] + 0.25 * (value - start[name]))


def test_fomaml_takes_the_gradient_behind_the_inner_steps(data: Any) -> None:
    model = make(data).double()
    row = tasks(data)[0].take(torch.tensor([0, 0]))
    start = state_of(model)
    options = {"kind": "fomaml", "rounds": 1, "inner_steps": 1, "inner_lr": 0.1, "outer_lr": 1e-3}
    warm_start(model, [row], rows=3, **options)
    moved = state_of(model)
    model.load_state_dict(start)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.loss(row.batch(torch.tensor([0]))).backward()
    optimizer.step()
    optimizer.zero_grad()
    model.loss(row.batch(torch.tensor([0]))).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.load_state_dict(start)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for name, parameter in model.named_parameters():
        parameter.grad = gradients[name]
    adam.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(moved[name], value)


@pytest.mark.parametrize("kind", ["reptile", "fomaml"])
def test_a_few_steps_lead_further_from_a_warm_start(kind: str, data: Any) -> None:
    lost = []
    for warm in (False, True):
        model = make(data, dim=4)
        if warm:
            options = {"outer_lr": 0.5 if kind == "reptile" else 0.02, "inner_lr": 0.5, "rows": 128}
            history = warm_start(model, tasks(data)[:2], kind=kind, rounds=40, inner_steps=3, **options)
            assert sum(history[-5:]) < sum(history[:5])
        ps.Trainer(epochs=1, lr=0.01, batch_size=64, patience=0).fit(model, rows_of(data.train, ["television"]))
        lost.append(model.eval().loss(draw(model, data, 300)).item())
    assert lost[1] < lost[0]


def test_outer_only_parameters_rest_within_a_task(data: Any) -> None:
    model = make(data)
    start = state_of(model)
    kwargs = {"kind": "fomaml", "rounds": 1, "inner_steps": 2, "outer_lr": 1e-3, "seed": 1}
    warm_start(model, tasks(data), outer_only=["user", "item"], **kwargs)
    assert not torch.equal(model.state_dict()["user.weight"], start["user.weight"])
    with pytest.raises(ValueError, match="warm_start: outer_only is for fomaml"):
        warm_start(model, tasks(data), outer_only=["user"])


def test_tasks_that_do_not_fit_are_told(data: Any) -> None:
    model = make(data)
    with pytest.raises(ValueError, match="warm_start: a task must have two rows, task 1 has 1"):
        warm_start(model, [data.train, data.train.take(torch.tensor([0]))])
    with pytest.raises(ValueError, match="warm_start: kind must be one of reptile, fomaml, got 'maml'"):
        warm_start(model, [data.train], kind="maml")
    with pytest.raises(ValueError, match="warm_start: there must be a task, got none"):
        warm_start(model, [])


def test_buffers_and_seed(data: Any) -> None:
    states = []
    for _ in range(2):
        model = make(data, "shared_bottom", bottom=[5], tower=[4], norm="batch")
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        warm_start(model, tasks(data), rounds=3, seed=5)
        assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
