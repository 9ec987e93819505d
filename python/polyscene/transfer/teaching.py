"""Models that learn from other models, or from their own answers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.transfer._around import Around


class Distilled(Around):
    r"""A model that learns from labels and from teachers (Hinton, Vinyals and Dean, 2015).

    .. math:: L = (1 - a) L_{model} + a\, T^2\, BCE\bigl(s / T, \textstyle\sum_i w_i \sigma((t_i + \delta_i) / T)\bigr)

    s and :math:`t_i` are the logits of student and teachers. Rankings: the softmax over a row's item and its negatives
    in the place of :math:`\sigma`, and KL; text and images: the same over the classes; sequences: over the items of the
    scene after the past of a window's newest row; ratings: the squared distance to the teachers' mean. :math:`T^2`,
    which some implementations leave out, keeps the size of the gradient. With ``features`` the mean squared distance of
    a linear map of the hidden layer to that of the first teacher joins (Romero et al., ICLR 2015). It shares the
    parameters of ``model``.

    Args:
        model: the student.
        teachers: one model or several with the same schema; they answer in evaluation mode.
        temperature: T.
        share: a, in [0, 1].
        weights: w, of the teachers, such as by their loss on validation rows; empty for all the same.
        shifts: :math:`\delta`, added to the logits of each teacher, see :func:`prior_shift`; empty for 0.
        features: weight of the distance between hidden layers.
        sample: a table that shows how wide hidden layers are; only ``features`` needs it.

    Raises:
        ValueError: no teacher, options out of range, a teacher of another schema.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import Distilled
        >>> data = ps.testing.tiny_data()
        >>> student = ps.models.MF(data.schema, dim=4)
        >>> taught = Distilled(student, ps.models.Logistic(data.schema), temperature=2, share=0.5)
        >>> taught.loss(ps.testing.batch(data, 8)).shape
        torch.Size([])
    """

    def __init__(
        self,
        model: Model,
        teachers: Model | Sequence[Model],
        *,
        temperature: float = 2.0,
        share: float = 0.5,
        weights: Sequence[float] = (),
        shifts: Sequence[float] = (),
        features: float = 0.0,
        sample: Any = None,
    ) -> None:
        held = [teachers] if isinstance(teachers, Model) else list(teachers)
        options: dict[str, Any] = {"temperature": temperature, "share": share, "features": features}
        options |= {"weights": [float(x) for x in weights], "shifts": [float(x) for x in shifts]}
        native = _C.transfer.Distilled(model._native(), [each.eval()._native() for each in held], options, sample)
        self._around(model, native)
        self.__dict__["teachers"] = held

    def soft_loss(self, batch: Any) -> torch.Tensor:
        """What the soft labels add, before its share, []."""
        return self._impl.soft_loss(batch)


def prior_shift(from_share: float, to_share: float) -> float:
    r"""What to add to the logits of a teacher from a scene with other shares of positive labels.

    .. math:: \log \frac{q}{1 - q} - \log \frac{p}{1 - p}

    Args:
        from_share: p, of the positive labels where the teacher was trained, in (0, 1).
        to_share: q, where the student is.

    Raises:
        ValueError: a share outside (0, 1).

    Example:
        >>> round(prior_shift(0.5, 0.2), 4)
        -1.3863
    """
    return float(_C.transfer.prior_shift(from_share, to_share))


class PseudoLabelled(Around):
    r"""A model that takes its own confident answers on rows without labels for labels (Lee, ICML workshops 2013).

    .. math:: L = L_{model} + w(t) \tfrac{1}{n} \sum_j m_j BCE(s_j, \hat y_j), \qquad
        w(t) = w_{max} e^{-5 (1 - t / T)^2}

    :math:`\hat y = 1` where the probability is at least ``positive_threshold``, 0 where that of a negative is at least
    ``threshold``, and m tells these rows; n counts all. Where few rows are positive, all are confident negatives: give
    the positives a lower threshold. Of tasks text and image :math:`\hat y` is the likeliest class where its
    probability is at least ``threshold``, with cross-entropy; ``positive_threshold`` is not read. It shares the
    parameters of ``model``.

    Args:
        model: what trains, for task ctr, text or image.
        table: rows whose labels are never read.
        threshold: of negatives, in (0.5, 1).
        positive_threshold: of positives, in (1 - threshold, 1).
        weight: w_max.
        ramp: T, in steps.
        rows: rows without labels of a step, the same number from every scene.
        seed: of the rows that are drawn.

    Raises:
        ValueError: options out of range, an empty table, another task.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import PseudoLabelled
        >>> data = ps.testing.tiny_data()
        >>> taught = PseudoLabelled(ps.models.MF(data.schema, dim=4), data.valid, threshold=0.8)
        >>> taught.loss(ps.testing.batch(data, 8)).shape
        torch.Size([])
    """

    def __init__(
        self,
        model: Model,
        table: Any,
        *,
        threshold: float = 0.9,
        positive_threshold: float = 0.9,
        weight: float = 1.0,
        ramp: int = 1000,
        rows: int = 256,
        seed: int = 2022,
    ) -> None:
        options = {"threshold": threshold, "positive_threshold": positive_threshold, "weight": weight, "ramp": ramp}
        native = _C.transfer.PseudoLabelled(model._native(), table, options | {"rows": rows, "seed": seed})
        self._around(model, native)

    def unlabelled_loss(self, batch: Any) -> torch.Tensor:
        """The mean over rows without labels, before w(t), []."""
        return self._impl.unlabelled_loss(batch)


class MeanTeacher(Around):
    r"""A model that is to agree with the running mean of itself (Tarvainen and Valpola, NeurIPS 2017).

    .. math:: L = L_{model} + w(t)\, \mathrm{mean} (q_s - q_t)^2, \qquad
        \theta_t \leftarrow m \theta_t + (1 - m) \theta, \quad m = \min(1 - 1 / (t + 1), m_{max})

    q are probabilities (of text those of all classes; or ratings) of rows without labels; student and teacher see
    different cells dropped. Buffers, such as statistics of batch norm, are copied from the student; implementations
    that leave them alone evaluate a teacher with the statistics of the start. In evaluation mode the teacher answers.
    It shares the parameters of ``model``, the student; :meth:`averaged` gives the teacher as a model.

    Args:
        model: the student.
        table: rows whose labels are never read.
        momentum: m_max.
        weight: w_max; w(t) as for :class:`PseudoLabelled`.
        ramp: T, in steps.
        drop: share of the categorical cells that count as missing, in [0, 1); words of texts and pixels are
            left to the model's dropout and augmentation.
        rows: rows without labels of a step, the same number from every scene.
        seed: of the rows that are drawn.

    Raises:
        ValueError: options out of range, an empty table.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import MeanTeacher
        >>> data = ps.testing.tiny_data()
        >>> taught = MeanTeacher(ps.models.MF(data.schema, dim=4), data.valid, momentum=0.9)
        >>> history = ps.Trainer(epochs=1).fit(taught, data)
        >>> taught.averaged().name
        'mf'
    """

    def __init__(
        self,
        model: Model,
        table: Any,
        *,
        momentum: float = 0.999,
        weight: float = 1.0,
        ramp: int = 1000,
        drop: float = 0.1,
        rows: int = 256,
        seed: int = 2022,
    ) -> None:
        teacher = copy.deepcopy(model)
        options = {"momentum": momentum, "weight": weight, "ramp": ramp, "drop": drop, "rows": rows, "seed": seed}
        self._around(model, _C.transfer.MeanTeacher(model._native(), teacher._native(), table, options))
        self.__dict__["teacher_model"] = teacher

    def averaged(self) -> Model:
        """The teacher as a plain model of its own, all of whose parameters train."""
        from polyscene.transfer.continuing import plain

        return plain(self.__dict__["teacher_model"], self.__dict__["teacher_model"].state_dict(), self.training)

    def follow(self) -> None:
        """Moves the teacher after a step of the student; in the trainer it happens by itself."""
        self._impl.follow()
