"""Where a training starts: from several models added up, from weights that are learned, from a meta-learned start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene._modes import evaluating
from polyscene._timelines import events_read
from polyscene.transfer._around import State, given


def add_tasks(
    initial: Mapping[str, torch.Tensor], models: Sequence[Mapping[str, torch.Tensor]], weights: Sequence[float]
) -> State:
    r"""Task arithmetic (Ilharco et al., ICLR 2023).

    .. math:: \theta = \theta_0 + \sum_i \lambda_i (\theta_i - \theta_0)

    Tensors of integers are copied from the first model. With batch norm, :func:`recompute_statistics` must follow.

    Args:
        initial: :math:`\theta_0`, what the models started from.
        models: their states.
        weights: :math:`\lambda`, of any sign; a negative one forgets.

    Raises:
        ValueError: no models, names or shapes that differ, another number of weights.

    Example:
        >>> import torch
        >>> start, a, b = ({"w": torch.tensor([value])} for value in (1.0, 2.0, 4.0))
        >>> add_tasks(start, [a, b], [1.0, -1.0])["w"]
        tensor([-1.])
    """
    return dict(_C.transfer.add_tasks(dict(initial), [dict(each) for each in models], [float(w) for w in weights]))


def learn_weights(
    model: Model,
    initial: Mapping[str, torch.Tensor],
    models: Sequence[Mapping[str, torch.Tensor]],
    table: Any,
    *,
    steps: int = 50,
    lr: float = 0.05,
    rows: int = 1024,
    seed: int = 2022,
) -> list[float]:
    r"""Weights for :func:`add_tasks` that are learned by gradient descent on the loss of training rows.

    .. math:: \partial L / \partial \lambda_i = \langle \partial L / \partial \theta, \theta_i - \theta_0 \rangle

    They start at 1 / k, and Adam moves them. The model is in evaluation mode; its parameters afterwards are those of
    the last weights.

    Args:
        model: holds the parameters.
        initial: what the models started from.
        models: their states.
        table: training rows of the target.
        steps: of Adam.
        lr: its learning rate.
        rows: of a step.
        seed: of the rows.

    Raises:
        ValueError: as :func:`add_tasks`; an empty table.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import learn_weights, state_of
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.MF(data.schema, dim=4)
        >>> start = state_of(model)
        >>> _ = ps.Trainer(epochs=3, lr=0.05).fit(model, data)
        >>> learn_weights(model, start, [state_of(model)], data.train, steps=5)[0] > 0.9
        True
    """
    if len(table) == 0:
        raise ValueError("learn_weights: the table has no rows")
    weights = torch.full((len(models),), 1 / max(len(models), 1), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=lr)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    moves = [{name: (state[name] - initial[name]).double() for name in names} for state in models]
    with evaluating(model):
        for step in range(steps):
            model.load_state_dict(add_tasks(initial, models, weights.tolist()))
            order = torch.as_tensor(_C.core.permutation(len(table), seed, f"learned weights {step}"))
            model.zero_grad()
            model.loss(table.batch(order[:rows], history=events_read(model))).backward()
            parameters = dict(model.named_parameters())
            found = [sum(_product(parameters[name].grad, move[name]) for name in names) for move in moves]
            weights.grad = torch.tensor(found, dtype=torch.float64)
            optimizer.step()
    model.zero_grad()
    model.load_state_dict(add_tasks(initial, models, weights.tolist()))
    return weights.detach().tolist()


def _product(gradient: torch.Tensor | None, move: torch.Tensor) -> float:
    if gradient is None:
        return 0.0
    dense = gradient.to_dense() if gradient.is_sparse else gradient
    return float((dense.double() * move).sum())


def recompute_statistics(model: Model, table: Any, *, batch_size: int = 1024, momentum: float = 0.1) -> int:
    """Running statistics of batch norm as the model has them on the rows of a table, in place.

    What must follow a fusion of models; without batch norm nothing happens. Each is the mean over batches, as
    ``torch.optim.swa_utils.update_bn`` has it; a scene without rows keeps its own.

    Args:
        model: after a fusion.
        table: training rows of the target.
        batch_size: rows of a batch, at least 2.
        momentum: share of a batch in the running statistics of the model's norms.

    Returns:
        How many buffers were recomputed.

    Raises:
        ValueError: an empty table, or options out of range.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> recompute_statistics(ps.models.MF(data.schema, dim=4), data.train)
        0
    """
    with model._running() as native:
        return int(_C.transfer.recompute_statistics(native, table, {"batch_size": batch_size, "momentum": momentum}))


def warm_start(model: Model, tasks: Sequence[Any], **options: Any) -> list[float]:
    r"""Moves a model to where a few steps on any of several tasks, such as scenes, lead far.

    - "reptile" (Nichol, Achiam and Schulman, 2018): :math:`\theta \leftarrow \theta + \epsilon\, \mathrm{mean}_i
      (\phi_i - \theta)`, :math:`\phi_i` after a few steps of gradient descent on task i;
    - "fomaml" (Finn, Abbeel and Levine, ICML 2017, first order): Adam with :math:`\mathrm{mean}_i \partial L_{query}
      (\phi_i) / \partial \phi_i`, :math:`\phi_i` from the older half of the task's rows, queries from the newer one.

    Buffers end as they began.

    Args:
        model: what is moved, in place.
        tasks: tables of at least two rows, such as the training rows of each source scene (:func:`rows_of`).
        options: ``kind`` ("reptile"), ``rounds`` (100), ``inner_steps`` (3), ``inner_lr`` (0.01), ``outer_lr`` (0.1; of
            Adam for fomaml), ``rows`` (256), ``outer_only`` (prefixes of what tasks do not move, such as embeddings, as
            MeLU has it; fomaml alone), ``seed`` (2022).

    Returns:
        The mean loss of each round: on queries, or of the last inner step.

    Raises:
        ValueError: unknown options or values out of range, no tasks, a task with fewer than two rows.
        RuntimeError: the loss is no longer finite.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import rows_of, warm_start
        >>> data = ps.testing.tiny_data()
        >>> tasks = [rows_of(data.train, [scene]) for scene in ("phone", "tablet")]
        >>> len(warm_start(ps.models.MF(data.schema, dim=4), tasks, rounds=3))
        3
    """
    with model._running() as native:
        return list(_C.transfer.warm_start(native, list(tasks), given(options)))
