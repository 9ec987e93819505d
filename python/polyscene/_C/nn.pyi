"""
Neural blocks.
"""
from __future__ import annotations
import collections.abc
import polyscene._C.data
import torch
import typing
__all__: list[str] = ['Attention', 'AttentionScore', 'CenterHead', 'ConvEncoder', 'DenseAttentionHead', 'FeatureEmbedding', 'Fusion', 'Gating', 'ImageAugment', 'ImageEncoder', 'InterestPoints', 'MLP', 'MultiHeadAttention', 'PairAttention', 'SequenceEncoder', 'TemporalAttention', 'TextEncoder', 'TransformerEncoder', 'UNet', 'additive_scores', 'attention_mask', 'bce_with_logits', 'bilinear_scores', 'bpr', 'bpr_max', 'causal_mask', 'coral', 'cosine_scores', 'distillation', 'dot_scores', 'embedding_l2', 'gaussian_radius', 'last_state', 'masked_softmax', 'migration_loss', 'mmd', 'pad_ragged', 'padding_mask', 'product', 'ragged_attention', 'reversal_strength', 'reverse_gradient', 'scaled_dot_scores', 'segmentation_loss', 'softmax_loss', 'squared_error', 'top1', 'unpad_ragged']
class AttentionScore:
    """
    Scores of queries against keys.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, query_size: typing.SupportsInt | typing.SupportsIndex, key_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class Attention:
    """
    One attention.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, query_size: typing.SupportsInt | typing.SupportsIndex, key_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class MultiHeadAttention:
    """
    Multi-head attention.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class TemporalAttention:
    """
    Attention over time.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, state_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, x: torch.Tensor, states: torch.Tensor, valid: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor, states: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class PairAttention:
    """
    Attention over adjacent pairs.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, state_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, states: torch.Tensor, valid: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, states: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class Gating:
    """
    Attention over features.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, context_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, x: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class DenseAttentionHead:
    """
    Dense layer, attention, logits.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class Fusion:
    """
    Vectors of several modalities to one.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, sizes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, x: collections.abc.Sequence[torch.Tensor], present: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: collections.abc.Sequence[torch.Tensor], present: torch.Tensor | None = None) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def output_size(self) -> int:
        ...
    @property
    def training(self) -> bool:
        ...
class UNet:
    """
    A class for every pixel of an image.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, classes: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...
    def gates(self, x: torch.Tensor) -> list[torch.Tensor]:
        """
        The gates of each level.
        """
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class CenterHead:
    """
    Boxes of objects as the peaks of a heat map.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, classes: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def decode(self, maps: torch.Tensor, top: typing.SupportsInt | typing.SupportsIndex, threshold: typing.SupportsFloat | typing.SupportsIndex) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        (boxes, labels, offsets, scores)
        """
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...
    def loss(self, maps: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def targets(self, boxes: torch.Tensor, labels: torch.Tensor, offsets: torch.Tensor, height: typing.SupportsInt | typing.SupportsIndex, width: typing.SupportsInt | typing.SupportsIndex) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        (heat, cells, sizes, shifts)
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class ConvEncoder:
    """
    Causal convolutions over time.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class TransformerEncoder:
    """
    Causal Transformer.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class SequenceEncoder:
    """
    A behaviour sequence to one hidden state per event.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor, valid: torch.Tensor, scene: torch.Tensor | None = None) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def output_size(self) -> int:
        ...
    @property
    def training(self) -> bool:
        ...
class TextEncoder:
    """
    Words of texts to one vector a text.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, x: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def output_size(self) -> int:
        ...
    @property
    def training(self) -> bool:
        ...
class ImageEncoder:
    """
    Images to one vector an image.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, channels: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def attend(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (output, weights)
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...
    def map(self, x: torch.Tensor) -> torch.Tensor:
        """
        The last map, [B, H, h', w'].
        """
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def output_size(self) -> int:
        ...
    @property
    def training(self) -> bool:
        ...
class ImageAugment:
    """
    Images as they might have been.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class InterestPoints:
    """
    Filters over time, their strongest answers.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def extract(self, context: torch.Tensor, valid: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """
        (values, steps)
        """
    def forward(self, context: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def training(self) -> bool:
        ...
class MLP:
    """
    Multi-layer perceptron.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def output_size(self) -> int:
        ...
    @property
    def training(self) -> bool:
        ...
class FeatureEmbedding:
    """
    Every categorical field in one table.
    """
    @staticmethod
    def option_fields() -> list:
        """
        (name, type, default, doc) of each.
        """
    def __init__(self, schema: polyscene._C.data.Schema, options: dict = {}) -> None:
        ...
    def aliases(self) -> list[tuple[str, str]]:
        """
        The other names of shared tensors: (alias, name in `tensors`).
        """
    def children(self) -> list:
        """
        The modules inside as (dotted path, type, training), parents first.
        """
    def embed(self, field: str, index: torch.Tensor) -> torch.Tensor:
        ...
    def field_rows(self, field: str) -> torch.Tensor:
        ...
    def flat(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        ...
    def forward(self, batch: polyscene._C.data.Batch) -> torch.Tensor:
        ...
    def offset(self, field: str) -> int:
        ...
    def set_sparse(self, on: bool) -> None:
        ...
    def set_training(self, path: str, on: bool) -> None:
        """
        Sets the mode of the module at `path`, '' for this one, and of no module inside it.
        """
    def tensors(self) -> list:
        """
        Parameters and buffers as (dotted name, tensor, is buffer); a shared tensor once, under its first name.
        """
    @property
    def options(self) -> dict:
        ...
    @property
    def output_size(self) -> int:
        ...
    @property
    def slots(self) -> int:
        ...
    @property
    def training(self) -> bool:
        ...
def additive_scores(query: torch.Tensor, key: torch.Tensor, query_weight: torch.Tensor, key_weight: torch.Tensor, bias: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    ...
def attention_mask(valid: torch.Tensor, causal: bool) -> torch.Tensor:
    ...
def bce_with_logits(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    ...
def bilinear_scores(query: torch.Tensor, key: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    ...
def bpr(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    ...
def bpr_max(positive: torch.Tensor, negative: torch.Tensor, reg: typing.SupportsFloat | typing.SupportsIndex) -> torch.Tensor:
    ...
def causal_mask(steps: typing.SupportsInt | typing.SupportsIndex, device: torch.device) -> torch.Tensor:
    ...
def coral(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    ...
def cosine_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    ...
def distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: typing.SupportsFloat | typing.SupportsIndex) -> torch.Tensor:
    ...
def dot_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    ...
def embedding_l2(blocks: collections.abc.Sequence[torch.Tensor], squared: bool = True) -> torch.Tensor:
    ...
def gaussian_radius(width: typing.SupportsFloat | typing.SupportsIndex, height: typing.SupportsFloat | typing.SupportsIndex, min_overlap: typing.SupportsFloat | typing.SupportsIndex) -> float:
    ...
def last_state(states: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    ...
def masked_softmax(scores: torch.Tensor, mask: torch.Tensor, dim: typing.SupportsInt | typing.SupportsIndex = -1) -> torch.Tensor:
    ...
def migration_loss(parameters: collections.abc.Sequence[tuple[str, torch.Tensor]], anchors: collections.abc.Sequence[collections.abc.Sequence[tuple[str, torch.Tensor]]], per_entry: bool = True, weights: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex] = {}) -> torch.Tensor:
    ...
def mmd(x: torch.Tensor, y: torch.Tensor, scales: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [0.5, 1.0, 2.0], bandwidth: typing.SupportsFloat | typing.SupportsIndex = 0.0) -> torch.Tensor:
    ...
def pad_ragged(values: torch.Tensor, offsets: torch.Tensor, max_steps: typing.SupportsInt | typing.SupportsIndex = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """
    (values [B, T, ...], valid [B, T])
    """
def padding_mask(lengths: torch.Tensor, steps: typing.SupportsInt | typing.SupportsIndex) -> torch.Tensor:
    ...
def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """
    a [M, K] times b [K, N] as the dense layers multiply, without gradients.
    """
def ragged_attention(q: torch.Tensor, kv: torch.Tensor, offsets: torch.Tensor, heads: typing.SupportsInt | typing.SupportsIndex, causal: bool, dropout: typing.SupportsFloat | typing.SupportsIndex = 0) -> torch.Tensor:
    ...
def reversal_strength(progress: typing.SupportsFloat | typing.SupportsIndex, gamma: typing.SupportsFloat | typing.SupportsIndex = 10.0) -> float:
    ...
def reverse_gradient(x: torch.Tensor, strength: typing.SupportsFloat | typing.SupportsIndex) -> torch.Tensor:
    ...
def scaled_dot_scores(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    ...
def segmentation_loss(logits: torch.Tensor, label: torch.Tensor, dice: typing.SupportsFloat | typing.SupportsIndex = 1, ignore: typing.SupportsInt | typing.SupportsIndex = -1) -> torch.Tensor:
    ...
def softmax_loss(x: torch.Tensor, w: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    ...
def squared_error(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    ...
def top1(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    ...
def unpad_ragged(padded: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    (values [L, ...], offsets [B + 1])
    """
