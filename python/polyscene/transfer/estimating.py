"""Before a transfer: how much may it help? After it: did it harm?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polyscene import _statistics as stats
from polyscene._extension import _C
from polyscene._model import Model
from polyscene._modes import evaluating
from polyscene.data.roles import CLASSED
from polyscene.evaluation import scores
from polyscene.transfer.choosing import OF_RANKINGS, compare, query_values, usable
from polyscene.transfer.stages import kept_whole, units_of

_Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """What a source model may be worth on a target's rows, before anything is trained there.

    Attributes:
        probe: what a linear probe on the source's hidden layer reaches on held-out folds: AUC, nan where every fold has
            one class; of classes macro F1.
        answer: the same of the source's own answers on the same rows.
        leep: mean log-likelihood of the labels given the source's answers, at most 0; higher is better.
        base_rate: the same of a constant answer.
        rows: how many rows spoke.
        metric: what probe and answer are: "auc", or "f1" of classes.
    """

    probe: float
    answer: float
    leep: float
    base_rate: float
    rows: int
    metric: str = "auc"

    @property
    def gain(self) -> float:
        """``leep`` over ``base_rate``, in nats a row; near 0 for a source that says nothing of the target."""
        return self.leep - self.base_rate


def transferability(
    model: Model,
    rows: Any,
    *,
    folds: int = 5,
    ridge: float = 1.0,
    most: int = 20_000,
    seed: int = 2022,
    data: Any = None,
) -> Estimate:
    r"""Estimates from training rows of a target what a trained source model is worth there; nothing is trained in it.

    Two views. A linear probe: ridge logistic regression on ``represent``, of classes with a softmax, standardised and
    fitted without the fold that it is scored on. And LEEP (Nguyen et al., ICML 2020), with z the source's own answer:

    .. math:: \frac{1}{n} \sum_i \log \sum_z \hat P(y_i | z)\, p(z | x_i), \qquad
        \hat P(y, z) = \frac{1}{n} \sum_{i: y_i = y} p(z | x_i)

    Args:
        model: a source model with the target's schema, for task ctr, text or image.
        rows: training rows of the target.
        folds: of the probe, at least 2.
        ridge: of the probe.
        most: at most so many rows, drawn.
        seed: of rows and folds.
        data: the data set that the rows belong to; where its split keeps groups of rows together, such as documents, so
            do the folds.

    Raises:
        ValueError: another task, fewer rows than folds, rows of one group, a model without a representation.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import rows_of, transferability
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.MF(data.schema, dim=4)
        >>> found = transferability(model, rows_of(data.train, ["television"]))
        >>> found.leep <= 0, found.rows > 0
        (True, True)
    """
    task = model.schema.task
    if task != "ctr" and task not in CLASSED:
        raise ValueError(
            f"transferability: made for labels 0 and 1 and for classes (tasks ctr, {', '.join(CLASSED)}), the data's "
            f"task is {task!r}"
        )
    if folds < 2 or len(rows) < folds:
        raise ValueError(
            f"transferability: there must be at least 2 folds and a row for each, got {folds}, {len(rows)}"
        )
    order = torch.as_tensor(_C.core.permutation(len(rows), seed, "transferability"))[:most]
    rows = rows.take(order)
    whole = kept_whole(data, rows).numpy()
    if whole.max() == 0:
        raise ValueError("transferability: all rows belong to one group, of which folds cannot be made")
    folds = min(folds, int(whole.max()) + 1)
    fold = whole % folds
    x, p = represented(model, rows), np.clip(scores(model, rows), 1e-7, 1 - 1e-7)
    if task in CLASSED:
        return _of_classes(rows.labels().numpy().astype(np.int64), x, p, fold, ridge)
    label = rows.labels().numpy() > 0.5
    held = np.zeros(len(label))
    values = []
    for number in range(folds):
        inside = fold == number
        held[inside] = _probe(x[~inside], label[~inside], x[inside], ridge)
        if usable(label[inside], "auc"):
            values.append(compare(label[inside], held[inside], held[inside]).first)
    auc = compare(label, p, p).first if usable(label, "auc") else float("nan")
    leep = _leep(label.astype(np.int64), np.stack([1 - p, p], 1))
    return Estimate(float(np.mean(values)) if values else float("nan"), auc, *leep, len(label))


def _of_classes(label: np.ndarray, x: np.ndarray, p: np.ndarray, fold: np.ndarray, ridge: float) -> Estimate:
    held = np.zeros_like(label)
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        held[inside] = _probe_of_classes(x[~inside], label[~inside], x[inside], ridge, p.shape[1]).argmax(1)
    given = np.stack([held, p.argmax(1)])
    found = stats.Paired(label, np.zeros_like(given, np.float64), (0.5, 0.5), np.arange(len(label)), given=given)
    return Estimate(*stats.values(found, "f1"), *_leep(label, p), len(label), "f1")


def represented(model: Model, rows: Any, batch_size: int = 4096) -> np.ndarray:
    """The representation of every row of a table, float64 [N, H], in evaluation mode.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data()
        >>> represented(ps.models.MF(data.schema, dim=4), data.valid).shape[1]
        8
    """
    found = []
    with evaluating(model), torch.no_grad():
        for part in torch.arange(len(rows)).split(batch_size):
            found.append(model.represent(rows.batch(part, history=model.history_length)).double())
    return torch.cat(found).numpy()


def _probe(x: np.ndarray, label: np.ndarray, held: np.ndarray, ridge: float) -> np.ndarray:
    """Logits of held rows by logistic regression with a ridge, by Newton's steps."""
    mean, std = x.mean(0), x.std(0)
    std = np.where(std > 1e-12, std, 1.0)
    design = np.concatenate([(x - mean) / std, np.ones((len(x), 1))], 1)
    weight = np.zeros(design.shape[1])
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 1e-6
    for _ in range(25):
        p = 1 / (1 + np.exp(-np.clip(design @ weight, -30, 30)))
        gradient = design.T @ (p - label) + penalty * weight
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        weight -= step
        if np.abs(step).max() < 1e-8:
            break
    return np.concatenate([(held - mean) / std, np.ones((len(held), 1))], 1) @ weight


def _probe_of_classes(x: np.ndarray, label: np.ndarray, held: np.ndarray, ridge: float, classes: int) -> np.ndarray:
    """Logits [n, C] of held rows by softmax regression with a ridge."""
    from scipy.optimize import minimize

    mean, std = x.mean(0), x.std(0)
    std = np.where(std > 1e-12, std, 1.0)
    design, later = (np.concatenate([(part - mean) / std, np.ones((len(part), 1))], 1) for part in (x, held))
    penalty = np.full((design.shape[1], 1), ridge)
    penalty[-1] = 1e-6
    wanted = np.eye(classes)[label]

    def lost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(-1, classes)
        logits = design @ weight
        logits -= logits.max(1, keepdims=True)
        whole = np.exp(logits).sum(1, keepdims=True)
        value = np.log(whole).sum() - (logits * wanted).sum() + 0.5 * (penalty * weight**2).sum()
        gradient = design.T @ (np.exp(logits) / whole - wanted) + penalty * weight
        return float(value), gradient.ravel()

    found = minimize(lost, np.zeros(design.shape[1] * classes), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return later @ found.x.reshape(-1, classes)


def _leep(label: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    """LEEP of labels [N] and answers [N, Z], and of a constant answer."""
    classes = int(max(label.max(), z.shape[1] - 1)) + 1
    joint = np.stack([z[label == y].sum(0) for y in range(classes)]) / len(label)  # [y, z]
    given = joint / joint.sum(0, keepdims=True).clip(1e-12)
    of_label = (z * given[label]).sum(1)
    rates = np.bincount(label) / len(label)
    base = (rates * np.log(rates.clip(1e-12))).sum()
    return float(np.log(of_label.clip(1e-12)).mean()), float(base)


def negative_transfer(
    own: Model, moved: Model, rows: Any, metric: str = "auc", exclude_seen: bool = True
) -> dict[str, Any]:
    """Compares a model with transfer with one of the target alone, on held-out rows, scene by scene.

    Args:
        own: trained on the target's rows alone.
        moved: with transfer.
        rows: test rows.
        metric: "auc", "log_loss", "rmse", or "ndcg@10" for rankings and sequences.
        exclude_seen: of rankings, as :func:`polyscene.evaluate` takes it.

    Returns:
        ``scenes``: of each the values of both, ``gain`` (positive is better, whatever the metric) with its 95 %
        interval ``low`` and ``high``, ``rows``, and ``verdict`` "helped", "harmed" or "undecided"; ``overall``, the
        same of all rows; ``harmed``, the share of scenes whose value went down, whether surely or not; and ``message``.
        Scenes whose rows say nothing (of one class, for auc) are left out.

    Raises:
        ValueError: another metric.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import negative_transfer
        >>> data = ps.testing.tiny_data()
        >>> own, moved = (ps.models.MF(data.schema, dim=4) for _ in range(2))
        >>> sorted(negative_transfer(own, moved, data.test))
        ['harmed', 'message', 'metric', 'overall', 'scenes']
    """
    if metric not in ("auc", "log_loss", "rmse", OF_RANKINGS):
        raise ValueError(f"negative_transfer: metric must be one of auc, log_loss, rmse, {OF_RANKINGS}, got {metric!r}")
    if metric == OF_RANKINGS:
        first, scene = query_values(own, rows, exclude_seen)
        label, second = first, query_values(moved, rows, exclude_seen)[0]
    else:
        label, scene = rows.labels().numpy(), rows.scenes().numpy()
        first, second = scores(own, rows), scores(moved, rows)
    unit = None if metric == OF_RANKINGS else units_of(None, rows)
    names = list(rows.schema.scenes) or [""]
    scenes = {}
    for code, name in enumerate(names):
        mine = scene == code
        if mine.any() and usable(label[mine], metric):
            scenes[name] = _compared(
                label[mine], first[mine], second[mine], metric, None if unit is None else unit[mine]
            )
    lost = [name for name, each in scenes.items() if each["gain"] < 0]
    sure = [name for name, each in scenes.items() if each["verdict"] == "harmed"]
    told = f"worse in {len(lost)} of {len(scenes)} scenes"
    message = f"{told}, surely in {', '.join(sure)}" if sure else f"{told}, surely in none"
    whole = _compared(label, first, second, metric, unit) if usable(label, metric) else None
    share = len(lost) / len(scenes) if scenes else None
    return {"metric": metric, "scenes": scenes, "overall": whole, "harmed": share, "message": message}


def _compared(
    label: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str, unit: np.ndarray | None
) -> dict[str, Any]:
    found = compare(label, first, second, metric, unit)
    error = _Z * found.variance**0.5
    low, high = found.gain - error, found.gain + error
    verdict = "helped" if low > 0 else "harmed" if high < 0 else "undecided"
    values = {"own": found.first, "moved": found.second, "gain": found.gain, "low": low, "high": high}
    return values | {"rows": found.rows, "verdict": verdict}
