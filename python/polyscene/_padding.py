"""Events of a batch as padded tensors."""

from __future__ import annotations

from typing import Any

import torch


def padded(batch: Any, length: int) -> tuple[torch.Tensor, ...]:
    """The newest events of each row, oldest first, padded with 0 at the end.

    Args:
        batch: B rows that carry their history.
        length: T, the most events of a row.

    Returns:
        ``item`` int64, ``scene`` int64 and ``label`` float32, [B, T] each, and how many events each row has, int64 [B],
        0 to T.

    Raises:
        ValueError: the batch carries no history.
    """
    events = batch.history
    if events is None:
        raise ValueError(f"export_inputs: the batch carries no history, the model needs {length} events a row")
    first, last = events.offsets[:-1], events.offsets[1:]
    first = torch.maximum(first, last - length)
    index = first.unsqueeze(1) + torch.arange(length)  # [B, T]
    held = index < last.unsqueeze(1)
    if events.item.numel() == 0:
        index, held = torch.zeros_like(index), torch.zeros_like(held)
        blank = [torch.zeros_like(index), torch.zeros_like(index), torch.zeros(index.shape)]
    else:
        index = index.clamp(max=events.item.numel() - 1)
        blank = [torch.where(held, column[index], 0) for column in (events.item.long(), events.scene, events.label)]
    return (*blank, last - first)
