"""
Fusion, migration loss and matching of parameters.
"""
from __future__ import annotations
import collections.abc
import polyscene._C.data
import polyscene._C.models
import torch
import typing
__all__: list[str] = ['Anchored', 'Matched', 'Migrated', 'anchored_fields', 'carry', 'fisher', 'fisher_fields', 'fuse', 'lookups']
class Migrated:
    """
    A trained model, as fusion sees it.
    """
    def __init__(self, state: collections.abc.Mapping[str, torch.Tensor], *, weight: typing.SupportsFloat | typing.SupportsIndex = 1.0, importance: collections.abc.Mapping[str, torch.Tensor] = {}, rows: collections.abc.Mapping[str, torch.Tensor] = {}) -> None:
        ...
    @property
    def importance(self) -> dict[str, torch.Tensor]:
        """
        Diagonal Fisher information by name; empty: all count the same.
        """
    @property
    def rows(self) -> dict[str, torch.Tensor]:
        """
        How much each row of a lookup table counts, [V] by name.
        """
    @property
    def state(self) -> dict[str, torch.Tensor]:
        """
        Parameters and buffers by name.
        """
    @property
    def weight(self) -> float:
        """
        Its share, such as its training rows.
        """
class Anchored(polyscene._C.models.Model):
    """
    A model tied to what was migrated.
    """
    def __init__(self, inner: polyscene._C.models.Model, anchors: collections.abc.Sequence[collections.abc.Mapping[str, torch.Tensor]], options: dict = {}) -> None:
        ...
    def migration_loss(self) -> torch.Tensor:
        """
        L_migration, [].
        """
    @property
    def unmatched(self) -> list[str]:
        """
        Parameters without an anchor.
        """
    @property
    def unused(self) -> list[str]:
        """
        Anchors without a parameter.
        """
class Matched:
    """
    What became of each parameter of a source model.
    """
    @property
    def by_id(self) -> list[str]:
        """
        Lookup tables, row by row.
        """
    @property
    def copied(self) -> list[str]:
        """
        Same name and shape.
        """
    @property
    def rows(self) -> dict[str, int]:
        """
        Rows that were carried over, by table.
        """
    @property
    def unmatched(self) -> list[str]:
        """
        Parameters that kept their values, with the reason.
        """
    @property
    def unused(self) -> list[str]:
        """
        Parameters of the source that the target lacks.
        """
def anchored_fields() -> list:
    """
    Options as (name, type, default, doc).
    """
def carry(target: polyscene._C.models.Model, source: polyscene._C.models.Model) -> Matched:
    """
    Writes the parameters of one model into another, by name, shape and id.
    """
def fisher(model: polyscene._C.models.Model, table: polyscene._C.data.Table, options: dict = {}) -> dict[str, torch.Tensor]:
    """
    Diagonal Fisher information of each parameter.
    """
def fisher_fields() -> list:
    """
    Options as (name, type, default, doc).
    """
def fuse(initial: collections.abc.Mapping[str, torch.Tensor], models: collections.abc.Sequence[Migrated], tables: collections.abc.Sequence[str] = []) -> dict[str, torch.Tensor]:
    """
    Fuses models that were trained from the same initialisation.
    """
def lookups(model: polyscene._C.models.Model, train: polyscene._C.data.Table) -> dict[str, torch.Tensor]:
    """
    How many training rows looked up each row of each lookup table.
    """
