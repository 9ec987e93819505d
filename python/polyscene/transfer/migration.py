"""Migration as one call."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.data._errors import choice
from polyscene.data.roles import RANKED
from polyscene.training import Trainer
from polyscene.transfer import _mechanisms
from polyscene.transfer.flow import Migration
from polyscene.transfer.fusing import FUSIONS
from polyscene.transfer.stages import Stages, rows_of


def migrate(
    model: Model,
    data: Any,
    config: Mapping[str, Any] | None = None,
    *,
    sources: Sequence[str] = (),
    target: str = "",
    trainer: Trainer | Mapping[str, Any] | None = None,
    fusion: str = "rows",
    strength: float = 1e-2,
    lr_scale: float = 0.2,
    frozen: Sequence[str] = (),
    source_epochs: int = 0,
    guard: float = 2.0,
    mechanism: str = "migrate",
    settings: Mapping[str, Any] | None = None,
    unlabelled: Any = None,
    callbacks: Any = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> tuple[Model, list[dict[str, Any]], dict[str, Any]]:
    """Lets scenes with many rows teach a scene with few, and keeps what they teach only if it helps.

    1. One model is trained on each source scene and, with several, one on all of them, from the same initialisation.
    2. The target's own model is trained on the target's rows alone, from that initialisation too.
    3. The source models are fused (:func:`fuse`). The fused and the joint model go on over the target's rows, tied to
       where they start by the migration loss (:class:`Anchored`), or by another mechanism (:func:`mechanisms`).
    4. The candidates (the target's own model; fused and joint, each as it is and continued) are compared on the
       target's validation rows. Few rows say little: below 2,000, training rows speak as well, in 4 folds, each
       scored by models that were trained the same way without it; rows that a split by group keeps together are of one
       fold. Rankings and sequences are compared by NDCG@10 on validation rows alone. The best migrated candidate is
       kept only if it beats the target's own model by ``guard`` standard errors of their paired difference; else the
       target's own model stays.

    Only training rows train a model that can be kept, and test rows are never looked at. All models see the same
    behaviour of users (events of all scenes), so that what is compared are the parameters.

    Args:
        model: the model as initialised. It is trained in place and ends as the one that was kept for the target.
        data: data set with training rows of sources and target, and validation rows if there are any.
        config: a resolved config: its ``transfer`` and ``train`` blocks take the place of the arguments that follow.
        sources: scenes to learn from; empty for all but the target.
        target: the scene to migrate to; empty for the one with the fewest training rows.
        trainer: a trainer or its options; over few rows its batch size is halved until an epoch has eight steps.
        fusion: "rows" (each source by its training rows, tables row by row), "uniform", "fisher", "greedy" (best
            first, each kept only if the score rises), "arithmetic" (task arithmetic with one scale) or "learned" (task
            arithmetic with learned weights). The last three ask the target's training rows, which no source has seen,
            of rankings and sequences the validation rows. Statistics of batch norm are recomputed on the training rows.
        strength: weight of the migration loss.
        lr_scale: times the learning rate, for what goes on over the target's rows; mechanisms that start new parameters
            ("lora", "adapters", "side_tuning", "linear_probe") or train all scenes together take the trainer's own.
        frozen: prefixes of parameter names that stay as they were migrated; for "migrate" and "fine_tune".
        source_epochs: most epochs of each source model; 0 as the trainer says.
        guard: standard errors by which migration must win, at least 0.
        mechanism: a name of :func:`mechanisms`.
        settings: options of that mechanism.
        unlabelled: rows of the target whose labels are not read, for "pseudo_labels", "mean_teacher", "dann", "mmd" and
            "coral" (beside the sources' rows, and of the same data set); if None those of the data
            (:func:`few_labels`), or else the target's training rows.
        callbacks: see :meth:`Trainer.fit`; the phase of an epoch names the training.
        folder: run folder; each training leaves ``stages/<name>.safetensors`` there.
        resume: go on from these files: the same bits as a transfer that was never stopped.

    Returns:
        The model for all scenes, the history of all trainings, and the verdict. The model is a
        :class:`polyscene.models.Specialist`: what was kept answers for the target, the joint model (of one source:
        its model) for all other scenes. For a model that is not registered it is ``model`` itself, which answers for
        the target. The verdict has ``helped``, ``message``, ``sources``, ``target``, ``way`` (the flow as it went),
        ``kept``, ``metric``, ``candidates`` (score on validation rows, score and gain with its standard error on all
        rows that chose), ``evidence``, ``rows``, ``fusion``, ``weights`` of the sources, and
        ``steps_to_target_score``: epochs and steps until the best validation score of the target's own model was
        reached, with and without migration; None where it never was; ``distances``: what each candidate carried, layer
        by layer, and how alike its representations are to each source's (:func:`distance_frame`).

    Raises:
        ValueError: unknown or repeated scenes, a target among the sources, a scene without training rows, a model with
            nothing to train, options out of range.
        KeyboardInterrupt: after Ctrl-C; go on with ``resume``.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import migrate
        >>> data = ps.testing.tiny_data()
        >>> model, history, verdict = migrate(ps.models.MF(data.schema, dim=4), data, trainer={"epochs": 2})
        >>> verdict["target"], model.name
        ('television', 'specialist')
    """
    options = {
        "sources": sources,
        "target": target,
        "trainer": trainer,
        "fusion": fusion,
        "strength": strength,
        "lr_scale": lr_scale,
        "frozen": frozen,
        "source_epochs": source_epochs,
        "guard": guard,
        "mechanism": mechanism,
        "settings": settings,
        "unlabelled": unlabelled,
    }
    return plan(model, data, config, callbacks=callbacks, folder=folder, resume=resume, **options).run()


def plan(
    model: Model,
    data: Any,
    config: Mapping[str, Any] | None = None,
    *,
    callbacks: Any = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **options: Any,
) -> Migration:
    """The transfer that :func:`migrate` would run, not run yet: its ``candidates`` can be looked at afterwards.

    Args:
        model: as for `migrate`, with the same options.
        data: as for `migrate`.
        config: as for `migrate`.
        callbacks: as for `migrate`.
        folder: as for `migrate`.
        resume: as for `migrate`.
        options: the other arguments of `migrate`; what is left out takes the same default.

    Raises:
        ValueError: as for `migrate`.
        TypeError: an unknown option.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> migration = plan(ps.models.MF(data.schema, dim=4), data, trainer={"epochs": 1})
        >>> model, history, verdict = migration.run()
        >>> migration.target, [candidate.name for candidate in migration.candidates][:3]
        ('television', ['target alone', 'fused', 'fused, continued'])
    """
    if not hasattr(data, "train"):
        raise TypeError(f"migrate: data must be a data set with training rows, got {type(data).__name__}")
    known = {name: p.default for name, p in inspect.signature(migrate).parameters.items() if p.kind is p.KEYWORD_ONLY}
    for name in options:
        if name not in known:
            raise TypeError(f"migrate: unknown option {name!r}{_C.core.suggestion(name, list(known))}")
    block = {name: options.get(name, default) for name, default in known.items()}
    for name in ("callbacks", "folder", "resume"):
        del block[name]
    trainer = block.pop("trainer")
    train = trainer.options if isinstance(trainer, Trainer) else dict(trainer or {})
    if config is not None:
        given = {"settings": None, "unlabelled": block["unlabelled"]}
        block, train = given | dict(config["transfer"]), dict(config["train"])
        block["mechanism"] = block["mechanism"] or "migrate"
    block["frozen"] = list(block["frozen"])
    if block["unlabelled"] is None:
        block["unlabelled"] = getattr(data, "unlabelled", None)
    if block.pop("labels", 1) != 1 and block["unlabelled"] is None:
        raise ValueError("migrate: transfer.labels leaves out labels before there is a model; call few_labels")
    sources, target = scenes_of(data, list(block.pop("sources")), block.pop("target"))
    _check(model, block)
    train = {name: value for name, value in train.items() if value is not None}
    stages = Stages(model, train, None if folder is None else Path(folder), resume, callbacks)
    out = Migration(model, data, sources, target, block, stages)
    out.exclude_seen = dict((config or {}).get("evaluate") or {}).get("exclude_seen", True)
    return out


def scenes_of(data: Any, sources: list[str], target: str) -> tuple[list[str], str]:
    """Sources and target of a transfer, filled in where they are left out.

    Args:
        data: the data set.
        sources: scenes; empty for all but the target.
        target: a scene; empty for the one with the fewest training rows.

    Raises:
        ValueError: unknown or repeated scenes, a target among the sources, a scene without training rows.
    """
    schema = data.schema
    if data.train is None:
        raise ValueError("migrate: the data set has no training rows")
    if len(schema.scenes) < 2:
        raise ValueError(f"migrate: there must be several scenes, got {', '.join(schema.scenes)}")
    if not target:
        rows = np.asarray(schema.scene_rows, dtype=float)
        rows[[name in sources for name in schema.scenes]] = np.inf
        target = schema.scenes[int(rows.argmin())]
    sources = sources or [name for name in schema.scenes if name != target]
    for name in (target, *sources):
        choice("migrate: scene", name, list(schema.scenes))
        if rows_of(data.train, [name]) is None:
            raise ValueError(f"migrate: scene {name!r} has no training rows")
    if target in sources:
        raise ValueError(f"migrate: {target!r} is the target, it cannot be a source as well")
    if len(set(sources)) < len(sources):
        raise ValueError(f"migrate: sources must be different scenes, got {', '.join(sources)}")
    return sources, target


def _check(model: Model, block: dict[str, Any]) -> None:
    if block["fusion"] not in FUSIONS:
        hint = _C.core.suggestion(block["fusion"], list(FUSIONS))
        raise ValueError(f"migrate: fusion must be one of {', '.join(FUSIONS)}, got {block['fusion']!r}{hint}")
    _, block["settings"] = _mechanisms.find(block["mechanism"], block["settings"])
    if model.schema.task in RANKED and block["mechanism"] in _mechanisms.OF_LABELS:
        raise ValueError(
            f"migrate: mechanism {block['mechanism']!r} is for tasks with labels, the data's task is "
            f"{model.schema.task!r}"
        )
    if block["frozen"] and block["mechanism"] not in ("migrate", "fine_tune"):
        raise ValueError(f"migrate: frozen is for migrate and fine_tune, the mechanism is {block['mechanism']}")
    if not block["guard"] >= 0:
        raise ValueError(f"migrate: guard must not be negative, got {block['guard']}")
    if block["source_epochs"] < 0:
        raise ValueError(f"migrate: source_epochs must not be negative, got {block['source_epochs']}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"migrate: {model.name} has nothing to train, so there is nothing to migrate")
