"""What a mechanism carried: distances and similarities against loops and by hand, in the verdict and on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import torch
from fake_runs import make_run
from polyscene.report import build_report, show_distances
from polyscene.transfer import cka, distance_frame, layer_distances, migrate, plan, represented
from polyscene.transfer.carrying import Carried
from polyscene.transfer.stages import Stages


def slow_cka(x: np.ndarray, y: np.ndarray) -> float:
    """By HSIC of Gram matrices, as the paper defines it."""
    n = len(x)
    centre = np.eye(n) - 1 / n
    k, m = x @ x.T, y @ y.T

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return np.trace(a @ centre @ b @ centre) / (n - 1) ** 2

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def test_cka_matches_its_definition_by_gram_matrices():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(40, 5))
    y = x @ draw.normal(size=(5, 7)) + draw.normal(size=(40, 7))
    assert cka(x, y) == pytest.approx(slow_cka(x, y), abs=1e-12)
    assert cka(torch.from_numpy(x), y) == pytest.approx(cka(y, x), abs=1e-12)
    turned, _ = np.linalg.qr(draw.normal(size=(5, 5)))
    assert cka(x, 3 * x @ turned - 2) == pytest.approx(1, abs=1e-12)
    assert cka(np.eye(4)[:, :1] - np.eye(4)[:, 1:2], np.eye(4)[:, 2:3] - np.eye(4)[:, 3:]) == pytest.approx(
        0, abs=1e-12
    )
    assert np.isnan(cka(np.ones((4, 2)), x[:4]))


def test_cka_wants_the_same_rows():
    with pytest.raises(
        ValueError, match=r"cka: wanted \[N, H\] and \[N, G\] of the same rows, got \[3, 2\] and \[4, 2\]"
    ):
        cka(np.ones((3, 2)), np.ones((4, 2)))


def test_layers_by_hand():
    source = {
        "item.weight": torch.tensor([[3.0, 0.0], [0.0, 4.0]]),
        "deep.0.weight": torch.tensor([[1.0, 2.0]]),
        "deep.0.bias": torch.tensor([2.0]),
        "norm.mean": torch.tensor([2.0]),
        "bias": torch.zeros(1),
        "still": torch.zeros(1),
        "count": torch.tensor(7),
    }
    state = {name: value.clone() for name, value in source.items()}
    state["item.weight"][1, 1] = 9.0
    state["deep.0.weight"][0, 0] = 4.0
    state["norm.mean"][0] = 1.0
    state["bias"][0] = 1.0
    state["extra.weight"] = torch.ones(3)
    state["count"] = torch.tensor(9)
    found = layer_distances(state, source, tables=["item.weight"], statistics=["norm.mean"])
    assert found == [
        {"layer": "item.weight", "kind": "table", "entries": 4, "distance": 1.0},
        {"layer": "deep.0", "kind": "dense", "entries": 3, "distance": 1.0},
        {"layer": "bias", "kind": "dense", "entries": 1, "distance": None},
        {"layer": "still", "kind": "dense", "entries": 1, "distance": 0.0},
        {"layer": "extra", "kind": "dense", "entries": 3, "distance": "new"},
        {"layer": "norm", "kind": "statistics", "entries": 1, "distance": 0.5},
    ]
    rows = {"item.weight": torch.tensor([True, False])}
    assert layer_distances(state, source, tables=["item.weight"], rows=rows)[0]["distance"] == 0.0
    wider = {"item.weight": torch.ones(3, 2)}
    assert layer_distances(wider, source, tables=["item.weight"])[0]["distance"] == "new"


@pytest.fixture(scope="module")
def done(world: Any) -> Any:
    from .conftest import TRAIN

    ps.seed_everything(1)
    model = ps.models.WideDeep(world.schema, hidden=[6], dim=4)
    flow = plan(model, world, target="scene_2", mechanism="adapters", settings={"bottleneck": 2}, trainer=TRAIN)
    _, _, verdict = flow.run()
    return flow, verdict


def test_the_verdict_tells_every_layer_of_every_candidate(done: Any) -> None:
    flow, verdict = done
    told = verdict["distances"]
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert list(told["values"]) == [candidate.name for candidate in flow.candidates]
    place = {(each["kind"], each["layer"]): number for number, each in enumerate(told["layers"])}
    for candidate in flow.candidates:
        for source, (state, _) in flow.trained.items():
            values = told["values"][candidate.name][source]
            assert len(values) == len(told["layers"])
            prefix = "base." if candidate.model is not None and candidate.name.endswith("adapters") else ""
            first = state["embedding.weight"].double().numpy()
            mine = candidate.state[f"{prefix}embedding.weight"].double().numpy()
            total = sum((a - b) ** 2 for a, b in zip(mine.ravel(), first.ravel(), strict=True)) ** 0.5
            expected = total / sum(b**2 for b in first.ravel()) ** 0.5
            assert values[place["table", f"{prefix}embedding.weight"]] == pytest.approx(expected, abs=1e-6)
            new = {each["layer"] for each, value in zip(told["layers"], values, strict=True) if value == "new"}
            assert new == ({"adapter_deep"} if prefix else set())
    begun = told["values"]["fused, adapters"]["its start"]
    assert {value for value in begun if value is not None} == {0.0, "new"}  # a frozen model and what is beside it


def test_similarities_are_those_of_the_targets_rows(done: Any) -> None:
    flow, verdict = done
    told = verdict["distances"]
    assert told["similarity_rows"] == len(flow.valid)
    by_source = {}
    for name, (state, _) in flow.trained.items():
        flow.model.load_state_dict(state)
        by_source[name] = represented(flow.model, flow.valid)
    own = flow.candidates[0]
    flow.model.load_state_dict(own.state)
    mine = represented(flow.model, flow.valid)
    for name, theirs in by_source.items():
        assert told["similarity"]["target alone"][name] == pytest.approx(slow_cka(mine, theirs), abs=1e-5)


def test_the_frame_has_a_row_a_layer(done: Any) -> None:
    _, verdict = done
    frame = distance_frame(verdict)
    own = frame[(frame.candidate == "target alone") & (frame.source == "scene_0")]
    assert (own.kind.iloc[0], own.kind.iloc[-1]) == ("table", "representation")
    assert not own.new.any() and not own.layer.str.startswith("base.").any()
    adapted = frame[(frame.candidate == "joint, adapters") & (frame.source == "scene_1")]
    assert list(adapted[adapted.new].layer) == ["adapter_deep"]
    assert adapted[adapted.kind == "representation"].similarity.between(0, 1).all()
    with pytest.raises(ValueError, match="distance_frame: the verdict holds no distances; run the transfer again"):
        distance_frame({"helped": True})


def test_a_model_that_represents_nothing_has_distances_alone() -> None:
    data = ps.testing.tiny_data()

    class Bias(ps.Model):
        def __init__(self, schema: Any) -> None:
            super().__init__(schema)
            self.bias = torch.nn.Parameter(torch.ones(1))

        def forward(self, batch: Any) -> Any:
            return self.bias.expand(len(batch))

    _, _, verdict = migrate(Bias(data.schema), data, trainer={"epochs": 1})
    told = verdict["distances"]
    assert told["similarity"] is None and [each["layer"] for each in told["layers"]] == ["bias"]
    assert told["values"]["target alone"]["phone"][0] > 0


def test_the_page_shows_distances_and_similarities(done: Any, tmp_path: Path) -> None:
    _, verdict = done
    folder = make_run(tmp_path / "run", rows=300)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["transfer"] |= {"distances": verdict["distances"]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = build_report(folder).read_text(encoding="utf-8")
    assert "What was carried" in text and "New, not in the source: adapter_deep." in text
    for source in ("scene_0", "scene_1", "its start"):
        assert text.count(f"<option>{source}</option>") == 1
    # The cells of the page are the numbers of the verdict.
    stored = text.split("<h3>From scene_0</h3>")[1].split('data-values="')[1].split('"')[0]
    shown = [[float(v) / 10_000 if v else None for v in line.split(",")] for line in stored.split("|")]
    values, layers = verdict["distances"]["values"], [each["layer"] for each in verdict["distances"]["layers"]]
    names = text.split("<h3>From scene_0</h3>")[1].split('data-rows="')[1].split('"')[0].split("\n")
    assert len(shown) == len(names) == len({layer.removeprefix("base.") for layer in layers})
    for layer, line in zip(names, shown, strict=True):
        for name, value in zip(values, line, strict=True):
            own = f"base.{layer}" if name.endswith("adapters") and f"base.{layer}" in layers else layer
            told = values[name]["scene_0"][layers.index(own)]
            assert value == (None if told in (None, "new") else pytest.approx(told, abs=1e-6))
    inline = show_distances(verdict)
    assert "Linear CKA" in inline.page and repr(inline).startswith("Inline('What was carried'")
    with pytest.raises(ValueError, match="show_distances: the verdict holds no distances"):
        show_distances({})


def test_of_a_finished_run_the_rows_that_were_carried_count() -> None:
    old, new = ps.testing.tiny_data(bare=True, rows=60), ps.testing.tiny_data(bare=True, rows=200, seed=3)
    torch.manual_seed(0)
    source, model = ps.models.MF(old.schema, dim=4), ps.models.MF(new.schema, dim=4)
    ps.Trainer(epochs=1, lr=0.05).fit(source, old)
    options = {"mechanism": "migrate", "settings": {}, "fusion": "rows", "strength": 1e-2, "lr_scale": 0.2}
    options |= {"frozen": [], "source_epochs": 0, "guard": 2.0, "unlabelled": None}
    flow = Carried(model, new, {"run": source}, options, Stages(model, {"epochs": 1, "lr": 0.05}, None, False, None))
    _, _, verdict = flow.run()
    told = verdict["distances"]
    names = [each["layer"] for each in told["layers"]]
    at = names.index("user.weight")
    assert told["values"]["carried"]["run"][at] == 0
    ids = [data.schema.categorical[0].ids for data in (old, new)]
    assert set(ids[0]) != set(ids[1])
    mine, theirs = flow.candidates[0].state["user.weight"], source.state_dict()["user.weight"]
    both = [(new_row, ids[0].index(name)) for new_row, name in enumerate(ids[1]) if name in ids[0]]
    pairs = [(mine[a + 2].double(), theirs[b + 2].double()) for a, b in both]
    pairs += [(mine[0].double(), theirs[0].double()), (mine[1].double(), theirs[1].double())]  # unknown and missing
    moved = sum(float((a - b).square().sum()) for a, b in pairs) ** 0.5
    expected = moved / sum(float(b.square().sum()) for _, b in pairs) ** 0.5
    assert told["values"]["target alone"]["run"][at] == pytest.approx(expected, abs=1e-5)
