"""All registered models, one class each, and the functions that find and make them by name."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.models.cross_closed import CrossEASE
from polyscene.models.cross_factor import CLFM, CMF, DCDCSR, EMCDR, SSCDR
from polyscene.models.cross_graph import BiTGCF, DisenCDR
from polyscene.models.cross_neural import DTCDR, NATR, PTUPCDR, CoNet, DeepAPF
from polyscene.models.cross_sequence import C2DSR, InterestSequence, TriCDR
from polyscene.models.cross_variational import CDRIB, UniCDR
from polyscene.models.ctr import AutoInt, DCNv2, DeepFM, FactorizationMachine, WideDeep, XDeepFM
from polyscene.models.events import BST, DASL, DIEN, DIN
from polyscene.models.graph import GAT, GCN, NGCF
from polyscene.models.image import ImageClassifier
from polyscene.models.interest import AttentionTransfer, InterestMigration, SceneBranch
from polyscene.models.multi import Adapted, SideTuned, Specialist
from polyscene.models.multi_modal import MultiModal
from polyscene.models.scene import PLE, STAR, M3oE, MMoE, SARNet, SharedBottom
from polyscene.models.scene_adaptive import HAMUR, M2M, AdaptDHM, AdaSparse, EPNet, PPNet
from polyscene.models.sequence import BERT4Rec, GRU4Rec, SASRec
from polyscene.models.single import BPRMF, EASE, MF, NMF, ItemKNN, LightGCN, Logistic, NeuMF, Popularity
from polyscene.models.text import TextClassifier

__all__ = [
    "BPRMF",
    "BST",
    "C2DSR",
    "CDRIB",
    "CLFM",
    "CMF",
    "DASL",
    "DCDCSR",
    "DIEN",
    "DIN",
    "DTCDR",
    "EASE",
    "EMCDR",
    "GAT",
    "GCN",
    "HAMUR",
    "M2M",
    "MF",
    "NATR",
    "NGCF",
    "NMF",
    "PLE",
    "PTUPCDR",
    "SSCDR",
    "STAR",
    "AdaSparse",
    "AdaptDHM",
    "Adapted",
    "AttentionTransfer",
    "AutoInt",
    "BERT4Rec",
    "BiTGCF",
    "CoNet",
    "CrossEASE",
    "DCNv2",
    "DeepAPF",
    "DeepFM",
    "DisenCDR",
    "EPNet",
    "FactorizationMachine",
    "GRU4Rec",
    "ImageClassifier",
    "InterestMigration",
    "InterestSequence",
    "ItemKNN",
    "LightGCN",
    "Logistic",
    "M3oE",
    "MMoE",
    "Model",
    "MultiModal",
    "NeuMF",
    "Option",
    "PPNet",
    "Phase",
    "Popularity",
    "SARNet",
    "SASRec",
    "Sampling",
    "SceneBranch",
    "SharedBottom",
    "SideTuned",
    "Specialist",
    "TextClassifier",
    "TriCDR",
    "UniCDR",
    "WideDeep",
    "XDeepFM",
    "create",
    "list",
    "options",
    "register",
]

Phase = _C.models.Phase
Sampling = _C.models.Sampling

_python_classes: dict[str, type[Model]] = {}


class Option(NamedTuple):
    """What is known of one option of a model."""

    type: str
    """"bool", "int", "float", "str", "list of int", "list of float" or "list of str"."""
    default: Any
    doc: str


class _Plain(Model):
    """A C++ model without a Python class of its own, such as one of a plug-in."""

    def __init__(self, name: str, schema: Any, **options: Any) -> None:
        self.__dict__["_cpp_name"] = name
        super().__init__(schema, **options)

    def _get_name(self) -> str:
        return str(self._cpp_name)


def list(task: str | None = None) -> builtins.list[str]:
    """Returns the names of registered models, all or those of one task.

    Example:
        >>> import polyscene as ps
        >>> "popularity" in ps.models.list(task="rating")
        True
    """
    return builtins.list(_C.models.list(task or ""))


def create(name: str, schema: Any, **options: Any) -> Model:
    """Makes a registered model.

    Args:
        name: registered name, as in :func:`list`.
        schema: fields, vocabularies and scenes of the data.
        options: see :func:`options`; what is left out takes its default.

    Raises:
        ValueError: unknown name, unknown option, a value out of range, or a task that the model does not do.
        TypeError: an option of another type.

    Example:
        >>> import polyscene as ps
        >>> ps.models.create("mf", ps.testing.tiny_data().schema, dim=8).options["dim"]
        8
    """
    if cls := Model._cpp_classes.get(name):
        return cls(schema, **options)
    tasks: Sequence[str] = _C.models.tasks(name)  # an unknown name raises here
    if cls := _python_classes.get(name):
        if schema.task not in tasks:
            raise ValueError(f"{name}: made for task {' or '.join(tasks)}, the data's task is '{schema.task}'")
        return cls(schema, **options)
    return _Plain(name, schema, **options)


def options(name: str) -> dict[str, Option]:
    """Returns the options of a registered model: type, default and meaning of each.

    Raises:
        ValueError: unknown name.

    Example:
        >>> import polyscene as ps
        >>> ps.models.options("popularity")["smoothing"]
        Option(type='float', default=10.0, doc='rows that the prior counts for')
    """
    return {option: Option(*rest) for option, *rest in _C.models.options(name)}  # type: ignore[attr-defined]


def register(name: str, cls: type[Model], tasks: Sequence[str] = ("ctr",)) -> None:
    """Registers a model written in Python: it can be made by name, trained, saved and loaded like any other.

    Args:
        name: snake_case, not taken.
        cls: subclass of :class:`Model`; its ``__init__`` takes the schema, and options as keyword arguments with
            defaults.
        tasks: of "ctr", "ranking", "rating", "sequence", "text", "image".

    Raises:
        TypeError: ``cls`` is not such a class.
        ValueError: the name is taken.

    Example:
        >>> import polyscene as ps, torch
        >>> class Constant(ps.Model):
        ...     def __init__(self, schema, *, value=0.0):
        ...         super().__init__(schema)
        ...         self.level = torch.nn.Parameter(torch.tensor(value))
        ...     def forward(self, batch):
        ...         return self.level.expand(len(batch))
        >>> register("constant", Constant)
        >>> ps.models.create("constant", ps.testing.tiny_data().schema, value=0.5).options
        {'value': 0.5}
    """
    if not (isinstance(cls, type) and issubclass(cls, Model)) or cls._cpp_name:
        raise TypeError(f"register: '{name}' must be a subclass of polyscene.Model written in Python, got {cls!r}")
    parameters = builtins.list(inspect.signature(cls).parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is parameter.empty:
            raise TypeError(
                f"register: option '{parameter.name}' of {cls.__name__} must be keyword-only with a default, so that "
                "the model can be made from a schema alone"
            )
    _C.models.register(name, builtins.list(tasks), cls, {p.name: p.default for p in parameters})
    cls._registered_name = name
    _python_classes[name] = cls
