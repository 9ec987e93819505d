"""Models that are made of several models."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from polyscene._extension import _C
from polyscene._model import Model


class Specialist(Model):
    """Two models of one kind in one: a general one, and a special one that answers for some scenes.

    What a transfer leaves (:func:`polyscene.transfer.migrate`): the special model is the target's, and nothing that was
    done for the target can harm the other scenes. The parameters are those of the two under ``general.`` and
    ``special.``. Tasks: ctr, rating.

    Args:
        schema: fields, vocabularies and scenes of the data.
        model: registered model that both are.
        settings: options of both, a JSON object.
        scenes: scenes of the special one; empty for the scene with the fewest training rows.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = Specialist(data.schema, model="mf", settings='{"dim": 4}', scenes=["tablet"])
        >>> model(ps.testing.batch(data, 4)).shape
        torch.Size([4])
    """

    _cpp_name = "specialist"

    def part(self, name: str) -> Model:
        """A copy of the ``"general"`` or the ``"special"`` model, as a model of its own.

        Raises:
            ValueError: another name.
        """
        from polyscene import models

        if name not in ("general", "special"):
            raise ValueError(f"Specialist.part: name must be 'general' or 'special', got {name!r}")
        with torch.random.fork_rng(devices=[]):
            out = models.create(self.options["model"], self.schema, **json.loads(self.options["settings"]))
        state = {key.partition(".")[2]: value for key, value in self.state_dict().items() if key.startswith(name + ".")}
        out.to(next(value.dtype for value in state.values() if value.is_floating_point()))
        _C.models.expect_int8(out._impl, state)
        out.load_state_dict(state)
        out._impl.history = self._impl.history
        return out.train(self.training)

    def export_form(self) -> nn.Module:
        """Returns a module of plain tensors that computes what ``forward`` does in evaluation mode; see `Model`."""
        return _SpecialistForm(self)


class _SpecialistForm(nn.Module):
    def __init__(self, model: Specialist) -> None:
        super().__init__()
        self.general, self.special = (model.part(name).export_form() for name in ("general", "special"))
        chosen = model.options["scenes"]
        if not chosen:
            chosen = [model.schema.scenes[int(model.schema.scene_rows.argmin())]]
        self.register_buffer("scenes", torch.tensor([model.schema.scene(name) for name in chosen]))

    def forward(
        self, categorical: torch.Tensor, numeric: torch.Tensor, scene: torch.Tensor, *rest: Any
    ) -> torch.Tensor:
        mine = torch.isin(scene, self.scenes)  # type: ignore[arg-type]  # [B]
        given = (categorical, numeric, scene, *rest)
        return torch.where(mine, self.special(*given), self.general(*given))
