"""Mechanisms of transfer on images: what works on logits [B, C] and on convolutions, and what says that it does not."""

from __future__ import annotations

import copy
from typing import Any

import classed
import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene import transfer
from polyscene._extension import _C
from sklearn.metrics import f1_score


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("image")


def made(data: Any, seed: int = 0, **options: Any) -> Any:
    """A model that tells images apart."""
    torch.manual_seed(seed)
    small = {"widths": [4, 16], "hidden": [16], "dropout": 0.0}
    model = ps.models.ImageClassifier(data.schema, **small | options)
    ps.Trainer(lr=0.01, epochs=3, batch_size=64, seed=seed).fit(model, data.train)
    return model


def test_distillation_is_kl_of_the_softmax(data: Any) -> None:
    classed.check_distillation(made(data), [made(data, 1), made(data, 2)], data)


def test_pseudo_labels_take_the_likeliest_class_where_it_is_sure(data: Any) -> None:
    classed.check_pseudo_labels(made(data), data.valid, 0.9)


def test_mean_teacher_and_aligned_losses_add_to_the_model_s(data: Any) -> None:
    classed.check_added_losses(made(data), data)


def test_a_teacher_sees_images_as_they_are_and_the_student_changed_ones(data: Any) -> None:
    model = made(data, shift=2, rotate=20.0)
    taught = transfer.MeanTeacher(copy.deepcopy(model), data.valid, weight=1.0, ramp=1, seed=1).train()
    torch.manual_seed(0)
    own = model.train().loss(batch := ps.testing.batch(data, 32))
    torch.manual_seed(0)
    assert taught.loss(batch) > own  # of the same weights: images alone set them apart


def test_fisher_information_is_that_of_drawn_classes(data: Any) -> None:
    model = made(data)
    found = transfer.fisher(model, data.train, batches=400, batch_size=1, seed=1)
    p = model(data.train.batch(torch.arange(len(data.train)))).softmax(1)
    expected = (p * (1 - p)).mean(0)  # of a softmax over its biases
    torch.testing.assert_close(found["output.bias"], expected, rtol=0.1, atol=0.01)
    assert found["encoder.convolutions.0.weight"].shape == (4, 1, 3, 3)


@pytest.mark.parametrize(
    "mechanism",
    [
        *("migrate", "fine_tune", "lora", "adapters", "side_tuning", "ewc", "distillation", "dann", "coral"),
        *("pseudo_labels", "mean_teacher", "uncertainty", "pcgrad", "reptile"),
    ],
)
def test_migrate_chooses_by_log_loss(data: Any, mechanism: str) -> None:
    settings = {"threshold": 0.6} if mechanism == "pseudo_labels" else {}
    model, _, verdict = transfer.migrate(
        made(data), data, mechanism=mechanism, settings=settings, trainer={"epochs": 1, "lr": 0.02, "batch_size": 64}
    )
    assert verdict["metric"] == "log_loss"
    p = model.predict(data.test)
    assert p.shape == (len(data.test), 3) and (abs(p.sum(1) - 1) < 1e-9).all()


def test_low_rank_moves_linear_layers_and_leaves_filters(data: Any) -> None:
    model = made(data)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    around = transfer.LowRank(model, rank=2)
    ps.Trainer(epochs=1, lr=0.05).fit(around, data)
    merged = dict(model.state_dict())
    assert torch.equal(merged["encoder.convolutions.1.weight"], before["encoder.convolutions.1.weight"])
    assert any(".encoder.position" in f".{name}" or "hidden" in name for name, _ in around.named_parameters())


def test_statistics_of_batch_norm_are_made_again(data: Any) -> None:
    model = made(data, norm="batch")
    ps.Trainer(epochs=1, lr=0.01).fit(model, data)
    before = model.state_dict()["encoder.norms.0.running_mean"].clone()
    assert transfer.recompute_statistics(model, transfer.rows_of(data.train, ["television"])) == 4
    assert not torch.equal(model.state_dict()["encoder.norms.0.running_mean"], before)


def test_filters_and_statistics_are_carried_and_outputs_by_their_classes(data: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (18, 8, 8)).tolist()
    rows = pa.table({"image": pixels, "label": ["cross", "other"] * 9, "scene": ["phone"] * 18})
    here = ps.read_table(train=rows, test=rows, task="image", image=["image"])
    source, target = made(data), ps.models.ImageClassifier(here.schema, widths=[4, 16], hidden=[16])
    found = _C.transfer.carry(target._native(), source._native())
    assert "output.weight" not in found.copied
    mine, theirs = target.state_dict(), source.state_dict()
    for name in ("encoder.convolutions.0.weight", "pixel_mean", "pixel_std", "hidden.linears.0.weight"):
        assert name in found.copied and torch.equal(mine[name], theirs[name])
    ps.Trainer(epochs=1).fit(target, here)
    assert torch.equal(target.state_dict()["pixel_mean"], theirs["pixel_mean"])


def test_rows_of_a_scene_keep_their_images(data: Any) -> None:
    mine = transfer.rows_of(data.train, ["tablet"])
    batch = mine.batch(torch.arange(len(mine)))
    assert (batch.scene == data.schema.scenes.index("tablet")).all()
    whole = data.train.batch(torch.arange(len(data.train)))
    own = whole.take((whole.scene == data.schema.scenes.index("tablet")).nonzero().flatten())
    assert torch.equal(batch.sequence["image"].values, own.sequence["image"].values)


def test_a_source_that_knows_the_figures_is_estimated_by_macro_f1_and_leep(data: Any) -> None:
    model = made(data)
    found = transfer.transferability(model, data.valid)
    label, p = data.valid.labels().numpy(), model.predict(data.valid)
    assert (found.metric, found.rows) == ("f1", len(data.valid))
    assert found.answer == pytest.approx(f1_score(label, p.argmax(1), average="macro"))
    assert found.probe > 0.5 and found.gain > 0.1
