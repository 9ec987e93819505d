"""What runs, transfers and trainings of classes share, whatever the classes are of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polyscene as ps
import pytest
import torch
from polyscene import runs, transfer
from torch.nn import functional


def check_resumed(config: Path, overrides: list[str]) -> None:
    """A run that stopped after an epoch goes on to the bits of one that did not."""
    whole = runs.resolve(config, overrides)
    run = runs.execute(whole, runs.folder_for(whole, config.parent / "whole", resume=False))
    part = runs.resolve(config, [*overrides, "train.epochs=1"])
    runs.execute(part, runs.folder_for(part, config.parent / "part", resume=False))
    rest = runs.execute(whole, runs.folder_for(whole, config.parent / "part", resume=True), resume=True)
    for (name, a), (_, b) in zip(run.model.state_dict().items(), rest.model.state_dict().items(), strict=True):
        assert a.equal(b), name


def check_migrated(config: Path, classes: int) -> None:
    """A run with a transfer chooses by log loss and leaves a specialist."""
    given = ["report.html=false", "train.epochs=1", "transfer.mechanism=fine_tune", "transfer.target=c"]
    resolved = runs.resolve(config, given)
    run = runs.execute(resolved, runs.folder_for(resolved, config.parent / "moved", resume=False))
    assert run.result.transfer is not None and run.result.transfer["metric"] == "log_loss"
    assert run.model.name == "specialist" and run.model.predict(run.data.test).shape == (len(run.data.test), classes)


def check_distillation(student: ps.Model, teachers: list[ps.Model], data: Any) -> None:
    """Soft labels are those of all classes at a temperature, weighed by teacher."""
    batch = ps.testing.batch(data, 32)
    taught = transfer.Distilled(student, teachers, temperature=3.0, weights=[0.25, 0.75])
    p = 0.25 * (teachers[0](batch) / 3).softmax(1) + 0.75 * (teachers[1](batch) / 3).softmax(1)
    expected = 9 * functional.kl_div((student(batch) / 3).log_softmax(1), p.detach(), reduction="batchmean")
    torch.testing.assert_close(taught.soft_loss(batch), expected)


def check_pseudo_labels(model: ps.Model, table: Any, threshold: float) -> None:
    """Rows count with their likeliest class where it is sure, and only there."""
    taught = transfer.PseudoLabelled(model, table, threshold=threshold, weight=1.0, ramp=1, rows=len(table), seed=0)
    batch = table.batch(torch.arange(len(table)))
    logits = model(batch)
    best, guess = logits.softmax(1).max(1)
    assert 0 < int((best >= threshold).sum()) < len(table)
    expected = (functional.cross_entropy(logits, guess, reduction="none") * (best >= threshold)).mean()
    torch.testing.assert_close(taught._impl.unlabelled_loss(batch), expected)


def check_added_losses(model: ps.Model, data: Any) -> None:
    """Alignment and a mean teacher add to the model's own loss; the teacher answers for all classes."""
    batch = ps.testing.batch(data, 32)
    own = model.loss(batch)
    for kind in ("dann", "mmd", "coral"):
        assert transfer.Aligned(copy.deepcopy(model), data.train, kind=kind, strength=0.0).loss(batch) == own
        found = transfer.Aligned(copy.deepcopy(model), data.train, kind=kind, strength=1.0, ramp=1).loss(batch)
        assert found.isfinite() and found != own
    taught = transfer.MeanTeacher(copy.deepcopy(model), data.valid, weight=1.0, ramp=1)
    torch.testing.assert_close(taught.loss(batch), own)  # student and teacher are the same at the start
    ps.Trainer(epochs=2, lr=0.05).fit(taught, data)
    assert taught.averaged().predict(data.test).shape == (len(data.test), 3)


def check_learning(fit: Callable[[], tuple[Any, Any]], data: Any, least: float) -> None:
    """Two trainings of one seed learn to the same bits, and `evaluate` measures what `predict` says."""
    (model, history), (again, _) = fit(), fit()
    assert history[-1]["train_loss"] < history[0]["train_loss"] and "f1" in history[0]["valid"]
    result = ps.evaluate(model, data.test)
    p = model.predict(data.test)
    assert result.overall["accuracy"] == pytest.approx((p.argmax(1) == data.test.labels().numpy()).mean())
    assert result.overall["accuracy"] > least
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
