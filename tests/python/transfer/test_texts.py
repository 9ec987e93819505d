"""Mechanisms of transfer on texts: what works on logits [B, C], against plain torch, and what says that it does not."""

from __future__ import annotations

from typing import Any

import classed
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene import transfer
from polyscene._extension import _C


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("text")


def made(data: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return ps.models.TextClassifier(data.schema, encoder="mean", dim=8, hidden=[8], init_std=1.0, dropout=0.0)


def test_distillation_is_kl_of_the_softmax(data: Any) -> None:
    classed.check_distillation(made(data), [made(data, 1), made(data, 2)], data)


def test_pseudo_labels_take_the_likeliest_class_where_it_is_sure(data: Any) -> None:
    model = made(data)
    with torch.no_grad():
        model.state_dict()["output.weight"].mul_(8)
    classed.check_pseudo_labels(model, data.valid, 0.6)


def test_mean_teacher_and_aligned_losses_add_to_the_model_s(data: Any) -> None:
    classed.check_added_losses(made(data), data)


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
