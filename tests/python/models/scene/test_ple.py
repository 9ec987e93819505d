"""Progressive layered extraction against loops over levels, scenes, experts and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene as ps
import pytest
import scene_checks
import slow
import slow_scene
import torch


def mixed(weight: np.ndarray, *experts: np.ndarray) -> np.ndarray:
    both = np.concatenate(experts, 1)
    return np.array([sum(w * e for w, e in zip(weight[b], both[b], strict=True)) for b in range(len(both))])


def extracted(
    state: slow.State, x: np.ndarray, scene: np.ndarray, levels: int, n: int, training: bool
) -> tuple[np.ndarray, np.ndarray]:
    """z of each row's own scene, and the gates of the last level: the paper's levels, each scene on each row."""
    scenes, rows = 3, np.arange(len(x))
    each, common = [x] * scenes, x  # x_1 .. x_S and x_0
    for level in range(levels):
        name = f"level{level}"
        own = np.array([each[scene[b]][b] for b in rows])
        shared = slow_scene.mlp(state, f"{name}_shared", common, scene, training=training)
        if level + 1 == levels:
            weight = slow_scene.gate(state, f"{name}_gates", own, scene, training)
            specific = slow_scene.mlp(state, f"{name}_specific", own, scene, training=training)
            return mixed(weight, specific, shared), weight
        inputs = np.stack([each[s] for s in range(scenes) for _ in range(n)], 1)
        specific = slow_scene.mlp(state, f"{name}_specific", inputs, scene, training=training)
        common_next = mixed(slow_scene.gate(state, f"{name}_shared_gate", common, scene, training), specific, shared)
        if level + 2 == levels:  # scenes other than a row's own are not read any more
            weight = slow_scene.gate(state, f"{name}_gates", own, scene, training)
            each = [mixed(weight, specific[:, n * s : n * s + n], shared) for s in range(scenes)]
        else:
            gates = [slow_scene.gate(state, f"{name}_gates", each[s], 0 * scene + s, training) for s in range(scenes)]
            each = [mixed(gates[s], specific[:, n * s : n * s + n], shared) for s in range(scenes)]
        common = common_next
    raise AssertionError


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_matches_loops(data: Any, levels: int, reference: bool, training: bool) -> None:
    options = {"levels": levels, "specific": 2, "shared": 3, "expert": [5, 4], "tower": [4], "reference": reference}
    model = slow_scene.random_model("ple", data, dim=3, interaction="fm", **options)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    z, weight = extracted(state, x, scene, levels, 2, training)
    body = slow_scene.mlp(state, "towers", z, scene, training=training)[:, 0, 0]
    slow_scene.check_logits(model.train(training), batch, body)
    if not training:
        np.testing.assert_allclose(model.explain(batch)["gates"].detach(), weight, rtol=1e-9)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_other_norms(data: Any, norm: str) -> None:
    model = slow_scene.random_model("ple", data, dim=3, expert=[5], tower=[4], norm=norm, scene_field=True)
    batch = ps.testing.batch(data, 24)
    state, scene = slow.state_of(model), batch.scene.numpy()
    x, _ = slow_scene.inputs(model, batch)
    weight = slow_scene.gate(state, "level0_gates", x, scene)
    experts = [slow_scene.mlp(state, f"level0_{part}", x, scene, norm=norm) for part in ("specific", "shared")]
    body = slow_scene.mlp(state, "towers", mixed(weight, *experts), scene, norm=norm)[:, 0, 0]
    slow_scene.check_logits(model, batch, body)


@pytest.mark.parametrize("options", [{}, {"reference": True}, {"levels": 2}, {"levels": 3, "reference": True}])
def test_any_number_of_scenes(options: dict[str, Any]) -> None:
    scene_checks.check_scene_counts("ple", dim=3, expert=[5], **options)


def test_scenes_keep_apart() -> None:
    parts = ["weight", "scale", "shift", "running_mean", "running_var"]
    paths = [f"{part}.layer0_{x}" for part in ("level0_specific", "towers") for x in parts]
    gates = [f"level0_gates.{x}" for x in parts]
    scene_checks.check_isolation("ple", [*paths, *gates, "towers.output_weight"], dim=4, reference=True)
    scene_checks.check_one_row("ple", dim=4)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_empty_and_single_rows(data: Any, levels: int) -> None:
    model = ps.models.PLE(data.schema, levels=levels)
    for rows in ([], [0]):
        batch = ps.testing.batch(data, 4).take(torch.tensor(rows, dtype=torch.int64))
        assert model(batch).shape == (len(rows),)
        model.loss(batch).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_last_level_holds_the_experts_of_scenes_apart(data: Any) -> None:
    state = ps.models.PLE(data.schema, levels=2, specific=4, shared=2, expert=[7]).state_dict()
    assert state["level0_specific.layer0_weight"].shape[:3] == (1, 12, 7)  # every row
    assert state["level1_specific.layer0_weight"].shape == (3, 4, 7, 7)  # rows of the scene
    assert state["level0_shared_gate.weight"].shape[2] == 14
    assert state["level1_gates.weight"].shape == (3, 1, 6, 7)
    assert "level1_shared_gate.weight" not in state


def test_wrong_options(data: Any) -> None:
    for option in ("levels", "specific", "shared"):
        with pytest.raises(ValueError, match=f"PLE: {option} must be positive, got 0"):
            ps.models.PLE(data.schema, **{option: 0})
    with pytest.raises(ValueError, match=r"PLE: expert must have a hidden layer, got \[\]"):
        ps.models.PLE(data.schema, expert=[])
