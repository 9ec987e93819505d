"""Losses: of labels and classes, of items against others, of what two models or scenes have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from polyscene import _C


def bce_with_logits(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Returns the binary cross-entropy of each entry, of logits and labels in [0, 1] of one shape.

    Example:
        >>> import torch
        >>> bce_with_logits(torch.tensor([0.0, -2.0]), torch.tensor([1, 1]))
        tensor([0.6931, 2.1269])
    """
    return _C.nn.bce_with_logits(logits, label)


def bpr(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Returns ``softplus(negative - positive)`` of each pair (Rendle et al., UAI 2009).

    Args:
        positive: scores [B] or [B, 1].
        negative: scores [B] or [B, N].

    Example:
        >>> import torch
        >>> bpr(torch.tensor([2.0]), torch.tensor([[2.0, 0.0]]))
        tensor([[0.6931, 0.1269]])
    """
    return _C.nn.bpr(positive, negative)


def top1(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    r"""Returns ``mean_j sigmoid(s_j - s) + sigmoid(s_j^2)`` of each row (TOP1: Hidasi et al., ICLR 2016), [B].

    The paper scores the item itself among the others and takes its share out again; here it is not among them.

    Args:
        positive: scores [B].
        negative: scores of other items, [B, N].

    Example:
        >>> import torch
        >>> top1(torch.tensor([1.0]), torch.tensor([[1.0, 1.0]]))
        tensor([1.2311])
    """
    return _C.nn.top1(positive, negative)


def bpr_max(positive: torch.Tensor, negative: torch.Tensor, reg: float = 1.0) -> torch.Tensor:
    r"""Returns BPR-max of each row, [B] (Hidasi and Karatzoglou, CIKM 2018).

    .. math:: -\log \sum_j w_j \sigma(s - s_j) + \lambda \sum_j w_j s_j^2, \qquad w = \text{softmax}(s_1, \ldots, s_N)

    Args:
        positive: scores [B].
        negative: scores of other items, [B, N].
        reg: weight of the squared scores.

    Example:
        >>> import torch
        >>> bpr_max(torch.tensor([1.0]), torch.tensor([[0.0, 2.0]]))
        tensor([4.6501])
    """
    return _C.nn.bpr_max(positive, negative, reg)


def softmax_loss(x: torch.Tensor, w: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns the cross-entropy of rows against many classes, summed, without all their logits in memory at once, [].

    Args:
        x: states [n, D].
        w: a vector for each class, [C, D]; the logits are ``x @ w.T``.
        target: int64 [n], in [0, C).

    Raises:
        ValueError: shapes do not fit.
        IndexError: a target is out of range.

    Example:
        >>> import torch
        >>> softmax_loss(torch.zeros(2, 3), torch.ones(4, 3), torch.tensor([0, 3]))  # 2 log 4
        tensor(2.7726)
    """
    return _C.nn.softmax_loss(x, w, target)


def segmentation_loss(logits: torch.Tensor, label: torch.Tensor, dice: float = 1.0, ignore: int = -1) -> torch.Tensor:
    r"""Returns cross-entropy and soft Dice loss of the pixels of a batch, a number.

    .. math:: \text{mean}(-\log p_y) + dice \Big(1 - \text{mean}_c \frac{2 \sum p_c y_c}{\sum p_c + \sum y_c}\Big)

    The sums are over all pixels of the batch, the mean over the classes that its labels have (Milletari et al., 3DV
    2016, have one class and squares below). Pixels whose label is ``ignore`` are nowhere in it; without others it is 0.

    Args:
        logits: [B, K, H, W].
        label: int64 [B, H, W], 0 to K - 1 or ``ignore``.
        dice: weight of the Dice loss, 0 or more.
        ignore: label of the pixels that do not count.

    Raises:
        ValueError: shapes do not fit, or a label is neither a class nor ``ignore``.

    Example:
        >>> import torch
        >>> segmentation_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))  # log 2 + 1 - 1 / 2
        tensor(1.1931)
    """
    return _C.nn.segmentation_loss(logits, label, dice, ignore)


def squared_error(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Returns the squared error of each entry, of predictions and labels of one shape.

    Example:
        >>> import torch
        >>> squared_error(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0]))
        tensor([4., 0.])
    """
    return _C.nn.squared_error(prediction, label)


def embedding_l2(blocks: Sequence[torch.Tensor], squared: bool = True) -> torch.Tensor:
    r"""Returns the L2 penalty on looked-up embedding rows.

    .. math:: \sum_t \|E_t\|_F^2 / (2 B) \quad\text{(squared)}, \qquad \sum_t \|E_t\|_F / B \quad\text{(not)}

    Args:
        blocks: what each table gave for the batch, [B, ...] each.
        squared: which form; the two differ by orders of magnitude.

    Raises:
        ValueError: there is no block, or the blocks differ in their number of rows.

    Example:
        >>> import torch
        >>> embedding_l2([torch.ones(2, 3), torch.ones(2, 1)])
        tensor(2.)
    """
    return _C.nn.embedding_l2(list(blocks), squared)


def migration_loss(
    parameters: Mapping[str, torch.Tensor],
    anchors: Sequence[Mapping[str, torch.Tensor]],
    per_entry: bool = True,
    weights: Mapping[str, float] | None = None,
) -> torch.Tensor:
    r"""Returns the distance of a model's parameters to those of k migrated models.

    .. math:: L = \sum_l \frac{w_l}{n_l} \frac{1}{k_l} \sum_{i \text{ has } l} \|\theta_l - \theta^*_{il}\|^2

    A parameter that only some models have (k_l of them) is averaged over those; one that none has costs nothing. The
    anchors take no gradient (L2-SP: Li et al., ICML 2018).

    Args:
        parameters: the model's parameters by name.
        anchors: those of each migrated model; other names are ignored.
        per_entry: whether a parameter's term is divided by its number of entries.
        weights: w_l by name; 1 where not given.

    Raises:
        ValueError: shapes differ, there is no parameter in common, or a weight names no parameter.

    Example:
        >>> import torch
        >>> anchors = [{"w": torch.tensor([0.0, 0.0])}, {"w": torch.tensor([2.0, 0.0])}]
        >>> migration_loss({"w": torch.ones(2)}, anchors, per_entry=False)
        tensor(2.)
    """
    return _C.nn.migration_loss(
        list(parameters.items()), [list(anchor.items()) for anchor in anchors], per_entry, dict(weights or {})
    )


def reverse_gradient(x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """Returns x itself; its gradient is multiplied by ``-strength`` (Ganin and Lempitsky, ICML 2015).

    Example:
        >>> import torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> reverse_gradient(x, 0.5).sum().backward()
        >>> x.grad
        tensor([-0.5000, -0.5000])
    """
    return _C.nn.reverse_gradient(x, strength)


def reversal_strength(progress: float, gamma: float = 10.0) -> float:
    r"""Returns how strongly a gradient is reversed after a share of the training (Ganin et al., JMLR 2016).

    .. math:: 2 / (1 + e^{-\gamma p}) - 1

    Args:
        progress: p, in [0, 1].
        gamma: how fast it gets to 1.

    Example:
        >>> round(reversal_strength(0.5), 4)
        0.9866
    """
    return float(_C.nn.reversal_strength(progress, gamma))


def mmd(
    x: torch.Tensor, y: torch.Tensor, scales: Sequence[float] = (0.5, 1.0, 2.0), bandwidth: float = 0.0
) -> torch.Tensor:
    r"""Returns the unbiased squared maximum mean discrepancy between two samples, [].

    .. math:: \frac{1}{n (n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m (m-1)} \sum_{i \ne j} k(y_i, y_j)
        - \frac{2}{n m} \sum_{ij} k(x_i, y_j), \qquad k(a, b) = \sum_c e^{-\|a - b\|^2 / (2 c s^2)}

    (Gretton et al., JMLR 2012; several scales: Long et al., ICML 2015.) It may be negative. Implementations that keep
    the diagonal add a constant and are positive.

    Args:
        x: [n, H], n > 1.
        y: [m, H], m > 1.
        scales: c.
        bandwidth: :math:`s^2`; 0 for the mean squared distance between different rows of both, without a gradient.

    Raises:
        ValueError: shapes that do not fit, or fewer than two rows.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
        >>> round(float(mmd(x, y, scales=[1.0], bandwidth=1.0)), 4)
        0.0389
    """
    return _C.nn.mmd(x, y, [float(scale) for scale in scales], bandwidth)


def coral(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    r"""Returns the distance between the covariances of two samples, [] (Sun and Saenko, ECCV workshops 2016).

    .. math:: \|C_x - C_y\|_F^2 / (4 H^2), \qquad C_x = X_c^T X_c / (n - 1)

    Means do not count; an implementation that adds their distance is another loss.

    Args:
        x: [n, H], n > 1.
        y: [m, H], m > 1.

    Raises:
        ValueError: shapes that do not fit, or fewer than two rows.

    Example:
        >>> import torch
        >>> coral(torch.tensor([[0.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 0.0], [2.0, -2.0]]))
        tensor(2.)
    """
    return _C.nn.coral(x, y)


def distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    r"""Returns what a student loses against a teacher, of each row, [B] (Hinton, Vinyals and Dean, 2015).

    .. math:: T^2\, BCE(s / T, p) \quad \text{or} \quad T^2\, KL(p\, \|\, \mathrm{softmax}(s / T))

    Args:
        student: logits, [B] or [B, C].
        teacher: probabilities at the same temperature, of the same shape; they take no gradient.
        temperature: T, positive.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 0.0]])
        >>> abs(round(float(distillation(logits, (logits / 2).softmax(1), 2.0)), 6))
        0.0
    """
    return _C.nn.distillation(student, teacher, temperature)
