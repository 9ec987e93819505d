"""Models that are made of several models."""

from __future__ import annotations

import json
from typing import Any, Self

import torch
from torch import nn

from polyscene._extension import _C
from polyscene._model import Model


class Specialist(Model):
    """Two models of one kind in one: a general one, and a special one that answers for some scenes.

    What a transfer leaves (:func:`polyscene.transfer.migrate`): the special model is the target's, and nothing that was
    done for the target can harm the other scenes. The parameters are those of the two under ``general.`` and
    ``special.``. Tasks: ctr, rating, text, image, ranking, sequence.

    Args:
        schema: fields, vocabularies and scenes of the data.
        model: registered model that both are; empty for "mf", or where the task has none the plainest that it has:
            "bpr_mf", "sasrec", "text_classifier" or "image_classifier".
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
        out.to(next((value.dtype for value in state.values() if value.is_floating_point()), torch.get_default_dtype()))
        _C.models.expect_int8(out._impl, state)
        out.load_state_dict(state)
        out._impl.history = self._impl.history
        return out.train(self.training)

    def export_form(self) -> nn.Module:
        """Returns a module of plain tensors that computes what ``forward`` does in evaluation mode; see `Model`."""
        return _SpecialistForm(self)

    def export_inputs(self, batch: Any) -> tuple[torch.Tensor, ...]:
        """What the parts take; see `Model`."""
        return self.part("general").export_inputs(batch)


class Adapted(Model):
    r"""A frozen model with an adapter behind each hidden layer, one for each scene (Houlsby et al., ICML 2019).

    .. math:: h \leftarrow h + W_{up}\, act(W_{down} h + b) + b', \qquad W_{up} = 0,\ b' = 0 \text{ at the start}

    so that it starts as the model inside. Hidden layers are those of its multi-layer perceptrons; experts have adapters
    of their own. The trainer moves adapters, and what ``norms`` and ``trained`` say; the model inside stays in
    evaluation mode. :func:`polyscene.transfer.adapted` puts a trained model inside. Its parameters stand under
    ``base.``, those of adapters under ``adapter_``. Tasks: ctr, text, image.

    Args:
        schema: fields, vocabularies and scenes of the data.
        model: registered model that is adapted.
        settings: options of that model, a JSON object.
        bottleneck: width between the two layers of an adapter.
        activation: relu, gelu, silu, tanh, sigmoid, leaky_relu or identity.
        by_scene: an adapter for each scene; if not, all scenes share one.
        norms: whether scale and shift of the model's norms train, too.
        trained: names or prefixes of parameters of the model that train, too, such as its head.

    Raises:
        ValueError: an unknown model or option, or a model without hidden layers.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = Adapted(data.schema, model="wide_deep", settings='{"hidden": [8]}', bottleneck=2)
        >>> still = set(model.phases()[0].frozen)
        >>> sorted({name.split(".")[0] for name, _ in model.named_parameters() if name not in still})
        ['adapter_deep']
    """

    _cpp_name = "adapted"

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; the model inside stays in evaluation mode."""
        super().train(mode)
        self._modules["base"].train(False)  # type: ignore[union-attr]
        return self


class SideTuned(Model):
    r"""A frozen model and one of its kind that trains beside it (Zhang et al., ECCV 2020).

    .. math:: out(x) = g\, base(x) + (1 - g)\, side(x), \qquad g = \sigma(gate),\ gate = 0 \text{ at the start}

    Outputs are blended, so that it works for every model. :func:`polyscene.transfer.side_tuned` starts both from a
    trained one. The parameters are those of the two under ``base.`` and ``side.``, and ``gate``. Tasks: ctr, rating,
    text, image.

    Args:
        schema: fields, vocabularies and scenes of the data.
        model: registered model that both are.
        settings: options of both, a JSON object.

    Raises:
        ValueError: an unknown model or option, or a model that is made of models.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> model = SideTuned(data.schema, model="mf", settings='{"dim": 4}')
        >>> model(ps.testing.batch(data, 4)).shape
        torch.Size([4])
    """

    _cpp_name = "side_tuned"

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; the frozen model stays in evaluation mode."""
        super().train(mode)
        self._modules["base"].train(False)  # type: ignore[union-attr]
        return self


class _SpecialistForm(nn.Module):
    def __init__(self, model: Specialist) -> None:
        super().__init__()
        self.general, self.special = (model.part(name).export_form() for name in ("general", "special"))
        chosen = model.options["scenes"]
        if not chosen:
            chosen = [model.schema.scenes[int(model.schema.scene_rows.argmin())]]
        self.register_buffer("scenes", torch.tensor([model.schema.scene(name) for name in chosen]))

    def forward(self, first: torch.Tensor, second: torch.Tensor, scene: torch.Tensor, *rest: Any) -> torch.Tensor:
        mine = torch.isin(scene, self.scenes)  # type: ignore[arg-type]  # [B]
        special, general = (part(first, second, scene, *rest) for part in (self.special, self.general))
        return torch.where(mine.view(-1, *[1] * (special.dim() - 1)), special, general)
