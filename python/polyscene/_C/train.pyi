"""
Trainer, checkpoints and configs.
"""
from __future__ import annotations
import collections.abc
import polyscene._C.data
import polyscene._C.models
import torch
import typing
__all__: list[str] = ['Optimizer', 'Trainer', 'read_checkpoint', 'resolve_config', 'section_fields', 'write_checkpoint']
class Optimizer:
    """
    Optimiser over dense parameters and lookup tables, both given as (name, tensor).
    """
    def __init__(self, options: dict, dense: collections.abc.Sequence[tuple[str, torch.Tensor]], tables: collections.abc.Sequence[tuple[str, torch.Tensor]] = []) -> None:
        ...
    def load(self, state: collections.abc.Mapping[str, torch.Tensor]) -> None:
        ...
    def set_lr_scale(self, prefix: str, scale: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    def set_phase(self, frozen: collections.abc.Sequence[str], lr_scale: typing.SupportsFloat | typing.SupportsIndex = 1.0) -> None:
        ...
    def set_total_steps(self, steps: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def state(self) -> dict[str, torch.Tensor]:
        """
        State tensors by name, shared with the optimiser.
        """
    def step(self) -> None:
        """
        Moves every parameter that has a gradient.
        """
    def zero_grad(self) -> None:
        """
        Drops all gradients.
        """
    @property
    def gradient_norm(self) -> float:
        ...
    @property
    def lazy(self) -> bool:
        ...
    @property
    def lr(self) -> float:
        ...
    @property
    def steps(self) -> int:
        ...
class Trainer:
    """
    Trains models; the best epoch on validation data is what remains.
    """
    def __init__(self, options: dict) -> None:
        ...
    def fit(self, model: polyscene._C.models.Model, train: polyscene._C.data.Table, valid: polyscene._C.data.Table = None, progress: typing.Any = None, epoch: typing.Any = None, checkpoint: str = '', resume: bool = False) -> tuple:
        """
        Returns (history, best epoch, whether it was interrupted).
        """
    def monitor(self, task: str) -> str:
        ...
    @property
    def options(self) -> dict:
        ...
def read_checkpoint(path: str) -> dict:
    """
    What a model file holds, by name.
    """
def resolve_config(text: str, source: str = 'config', overrides: collections.abc.Sequence[str] = []) -> str:
    """
    Checks a config and fills in every default; JSON text.
    """
def section_fields(section: str) -> list:
    """
    Fields of a config section as (name, type, default, doc).
    """
def write_checkpoint(path: str, *, model: str, options: dict, schema: polyscene._C.data.Schema, history: polyscene._C.data.History, state: collections.abc.Mapping[str, torch.Tensor], metadata: collections.abc.Mapping[str, str]) -> None:
    """
    Writes one safetensors file, atomically.
    """
