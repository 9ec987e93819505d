"""The trainer among other code: what it refuses, what it gives back, how it ends when something else fails."""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polyscene as ps
import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data(seed=1)


def made(data: Any, **options: Any) -> ps.Model:
    ps.seed_everything(5)
    return ps.models.MF(data.schema, dim=4, **options)


def trainer(**options: Any) -> ps.Trainer:
    return ps.Trainer(**({"epochs": 4, "patience": 0, "lr": 0.05, "batch_size": 64, "seed": 3, "threads": 1} | options))


def weights(model: ps.Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless(history: list[dict[str, Any]]) -> list[str]:
    """Texts, for a nan is as good as another."""
    return [repr({key: value for key, value in row.items() if key not in ("seconds", "rows_per_s")}) for row in history]


class Phased(ps.Model):
    """Two stages: all of it on two scenes, then the tables alone on the third, slowly; dropout in both."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.user = nn.Embedding(schema.categorical[schema.field(schema.user)].rows, 4)
        self.item = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, 4)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(4, 1)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.head(self.drop(self.user(batch.user) * self.item(batch.item))).squeeze(1)

    def phases(self) -> list[Any]:
        first = ps.models.Phase(name="sources", scenes=["phone", "tablet"], epochs=3)
        return [first, ps.models.Phase(name="target", scenes=["television"], frozen=["head"], lr_scale=0.5)]


class Stop(Exception):
    pass


class StopAfter:
    """Ends the run when an epoch is done."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.ended = epoch, 0

    def on_epoch(self, row: dict[str, Any]) -> None:
        if row["epoch"] == self.epoch:
            raise Stop(f"after {self.epoch}")

    def on_end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("epoch", [1, 3, 4, 6])
@pytest.mark.parametrize("kind", ["phases", "cosine", "sgd"])
def test_resume_after_any_epoch(data: Any, tmp_path: Path, kind: str, epoch: int) -> None:
    """Also at the end of a phase, whose best epoch the next one starts from."""
    options = {
        "phases": {},
        "cosine": {"schedule": "cosine", "warmup_steps": 9},
        "sgd": {"optimizer": "sgd", "momentum": 0.9},
    }
    fit = trainer(epochs=6 if kind != "phases" else 4, **options[kind]).fit

    def model() -> ps.Model:
        ps.seed_everything(5)
        return Phased(data.schema) if kind == "phases" else made(data)

    whole = model()
    history = fit(whole, data, checkpoint=tmp_path / "whole")
    assert len(history) == (7 if kind == "phases" else 6)
    stopped, callbacks = model(), StopAfter(epoch)
    with pytest.raises(Stop, match=f"after {epoch}"):
        fit(stopped, data, checkpoint=tmp_path / "c", callbacks=callbacks)
    assert callbacks.ended == 1
    again = model()
    ps.seed_everything(77)  # the generator of the process does not matter
    assert timeless(fit(again, data, checkpoint=tmp_path / "c", resume=True)) == timeless(history)
    assert equal(weights(again), weights(whole))
    if kind == "phases":
        assert [row["phase"] for row in history] == ["sources"] * 3 + ["target"] * 4


def test_exception_leaves_the_best_epoch(data: Any) -> None:
    seen: dict[int, dict[str, torch.Tensor]] = {}
    model, rows = made(data), []

    def on_epoch(row: dict[str, Any]) -> None:
        seen[row["epoch"]] = weights(model)
        rows.append(row)
        if row["epoch"] == 5:
            raise Stop

    before = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(Stop):
        trainer(epochs=9, lr=0.5, threads=2, monitor="log_loss").fit(model, data, callbacks=on_epoch)
    best = min(rows, key=lambda row: row["valid"]["log_loss"])["epoch"]
    assert best < 5 and equal(weights(model), seen[best])
    assert torch.equal(torch.get_rng_state(), before[0]) and torch.get_num_threads() == before[1]
    assert model.training and all(p.grad is None for p in model.parameters())


def test_exception_in_progress(data: Any) -> None:
    class Progress:
        def on_progress(self, *given: Any) -> None:
            raise Stop

    model = made(data)
    start = weights(model)
    with pytest.raises(Stop):
        trainer(epochs=10**6).fit(model, data, callbacks=Progress(), valid=data.valid.take(torch.arange(2)))
    assert not equal(weights(model), start)  # of an earlier epoch


@pytest.mark.parametrize("epochs", [1, 3])
def test_leaves_threads_and_generators(data: Any, epochs: int) -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    model = made(data)
    torch.set_rng_state(before[0])
    model.eval()
    trainer(epochs=epochs, threads=2).fit(model, data)
    assert torch.equal(torch.get_rng_state(), before[0]) and torch.get_num_threads() == before[1]
    assert not model.training


def test_another_number_of_threads_draws_the_same_batches(data: Any) -> None:
    class Recorder(ps.Model):
        def __init__(self, schema: Any) -> None:
            super().__init__(schema)
            self.bias = nn.Parameter(torch.zeros(1))
            self.rows: list[list[int]] = []

        def forward(self, batch: Any) -> torch.Tensor:
            if self.training:
                self.rows.append(batch.row.tolist())
            return self.bias.expand(len(batch))

    seen = []
    for threads in (1, 2):
        model = Recorder(data.schema)
        trainer(threads=threads, epochs=2).fit(model, data)
        seen.append(model.rows)
    assert seen[0] == seen[1] and len(seen[0]) == 14
    assert sorted(row for rows in seen[0][:7] for row in rows) == list(range(420))
    assert seen[0][:7] != seen[0][7:]


@pytest.mark.parametrize("callbacks", [None, lambda row: None])
def test_interrupt(data: Any, callbacks: Any) -> None:
    """Ctrl-C ends a run of epochs that are shorter than any report."""
    model = made(data)
    start = weights(model)
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        trainer(epochs=10**7).fit(model, data, callbacks=callbacks)
    assert time.monotonic() - began < 20
    timer.join()
    assert not equal(weights(model), start) and model.training


def test_other_threads_run_while_it_trains(data: Any) -> None:
    """The interpreter's lock is free, and a fit in a thread of its own is no business of signals."""
    counted, done = [0], threading.Event()

    def fit() -> None:
        trainer(epochs=200).fit(made(data), data)
        done.set()

    thread = threading.Thread(target=fit)
    thread.start()
    while not done.is_set():
        counted[0] += 1
        time.sleep(0.001)
    thread.join()
    assert counted[0] > 3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_needs_gradients(data: Any, mode: Callable[[], Any]) -> None:
    with mode(), pytest.raises(ValueError, match="fit needs gradients") as caught:
        trainer().fit(made(data), data)
    wanted = "Trainer: fit needs gradients; call it outside torch.no_grad() and torch.inference_mode()"
    assert str(caught.value) == wanted


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_refuses_a_forked_process(data: Any) -> None:
    model = made(data)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            trainer().fit(model, data)
            said = "trained"
        except ValueError as error:
            said = str(error)
        finally:
            os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        assert pipe.read() == (
            "Trainer: this process was forked after polyscene was loaded, where torch's threads do not work; "
            "start it with the 'spawn' method"
        )


@pytest.mark.usefixtures("process_group")
def test_refuses_a_wrapped_model(data: Any) -> None:
    for wrapped in (nn.parallel.DistributedDataParallel(made(data)), nn.DataParallel(made(data))):
        with pytest.raises(ValueError, match="takes the model itself") as caught:
            trainer().fit(wrapped, data)  # type: ignore[arg-type]
        assert str(caught.value) == (
            "Trainer.fit: takes the model itself, got it wrapped for parallel training; call fit(model.module, ...), "
            "or write the loop around the wrapped model with torch.optim"
        )


class Diverging(ps.Model):
    def __init__(self, schema: Any, after: int) -> None:
        super().__init__(schema)
        self.bias = nn.Parameter(torch.zeros(1))
        self.after = after

    def forward(self, batch: Any) -> torch.Tensor:
        if self.training:
            self.after -= 1
        return self.bias.expand(len(batch)) * (float("inf") if self.after < 0 else 1.0)


def test_loss_that_is_not_finite(data: Any) -> None:
    """It says where and what may help; the best epoch before it remains."""
    model, rows = Diverging(data.schema, after=9), []
    with pytest.raises(RuntimeError) as caught:
        trainer(lr=0.5).fit(model, data, callbacks=rows.append)
    assert str(caught.value) == (
        "Trainer: the loss of Diverging became nan in epoch 2, step 3; a smaller lr than 0.5 or clip_norm may help"
    )
    assert len(rows) == 1 and torch.isfinite(model.bias).all() and model.bias.item() != 0


def test_large_learning_rate_of_a_cpp_model(data: Any) -> None:
    with pytest.raises((RuntimeError, ValueError), match="not finite|became (nan|infinite)") as caught:
        trainer(lr=1e38, optimizer="sgd", epochs=20).fit(made(data), data)
    assert "\n" not in str(caught.value)


def test_validation_decides(data: Any) -> None:
    """The best epoch remains, patience ends the search, and without validation rows the last epoch remains."""
    seen = {}
    model = made(data)
    history = trainer(epochs=50, patience=3, lr=0.3).fit(
        model, data, callbacks=lambda row: seen.__setitem__(row["epoch"], weights(model))
    )
    best = max(history, key=lambda row: row["valid"]["auc"])["epoch"]
    assert history[-1]["epoch"] == best + 3 and equal(weights(model), seen[best])
    alone = made(data)
    history = trainer(epochs=2).fit(
        alone, data.train, callbacks=lambda row: seen.__setitem__(row["epoch"], weights(alone))
    )
    assert [row["best"] for row in history] == [True, True] and equal(weights(alone), seen[2])
    assert history[0]["valid"] == {}


def test_smaller_is_better(data: Any) -> None:
    history = trainer(epochs=12, lr=0.3, monitor="log_loss").fit(made(data), data)
    values = [row["valid"]["log_loss"] for row in history]
    assert [row["best"] for row in history] == [v == min(values[: i + 1]) for i, v in enumerate(values)]


def test_evaluating_in_a_callback_changes_nothing_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ps.testing.tiny_data()
    turned: list[bool] = []
    plain = ps.Model.sparse_gradients
    monkeypatch.setattr(ps.Model, "sparse_gradients", lambda self, on=True: (turned.append(on), plain(self, on))[1])
    states, turns = [], []
    for watched in (False, True):
        ps.seed_everything(3)
        model = ps.models.MF(data.schema, dim=4)

        def after(row: Any, model: ps.Model = model, watched: bool = watched) -> None:
            if watched:
                ps.evaluate(model, data.valid, ["auc"])
            turns.append(len(turned))

        before = len(turned)
        ps.Trainer(optimizer="lazy_adam", epochs=3, patience=0, batch_size=32, threads=1).fit(
            model, data, callbacks=after
        )
        assert turns[-3:] == [before] * 3  # the trainer's choice stood until it was done
        states.append(model.state_dict())
    assert all(torch.equal(states[0][path], states[1][path]) for path in states[0])
