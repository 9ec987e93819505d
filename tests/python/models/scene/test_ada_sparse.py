"""AdaSparse against loops over rows and layers; pruning, its gradient and its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pytest
import slow
import slow_scene
import torch

FORMS = {"binary": 0.5, "scaling": 0.9, "fusion": 0.9}  # and a threshold that prunes some


def factors(u: np.ndarray, form: str, epsilon: float, alpha: float, beta: float) -> np.ndarray:
    if form == "binary":
        return (slow.sigmoid(alpha * u) > epsilon).astype(float)
    v = beta * slow.sigmoid((alpha if form == "fusion" else 1) * u)
    return np.where(v > epsilon, v, 0)


def loops(model: ps.Model, batch: Any, training: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits of the body [B], and the factors in front of each layer, [B, N]."""
    state, options, scene = slow.state_of(model), model.options, batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    t = state["scene_vectors"]
    h, pi = x, []
    layers = len(options["hidden"])
    for index in range(layers + 1):
        projection = np.concatenate([state[f"pruner{index}_scene"], state[f"pruner{index}_state"]], 1)
        u = np.array([projection @ np.concatenate([t[scene[b]], h[b]]) for b in range(len(h))])
        pi.append(factors(u, options["form"], options["epsilon"], float(state["alpha"]), options["beta"]))
        h = pi[-1] * h
        if index == 0:
            h = np.array([np.concatenate([t[scene[b]], h[b]]) for b in range(len(h))])
        name = f"backbone.layer{index}" if index < layers else "backbone.output"
        h = slow_scene.layer(state, name, h, scene, norm=options["norm"], training=training)[:, 0]
    return h[:, 0], pi


def penalty(pi: list[np.ndarray], scene: np.ndarray, least: float, most: float) -> float:
    total = 0.0
    for one in pi:
        for b in range(len(one)):
            rate = (one[scene == scene[b]] == 0).mean()
            total += (rate - (least + most) / 2) ** 2 / len(one) if not least <= rate <= most else 0
    return total


def random_model(data: Any, form: str = "fusion", alpha: float = 1.7, **options: Any) -> ps.Model:
    model = slow_scene.random_model("ada_sparse", data, **{"form": form, "epsilon": FORMS[form], **options})
    model.state_dict()["alpha"].fill_(alpha)
    return model


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("form", "norm", "interaction"),
    [("binary", "batch", "none"), ("scaling", "layer", "fm"), ("fusion", "none", "cross"), ("fusion", "batch", "fm")],
)
def test_matches_loops(data: Any, form: str, norm: str, interaction: str, training: bool) -> None:
    options = {"dim": 3, "hidden": [6, 5], "dropout": 0.0, "least": 0.45, "most": 0.55, "sparsity": 0.7}
    model = random_model(data, form, norm=norm, interaction=interaction, **options)
    batch = ps.testing.batch(data, 24)
    body, pi = loops(model, batch, training)
    pruned = np.stack([(one == 0).mean(1) for one in pi], 1)
    assert 0.1 < pruned.mean() < 0.9  # some, not all
    if training:
        model.train()
        slow_scene.check_logits(model, batch, body)
        assert model.state_dict()["alpha"].item() == pytest.approx(1.7 + 1e-4, abs=1e-12)
        return
    slow_scene.check_logits(model, batch, body)
    np.testing.assert_allclose(model.explain(batch)["pruned"].detach(), pruned, rtol=1e-12, atol=1e-12)
    plain = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), batch.label.double())
    wanted = 0.7 * penalty(pi, batch.scene.numpy(), 0.45, 0.55)
    assert wanted > 1e-4
    assert model.loss(batch).item() - plain.item() == pytest.approx(wanted, rel=1e-6)
    assert model.state_dict()["alpha"].item() == 1.7  # evaluation leaves it


@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_passed_straight_through(data: Any, form: str) -> None:
    """Of the last layer, whose pruned state the output weight reads: d loss / d v as the form says."""
    model = random_model(data, form, dim=3, hidden=[5], dropout=0.0, norm="none", sparsity=0.0)
    batch = ps.testing.batch(data, 24)
    model.loss(batch).backward()
    state, scene, options = slow.state_of(model), batch.scene.numpy(), model.options
    x, _ = slow_scene.inputs(model, batch)
    t, alpha = state["scene_vectors"], float(state["alpha"])
    u0 = x @ state["pruner0_state"].T + t[scene] @ state["pruner0_scene"].T
    h = np.concatenate([t[scene], factors(u0, form, options["epsilon"], alpha, 2.0) * x], 1)
    h = slow.relu(h @ state["backbone.layer0_weight"][0, 0].T + state["backbone.layer0_bias"][0, 0])
    u = h @ state["pruner1_state"].T + t[scene] @ state["pruner1_scene"].T
    steep, beta = (1.0 if form == "scaling" else alpha), (1.0 if form == "binary" else 2.0)
    s = slow.sigmoid(steep * u)
    error = (slow.sigmoid(model(batch).detach().numpy()) - batch.label.numpy()) / 24
    passed = 1.0 if form == "binary" else beta * s > options["epsilon"]
    du = error[:, None] * state["backbone.output_weight"][0, 0] * h * passed * beta * steep * s * (1 - s)
    grad = dict(model.named_parameters())["pruner1_state"].grad.numpy()
    np.testing.assert_allclose(grad, du.T @ h, rtol=1e-8, atol=1e-12)
    assert np.abs(grad).max() > 1e-5


def test_sparsity_term_prunes_every_scene(data: Any) -> None:
    rates = {}
    for sparsity in (0.0, 5.0):
        torch.manual_seed(1)
        model = ps.models.AdaSparse(data.schema, sparsity=sparsity)
        start = model.eval().explain(data.train.batch(torch.arange(len(data.train))))["pruned"]
        assert not start.any()
        ps.Trainer(lr=0.02, epochs=12, patience=0, batch_size=128, seed=1, threads=1).fit(model, data)
        batch = data.train.batch(torch.arange(len(data.train)))
        pruned = model.eval().explain(batch)["pruned"]
        rates[sparsity] = torch.stack([pruned[batch.scene == s].mean() for s in range(3)])
    assert (rates[5.0] > 0.05).all()
    assert (rates[5.0] < 0.5).all()
    assert (rates[5.0] > rates[0.0]).all()


def test_alpha_grows_in_training_and_is_saved(data: Any, tmp_path: Path) -> None:
    model = ps.models.AdaSparse(data.schema, growth=0.125)
    batch = ps.testing.batch(data, 16)
    for _ in range(3):
        model.train()
        model.loss(batch)
        model.eval()
        model(batch)
    assert model.state_dict()["alpha"].item() == 1.375
    ps.save(model, tmp_path / "model.safetensors")
    again = ps.load(tmp_path / "model.safetensors").eval()
    assert again.state_dict()["alpha"].item() == 1.375
    assert torch.equal(again(batch), model(batch))


def test_wrong_options(data: Any) -> None:
    for wrong, message in (
        ({"form": "fuse"}, "AdaSparse: form must be one of binary, scaling, fusion, got 'fuse'"),
        ({"beta": 0}, "AdaSparse: beta must be positive, got 0"),
        ({"epsilon": 2.0}, r"AdaSparse: epsilon must lie in \[0, 2\) with form 'fusion', got 2"),
        ({"epsilon": 1.0, "form": "binary"}, r"AdaSparse: epsilon must lie in \[0, 1\) with form 'binary', got 1"),
        ({"alpha": 0}, "AdaSparse: alpha must be positive, got 0"),
        ({"growth": -1}, "AdaSparse: growth must be 0 or more, got -1"),
        ({"sparsity": -1}, "AdaSparse: sparsity must be 0 or more, got -1"),
        ({"least": 0.5}, "AdaSparse: 0 <= least <= most <= 1 must hold, got least 0.5 and most 0.25"),
    ):
        with pytest.raises(ValueError, match=message):
            ps.models.AdaSparse(data.schema, **wrong)
