"""Model files and compiled data sets as other tools and later versions see them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import safetensors
import safetensors.torch
import torch
from polyscene._extension import _C
from polyscene.saving import read
from torch import nn

SAMPLES = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data(seed=2)


@pytest.fixture(scope="module")
def model(data: Any) -> ps.Model:
    ps.seed_everything(1)
    out = ps.models.InterestMigration(data.schema, dim=4, hidden=4, max_length=3, mlp=[4])
    ps.Trainer(epochs=1, batch_size=128, threads=1).fit(out, data)
    return out.eval()


def test_python_reads_what_cpp_wrote(model: ps.Model, tmp_path: Path) -> None:
    ps.save(model, tmp_path / "m.safetensors", {"note": 'grüße "x" \\ \n'})
    tensors = safetensors.torch.load_file(tmp_path / "m.safetensors")
    mine = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    assert mine.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in mine.items())
    with safetensors.safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt" and metadata["model"] == "interest_migration"
    assert metadata["note"] == 'grüße "x" \\ \n'
    assert json.loads(metadata["options"]) == model.options
    assert metadata["polyscene_format"] == "1" and metadata["polyscene_version"] == ps.__version__
    assert not any(ident in json.dumps(metadata) for ident in ("u17", "i29"))  # vocabularies are tensors


def test_cpp_reads_what_python_wrote(model: ps.Model, data: Any, tmp_path: Path) -> None:
    """Also in another order of tensors, whose data then starts anywhere."""
    ps.save(model, tmp_path / "m.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "m.safetensors")
    with safetensors.safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(dict(reversed(tensors.items())), tmp_path / "p.safetensors", metadata)
    batch = ps.testing.batch(data, 50)
    assert torch.equal(ps.load(tmp_path / "p.safetensors")(batch), model(batch))


def test_every_type(tmp_path: Path) -> None:
    """Through both libraries and back, bit for bit; scalars and empty tensors too."""
    draw = torch.Generator().manual_seed(0)
    tensors = {
        str(dtype): torch.randint(0, 2, (3, 5), generator=draw).to(dtype)
        for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    }
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        tensors[str(dtype)] = torch.randn(2, 3, generator=draw).to(dtype)
    tensors |= {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4), "view": torch.arange(12).view(3, 4).t()}
    _C.core.write_safetensors(str(tmp_path / "a"), tensors, {"a": "b"})
    by_python = safetensors.torch.load_file(tmp_path / "a")
    safetensors.torch.save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "b", {"a": "b"})
    for name, found in {"python": by_python, "cpp": _C.core.read_safetensors(str(tmp_path / "b"))[0]}.items():
        assert found.keys() == tensors.keys(), name
        for key, tensor in tensors.items():
            assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor), (name, key)
    assert _C.core.read_safetensors(str(tmp_path / "b"))[1] == {"a": "b"}


class Tied(ps.Model):
    """One table under two names."""

    def __init__(self, schema: Any, *, dim: int = 3) -> None:
        super().__init__(schema)
        self.table = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, dim)
        self.again = nn.Embedding(self.table.num_embeddings, dim)
        self.again.weight = self.table.weight
        self.dim = dim

    def forward(self, batch: Any) -> torch.Tensor:
        return (self.table(batch.item) * self.again(batch.item)).sum(1)


def test_tied_tensors(data: Any, tmp_path: Path) -> None:
    """Stored once; tied again when loaded, in Python as in C++."""
    ps.models.register("tied_tables", Tied)
    model = ps.models.create("tied_tables", data.schema, dim=4)
    ps.save(model, tmp_path / "m.safetensors")
    stored = [name for name in safetensors.torch.load_file(tmp_path / "m.safetensors") if name.startswith("model.")]
    assert stored == ["model.again.weight"]
    found = read(tmp_path / "m.safetensors")["state"]
    assert torch.equal(found["table.weight"], model.table.weight) and len(found) == 2
    loaded = ps.load(tmp_path / "m.safetensors")
    assert loaded.table.weight is loaded.again.weight and loaded.options == {"dim": 4}
    batch = ps.testing.batch(data, 20)
    assert torch.equal(loaded(batch), model(batch))


def test_float64(model: ps.Model, data: Any, tmp_path: Path) -> None:
    double = ps.models.MF(data.schema, dim=3).double().eval()
    ps.save(double, tmp_path / "m.safetensors")
    batch = ps.testing.batch(data, 20)
    out = ps.load(tmp_path / "m.safetensors")(batch)
    assert out.dtype == torch.float64 and torch.equal(out, double(batch))


def test_model_of_the_first_format(tmp_path: Path) -> None:
    """A file of version 1 opens, predicts and recommends what it did."""
    expected = json.loads((SAMPLES / "expected_v1.json").read_text())
    model = ps.load(SAMPLES / "model_v1.safetensors")
    assert (model.name, model.options) == ("logistic", expected["options"])
    assert model.schema.digest == expected["schema_digest"]
    np.testing.assert_allclose(model.predict(SAMPLES / "rows_v1.csv"), expected["scores"], rtol=1e-6)
    assert model.recommend(["003", "007"], k=3).items.tolist() == expected["recommended"]
    assert read(SAMPLES / "model_v1.safetensors")["metadata"]["threshold"] == "0.4"


def test_data_of_the_first_format(tmp_path: Path) -> None:
    """A folder of version 1 opens with the same rows, the same schema and the same batches."""
    expected = json.loads((SAMPLES / "expected_v1.json").read_text())
    shutil.copytree(SAMPLES / "dataset_v1", tmp_path / "data")
    data = ps.open_data(tmp_path / "data")
    assert {part: len(table) for part, table in data.tables.items()} == {"train": 96, "valid": 12, "test": 12}
    found = {"digest": data.digest, "split_digest": data.split_digest, "schema_digest": data.schema.digest}
    assert found == {key: expected[key] for key in found}
    batch = data.test.batch(torch.arange(12))
    assert batch.categorical.tolist() == expected["categorical"] and batch.label.tolist() == expected["label"]
    np.testing.assert_allclose(batch.numeric, expected["numeric"], rtol=1e-6)
    model = ps.load(SAMPLES / "model_v1.safetensors")
    np.testing.assert_allclose(
        model.predict(data.test), np.array(expected["scores"])[data.test.rows.numpy()], rtol=1e-6
    )
