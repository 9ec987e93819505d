"""Feature embeddings: the categorical fields of a batch in one fused table."""

from __future__ import annotations

from typing import Any

import torch

from polyscene._extension import _C
from polyscene._module import Module


class FeatureEmbedding(Module):
    r"""Every categorical field in one fused table, so that a batch is one gather.

    Called with a :class:`polyscene.Batch`; returns the slots [B, F + L, D]: the rows of the F categorical fields, then
    for each of the L multi-hot columns the mean of its rows, zero for an empty list. Rows 0 (unknown) and 1 (missing)
    of each field start at zero, the others at :math:`N(0, \text{init_std}^2)`. Its one parameter is ``weight`` [V, D].

    Args:
        schema: fields and vocabularies of the data.
        options: ``dim`` (width of every row, D), ``init_std``, ``sparse`` (gradients of the looked-up rows alone).

    Raises:
        ValueError: an unknown option or a value out of range.
        IndexError: a batch with a row outside its field.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> embedding = ps.nn.FeatureEmbedding(data.schema, dim=4)
        >>> embedding(ps.testing.batch(data, 8)).shape, embedding.output_size
        (torch.Size([8, 5, 4]), 22)
    """

    # The forward follows the batch and checks its rows.
    _traceable = False

    _impl: Any

    def __init__(self, schema: Any, **options: Any) -> None:
        super().__init__()
        self._mirror(_C.nn.FeatureEmbedding(schema, options))

    def forward(self, batch: Any) -> torch.Tensor:
        """Returns all slots of the rows, [B, F + L, D]."""
        self._check()
        return self._impl.forward(batch)

    def flat(self, batch: Any) -> torch.Tensor:
        """Returns all slots side by side and the numeric columns after them, [B, output_size]."""
        self._check()
        return self._impl.flat(batch)

    def embed(self, field: str, index: torch.Tensor) -> torch.Tensor:
        """Returns the rows ``index`` (integers of any shape) of one field, [..., D]: histories, candidates."""
        self._check()
        return self._impl.embed(field, index)

    def field_rows(self, field: str) -> torch.Tensor:
        """Returns the rows of one field, a view of ``weight``, [rows, D]."""
        return self._impl.field_rows(field)

    def offset(self, field: str) -> int:
        """Returns the first row of a field in ``weight``."""
        return int(self._impl.offset(field))

    @property
    def options(self) -> dict[str, Any]:
        """Every option with its value."""
        return dict(self._impl.options)

    @property
    def slots(self) -> int:
        """Fields and multi-hot columns, F + L."""
        return int(self._impl.slots)

    @property
    def output_size(self) -> int:
        """Columns of :meth:`flat`."""
        return int(self._impl.output_size)

    @property
    def sparse(self) -> bool:
        """Whether the gradient of ``weight`` is sparse; can be set."""
        return bool(self.options["sparse"])

    @sparse.setter
    def sparse(self, on: bool) -> None:
        self._impl.set_sparse(on)

    def extra_repr(self) -> str:
        """Options, as they would be written to make the block."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
