"""
Columns, schemas, tables and batches.
"""
from __future__ import annotations
import collections.abc
import torch
import typing
__all__: list[str] = ['Batch', 'Batches', 'CategoricalField', 'Columns', 'Events', 'History', 'Interactions', 'ListField', 'NumericField', 'Ragged', 'ScenePairs', 'Schema', 'Sequences', 'Simulation', 'Strings', 'Table', 'WindowBatches', 'Windows', 'fit_schema', 'images', 'simulate']
class Strings:
    """
    Many short strings in two tensors: UTF-8 bytes, and offsets [n + 1].
    """
    @typing.overload
    def __init__(self, bytes: torch.Tensor, offsets: torch.Tensor) -> None:
        ...
    @typing.overload
    def __init__(self, values: collections.abc.Sequence[str]) -> None:
        ...
    def __len__(self) -> int:
        ...
    def list(self) -> list[str]:
        ...
    @property
    def bytes(self) -> torch.Tensor:
        ...
    @property
    def offsets(self) -> torch.Tensor:
        ...
class Ragged:
    """
    Lists of different length: list i is values[offsets[i]:offsets[i + 1]].
    """
    def __init__(self, values: torch.Tensor, offsets: torch.Tensor) -> None:
        ...
    def __len__(self) -> int:
        ...
    def take(self, rows: torch.Tensor) -> Ragged:
        ...
    @property
    def offsets(self) -> torch.Tensor:
        ...
    @property
    def values(self) -> torch.Tensor:
        ...
class Columns:
    """
    One source in columns, as stored: codes of all its ids and raw numbers.
    """
    @staticmethod
    def open(path: str) -> Columns:
        ...
    def __init__(self, *, categorical: collections.abc.Sequence[str], codes: torch.Tensor, ids: collections.abc.Sequence[Strings], numeric: collections.abc.Sequence[str], numbers: torch.Tensor, lists: collections.abc.Sequence[str], list_codes: collections.abc.Sequence[Ragged], list_ids: collections.abc.Sequence[Strings], scene: torch.Tensor, scene_names: collections.abc.Sequence[str], label: torch.Tensor | None = None, weight: torch.Tensor | None = None, time: torch.Tensor | None = None, interest: Ragged | None = None, interest_ids: Strings | None = None) -> None:
        ...
    def __len__(self) -> int:
        ...
    def digest(self) -> str:
        ...
    def save(self, path: str) -> None:
        ...
    @property
    def categorical(self) -> list[str]:
        ...
    @property
    def codes(self) -> torch.Tensor:
        ...
    @property
    def ids(self) -> list[Strings]:
        ...
    @property
    def interest(self) -> Ragged:
        ...
    @property
    def interest_ids(self) -> Strings:
        ...
    @property
    def label(self) -> torch.Tensor:
        ...
    @property
    def list_codes(self) -> list[Ragged]:
        ...
    @property
    def list_ids(self) -> list[Strings]:
        ...
    @property
    def lists(self) -> list[str]:
        ...
    @property
    def numbers(self) -> torch.Tensor:
        ...
    @property
    def numeric(self) -> list[str]:
        ...
    @property
    def rows(self) -> int:
        ...
    @property
    def scene(self) -> torch.Tensor:
        ...
    @property
    def scene_names(self) -> list[str]:
        ...
    @property
    def time(self) -> torch.Tensor:
        ...
    @property
    def weight(self) -> torch.Tensor:
        ...
class CategoricalField:
    """
    A categorical field: row 0 unknown, row 1 missing, row r >= 2 is ids[r - 2].
    """
    @property
    def ids(self) -> list[str]:
        ...
    @property
    def min_count(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def rows(self) -> int:
        ...
    @property
    def side(self) -> str:
        ...
class NumericField:
    """
    A numeric field: x -> (clip(fill(x)) - shift) / scale, fitted on training rows.
    """
    @property
    def fill(self) -> float:
        ...
    @property
    def high(self) -> float:
        ...
    @property
    def low(self) -> float:
        ...
    @property
    def missing(self) -> str:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def outliers(self) -> str:
        ...
    @property
    def scale(self) -> float:
        ...
    @property
    def scaling(self) -> str:
        ...
    @property
    def shift(self) -> float:
        ...
    @property
    def side(self) -> str:
        ...
class ListField:
    """
    A multi-hot or sequence column.
    """
    @property
    def ids(self) -> list[str]:
        ...
    @property
    def kind(self) -> str:
        ...
    @property
    def max_length(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def rows(self) -> int:
        ...
    @property
    def shares(self) -> str:
        ...
class Schema:
    """
    What a model knows of the data; fitted on training rows only.
    """
    @staticmethod
    def from_json(json: str, tensors: collections.abc.Mapping[str, torch.Tensor]) -> Schema:
        ...
    def __eq__(self, arg0: Schema) -> bool:
        ...
    def __getstate__(self) -> tuple[str, dict[str, torch.Tensor]]:
        ...
    def __hash__(self) -> int:
        ...
    def __repr__(self) -> str:
        ...
    def __setstate__(self, arg0: tuple) -> None:
        ...
    def field(self, name: str) -> int:
        """
        Index of a categorical field.
        """
    def json(self) -> str:
        ...
    def scene(self, name: str) -> int:
        """
        Index of a scene.
        """
    def tensors(self) -> dict[str, torch.Tensor]:
        ...
    @property
    def categorical(self) -> list[CategoricalField]:
        ...
    @property
    def classes(self) -> list[str]:
        """
        Names of the classes of tasks text and image; [] for other tasks.
        """
    @property
    def digest(self) -> str:
        ...
    @property
    def has_time(self) -> bool:
        ...
    @property
    def images(self) -> list[tuple[str, int, int, int]]:
        """
        (column, channels, height, width) of each image column.
        """
    @property
    def interests(self) -> list[str]:
        ...
    @property
    def item(self) -> str | None:
        ...
    @property
    def label(self) -> str:
        ...
    @property
    def label_high(self) -> float:
        ...
    @property
    def label_low(self) -> float:
        ...
    @property
    def label_mean(self) -> float:
        ...
    @property
    def lists(self) -> list[ListField]:
        ...
    @property
    def num_fields(self) -> int:
        ...
    @property
    def num_scenes(self) -> int:
        ...
    @property
    def numeric(self) -> list[NumericField]:
        ...
    @property
    def numeric_width(self) -> int:
        ...
    @property
    def reader(self) -> str:
        """
        JSON text: which column of a file is what, as the training data were read.
        """
    @property
    def scene_label(self) -> torch.Tensor:
        ...
    @property
    def scene_rows(self) -> torch.Tensor:
        ...
    @property
    def scenes(self) -> list[str]:
        ...
    @property
    def task(self) -> str:
        ...
    @property
    def unseen_scene(self) -> str:
        ...
    @property
    def user(self) -> str | None:
        ...
class Events:
    """
    What users did before each row of a batch, oldest first.
    """
    def __init__(self, offsets: torch.Tensor, item: torch.Tensor, scene: torch.Tensor, label: torch.Tensor, time: torch.Tensor, interest: Ragged | None = None) -> None:
        ...
    def gaps(self) -> torch.Tensor:
        """
        Time since the event before, int64 [L]; 0 for the first of a list.
        """
    def newest(self, length: typing.SupportsInt | typing.SupportsIndex) -> Events:
        """
        The newest `length` events of each list.
        """
    def of_scene(self, scene: typing.SupportsInt | typing.SupportsIndex) -> Events:
        """
        The view of one scene: its events alone.
        """
    def take(self, rows: torch.Tensor) -> Events:
        """
        The lists `rows` in that order.
        """
    @property
    def interest(self) -> Ragged | None:
        ...
    @property
    def item(self) -> torch.Tensor:
        ...
    @property
    def label(self) -> torch.Tensor:
        ...
    @property
    def offsets(self) -> torch.Tensor:
        ...
    @property
    def scene(self) -> torch.Tensor:
        ...
    @property
    def time(self) -> torch.Tensor:
        ...
class Batch:
    """
    Rows of a table as tensors.
    """
    def __init__(self) -> None:
        ...
    def __len__(self) -> int:
        ...
    def __repr__(self) -> str:
        ...
    @typing.overload
    def take(self, index: torch.Tensor) -> Batch:
        """
        Rows `index` in that order.
        """
    @typing.overload
    def take(self, index: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> Batch:
        ...
    def to(self, device: typing.Any) -> Batch:
        ...
    @property
    def categorical(self) -> torch.Tensor:
        """
        int32 [B, F], rows of each field's vocabulary (0 unknown, 1 missing).
        """
    @categorical.setter
    def categorical(self, arg0: torch.Tensor) -> None:
        ...
    @property
    def history(self) -> Events | None:
        ...
    @history.setter
    def history(self, arg1: Events) -> None:
        ...
    @property
    def interest(self) -> Ragged | None:
        ...
    @property
    def item(self) -> torch.Tensor | None:
        """
        int64 [B], rows of the item vocabulary, or None.
        """
    @item.setter
    def item(self, arg1: torch.Tensor) -> None:
        ...
    @property
    def label(self) -> torch.Tensor | None:
        """
        float32 [B] or None.
        """
    @label.setter
    def label(self, arg1: torch.Tensor) -> None:
        ...
    @property
    def negative(self) -> torch.Tensor | None:
        """
        int64 [B, N], items that the user did not meet in the scene, or None.
        """
    @negative.setter
    def negative(self, arg1: torch.Tensor) -> None:
        ...
    @property
    def next_item(self) -> torch.Tensor | None:
        """
        int64 [L] or None: in task sequence the item that followed each event of `history`.
        """
    @property
    def next_negative(self) -> torch.Tensor | None:
        """
        int64 [L, N] or None: items of that scene that the user did not meet.
        """
    @next_negative.setter
    def next_negative(self, arg1: torch.Tensor) -> None:
        ...
    @property
    def next_scene(self) -> torch.Tensor | None:
        """
        int64 [L] or None: its scene.
        """
    @property
    def numeric(self) -> torch.Tensor:
        """
        float32 [B, M], preprocessed.
        """
    @numeric.setter
    def numeric(self, arg0: torch.Tensor) -> None:
        ...
    @property
    def row(self) -> torch.Tensor:
        """
        int64 [B], positions in the table.
        """
    @property
    def scene(self) -> torch.Tensor:
        """
        int64 [B].
        """
    @scene.setter
    def scene(self, arg0: torch.Tensor) -> None:
        ...
    @property
    def scene_offsets(self) -> torch.Tensor | None:
        """
        int64 [S + 1] on the CPU when rows are grouped by scene, else None.
        """
    @scene_offsets.setter
    def scene_offsets(self, arg1: torch.Tensor) -> None:
        ...
    @property
    def schema_digest(self) -> str:
        ...
    @property
    def sequence(self) -> dict[str, Ragged]:
        """
        Multi-hot and sequence columns by name.
        """
    @sequence.setter
    def sequence(self, arg0: collections.abc.Mapping[str, Ragged]) -> None:
        ...
    @property
    def time(self) -> torch.Tensor | None:
        """
        int64 [B] or None.
        """
    @property
    def user(self) -> torch.Tensor | None:
        """
        int64 [B], rows of the user vocabulary, or None.
        """
    @user.setter
    def user(self, arg1: torch.Tensor) -> None:
        ...
    @property
    def weight(self) -> torch.Tensor | None:
        """
        float32 [B] or None.
        """
    @weight.setter
    def weight(self, arg1: torch.Tensor) -> None:
        ...
class Table:
    """
    Rows of a source, seen through a schema.
    """
    history: History
    def __init__(self, columns: Columns, schema: Schema, rows: torch.Tensor | None = None, role: str = '') -> None:
        ...
    def __len__(self) -> int:
        ...
    def __repr__(self) -> str:
        ...
    def batch(self, positions: torch.Tensor, grouped: bool = False, history: typing.SupportsInt | typing.SupportsIndex = 50, negatives: typing.SupportsInt | typing.SupportsIndex = 0, sampler: str = 'uniform', seed: typing.SupportsInt | typing.SupportsIndex = 0) -> Batch:
        ...
    def digest(self) -> str:
        ...
    def items(self) -> torch.Tensor | None:
        ...
    def labels(self) -> torch.Tensor | None:
        ...
    def scenes(self) -> torch.Tensor:
        ...
    def take(self, positions: torch.Tensor) -> Table:
        ...
    def times(self) -> torch.Tensor | None:
        ...
    def users(self) -> torch.Tensor | None:
        ...
    @property
    def also_seen(self) -> Interactions:
        """
        What rankings leave out besides the training rows.
        """
    @also_seen.setter
    def also_seen(self, arg1: Interactions) -> None:
        ...
    @property
    def columns(self) -> Columns:
        ...
    @property
    def role(self) -> str:
        ...
    @property
    def rows(self) -> torch.Tensor:
        ...
    @property
    def schema(self) -> Schema:
        ...
    @property
    def sequences(self) -> Sequences:
        """
        What users did in order, for task sequence.
        """
    @sequences.setter
    def sequences(self, arg1: Sequences) -> None:
        ...
    @property
    def size(self) -> int:
        ...
    @property
    def streams(self) -> bool:
        """
        Whether the columns look into a file and have more rows than are held in memory.
        """
class ScenePairs:
    """
    Pairs of one scene, by user and by item.
    """
    def __len__(self) -> int:
        ...
    @property
    def candidates(self) -> torch.Tensor:
        """
        int64, items with a pair, ascending.
        """
    @property
    def item_offsets(self) -> torch.Tensor:
        """
        int64 [I + 1].
        """
    @property
    def items(self) -> torch.Tensor:
        """
        int32 [n], ascending within a user.
        """
    @property
    def user_offsets(self) -> torch.Tensor:
        """
        int64 [U + 1].
        """
    @property
    def users(self) -> torch.Tensor:
        """
        int32 [n], ascending within an item.
        """
    @property
    def visitors(self) -> torch.Tensor:
        """
        int64, users with a pair, ascending.
        """
class Interactions:
    """
    Who met which items in each scene, every pair once.
    """
    @staticmethod
    def of(table: Table) -> Interactions:
        ...
    def __len__(self) -> int:
        ...
    def pooled(self) -> ScenePairs:
        """
        All scenes together.
        """
    def scene(self, scene: typing.SupportsInt | typing.SupportsIndex) -> ScenePairs:
        ...
class History:
    """
    Behaviour of users in the training rows, and the catalogue of items.
    """
    @staticmethod
    def fit(train: Table, events: bool = True) -> History:
        ...
    @staticmethod
    def from_tensors(schema: Schema, tensors: collections.abc.Mapping[str, torch.Tensor]) -> History:
        ...
    def append(self, user: torch.Tensor, events: Events) -> History:
        ...
    def before(self, user: torch.Tensor, time: torch.Tensor | None = None, row: torch.Tensor | None = None, length: typing.SupportsInt | typing.SupportsIndex = 50) -> Events:
        ...
    def interactions(self) -> Interactions:
        """
        The training rows as pairs, every pair once.
        """
    def tensors(self) -> dict[str, torch.Tensor]:
        ...
    @property
    def item_count(self) -> torch.Tensor:
        ...
    @property
    def keeps_events(self) -> bool:
        ...
    @property
    def offsets(self) -> torch.Tensor:
        ...
class Sequences:
    """
    What every user of a source did, in order.
    """
    def __init__(self, columns: Columns, user: str, rows: collections.abc.Mapping[str, torch.Tensor]) -> None:
        ...
    def __len__(self) -> int:
        ...
    def windows(self, rows: torch.Tensor, length: typing.SupportsInt | typing.SupportsIndex) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Windows of training rows: (positions in `rows` of the newest of each, events before it).
        """
class Windows:
    """
    Windows of users' training events.
    """
    def __init__(self, table: Table, length: typing.SupportsInt | typing.SupportsIndex, within_scene: bool = False) -> None:
        ...
    def __len__(self) -> int:
        ...
    @property
    def length(self) -> torch.Tensor:
        """
        int32 [W], events before it.
        """
    @property
    def position(self) -> torch.Tensor:
        """
        int64 [W], position in the table of each window's newest row.
        """
class WindowBatches:
    """
    Walks the windows of a table in batches of about equal length.
    """
    def __init__(self, table: Table, windows: Windows, length: typing.SupportsInt | typing.SupportsIndex, batch_size: typing.SupportsInt | typing.SupportsIndex = 128, seed: typing.SupportsInt | typing.SupportsIndex = 0, epoch: typing.SupportsInt | typing.SupportsIndex = 0, within_scene: bool = False) -> None:
        ...
    def __iter__(self) -> typing.Any:
        ...
    def __len__(self) -> int:
        ...
    def __next__(self) -> Batch:
        ...
class Batches:
    """
    Walks a table in batches grouped by scene.
    """
    def __init__(self, table: Table, batch_size: typing.SupportsInt | typing.SupportsIndex = 4096, shuffle: bool = False, seed: typing.SupportsInt | typing.SupportsIndex = 0, epoch: typing.SupportsInt | typing.SupportsIndex = 0, history: typing.SupportsInt | typing.SupportsIndex = 0, window: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def __iter__(self) -> typing.Any:
        ...
    def __len__(self) -> int:
        ...
    def __next__(self) -> Batch:
        ...
class Simulation:
    """
    Simulated events, and the truth that made them.
    """
    @property
    def columns(self) -> Columns:
        ...
    @property
    def expected(self) -> torch.Tensor:
        """
        float32 [N], knowing only the interest before.
        """
    @property
    def initial(self) -> torch.Tensor:
        """
        float64 [S, K], first interest in each scene.
        """
    @property
    def item_topic(self) -> torch.Tensor:
        """
        int64 [I].
        """
    @property
    def next_bayes(self) -> float:
        """
        Accuracy of the best guess of the next interest.
        """
    @property
    def next_bayes_scene(self) -> torch.Tensor:
        """
        float64 [S], by the scene of the next event.
        """
    @property
    def probability(self) -> torch.Tensor:
        """
        float32 [N], click probability of each row.
        """
    @property
    def scene_topic(self) -> torch.Tensor:
        """
        int64 [S, K], the topic that each interest looks for.
        """
    @property
    def transition(self) -> torch.Tensor:
        """
        float64 [S, S, K, K], noise mixed in.
        """
    @property
    def transition_end(self) -> torch.Tensor:
        """
        float64 [S, S, K, K], on the last day.
        """
    @property
    def user_scenes(self) -> torch.Tensor:
        """
        bool [U, S].
        """
def fit_schema(columns: Columns, train_rows: torch.Tensor, *, task: str = 'ctr', label: str = 'label', user: str = '', item: str = '', min_count: typing.SupportsInt | typing.SupportsIndex = 2, unseen_scene: str = 'error', numeric: collections.abc.Sequence[dict] = [], lists: collections.abc.Sequence[dict] = [], reader: str = '') -> Schema:
    ...
def images(batch: Batch, schema: Schema) -> torch.Tensor:
    """
    The images of a batch, float32 [B, channels, height, width] in [0, 1].
    """
def simulate(**kwargs) -> Simulation:
    """
    Users whose interests move between scenes by known matrices.
    """
