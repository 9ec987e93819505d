"""Mechanisms of transfer on texts: what works on logits [B, C], against plain torch, and what says that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import classed
import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene import transfer
from polyscene._extension import _C
from scipy.stats import entropy
from sklearn.metrics import f1_score


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


def test_folds_keep_rows_of_a_document_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    doc = [None if n % 11 == 0 else f"d{n // 5}" for n in range(300)]
    rows = {"text": [f"w{draw.integers(9)} w{draw.integers(9)}" for _ in doc], "label": draw.integers(0, 2, 300)}
    rows |= {"scene": ["few" if n < 120 else "many" for n in range(300)], "doc": doc}
    split = {"by": "group", "column": "doc", "within": "scene", "seed": 1}
    data = ps.read_table(pa.table(rows), task="text", text=["text"], split=split)
    codes = data.group.tolist()
    assert len({(code, name) for code, name in zip(codes, doc, strict=True)}) == len(set(doc)) and -1 in codes
    data.save(tmp_path / "data")
    for again in (ps.open_data(tmp_path / "data"), data.thin("few", 0.9), data.without("many")):
        assert torch.equal(again.group, data.group)
    assert torch.equal(ps.open_data(tmp_path / "data", split={**split, "seed": 2}).group, data.group)
    assert ps.open_data(tmp_path / "data", split="random").group is None

    flow = transfer.plan(made(data), data, target="few", trainer={"epochs": 1})
    trained, refit = [], flow.stages.refit

    def kept(start: Any, rows: Any, *more: Any) -> Any:
        trained.append(set(rows.rows.tolist()))
        return refit(start, rows, *more)

    monkeypatch.setattr(flow.stages, "refit", kept)
    flow.run()
    mine, names = set(flow.rows.rows.tolist()), {row: doc[row] or row for row in range(300)}
    held = {tuple(sorted(mine - rest)) for rest in trained}
    assert len(held) == flow.folds == 4 and sorted(row for fold in held for row in fold) == sorted(mine)
    folds = [{names[row] for row in fold} for fold in held]
    assert sum(map(len, folds)) == len(set().union(*folds))  # no document in two of them
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    plain = ps.read_table(pa.table(rows), task="text", text=["text"], split={"by": "random", "seed": 1})
    together = transfer.plan(made(plain), plain, target="few", trainer={"epochs": 1}).together
    assert plain.group is None and torch.equal(together, torch.arange(len(together)))


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


def test_a_source_that_knows_the_words_is_estimated_to_be_worth_more(data: Any) -> None:
    rows, model = transfer.rows_of(data.train, ["television"]), made(data)
    before = transfer.transferability(model, rows)
    ps.Trainer(epochs=8, lr=0.05, batch_size=64, patience=0).fit(model, transfer.rows_of(data.train, ["phone"]))
    after = transfer.transferability(model, rows)
    assert (after.metric, after.rows) == ("f1", len(rows)) and after == transfer.transferability(model, rows)
    assert after.answer > before.answer and after.gain > before.gain and after.probe > 0.5
    label, p = rows.labels().numpy(), model.predict(rows)
    assert after.answer == pytest.approx(f1_score(label, p.argmax(1), average="macro"))
    assert after.leep >= after.base_rate == pytest.approx(-entropy(np.bincount(label.astype(int))))
