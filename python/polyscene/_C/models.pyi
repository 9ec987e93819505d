"""
The base model and the registry.
"""
from __future__ import annotations
import collections.abc
import polyscene._C.data
import torch
import typing
__all__: list[str] = ['Follower', 'Model', 'Phase', 'PyModel', 'Sampling', 'create', 'expect_int8', 'int8_tables', 'list', 'options', 'pack_int8', 'register', 'scene_items', 'tasks', 'unpack_int8']
class Phase:
    """
    One stage of training.
    """
    def __init__(self, name: str = 'fit', *, scenes: collections.abc.Sequence[str] = [], frozen: collections.abc.Sequence[str] = [], lr_scale: typing.SupportsFloat | typing.SupportsIndex = 1.0, epochs: typing.SupportsInt | typing.SupportsIndex = 0, patience: typing.SupportsInt | typing.SupportsIndex = -1, batch_size: typing.SupportsInt | typing.SupportsIndex = 0, lr_scales: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex] = {}) -> None:
        ...
    @property
    def batch_size(self) -> int:
        """
        0: the trainer's.
        """
    @property
    def epochs(self) -> int:
        """
        0: the trainer's.
        """
    @property
    def frozen(self) -> list[str]:
        """
        Prefixes of parameter names that do not move.
        """
    @property
    def lr_scale(self) -> float:
        """
        Times the trainer's learning rate.
        """
    @property
    def lr_scales(self) -> dict[str, float]:
        """
        Further factors, by prefixes of parameter names.
        """
    @property
    def name(self) -> str:
        ...
    @property
    def newest(self) -> bool:
        """
        Whether of epochs that are worth the same the newest is kept.
        """
    @property
    def of_known(self) -> bool:
        """
        Whether it is judged by validation rows of users whom training knew in the row's scene alone; where there are none it trains 30 epochs at most.
        """
    @property
    def patience(self) -> int:
        """
        -1: the trainer's.
        """
    @property
    def scenes(self) -> list[str]:
        """
        Scenes whose rows train; empty: all.
        """
class Sampling:
    """
    Which items a model wants to see beside that of each training row, `batch.negative`.
    """
    def __init__(self, negatives: typing.SupportsInt | typing.SupportsIndex = 0, *, source: str = 'uniform', exponent: typing.SupportsFloat | typing.SupportsIndex = 0.75) -> None:
        ...
    @property
    def exponent(self) -> float:
        """
        Of an item's count, for 'popularity'.
        """
    @property
    def negatives(self) -> int:
        """
        Items for each row, N; 0: none.
        """
    @property
    def source(self) -> str:
        """
        'uniform', 'popularity' or 'in_batch'.
        """
class Model:
    """
    A model of the registry.
    """
    history: polyscene._C.data.History
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def begin_epoch(self, epoch: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def begin_phase(self, phase: Phase) -> None:
        ...
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def encode(self) -> None:
        """
        Computes what all users share, once.
        """
    def explain(self, batch: polyscene._C.data.Batch) -> list[tuple[str, torch.Tensor]]:
        """
        Everything else a forward computes, as (name, tensor).
        """
    def fit_closed_form(self, train: polyscene._C.data.Table) -> bool:
        ...
    def forward(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        """
        Logits or ratings of each row, [B].
        """
    def loss(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        """
        Mean loss, auxiliary terms included.
        """
    def phases(self) -> list[Phase]:
        """
        The stages of training.
        """
    def prepare(self, train: polyscene._C.data.Table) -> None:
        """
        Graphs, counts, behaviour.
        """
    def represent(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        """
        What the head reads of each row, [B, H].
        """
    def sampling(self) -> Sampling:
        """
        What negatives each training row must carry.
        """
    def score_items(self, users: torch.Tensor, scene: typing.SupportsInt | typing.SupportsIndex, items: torch.Tensor) -> torch.Tensor:
        """
        Scores of items for users in a scene, [U, C].
        """
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def sparse_gradients(self, on: bool) -> None:
        ...
    def table_parameters(self) -> list[str]:
        """
        Names of the lookup tables.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    def transition_matrix(self, source: typing.SupportsInt | typing.SupportsIndex, target: typing.SupportsInt | typing.SupportsIndex) -> torch.Tensor:
        """
        Mean predicted p(y' | y = i) over the training events between two scenes, [K, K].
        """
    @property
    def history_length(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def options(self) -> dict:
        ...
    @property
    def schema(self) -> polyscene._C.data.Schema:
        ...
    @property
    def training(self) -> bool:
        ...
class PyModel(Model):
    """
    A model written in Python, as C++ sees it.
    """
    def __init__(self, schema: polyscene._C.data.Schema, name: str, owner: typing.Any) -> None:
        ...
    def adopt(self, tensors: collections.abc.Sequence[tuple[str, torch.Tensor, bool]]) -> None:
        """
        Registers (name, tensor, is buffer).
        """
    def begin_epoch(self, epoch: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def begin_phase(self, phase: Phase) -> None:
        ...
    def encode(self) -> None:
        ...
    def explain(self, batch: polyscene._C.data.Batch) -> list[tuple[str, torch.Tensor]]:
        ...
    def fit_closed_form(self, train: polyscene._C.data.Table) -> bool:
        ...
    def loss(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        ...
    def phases(self) -> list[Phase]:
        ...
    def prepare(self, train: polyscene._C.data.Table) -> None:
        ...
    def represent(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        ...
    def sampling(self) -> Sampling:
        ...
    def score_items(self, users: torch.Tensor, scene: typing.SupportsInt | typing.SupportsIndex, items: torch.Tensor) -> torch.Tensor:
        ...
    @property
    def history_length(self) -> int:
        ...
class Follower:
    """
    Follows one person, event by event.
    """
    def __init__(self, model: Model) -> None:
        ...
    def add(self, item: typing.SupportsInt | typing.SupportsIndex, scene: typing.SupportsInt | typing.SupportsIndex, time: typing.SupportsInt | typing.SupportsIndex = 0, label: typing.SupportsFloat | typing.SupportsIndex = 1) -> None:
        """
        One more event.
        """
    def add_all(self, events: polyscene._C.data.Events) -> None:
        """
        The events of one list, oldest first.
        """
    def items(self) -> torch.Tensor:
        """
        Rows of all items so far, int64 [n].
        """
    def scores(self, scene: typing.SupportsInt | typing.SupportsIndex) -> torch.Tensor:
        """
        Scores of the scene's items, [C].
        """
    def state(self, scene: typing.SupportsInt | typing.SupportsIndex) -> torch.Tensor:
        """
        After all events, [1, D].
        """
    @property
    def events(self) -> int:
        ...
def create(name: str, schema: polyscene._C.data.Schema, options: dict = {}) -> Model:
    """
    Makes a registered model.
    """
def expect_int8(model: Model, state: collections.abc.Mapping[str, torch.Tensor]) -> None:
    """
    Prepares the tables that `state` holds packed.
    """
def int8_tables(model: Model) -> list[str]:
    """
    Names of the lookup tables that may hold 8-bit rows.
    """
def list(task: str = '') -> list[str]:
    """
    Registered names, all or those of one task.
    """
def options(name: str) -> list:
    """
    Options as (name, type, default, doc).
    """
def pack_int8(rows: torch.Tensor) -> torch.Tensor:
    """
    Rows [V, D] as int8 [V, D + 4]: whole numbers, then the bytes of the scale.
    """
def register(name: str, tasks: collections.abc.Sequence[str], cls: typing.Any, defaults: dict) -> None:
    """
    Adds a Python class to the registry.
    """
def scene_items(model: Model, scene: typing.SupportsInt | typing.SupportsIndex) -> torch.Tensor:
    """
    Items of a scene with training rows, int64 [C], ascending.
    """
def tasks(name: str) -> list[str]:
    """
    The tasks that a registered model does.
    """
def unpack_int8(packed: torch.Tensor) -> torch.Tensor:
    """
    float32 [..., D].
    """
