"""Teachers, pseudo-labels and the running mean of a model, each against loops over rows."""

from __future__ import annotations

import math
from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, scramble
from polyscene._extension import _C
from polyscene.transfer import Distilled, MeanTeacher, PseudoLabelled, prior_shift, state_of


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data()


def make(data: Any, seed: int = 1, name: str = "mf", **options: Any) -> ps.Model:
    torch.manual_seed(0)
    return scramble(ps.models.create(name, data.schema, **({"dim": 3} | options)), seed=seed)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# -- distillation ----------------------------------------------------------------------------------


def test_soft_labels_match_a_loop(data: Any) -> None:
    student, first, second = (make(data, seed).double().eval() for seed in (1, 2, 3))
    taught = Distilled(student, [first, second], temperature=2.5, share=0.3, weights=[3, 1], shifts=[0.4, -0.2])
    batch = draw(student, data, 12)
    total = 0.0
    for row in range(12):
        s, a, b = (float(model(batch)[row].detach()) for model in (student, first, second))
        target = 0.75 * sigmoid((a + 0.4) / 2.5) + 0.25 * sigmoid((b - 0.2) / 2.5)
        p = sigmoid(s / 2.5)
        total -= 2.5**2 * (target * math.log(p) + (1 - target) * math.log(1 - p)) / 12
    assert taught.soft_loss(batch).item() == pytest.approx(total, rel=1e-9)
    assert taught.loss(batch).item() == pytest.approx(0.7 * student.loss(batch).item() + 0.3 * total, rel=1e-9)
    assert torch.autograd.gradcheck(lambda *_: taught.loss(batch), list(student.parameters()))
    taught.loss(batch).backward()
    assert all(parameter.grad is None for model in (first, second) for parameter in model.parameters())


def test_ratings_and_rankings_are_distilled_too() -> None:
    data = ps.testing.tiny_data("rating")
    student, teacher = make(data, 1).eval(), make(data, 2).eval()
    batch = draw(student, data, 10)
    want = (student(batch) - teacher(batch)).square().mean()
    torch.testing.assert_close(Distilled(student, teacher).soft_loss(batch), want)
    data = ps.testing.tiny_data("ranking")
    student, teacher = (make(data, seed, "bpr_mf", negatives=3).double().eval() for seed in (1, 2))
    for model in (student, teacher):
        model.prepare(data.train)
    batch = data.train.batch(torch.arange(6), negatives=3)
    total = 0.0
    for row in range(6):
        items = torch.cat([batch.item[row : row + 1], batch.negative[row]])
        s, t = (
            model.score_items(batch.user[row : row + 1], int(batch.scene[row]), items.sort().values)[0][
                items.argsort().argsort()
            ]
            for model in (student, teacher)
        )
        p, q = (t / 2).softmax(0), (s / 2).log_softmax(0)
        total += 4 * float((p * (p.log() - q)).sum()) / 6
    assert Distilled(student, teacher, temperature=2).soft_loss(batch).item() == pytest.approx(total, rel=1e-6)


def test_share_of_nothing_is_the_model(data: Any) -> None:
    states = []
    for wrapped in (False, True):
        model = make(data)
        fitted = Distilled(model, make(data, 2), share=0) if wrapped else model
        ps.Trainer(epochs=2, lr=0.01, batch_size=64).fit(fitted, data)
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_student_comes_near_its_teacher(data: Any) -> None:
    student, teacher = make(data, 1, dim=4), make(data, 2, dim=4).eval()
    batch = draw(student, data, 300)
    before = (student.eval()(batch) - teacher(batch)).square().mean()
    ps.Trainer(epochs=30, lr=0.05, batch_size=64, patience=0).fit(Distilled(student, teacher, share=1.0), data.train)
    assert (student.eval()(batch) - teacher(batch)).square().mean() < 0.3 * before


def test_hidden_layers_are_drawn_together(data: Any) -> None:
    student = make(data, 1, "wide_deep", hidden=[5]).eval()
    teacher = make(data, 2, "wide_deep", hidden=[7]).eval()
    taught = Distilled(student, teacher, share=0, features=2.0, sample=data.train)
    batch = draw(student, data, 10)
    projection = dict(taught.named_parameters())["distilled_projection.weight"]
    distance = (student.represent(batch) @ projection.T - teacher.represent(batch)).square().mean()
    torch.testing.assert_close(taught.loss(batch), student.loss(batch) + 2 * distance)
    taught.loss(batch).backward()
    assert projection.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="Distilled: features needs a table"):
        Distilled(student, teacher, features=1.0)


def test_prior_shift_moves_the_prior() -> None:
    assert sigmoid(math.log(0.4 / 0.6) + prior_shift(0.4, 0.1)) == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"prior_shift: shares of positive labels must lie in \(0, 1\), got 0 and 0.5"):
        prior_shift(0, 0.5)


def test_teachers_that_do_not_fit_are_told(data: Any) -> None:
    model, other = make(data), make(ps.testing.tiny_data(seed=5))
    with pytest.raises(ValueError, match="Distilled: there must be a teacher, got none"):
        Distilled(model, [])
    with pytest.raises(ValueError, match="Distilled: a teacher belongs to another schema than the model"):
        Distilled(model, other)
    with pytest.raises(ValueError, match="Distilled: weights must be 1 numbers that are not negative"):
        Distilled(model, make(data, 2), weights=[1, 2])


# -- pseudo-labels ---------------------------------------------------------------------------------


def test_pseudo_labels_match_a_loop(data: Any) -> None:
    model = make(data).double()
    taught = PseudoLabelled(model, data.valid, threshold=0.51, positive_threshold=0.52)
    batch = draw(model, data, 60)
    total, kept = 0.0, []
    for s in model.eval()(batch).tolist():
        p = sigmoid(s)
        if p >= 0.52:
            total, kept = total - math.log(p) / 60, [*kept, 1]
        elif 1 - p >= 0.51:
            total, kept = total - math.log(1 - p) / 60, [*kept, 0]
    assert 0 < sum(kept) < len(kept) < 60
    assert taught.unlabelled_loss(batch).item() == pytest.approx(total, rel=1e-9)


def test_labels_of_unlabelled_rows_are_never_read(data: Any) -> None:
    model = make(data)
    taught = PseudoLabelled(model, data.valid, threshold=0.6)
    batch = draw(model, data, 30)
    before = taught.unlabelled_loss(batch).item()
    batch.label.copy_(1 - batch.label)
    assert taught.unlabelled_loss(batch).item() == before


def test_weight_rises_with_the_steps() -> None:
    for step in (0, 10, 50, 100, 200):
        want = 0.7 * math.exp(-5 * (1 - min(step / 100, 1)) ** 2)
        assert _C.transfer.ramped(0.7, step, 100) == pytest.approx(want)


@pytest.mark.parametrize("kind", [PseudoLabelled, MeanTeacher])
def test_weight_of_nothing_is_the_model(kind: Any, data: Any) -> None:
    states = []
    for wrapped in (False, True):
        model = make(data)
        ps.Trainer(epochs=2, lr=0.01, batch_size=64).fit(
            kind(model, data.valid, weight=0.0) if wrapped else model, data.train
        )
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_thresholds_that_do_not_fit_are_told(data: Any) -> None:
    with pytest.raises(ValueError, match=r"PseudoLabelled: threshold must lie in \(0.5, 1\), got 0.5"):
        PseudoLabelled(make(data), data.valid, threshold=0.5)
    with pytest.raises(
        ValueError, match="PseudoLabelled: made for task ctr, text or image, the data's task is 'rating'"
    ):
        rating = ps.testing.tiny_data("rating")
        PseudoLabelled(make(rating), rating.valid)
    with pytest.raises(ValueError, match="the table belongs to another schema than the model"):
        PseudoLabelled(make(data), ps.testing.tiny_data(seed=5).valid)


# -- mean teacher ----------------------------------------------------------------------------------


def test_teacher_follows_step_by_step(data: Any) -> None:
    model = make(data, name="wide_deep", hidden=[5], norm="batch").train()
    taught = MeanTeacher(model, data.valid, momentum=0.6, drop=0.0, weight=1.0, ramp=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mean = state_of(model)
    buffers = {name for name, _ in model.named_buffers()}
    assert any("running_mean" in name for name in buffers)
    for step in range(1, 5):
        batch = draw(model, data, 32, seed=step)
        optimizer.zero_grad()
        taught.loss(batch).backward()
        optimizer.step()
        taught.follow()
        m = min(1 - 1 / (step + 1), 0.6)
        for name, value in state_of(model).items():
            mean[name] = value if name in buffers else m * mean[name] + (1 - m) * value
    found = taught.averaged().state_dict()
    for name, value in mean.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_agreement_matches_by_hand(data: Any) -> None:
    model = make(data).eval()
    taught = MeanTeacher(model, data.valid, drop=0.0, weight=0.5, ramp=1).train()
    other = make(data, 9)
    with torch.no_grad():
        for name, parameter in taught.named_parameters():
            if name.startswith("teacher."):
                parameter.copy_(other.state_dict()[name.removeprefix("teacher.")])
    batch = draw(model, data, 20)
    apart = (taught.loss(batch) - model.loss(batch)) / (0.5 * math.exp(-5))
    assert 0 < apart.item() < 1
    taught.loss(batch).backward()
    assert all(p.grad is None for n, p in taught.named_parameters() if n.startswith("teacher."))


def test_teacher_answers_in_evaluation(data: Any) -> None:
    model = make(data)
    taught = MeanTeacher(model, data.valid, momentum=0.9)
    ps.Trainer(epochs=3, lr=0.05, batch_size=64, patience=0).fit(taught, data.train)
    batch = draw(model, data, 20)
    torch.testing.assert_close(taught.eval()(batch), taught.averaged().eval()(batch), rtol=0, atol=0)
    assert not torch.allclose(taught(batch), model.eval()(batch), atol=1e-4)


def test_same_seed_gives_the_same_bits(data: Any) -> None:
    for kind in (PseudoLabelled, MeanTeacher):
        states = []
        for threads in (1, 2):
            model = make(data)
            taught = kind(model, data.valid, seed=4)
            ps.Trainer(epochs=2, lr=0.02, batch_size=64, threads=threads).fit(taught, data)
            states.append({name: value.clone() for name, value in taught.state_dict().items()})
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
