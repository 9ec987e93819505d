"""Scenes that are to look alike, and scenes as tasks."""

from __future__ import annotations

import math
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, scramble
from polyscene._extension import _C
from polyscene.transfer import Aligned, Balanced, represented, state_of


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(data: Any, name: str = "wide_deep", **options: Any) -> ps.Model:
    torch.manual_seed(0)
    options = {"hidden": [6]} if name == "wide_deep" and not options else options
    return scramble(ps.models.create(name, data.schema, **options))


def rows_of_each(data: Any, model: ps.Model, rows: int) -> list[torch.Tensor]:
    """What is drawn in step 0: as many rows of each scene, by their own stream of numbers."""
    scene, out, number = data.train.scenes(), [], 0
    stream = _C.core.uniform(rows, 2022, "transfer rows", 0)
    for code in range(3):
        where = (scene == code).nonzero().squeeze(1)
        picked = [int(where[int(stream[number + i] * len(where))]) for i in range(rows // 3)]
        number += rows // 3
        out.append(model.represent(data.train.batch(torch.tensor(picked), history=model.history_length)))
    return out


# -- alignment -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mmd", "coral"])
@pytest.mark.parametrize("name", ["wide_deep", "mf", "shared_bottom"])
def test_alignment_is_the_mean_over_pairs_of_scenes(kind: str, name: str, data: Any) -> None:
    model = make(data, name).eval()
    aligned = Aligned(model, data.train, kind=kind, strength=0.7, rows=30)
    found = rows_of_each(data, model, 30)
    distance = ps.nn.mmd if kind == "mmd" else ps.nn.coral
    want = sum(distance(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2))) / 3
    torch.testing.assert_close(aligned.alignment(0), want, rtol=1e-4, atol=1e-6)
    batch = draw(model, data, 16)
    torch.testing.assert_close(aligned.loss(batch), model.loss(batch) + 0.7 * want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["dann", "mmd", "coral"])
def test_strength_of_nothing_is_the_model(kind: str, data: Any) -> None:
    states = []
    for wrapped in (False, True):
        model = make(data)
        fitted = Aligned(model, data.train, kind=kind, strength=0.0) if wrapped else model
        ps.Trainer(epochs=2, lr=0.01, batch_size=64).fit(fitted, data)
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_reversed_gradient_is_that_of_the_discriminator_turned_round(data: Any) -> None:
    model = make(data).double().eval()
    torch.manual_seed(1)
    aligned = Aligned(model, data.train, kind="dann", strength=0.5, rows=12, ramp=4, discriminator=[5]).double()
    aligned.train()
    model.eval()
    batch = draw(model, data, 16)
    for step in range(3):
        aligned.zero_grad()
        aligned.loss(batch).backward()
        both = {n: p.grad.clone() for n, p in aligned.named_parameters() if p.grad is not None}
        aligned.zero_grad()
        model.loss(batch).backward()
        plain = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        aligned.zero_grad()
        strength = 2 / (1 + math.exp(-10 * min(step / 4, 1))) - 1
        parts = dict(aligned.named_parameters())
        h = []
        scene, stream = data.train.scenes(), _C.core.uniform(12, 2022, "transfer rows", step)
        for code in range(3):
            where = (scene == code).nonzero().squeeze(1)
            picked = torch.tensor([int(where[int(stream[4 * code + i] * len(where))]) for i in range(4)])
            h.append(model.represent(data.train.batch(picked, history=model.history_length)))
        hidden = torch.cat(h)
        low = (hidden @ parts["aligned_discriminator.linears.0.weight"].T).add(
            parts["aligned_discriminator.linears.0.bias"]
        )
        out = low.relu() @ parts["aligned_discriminator.output.weight"].T + parts["aligned_discriminator.output.bias"]
        torch.nn.functional.cross_entropy(out, torch.arange(3).repeat_interleave(4)).backward()
        for name, parameter in aligned.named_parameters():
            if name.startswith("aligned_"):
                torch.testing.assert_close(both[name], 0.5 * parameter.grad)
            elif name in both:
                mine = parameter.grad if parameter.grad is not None else torch.zeros_like(both[name])
                torch.testing.assert_close(both[name], plain[name] - 0.5 * strength * mine)


@pytest.mark.parametrize("kind", ["mmd", "coral"])
def test_training_draws_the_scenes_together(kind: str, data: Any) -> None:
    distances = []
    for strength in (0.0, 20.0):
        model = make(data, "shared_bottom")
        aligned = Aligned(model, data.train, kind=kind, strength=strength, rows=96)
        ps.Trainer(epochs=5, lr=0.01, batch_size=64, patience=0).fit(aligned, data.train)
        x, scene = torch.from_numpy(represented(model, data.train)), data.train.scenes()
        distances.append(float(ps.nn.coral(x[scene == 0], x[scene == 1]) / x.var(0).mean() ** 2))
    assert distances[1] < distances[0]


def test_discriminator_learns_to_tell_scenes(data: Any) -> None:
    model = make(data, "shared_bottom")
    torch.manual_seed(0)
    aligned = Aligned(model, data.train, kind="dann", strength=1.0, rows=96, ramp=10**9)
    before = aligned.accuracy(10**6)
    ps.Trainer(epochs=8, lr=0.02, batch_size=64, patience=0).fit(aligned, data.train)
    assert aligned.accuracy(10**6) > max(before, 0.45)
    with pytest.raises(ValueError, match="Aligned: accuracy is that of a discriminator"):
        Aligned(model, data.train, kind="mmd").accuracy(0)


def test_resumes_to_the_same_bits(data: Any, tmp_path: Any) -> None:
    states = []
    for stops in (False, True):
        model = make(data)
        torch.manual_seed(0)
        aligned = Aligned(model, data.train, rows=30)
        options = {"lr": 0.01, "batch_size": 64, "patience": 0}
        if stops:
            file = tmp_path / "c.safetensors"

            def stop(row: Any) -> None:
                if row["epoch"] == 2:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                ps.Trainer(epochs=4, **options).fit(aligned, data.train, callbacks=stop, checkpoint=file)
            aligned = Aligned(make(data), data.train, rows=30)
            ps.Trainer(epochs=4, **options).fit(aligned, data.train, checkpoint=file, resume=True)
        else:
            ps.Trainer(epochs=4, **options).fit(aligned, data.train)
        states.append({name: value.clone() for name, value in aligned.state_dict().items()})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_cannot_be_aligned_is_told(data: Any) -> None:
    one = ps.transfer.rows_of(data.train, ["phone"])
    with pytest.raises(ValueError, match="Aligned: the table must have rows of several scenes, it has those of 1"):
        Aligned(make(data), one)
    with pytest.raises(ValueError, match=r"Aligned: kind must be one of dann, mmd, coral, got 'coralle'.*coral"):
        Aligned(make(data), data.train, kind="coralle")
    with pytest.raises(ValueError, match="popularity: has no hidden layer in front of its head"):
        Aligned(ps.models.Popularity(data.schema), data.train)


# -- balance ---------------------------------------------------------------------------------------


def test_uncertainty_matches_the_equation(data: Any) -> None:
    model = make(data, "mf", dim=3).double().eval()
    balanced = Balanced(model).double()
    batch = draw(model, data, 40)
    torch.testing.assert_close(balanced.loss(batch), model.loss(batch))
    with torch.no_grad():
        t = dict(balanced.named_parameters())["balanced_log_variance"].copy_(torch.tensor([0.3, -0.5, 9.0]))
    want = 0.0
    for scene, value in enumerate([0.3, -0.5, 5.0]):
        rows = (batch.scene == scene).nonzero().squeeze(1)
        lost = model.loss(batch.take(rows)).item()
        want += len(rows) / 40 * (math.exp(-value) * lost + value / 2)
    assert balanced.loss(batch).item() == pytest.approx(want, rel=1e-9)
    assert balanced.variances()["phone"] == pytest.approx(math.exp(0.3))
    with torch.no_grad():
        t[2] = 0.1
    assert torch.autograd.gradcheck(lambda *_: balanced.loss(batch), list(balanced.parameters()))


def test_projection_of_conflicts() -> None:
    project = _C.transfer.project_conflicts
    first, second = project([torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])], [[1], [0]])
    assert first.tolist() == [0.5, 0.5] and second.tolist() == [0.0, 1.0]
    along = [torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]), torch.zeros(2)]
    assert all(torch.equal(a, b) for a, b in zip(project(along, [[1, 2], [2, 0], [0, 1]]), along, strict=True))
    g = [torch.randn(5, generator=torch.Generator().manual_seed(i)).double() for i in range(4)]
    orders = [[2, 3, 1], [0, 3, 2], [3, 1, 0], [1, 0, 2]]
    for mine, order, start in zip(project(g, orders), orders, g, strict=True):
        by_hand = start.clone()
        for j in order:
            along = float((by_hand * g[j]).sum())
            if along < 0:
                by_hand = by_hand - along / float((g[j] ** 2).sum()) * g[j]
        torch.testing.assert_close(mine, by_hand)


def test_pcgrad_projects_shared_parameters_alone(data: Any) -> None:
    model = make(data, "shared_bottom").double().eval()
    balanced = Balanced(model, kind="pcgrad", seed=5).train()
    model.eval()
    batch = draw(model, data, 60)
    balanced.loss(batch).backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters()}
    gradients = []
    for scene in range(3):
        rows = (batch.scene == scene).nonzero().squeeze(1)
        model.zero_grad()
        (model.loss(batch.take(rows)) * len(rows) / 60).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    tables = model.table_parameters()
    shared = [n for n in found if n not in tables and not n.startswith("towers.")]
    flat = [torch.cat([each[n].flatten() for n in shared]) for each in gradients]
    orders = []
    for i in range(3):
        order = _C.core.permutation(3, 5, "pcgrad order", i)
        orders.append([int(j) for j in order if int(j) != i])
    want = sum(_C.transfer.project_conflicts(flat, orders))
    torch.testing.assert_close(torch.cat([found[n].flatten() for n in shared]), want)
    for name in set(found) - set(shared):
        torch.testing.assert_close(found[name], sum(each[name] for each in gradients))


@pytest.mark.parametrize("kind", ["uncertainty", "pcgrad"])
def test_balanced_models_train(kind: str, data: Any) -> None:
    model = make(data, "shared_bottom")
    batch = draw(model, data, 300)
    before = model.eval().loss(batch).item()
    balanced = Balanced(model, kind=kind)
    ps.Trainer(epochs=4, lr=0.01, batch_size=64, patience=0).fit(balanced, data.train)
    assert model.eval().loss(batch).item() < before
    if kind == "uncertainty":
        assert any(value != 1 for value in balanced.variances().values())
    else:
        assert balanced.variances() == {}


def test_what_cannot_be_balanced_is_told(data: Any) -> None:
    with pytest.raises(ValueError, match="Balanced: kind must be one of uncertainty, pcgrad, got 'pc'"):
        Balanced(make(data), kind="pc")
    with pytest.raises(ValueError, match="Balanced: shared must be names or prefixes of parameters, got 'depp'"):
        Balanced(make(data), kind="pcgrad", shared=["depp"])
