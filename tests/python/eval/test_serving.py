"""A saved model recommends the same items in the same order in a new process, and in C++."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch

RANKING = ps.models.list("ranking")

FRESH = """
import json, sys
from pathlib import Path
import polyscene as ps
out = {}
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    model = ps.load(path)
    users = model.schema.categorical[0].ids
    found = {scene: model.recommend(users, k=7, scene=scene or None) for scene in ("", *model.schema.scenes)}
    out[path.stem] = {k: [v.items.tolist(), v.scenes.tolist(), v.scores.tolist()] for k, v in found.items()}
json.dump(out, sys.stdout)
"""


def trained(name: str, data: Any) -> Any:
    ps.seed_everything(3)
    model = ps.models.create(name, data.schema)
    ps.Trainer(epochs=2, batch_size=64, lr=1e-2, seed=3, threads=1).fit(model, data)
    return model


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data("ranking", seed=4)


@pytest.mark.filterwarnings("ignore:recommend. nothing that")
def test_a_new_process_recommends_the_same_items_in_the_same_order(data: Any, tmp_path: Path) -> None:
    wanted = {}
    for name in RANKING:
        model = trained(name, data)
        ps.save(model, tmp_path / f"{name}.safetensors")
        users = model.schema.categorical[0].ids
        found = {scene: model.recommend(users, k=7, scene=scene or None) for scene in ("", *model.schema.scenes)}
        wanted[name] = {k: [v.items.tolist(), v.scenes.tolist(), v.scores.tolist()] for k, v in found.items()}
    environment = os.environ | {"PYTHONPATH": str(Path(ps.__file__).parents[1])}
    command = [sys.executable, "-c", FRESH, str(tmp_path)]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert sorted(got) == sorted(RANKING)
    for name in RANKING:
        for scene, (items, scenes, scores) in wanted[name].items():
            assert got[name][scene][:2] == [items, scenes], (name, scene)
            torch.testing.assert_close(torch.tensor(got[name][scene][2]), torch.tensor(scores), msg=name)


def test_equal_scores_come_in_the_order_of_scenes_and_items(data: Any, tmp_path: Path) -> None:
    model = ps.models.BPRMF(data.schema)
    model.prepare(data.train)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.bias.weight[2 + 12] = 1  # one item before the others
    ids = list(data.schema.categorical[1].ids)
    found = model.recommend(["u1"], k=30, scene="tablet", exclude_seen=False)
    inside = sorted(set(data.train.items()[data.train.scenes() == 1].tolist()))
    inside.insert(0, inside.pop(inside.index(14)))
    assert found.items[0, : len(inside)].tolist() == [ids[i - 2] for i in inside]
    ps.save(model, tmp_path / "m.safetensors")
    again = ps.load(tmp_path / "m.safetensors").recommend(["u1"], k=30, scene="tablet", exclude_seen=False)
    assert (again.items == found.items).all()


def test_somebody_unknown_gets_what_was_liked_most() -> None:
    shown = [("a", 0)] * 9 + [("a", 1)] + [("b", 1)] * 5 + [("c", 1)] * 3 + [("c", 0)] * 4
    rows = [
        {"user_id": f"u{n % 6}", "item_id": item, "scene": "s", "label": label} for n, (item, label) in enumerate(shown)
    ]
    data = ps.read_table(pa.Table.from_pylist(rows), min_count=1, split={"by": "random", "ratios": [1, 0, 0]})
    model = ps.models.MF(data.schema, dim=2)
    ps.Trainer(epochs=1).fit(model, data.train)
    with pytest.warns(UserWarning, match="nothing is known of nobody, served by popularity"):
        found = model.recommend(["nobody"], k=3)
    assert found.items[0].tolist() == ["b", "c", "a"]
    np.testing.assert_allclose(found.scores[0], np.array([5, 3, 1]) / 9, rtol=1e-6)
