"""Models whose tables hold 8-bit rows: the same arithmetic on rounded rows, a quarter of the memory, no training."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from every_model import draw, every_model, make, scramble
from polyscene._extension import _C

FOLDER = Path(os.environ.get("POLYSCENE_TEST_DATA", "")) / "ml-100k"


def rounded(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers and scales, by numpy."""
    rows = rows.astype(np.float32)
    scale = np.abs(rows).max(1) / np.float32(127)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.where(scale[:, None] > 0, np.rint(rows / scale[:, None]), 0)
    return whole.astype(np.int8), scale


@pytest.mark.parametrize("width", [1, 8, 16, 33])
def test_packing_is_what_numpy_does(width):
    draw = np.random.default_rng(width)
    rows = (draw.normal(0, 1, (700, width)) * 10.0 ** draw.integers(-6, 4, (700, 1))).astype(np.float32)
    rows[5] = 0
    packed = _C.models.pack_int8(torch.from_numpy(rows))
    whole, scale = rounded(rows)
    assert packed.dtype == torch.int8 and packed.shape == (700, width + 4)
    assert np.array_equal(packed[:, :width].numpy(), whole)
    assert np.array_equal(packed[:, width:].contiguous().view(torch.float32).squeeze(1).numpy(), scale)
    exact = whole.astype(np.float32) * scale[:, None]
    found = _C.models.unpack_int8(packed)
    assert found.dtype == torch.float32 and np.array_equal(found.numpy(), exact)
    assert (np.abs(exact - rows) <= 0.5001 * scale[:, None]).all()
    assert (np.abs(whole).max(1)[scale > 0] == 127).all()
    again = _C.models.unpack_int8(packed.view(7, 100, width + 4))
    assert np.array_equal(again.numpy(), exact.reshape(7, 100, width))


def test_what_cannot_be_packed_is_refused():
    rows = torch.ones(4, 8)
    rows[2, 3] = float("nan")
    with pytest.raises(ValueError, match="pack_int8: row 2 holds nan or infinity"):
        _C.models.pack_int8(rows)
    with pytest.raises(ValueError, match=r"pack_int8: rows must be floats \[V, D\]"):
        _C.models.pack_int8(torch.ones(4))


@every_model
def test_computes_with_the_rounded_rows(name: str, data: Any) -> None:
    """As the float model does when its tables are rounded beforehand."""
    model = scramble(make(name, data)).eval()
    if not _C.models.int8_tables(model._impl):
        with pytest.raises(ValueError, match=f"quantize: {name} has no embedding table of width 8 or more"):
            ps.quantize(model)
        return
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = ps.quantize(model)
    assert ps.is_quantized(small) and not ps.is_quantized(model) and not small.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    like = copy.deepcopy(model)
    for key, table in like.named_parameters():
        if small.state_dict()[key].dtype == torch.int8:
            whole, scale = rounded(before[key].numpy())
            table.data.copy_(torch.from_numpy(whole.astype(np.float32) * scale[:, None]))
            assert not torch.equal(table, model.state_dict()[key])
    batch = draw(model, data, 40)
    with torch.no_grad():
        torch.testing.assert_close(small(batch), like(batch), rtol=1e-6, atol=1e-6)
        assert not torch.equal(small(batch), model(batch))
    np.testing.assert_allclose(small.predict(data.test), like.predict(data.test), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mf", "shared_bottom"])
def test_rows_of_the_past_are_rounded_too(name: str, data: Any) -> None:
    model = scramble(ps.models.create(name, data.schema, dim=8, history=4)).eval()
    model.prepare(data.train)
    small = ps.quantize(model)
    assert small.state_dict()["past.item.weight"].dtype == torch.int8
    batch = data.train.batch(torch.arange(40), history=4)
    with torch.no_grad():
        assert not torch.equal(small(batch), model(batch))
        torch.testing.assert_close(small(batch), model(batch), rtol=0.05, atol=0.05)
        bare = data.train.batch(torch.arange(40), history=0)
        assert small(bare).dtype == torch.float32


def test_an_index_outside_its_field_is_named(data):
    small = ps.quantize(ps.models.SharedBottom(data.schema))
    batch = ps.testing.batch(data, 10)
    batch.categorical[3, 1] = 10_000
    with pytest.raises(IndexError, match=r"lookup: field '.*' has rows 0\.\..*, got 10000 in batch row"):
        small(batch)


@pytest.mark.parametrize("name", ["mf", "shared_bottom", "scene_branch", "interest_migration"])
def test_is_saved_copied_and_exported_as_any_model(name, data, tmp_path):
    model = scramble(make(name, data)).eval()
    model.prepare(data.train)
    small = ps.quantize(model)
    ps.save(small, tmp_path / "small.safetensors")
    ps.save(model, tmp_path / "large.safetensors")
    batch = draw(model, data, 30)
    with torch.no_grad():
        wanted = small(batch)
        for other in (ps.load(tmp_path / "small.safetensors"), copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
            assert ps.is_quantized(other) and torch.equal(other(batch), wanted)
            assert not any(tensor.requires_grad for tensor in other.parameters())
        if name != "shared_bottom":
            torch.testing.assert_close(
                small.export_form()(*small.export_inputs(batch)), wanted, rtol=1e-5, atol=1e-5
            )  # fmt: skip
    users = [small.schema.categorical[small.schema.field("user_id")].ids[0]]
    assert small.recommend(users, k=3).items.shape == (1, 3)
    assert 0 < ps.evaluate(small, data.test).overall["auc"] < 1
    assert torch.equal(ps.load(tmp_path / "large.safetensors")(batch), model(batch))


def test_cannot_be_trained(data):
    model = ps.models.MF(data.schema, dim=16)
    small = ps.quantize(model)
    what = "mf.*hold 8-bit rows for inference; train the model that was quantised, and quantise it again"
    with pytest.raises(ValueError, match=f"Trainer: the tables of {what}"):
        ps.Trainer(epochs=1).fit(small, data)
    with pytest.raises(ValueError, match=what):
        small.train().loss(ps.testing.batch(data, 8))
    with pytest.raises(ValueError, match="quantize: mf is quantised already"):
        ps.quantize(small)
    with pytest.raises(TypeError, match=r"quantize: wanted a polyscene\.Model, got Linear"):
        ps.quantize(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


@pytest.mark.skipif(not FOLDER.exists() or FOLDER.parent == Path("."), reason="POLYSCENE_TEST_DATA holds no ml-100k")
@pytest.mark.parametrize(("name", "options"), [("mf", {"dim": 32}), ("shared_bottom", {})])
def test_costs_next_to_nothing_on_ml_100k(name, options, tmp_path):
    """AUC within 0.0005, tables of little more than a quarter."""
    data = ps.datasets.load(
        "ml-100k",
        root=FOLDER,
        scenes={"by": "age", "edges": [25, 35]},
        label={"column": "rating", "at_least": 4},
        split={"by": "random", "ratios": [8, 1, 1], "seed": 2022},
    )
    ps.seed_everything(2022)
    model = ps.models.create(name, data.schema, **options)
    ps.Trainer(lr=5e-3, epochs=3, seed=2022, batch_size=2048).fit(model, data)
    small = ps.quantize(model)
    first, second = (ps.evaluate(each, data.test, ["auc"]).overall["auc"] for each in (model, small))
    assert first > 0.7 and abs(first - second) < 5e-4
    width = 32 if name == "mf" else 16
    tables = _C.models.int8_tables(model._impl)
    bytes_of = [sum(state[key].nbytes for key in tables) for state in (model.state_dict(), small.state_dict())]
    assert bytes_of[1] / bytes_of[0] == (width + 4) / (4 * width)
