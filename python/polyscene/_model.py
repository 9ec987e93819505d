"""The base of all models: C++ models from Python, and models written in Python that C++ trains."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import nn

from polyscene._extension import _C
from polyscene._modes import evaluating
from polyscene._module import Module
from polyscene._padding import padded
from polyscene._using import Using
from polyscene.nn.embedding import FeatureEmbedding

_CALLED_BY_CPP = (
    "forward",
    "loss",
    "represent",
    "explain",
    "prepare",
    "fit_closed_form",
    "phases",
    "begin_phase",
    "begin_epoch",
    "sampling",
    "encode",
    "score_items",
)


class _Shared:
    """Behaviour of users next to a model's tensors: copies share it, pickles hold its tensors."""

    def __init__(self, history: Any, schema: Any) -> None:
        self.history, self.schema = history, schema

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self

    def __reduce__(self) -> Any:
        return _shared, (self.schema, self.history.tensors())


def _shared(schema: Any, tensors: dict[str, torch.Tensor]) -> _Shared:
    return _Shared(_C.data.History.from_tensors(schema, tensors), schema)


_busy: set[int] = set()  # models that a trainer or evaluator has just now


class Model(Using, Module):
    """A model of user interest: a ``torch.nn.Module`` whose input is a :class:`Batch`.

    The classes in :mod:`polyscene.models` are C++ models. A subclass of this class is a model written in Python: it
    defines ``forward``, may define ``loss`` and the other methods below, and trains in the same C++ trainer.

    Args:
        schema: fields, vocabularies and scenes of the data.

    Example:
        >>> import polyscene as ps
        >>> from torch import nn
        >>> class ItemBias(ps.Model):
        ...     def __init__(self, schema, *, scale=1.0):
        ...         super().__init__(schema)
        ...         self.bias = nn.Embedding(schema.categorical[schema.field(schema.item)].rows, 1)
        ...         self.scale = scale
        ...     def forward(self, batch):
        ...         return self.scale * self.bias(batch.item).squeeze(1)
        >>> data = ps.testing.tiny_data()
        >>> model = ItemBias(data.schema, scale=2.0)
        >>> model(ps.testing.batch(data, 8)).shape, model.options
        (torch.Size([8]), {'scale': 2.0})
    """

    _traceable = False
    _sparse_gradients: bool = False
    _cpp_name: ClassVar[str] = ""
    """Registered name of the C++ model behind a class; empty for models written in Python."""
    _registered_name: ClassVar[str] = ""
    _cpp_classes: ClassVar[dict[str, type[Model]]] = {}

    schema: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name := cls.__dict__.get("_cpp_name"):
            Model._cpp_classes[name] = cls

    def __init__(self, schema: Any, **options: Any) -> None:
        super().__init__()
        if not isinstance(schema, _C.data.Schema):
            hint = "; give data.schema" if isinstance(getattr(schema, "schema", None), _C.data.Schema) else ""
            raise TypeError(f"{type(self).__name__}: wanted a polyscene.Schema, got {type(schema).__name__}{hint}")
        self.schema = schema
        if self._cpp_name:
            self._mirror(_C.models.create(self._cpp_name, schema, options))
            return
        if options:
            raise TypeError(
                f"{type(self).__name__}: Model.__init__ takes the schema alone, got {', '.join(options)}; the options "
                "of a Python model are the keyword arguments of its own __init__"
            )
        self._connect()

    @property
    def name(self) -> str:
        """Registered name; that of the class for a Python model that is not registered."""
        return str(self._impl.name)

    @property
    def options(self) -> dict[str, Any]:
        """Every option with its value, defaults filled in."""
        if self._is_cpp():
            return dict(self._impl.options)
        args, kwargs = self._call
        bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        return dict(list(bound.arguments.items())[2:])

    def forward(self, batch: Any) -> torch.Tensor:
        """Returns logits (ctr, ranking) or predictions (rating) of the rows, [B], in batch order.

        Raises:
            ValueError: the batch was encoded with another schema.
        """
        if not self._is_cpp():
            raise TypeError(f"{type(self).__name__}: a Python model must define forward(batch)")
        self._check_batch("forward", batch)
        return self._impl.forward(batch)

    def loss(self, batch: Any) -> torch.Tensor:
        """Returns the mean loss over the rows, weights and auxiliary terms included, [].

        Raises:
            ValueError: the batch has no label, or was encoded with another schema; the model is one for inference.
        """
        self._check()
        if self.training and self._is_cpp() and any(tensor.dtype == torch.int8 for tensor in self.parameters()):
            raise ValueError(
                f"{self.name}: its tables hold 8-bit rows for inference; train the model that was quantised, and "
                "quantise it again"
            )
        self._check_batch("loss", batch)
        return self._impl.loss(batch)

    def represent(self, batch: Any) -> torch.Tensor:
        """Returns what the head reads of each row, [B, H], in batch order.

        The last hidden layer of a model that ends in a network, else the embeddings side by side. A model written in
        Python must define it where something asks for it, such as :class:`polyscene.transfer.Aligned`.

        Raises:
            ValueError: the batch was encoded with another schema, or the model has neither.
        """
        self._check_batch("represent", batch)
        return self._impl.represent(batch)

    def explain(self, batch: Any) -> dict[str, torch.Tensor]:
        """Returns what a forward computes besides in evaluation: attention, interests, transitions, experts, gates."""
        self._check_batch("explain", batch)
        with evaluating(self):
            return dict(self._impl.explain(batch))

    def prepare(self, train: Any) -> None:
        """Takes graphs, counts and behaviour from the training table ``train``."""
        self._impl.prepare(train)

    def fit_closed_form(self, train: Any) -> bool:
        """Fits a model that has a closed form on ``train``; returns False when there is none."""
        return bool(self._impl.fit_closed_form(train))

    def phases(self) -> list[Any]:
        """Returns the stages of training."""
        return list(self._impl.phases())

    def begin_phase(self, phase: Any) -> None:
        """Called by the trainer before the first epoch of a stage, also of one that is resumed."""
        self._impl.begin_phase(phase)

    def begin_epoch(self, epoch: int) -> None:
        """Called by the trainer before epoch ``epoch``, counted from 1 over all stages."""
        self._impl.begin_epoch(epoch)

    def sampling(self) -> Any:
        """Returns which items a training row carries beside its own, a ``polyscene.models.Sampling``.

        The trainer puts them into ``batch.negative``, int64 [B, N]: items that the row's user did not meet in its
        scene. None unless a model says otherwise.
        """
        return self._impl.sampling()

    def encode(self) -> None:
        """Computes what all users share (propagation over a graph), once, before :meth:`score_items`.

        Evaluation and :meth:`recommend` call it, again whenever parameters moved.
        """
        self._check()
        self._impl.encode()

    def score_items(self, users: torch.Tensor, scene: int, items: torch.Tensor) -> torch.Tensor:
        """Returns the scores of items for users in a scene, float [U, C]: what rankings sort.

        A model written in Python may define it where a faster way than ``forward`` on every pair is at hand.

        Args:
            users: rows of the user vocabulary, int64 [U].
            scene: index of the scene.
            items: rows of the item vocabulary, int64 [C], ascending.

        Raises:
            ValueError: rows hold more than a user, an item and a scene, and the model says nothing of its own.
        """
        self._check()
        return self._impl.score_items(users, scene, items)

    @property
    def history_length(self) -> int:
        """How many past events each row of a batch must carry, 0 for none."""
        return int(self._impl.history_length)

    def table_parameters(self) -> list[str]:
        """Returns the names of lookup tables: lazy optimisers step only the rows that a batch looked up."""
        if self._is_cpp():
            return list(self._impl.table_parameters())
        return [f"{path}.{name}" for path, child in self._children_with_tables() for name in _tables(child)]

    def sparse_gradients(self, on: bool = True) -> None:
        """Turns sparse gradients of lookup tables on or off; the trainer decides for itself."""
        self._sparse_gradients = on
        if self._is_cpp():
            self._impl.sparse_gradients(on)
            return
        for _, child in self._children_with_tables():
            if isinstance(child, Model):
                child.sparse_gradients(on)
            elif isinstance(child, nn.Embedding | nn.EmbeddingBag | FeatureEmbedding):
                child.sparse = on

    def transition_matrix(self, source: str, target: str) -> torch.Tensor:
        """Mean predicted p(y' | y = i) over the training events that go from one scene to another, [K, K].

        Args:
            source: name of the scene of the earlier event.
            target: name of the scene of the later event.

        Raises:
            ValueError: an unknown scene, a model without interests, or one that was not trained.
        """
        self._check()
        return self._impl.transition_matrix(self.schema.scene(source), self.schema.scene(target))

    def export_form(self) -> nn.Module:
        """Returns a module of plain tensors that computes what ``forward`` does in evaluation mode.

        Its ``forward`` takes ``export_inputs(batch)``: plain tensors, no :class:`Batch`. It holds copies of the
        parameters and uses ATen operators only, so that it can be traced, compiled and exported.

        Raises:
            TypeError: the model has none.
        """
        raise TypeError(f"{type(self).__name__}: this model has no export form")

    def export_inputs(self, batch: Any) -> tuple[torch.Tensor, ...]:
        """Returns what the forward of :meth:`export_form` takes.

        ``categorical`` int64 [B, F], ``numeric`` float [B, M], ``scene`` int64 [B]; for a model that follows users also
        the newest T events of each row, oldest first and padded with 0 at the end: ``item`` int64, ``scene`` int64 and
        ``label`` float, each [B, T], and ``length`` int64 [B], with T = ``history_length``. Models of
        task sequence define their own.
        """
        rows = (batch.categorical.long(), batch.numeric, batch.scene)
        if self.history_length == 0:
            return rows
        return rows + padded(batch, self.history_length)

    def extra_repr(self) -> str:
        """Options, as in the call that makes the model."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())

    def _check_batch(self, method: str, batch: Any) -> None:
        self._check()
        if not isinstance(batch, _C.data.Batch):
            raise TypeError(
                f"{self.name}: {method} wants a polyscene.Batch, got {type(batch).__name__}; "
                "table.batch(rows) makes one"
            )

    def _is_cpp(self) -> bool:
        return bool(self.__dict__.get("_sealed"))

    def _check(self) -> None:
        if self._is_cpp():
            super()._check()

    def _children_with_tables(self) -> list[tuple[str, nn.Module]]:
        found: list[tuple[str, nn.Module]] = []
        stack = list(self.named_children())
        while stack:
            path, child = stack.pop(0)
            if isinstance(child, (Model, nn.Embedding, nn.EmbeddingBag, FeatureEmbedding)):
                found.append((path, child))
            else:
                stack = [(f"{path}.{name}", grandchild) for name, grandchild in child.named_children()] + stack
        return found

    def _connect(self) -> None:
        """Makes the C++ side of a Python model."""
        history = self._impl.history if "_impl" in self.__dict__ else None
        name = self._registered_name or type(self).__name__
        self.__dict__["_impl"] = _C.models.PyModel(self.schema, name, self)
        if history is not None:
            self._impl.history = history

    def _native(self) -> Any:
        """The C++ side, for trainer and evaluator: with the tensors and the mode that the Python side has now."""
        if self._is_cpp():
            super()._check()
            for method in _CALLED_BY_CPP:
                if getattr(type(self), method) is not getattr(Model, method) or method in self.__dict__:
                    raise TypeError(
                        f"{type(self).__name__}: C++ would not call its own {method}(); derive from polyscene.Model "
                        "and hold the C++ model as a part of it"
                    )
            if self._forward_hooks or self._forward_pre_hooks:
                warnings.warn(f"{type(self).__name__}: forward hooks do not fire in the C++ trainer", stacklevel=3)
            return self._impl
        self._connect()
        parameters = [(name, tensor, False) for name, tensor in self.named_parameters()]
        self._impl.adopt([*parameters, *((name, tensor, True) for name, tensor in self.named_buffers())])
        self._impl.set_training("", self.training)
        return self._impl

    @contextlib.contextmanager
    def _running(self) -> Iterator[Any]:
        """The C++ side while trainer or evaluator have it; then every part gets its own mode back.

        An evaluation in the midst of a training (from a callback) leaves the gradients to the training.
        """
        modes = [(module, module.training) for module in self.modules()]
        fresh = [module for module in self.modules() if isinstance(module, Model) and id(module) not in _busy]
        _busy.update(map(id, fresh))
        sparse = [(module, module._sparse_gradients) for module in fresh]
        try:
            yield self._native()
        finally:
            _busy.difference_update(map(id, fresh))
            for module, training in modes:
                module.training = training
            for module, on in sparse:
                module.sparse_gradients(on)

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        state["python"][""].pop("schema")
        return state | {"history": self._history_state()}

    def _float_state(self) -> dict[str, torch.Tensor]:
        """The state dict with the rows of 8-bit tables as floats."""
        return {
            name: _C.models.unpack_int8(tensor) if tensor.dtype == torch.int8 else tensor
            for name, tensor in self.state_dict().items()
        }

    def _history_state(self) -> _Shared | None:
        return None if self._impl.history is None else _Shared(self._impl.history, self.schema)

    def __reduce__(self) -> Any:
        if self._is_cpp():
            return super().__reduce__()
        state = {k: v for k, v in self.__dict__.items() if k != "_impl"}
        return _blank, (type(self),), {"attributes": state, "history": self._history_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if self._is_cpp():
            super().__setstate__(state)
            self.sparse_gradients(self._sparse_gradients)
        else:
            self.__dict__.update(state["attributes"])
            self._connect()
        if state["history"] is not None:
            self._impl.history = state["history"].history

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self.schema)] = self.schema  # immutable
        return super().__deepcopy__(memo)


def _blank(cls: type[Model]) -> Model:
    return cls.__new__(cls)


def _tables(child: nn.Module) -> list[str]:
    return child.table_parameters() if isinstance(child, Model) else ["weight"]
