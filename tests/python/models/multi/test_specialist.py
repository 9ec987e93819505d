"""Two models in one, against its parts row by row."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import pytest
import torch
from every_model import draw, make, scramble

SETTINGS = '{"dim": 3, "init_std": 0.5, "embedding_l2": 0.0}'


def two(data: Any, **options: Any) -> ps.Model:
    return scramble(make("specialist", data, settings=SETTINGS, **options))


@pytest.mark.parametrize("task", ["ctr", "rating"])
def test_matches_its_parts_row_by_row(task: str) -> None:
    data = ps.testing.tiny_data(task)
    model = two(data, scenes=["tablet", "television"])
    parts = {name: model.part(name) for name in ("general", "special")}
    batch = draw(model, data, 40)
    answered = []
    for row in range(40):
        one = batch.take([row])
        scene = data.schema.scenes[int(one.scene)]
        answered.append(parts["general" if scene == "phone" else "special"](one).item())
    assert {data.schema.scenes[s] for s in batch.scene.tolist()} == {"phone", "tablet", "television"}
    assert model(batch).tolist() == pytest.approx(answered, rel=1e-6)
    loss = torch.nn.functional.mse_loss if task == "rating" else torch.nn.functional.binary_cross_entropy_with_logits
    assert model.loss(batch).item() == pytest.approx(loss(torch.tensor(answered), batch.label).item(), rel=1e-5)


def test_each_part_learns_from_its_scenes_alone(data: Any) -> None:
    model = two(data, scenes=["tablet"])
    batch = draw(model, data, 60)
    for special in (True, False):
        model.zero_grad()
        model.loss(batch.take(((batch.scene == 1) == special).nonzero().squeeze(1))).backward()
        moved = {path.partition(".")[0] for path, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == {"special" if special else "general"}


def test_the_smallest_scene_is_special_when_none_is_named(data: Any) -> None:
    assert int(data.schema.scene_rows.argmin()) == 2
    named, unnamed = two(data, scenes=["television"]), two(data)
    batch = draw(named, data, 40)
    torch.testing.assert_close(unnamed(batch), named(batch))


def test_parts_are_copies(data: Any) -> None:
    model = two(data)
    part = model.part("general")
    before = model(draw(model, data, 20))
    scramble(part, seed=9)
    assert torch.equal(model(draw(model, data, 20)), before)
    with pytest.raises(ValueError, match=r"Specialist\.part: name must be 'general' or 'special', got 'both'"):
        model.part("both")


def test_wrong_options(data: Any) -> None:
    with pytest.raises(ValueError, match="Specialist: model must be a plain model, got 'specialist'"):
        ps.models.Specialist(data.schema, model="specialist")
    with pytest.raises(ValueError, match="unknown option 'dims'"):
        ps.models.Specialist(data.schema, settings='{"dims": 2}')
    with pytest.raises(ValueError, match="watch"):
        ps.models.Specialist(data.schema, scenes=["watch"])
