"""The C++ examples build against the installed package; the program runs without Python, the model with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import polyscene
import pytest
from cmake_project import ROOT, build, run
from safetensors import safe_open

PLUG_IN = """
import ctypes, sys
import torch, polyscene as ps
ctypes.CDLL(sys.argv[1]).register_item_bias()
data = ps.testing.tiny_data()
torch.manual_seed(0)
model = ps.models.create("item_bias", data.schema, init_std=0.0)
batch = ps.testing.batch(data, 8)
assert repr(model).startswith("item_bias("), repr(model)
assert model(batch).tolist() == [0.0] * 8
ps.Trainer(epochs=20, lr=0.05, seed=1).fit(model, data)
expected = model.item.weight[batch.item].squeeze(1) + model.scene[batch.scene]
torch.testing.assert_close(model(batch), expected)
ps.save(model, sys.argv[2])
again = ps.load(sys.argv[2])
assert torch.equal(again(batch), model(batch)) and again.options == {"init_std": 0.0}
try:
    ps.models.create("item_bias", data.schema, init_std=-1.0)
except ValueError as error:
    assert str(error).startswith("ItemBias: init_std must be 0 or more, got -1"), error
print(ps.evaluate(model, data.test, ["auc"]).overall["auc"])
"""


@pytest.fixture(scope="module")
def built(pytestconfig: pytest.Config) -> Path:
    return build(ROOT / "examples" / "cpp", pytestconfig.cache.mkdir("cpp_example"))


def test_cpp_program(built: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    out = run(built / "train", model)
    assert f"polyscene {polyscene.__version__} on torch " in out
    auc = {name: float(value) for name, value in re.findall(r"^(scene_\d|all rows) +auc ([\d.]+)", out, re.MULTILINE)}
    assert list(auc) == ["scene_0", "scene_1", "scene_2", "all rows"]
    assert min(auc.values()) > 0.66
    assert "largest difference after loading: 0\n" in out
    with safe_open(model, "pt") as file:
        assert file.metadata()["model"] == "interest_migration"
    assert polyscene.load(model).schema.scenes == ["scene_0", "scene_1", "scene_2"]


def test_cpp_program_names_what_is_wrong(built: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [built / "train", tmp_path / "file" / "m.safetensors"], text=True, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "m.safetensors" in done.stderr


@pytest.mark.parametrize(
    "name", ["bpr_mf", "light_gcn", "ease", "item_knn", "cross_ease", "emcdr", "bi_tgcf", "disen_cdr", "co_net"]
)
def test_cpp_recommends_what_python_recommends(built: Path, name: str, tmp_path: Path) -> None:
    data = polyscene.testing.tiny_data("ranking", seed=4)
    polyscene.seed_everything(3)
    model = polyscene.models.create(name, data.schema)
    polyscene.Trainer(epochs=2, batch_size=64, lr=1e-2, seed=3, threads=1).fit(model, data)
    polyscene.save(model, tmp_path / "m.safetensors")
    users = list(data.schema.categorical[0].ids)
    for scene in ("", "tablet"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of users of whom a scene knows nothing
            found = model.recommend(users, k=6, scene=scene or None)
        printed = run(built / "recommend", tmp_path / "m.safetensors", "6", scene, *users)
        rows = [line.split("\t") for line in printed.splitlines()]
        columns = found.columns()
        wanted = zip(columns["user"], columns["item"], columns["scene"], strict=True)
        assert [tuple(row[:3]) for row in rows] == list(wanted)
        assert [float(row[3]) for row in rows] == pytest.approx(columns["score"].tolist(), rel=1e-4, abs=1e-5)


def test_cpp_model_of_ones_own_in_python(built: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(polyscene.__file__).parents[1])}
    command = [sys.executable, "-c", PLUG_IN, str(built / "libitem_bias.so"), str(tmp_path / "m.safetensors")]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.6
