"""Mechanisms of transfer on texts: what works on logits [B, C], against plain torch, and what says that it does not."""

from __future__ import annotations

import copy
from typing import Any

import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene import transfer
from polyscene._extension import _C
from torch.nn import functional


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("text")


def made(data: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return ps.models.TextClassifier(data.schema, encoder="mean", dim=8, hidden=[8], init_std=1.0, dropout=0.0)


def test_distillation_is_kl_of_the_softmax(data: Any) -> None:
    student, teachers, batch = made(data), [made(data, 1), made(data, 2)], ps.testing.batch(data, 32)
    taught = transfer.Distilled(student, teachers, temperature=3.0, weights=[0.25, 0.75])
    p = 0.25 * (teachers[0](batch) / 3).softmax(1) + 0.75 * (teachers[1](batch) / 3).softmax(1)
    expected = 9 * functional.kl_div((student(batch) / 3).log_softmax(1), p.detach(), reduction="batchmean")
    torch.testing.assert_close(taught.soft_loss(batch), expected)


def test_pseudo_labels_take_the_likeliest_class_where_it_is_sure(data: Any) -> None:
    model, table = made(data), data.valid
    with torch.no_grad():
        model.state_dict()["output.weight"].mul_(8)
    taught = transfer.PseudoLabelled(model, table, threshold=0.6, weight=1.0, ramp=1, rows=len(table), seed=0)
    rows = torch.arange(len(table))
    batch = table.batch(rows)
    logits = model(batch)
    best, guess = logits.softmax(1).max(1)
    assert 0 < int((best >= 0.6).sum()) < len(table)
    found = taught._impl.unlabelled_loss(batch)
    expected = (functional.cross_entropy(logits, guess, reduction="none") * (best >= 0.6)).mean()
    torch.testing.assert_close(found, expected)


def test_mean_teacher_and_aligned_losses_add_to_the_model_s(data: Any) -> None:
    model, batch = made(data), ps.testing.batch(data, 32)
    own = model.loss(batch)
    for kind in ("dann", "mmd", "coral"):
        assert transfer.Aligned(copy.deepcopy(model), data.train, kind=kind, strength=0.0).loss(batch) == own
        found = transfer.Aligned(copy.deepcopy(model), data.train, kind=kind, strength=1.0, ramp=1).loss(batch)
        assert found.isfinite() and found != own
    taught = transfer.MeanTeacher(copy.deepcopy(model), data.valid, weight=1.0, ramp=1)
    torch.testing.assert_close(taught.loss(batch), own)  # student and teacher are the same at the start
    ps.Trainer(epochs=2, lr=0.05).fit(taught, data)
    assert taught.averaged().predict(data.test).shape == (len(data.test), 3)


def test_fisher_information_is_that_of_drawn_classes(data: Any) -> None:
    model = made(data)
    found = transfer.fisher(model, data.train, batches=400, batch_size=1, seed=1)["output.bias"]
    order = torch.arange(len(data.train))
    p = model(data.train.batch(order)).softmax(1)
    expected = (p * (1 - p)).mean(0)  # of a softmax over its biases
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.01)


@pytest.mark.parametrize(
    "mechanism",
    [
        *("migrate", "fine_tune", "lora", "adapters", "side_tuning", "ewc", "distillation", "dann", "coral"),
        *("pseudo_labels", "mean_teacher", "uncertainty", "pcgrad", "reptile"),
    ],
)
def test_migrate_chooses_by_log_loss(data: Any, mechanism: str) -> None:
    thin = made(data)
    settings = {"threshold": 0.6} if mechanism == "pseudo_labels" else {}
    model, _, verdict = transfer.migrate(
        thin, data, mechanism=mechanism, settings=settings, trainer={"epochs": 1, "lr": 0.05, "batch_size": 64}
    )
    assert verdict["metric"] == "log_loss"
    p = model.predict(data.test)
    assert p.shape == (len(data.test), 3) and (abs(p.sum(1) - 1) < 1e-9).all()


def test_words_are_carried_by_their_names_and_outputs_by_their_classes(data: Any) -> None:
    rows = pa.table({"text": ["w3 w1 new", "w1 w3 other"] * 9, "label": ["good", "bad"] * 9, "scene": ["phone"] * 18})
    here = ps.read_table(train=rows, test=rows, task="text", text=["text"])
    source = made(data)
    target = ps.models.TextClassifier(here.schema, encoder="mean", dim=8, hidden=[8])
    found = _C.transfer.carry(target._native(), source._native())
    assert found.by_id == ["words.weight"] and "output.weight" not in found.copied
    ids = [each.schema.lists[0].ids for each in (target, source)]
    for word in ("w1", "w3"):
        mine, theirs = (list(names).index(word) + 2 for names in ids)
        assert torch.equal(target.state_dict()["words.weight"][mine], source.state_dict()["words.weight"][theirs])
    assert "hidden.linears.0.weight" in found.copied


def test_what_is_for_clicks_alone_says_so(data: Any) -> None:
    with pytest.raises(ValueError, match="transferability: made for task ctr, the data's task is 'text'"):
        transfer.transferability(made(data), data.train)
