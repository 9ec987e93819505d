"""What the tests of the interest models share."""

from __future__ import annotations

from typing import Any

import polyscene as ps
import torch


def random_model(name: str, data: Any, scale: float = 0.3, **options: Any) -> ps.Model:
    """A float64 model in evaluation mode whose parameters are all moved away from their start."""
    torch.manual_seed(3)
    model = ps.models.create(name, data.schema, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    return model.eval()


def draw(model: ps.Model, data: Any, rows: int = 24, seed: int = 0) -> Any:
    return ps.testing.batch(data, rows, seed, history=model.history_length)


def with_events(batch: Any, **columns: torch.Tensor) -> Any:
    """The same rows with other columns of their events."""
    events = batch.history
    kept = {name: getattr(events, name) for name in ("offsets", "item", "scene", "label", "time", "interest")}
    changed = batch.take(torch.arange(len(batch)))
    changed.history = type(events)(**kept | columns)
    return changed


def without_events(batch: Any) -> Any:
    """The same rows, none of which has an event."""
    events = batch.history
    interest = None if events.interest is None else events.interest.take(torch.zeros(0, dtype=torch.int64))
    return with_events(
        batch,
        offsets=torch.zeros_like(events.offsets),
        item=events.item[:0],
        scene=events.scene[:0],
        label=events.label[:0],
        time=events.time[:0],
        interest=interest,
    )


def check_export(model: ps.Model, data: Any) -> None:
    """The export form answers as the model does, also through ``torch.export`` and on rows it was not made with."""
    form = model.export_form().eval()
    batches = [draw(model, data, rows, seed) for rows, seed in ((16, 0), (7, 1))]
    for batch in (*batches, without_events(batches[0]) if model.history_length else batches[0]):
        torch.testing.assert_close(form(*model.export_inputs(batch)), model(batch), rtol=1e-6, atol=1e-6)
    inputs, others = (model.export_inputs(batch) for batch in batches)
    rows = torch.export.Dim("rows", min=2)
    shapes = {"inputs": tuple({0: rows} for _ in inputs)}
    exported = torch.export.export(form, inputs, dynamic_shapes=shapes, strict=False)
    torch.testing.assert_close(exported.module()(*others), model(batches[1]), rtol=1e-6, atol=1e-6)
