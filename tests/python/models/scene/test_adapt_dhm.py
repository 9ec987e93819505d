"""AdaptDHM against loops over rows and clusters; what moves its centres, and where they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_scene
import torch


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def routed(centres: np.ndarray, x: np.ndarray, beta: float, steps: int, temperature: float) -> np.ndarray:
    """Centres after the routing steps of one training step."""
    xi, c = unit(x), centres.copy()
    for _ in range(steps):
        r = np.array([slow.softmax([row @ centre / temperature for centre in c]) for row in xi])
        moved = np.zeros_like(c)
        for k in range(len(c)):
            mean = sum(r[b, k] * xi[b] for b in range(len(xi))) / r[:, k].sum()
            moved[k] = beta * c[k] + (1 - beta) * mean
        c = unit(moved)
    return c


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("clusters", "interaction"), [(1, "none"), (3, "fm"), (5, "cross")])
def test_matches_loops(data: Any, clusters: int, interaction: str, training: bool) -> None:
    routing = {"beta": 0.7, "steps": 2, "temperature": 0.2}
    options = {"dim": 3, "hidden": [6, 5], "clusters": clusters, "interaction": interaction, "scene_field": True}
    model = slow_scene.random_model("adapt_dhm", data, **options, **routing)
    batch = ps.testing.batch(data, 24)
    state = slow.state_of(model)
    x, _ = slow_scene.inputs(model, batch)
    centres = routed(state["centres"], x, **routing) if training else state["centres"].copy()
    similarity = unit(x) @ centres.T
    body, layers = np.zeros(24), ["layer0", "layer1", "output"]
    for b in range(24):
        k, h = int(similarity[b].argmax()), x[b]
        for name in layers:
            w = state[f"{name}_shared_weight"] * state[f"{name}_weight"][k]
            h = w @ h + state[f"{name}_shared_bias"] + state[f"{name}_bias"][k]
            h = h if name == "output" else slow.relu(h)
        body[b] = h[0]
    assert clusters == 1 or len(set(similarity.argmax(1))) > 1
    slow_scene.check_logits(model.train(training), batch, body)
    np.testing.assert_allclose(model.state_dict()["centres"], centres, rtol=1e-9, atol=1e-12)
    if not training:
        told = model.explain(batch)
        np.testing.assert_array_equal(told["cluster"], similarity.argmax(1))
        np.testing.assert_allclose(told["similarity"], similarity, rtol=1e-9)


def test_rows_touch_their_cluster_alone(data: Any) -> None:
    model = slow_scene.random_model("adapt_dhm", data, clusters=4)
    batch = ps.testing.batch(data, 60)
    cluster = model.explain(batch)["cluster"]
    first = batch.take((cluster == cluster[0]).nonzero().squeeze(1))
    model.loss(first).backward()
    for name in ("layer0", "layer1", "output"):
        for part in ("weight", "bias"):
            touched = dict(model.named_parameters())[f"{name}_{part}"].grad.flatten(1).any(1)
            assert touched.nonzero().flatten().tolist() == [int(cluster[0])]


def test_centres_move_in_training_alone(data: Any) -> None:
    model = ps.models.AdaptDHM(data.schema)
    batch = ps.testing.batch(data, 32)
    start = model.state_dict()["centres"].clone()
    torch.testing.assert_close(start.norm(dim=1), torch.ones(3))
    model.eval()
    model(batch)
    model.loss(batch).backward()
    ps.evaluate(model, data.valid)
    assert torch.equal(model.state_dict()["centres"], start)
    model.train()
    model.loss(batch.take([]))
    assert torch.equal(model.state_dict()["centres"], start)
    model.loss(batch)
    moved = model.state_dict()["centres"]
    assert (moved - start).abs().max() > 1e-3
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(3))


def test_centres_survive_saving(data: Any, tmp_path: Path) -> None:
    model = ps.models.AdaptDHM(data.schema)
    ps.Trainer(epochs=2, patience=0, batch_size=64, threads=1).fit(model, data)
    ps.save(model, tmp_path / "model.safetensors")
    again = ps.load(tmp_path / "model.safetensors").eval()
    assert torch.equal(again.state_dict()["centres"], model.state_dict()["centres"])
    batch = ps.testing.batch(data, 64)
    assert torch.equal(again(batch), model.eval()(batch))
    with torch.no_grad():  # predictions hang on them
        again.state_dict()["centres"].copy_(model.state_dict()["centres"].roll(1, 0))
    assert not torch.equal(again(batch), model(batch))


def test_clusters_stay_apart(data: Any) -> None:
    """Rows of three kinds are told apart; at temperature 1 the centres fall together."""
    spread = {}
    for temperature in (0.05, 1.0):
        torch.manual_seed(0)
        model = ps.models.AdaptDHM(data.schema, temperature=temperature, init_std=1.0)
        batch = data.train.batch(torch.arange(len(data.train)))
        model.train()
        for _ in range(30):
            model(batch)
        centres = model.eval().state_dict()["centres"]
        spread[temperature] = (centres @ centres.T).min().item()
        if temperature < 1:
            assert model.explain(batch)["cluster"].unique().numel() == 3
    assert spread[0.05] < 0.9
    assert spread[1.0] > 0.99


def test_wrong_options(data: Any) -> None:
    for wrong, message in (
        ({"clusters": 0}, "AdaptDHM: clusters must be positive, got 0"),
        ({"steps": 0}, "AdaptDHM: steps must be positive, got 0"),
        ({"beta": 1.5}, r"AdaptDHM: beta must lie in \[0, 1\], got 1.5"),
        ({"temperature": 0}, "AdaptDHM: temperature must be positive, got 0"),
        ({"hidden": [0]}, r"AdaptDHM: hidden widths must be positive, got \[0\]"),
        ({"dropout": 1.0}, r"AdaptDHM: dropout must be in \[0, 1\), got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ps.models.AdaptDHM(data.schema, **wrong)
