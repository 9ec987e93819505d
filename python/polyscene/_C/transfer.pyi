"""
Fusion, migration loss and matching of parameters.
"""
from __future__ import annotations
import collections.abc
import polyscene._C.data
import polyscene._C.models
import torch
import typing
__all__: list[str] = ['Aligned', 'Anchored', 'Balanced', 'Consolidated', 'Distilled', 'FineTuned', 'LowRank', 'Matched', 'MeanTeacher', 'Migrated', 'PseudoLabelled', 'add_tasks', 'anchored_fields', 'blocks_of', 'carry', 'fisher', 'fisher_fields', 'fuse', 'lookups', 'mechanisms', 'prior_shift', 'project_conflicts', 'ramped', 'recompute_statistics', 'warm_start']
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
class LowRank(polyscene._C.models.Model):
    """
    Low-rank adaptation of the matrices of a model.
    """
    def __init__(self, inner: polyscene._C.models.Model, options: dict = {}) -> None:
        ...
    def base(self) -> dict[str, torch.Tensor]:
        """
        State of the model without it.
        """
    def matrices(self) -> list[str]:
        """
        Names of the adapted matrices.
        """
    def merged(self) -> dict[str, torch.Tensor]:
        """
        State of the model with what was learned.
        """
    def release(self) -> None:
        """
        Makes plain tensors of the matrices.
        """
    @property
    def settings(self) -> dict:
        ...
class FineTuned(polyscene._C.models.Model):
    """
    Fine-tuning block by block.
    """
    def __init__(self, inner: polyscene._C.models.Model, options: dict = {}) -> None:
        ...
    def blocks(self) -> list[list[str]]:
        """
        Names of the parameters of each block, the lowest first.
        """
    @property
    def settings(self) -> dict:
        ...
class Consolidated(polyscene._C.models.Model):
    """
    Elastic weight consolidation.
    """
    def __init__(self, inner: polyscene._C.models.Model, anchor: collections.abc.Mapping[str, torch.Tensor], importance: collections.abc.Mapping[str, torch.Tensor], options: dict = {}) -> None:
        ...
    def penalty(self) -> torch.Tensor:
        """
        The penalty without its strength, [].
        """
    @property
    def settings(self) -> dict:
        ...
    @property
    def unmatched(self) -> list[str]:
        """
        Parameters that are free.
        """
class Distilled(polyscene._C.models.Model):
    """
    A model with teachers.
    """
    def __init__(self, inner: polyscene._C.models.Model, teachers: collections.abc.Sequence[polyscene._C.models.Model], options: dict = {}, sample: polyscene._C.data.Table = None) -> None:
        ...
    def soft_loss(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        """
        What the soft labels add, before its share, [].
        """
    @property
    def settings(self) -> dict:
        ...
class PseudoLabelled(polyscene._C.models.Model):
    """
    Confident answers as labels.
    """
    def __init__(self, inner: polyscene._C.models.Model, table: polyscene._C.data.Table, options: dict = {}) -> None:
        ...
    def unlabelled_loss(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        """
        Mean over rows without labels, before its weight, [].
        """
    @property
    def settings(self) -> dict:
        ...
class MeanTeacher(polyscene._C.models.Model):
    """
    A model and the running mean of it.
    """
    def __init__(self, inner: polyscene._C.models.Model, teacher: polyscene._C.models.Model, table: polyscene._C.data.Table, options: dict = {}) -> None:
        ...
    def follow(self) -> None:
        """
        Moves the teacher after a step.
        """
    @property
    def settings(self) -> dict:
        ...
class Aligned(polyscene._C.models.Model):
    """
    Hidden layers that look alike in all scenes.
    """
    def __init__(self, inner: polyscene._C.models.Model, table: polyscene._C.data.Table, options: dict = {}) -> None:
        ...
    def accuracy(self, number: typing.SupportsInt | typing.SupportsIndex) -> float:
        """
        Share of the rows of a step whose scene the discriminator tells.
        """
    def alignment(self, number: typing.SupportsInt | typing.SupportsIndex) -> torch.Tensor:
        """
        The alignment on the rows of a step, [].
        """
    @property
    def settings(self) -> dict:
        ...
class Balanced(polyscene._C.models.Model):
    """
    Scenes as tasks.
    """
    def __init__(self, inner: polyscene._C.models.Model, options: dict = {}) -> None:
        ...
    @property
    def settings(self) -> dict:
        ...
def add_tasks(initial: collections.abc.Mapping[str, torch.Tensor], models: collections.abc.Sequence[collections.abc.Mapping[str, torch.Tensor]], weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> dict[str, torch.Tensor]:
    """
    theta_0 + sum_i w_i (theta_i - theta_0).
    """
def anchored_fields() -> list:
    """
    Options as (name, type, default, doc).
    """
def blocks_of(model: polyscene._C.models.Model) -> list[list[str]]:
    """
    Blocks of parameters, the lowest first.
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
def mechanisms() -> list:
    """
    All mechanisms as (name, doc, options).
    """
def prior_shift(from_share: typing.SupportsFloat | typing.SupportsIndex, to_share: typing.SupportsFloat | typing.SupportsIndex) -> float:
    """
    What to add to logits from rows with one share of positive labels to rows with another.
    """
def project_conflicts(gradients: collections.abc.Sequence[torch.Tensor], orders: collections.abc.Sequence[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]]) -> list[torch.Tensor]:
    """
    PCGrad on gradients [P] each.
    """
def ramped(weight: typing.SupportsFloat | typing.SupportsIndex, step: typing.SupportsInt | typing.SupportsIndex, ramp: typing.SupportsInt | typing.SupportsIndex) -> float:
    """
    w_max exp(-5 (1 - t / T)^2).
    """
def recompute_statistics(model: polyscene._C.models.Model, table: polyscene._C.data.Table, options: dict = {}) -> int:
    """
    Statistics of batch norm on the rows of a table; how many buffers.
    """
def warm_start(model: polyscene._C.models.Model, tasks: collections.abc.Sequence[polyscene._C.data.Table], options: dict = {}) -> list[float]:
    """
    Moves a model to where a few steps on any task lead far; the mean loss of each round.
    """
