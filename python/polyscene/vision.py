"""Metrics of pixels and of boxes; their definitions are in docs/definitions.md."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from polyscene.nn import Boxes

__all__ = ["THRESHOLDS", "average_precision", "intersection_over_union"]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""0.50, 0.55 to 0.95: the intersections over union of COCO."""


def intersection_over_union(
    predicted: torch.Tensor, label: torch.Tensor, classes: int, ignore: int = -1
) -> torch.Tensor:
    """Returns the intersection over union of each class, over all pixels together.

    Args:
        predicted: int64, any shape; the class given to each pixel.
        label: int64 of the same shape; the class of each pixel, or ``ignore``.
        classes: number of classes (K).
        ignore: pixels of this label do not count.

    Returns:
        float64 [K], pixels of the class and given it / pixels of the class or given it; nan for a class that no pixel
        has or is given. The mean over classes is ``.nanmean()``.

    Raises:
        ValueError: the shapes differ, or a class is not 0 to K - 1.

    Example:
        >>> import torch
        >>> intersection_over_union(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, -1]), classes=3)
        tensor([0.5000, 0.5000,    nan], dtype=torch.float64)
    """
    if predicted.shape != label.shape:
        raise ValueError(
            f"intersection_over_union: predicted must have the shape of label, {list(label.shape)}, got "
            f"{list(predicted.shape)}"
        )
    counted = label != ignore
    given, true = predicted[counted], label[counted]
    for name, values in (("predicted", given), ("label", true)):
        wrong = values[(values < 0) | (values >= classes)]
        if len(wrong):
            raise ValueError(
                f"intersection_over_union: {name} must hold classes 0 to {classes - 1}, got {int(wrong[0])}"
            )
    pairs = torch.bincount(true * classes + given, minlength=classes * classes).view(classes, classes).double()
    hit = pairs.diagonal()
    return hit / (pairs.sum(0) + pairs.sum(1) - hit)


def average_precision(
    found: Boxes, truth: Boxes, classes: int, thresholds: Sequence[float] = THRESHOLDS
) -> torch.Tensor:
    """Returns the average precision of found boxes, for each threshold and class.

    The boxes of a class, the likeliest first, each take the true box of their image and class that they overlap most of
    those still free; it is a hit if their intersection over union is the threshold at least. The result is the area
    under the curve of precision over recall, where the precision at a recall is the largest at that recall or above
    (all points, as VOC has it since 2010; COCO samples 101 of them). Boxes of equal scores enter the curve together.

    Args:
        found: boxes with scores.
        truth: the true boxes of the same images.
        classes: number of classes (K).
        thresholds: T intersections over union, in (0, 1].

    Returns:
        float64 [T, K], in [0, 1]; nan for a class without true boxes. With the default thresholds ``[0].nanmean()`` is
        the mean over classes at 0.5, ``.nanmean()`` that over 0.5 to 0.95.

    Raises:
        ValueError: the numbers of images differ, ``found`` has no scores or one is NaN, a threshold is out of range.

    Example:
        >>> import torch
        >>> truth = Boxes(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]), torch.tensor([0, 1]))
        >>> found = Boxes(torch.tensor([[0.0, 0, 10, 8]]), torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([0.9]))
        >>> average_precision(found, truth, classes=2, thresholds=[0.5, 0.9])
        tensor([[1., nan],
                [0., nan]], dtype=torch.float64)
    """
    if len(found.offsets) != len(truth.offsets):
        raise ValueError(
            f"average_precision: found and truth must be of the same images, got {len(found.offsets) - 1} and "
            f"{len(truth.offsets) - 1}"
        )
    if found.scores is None or bool(found.scores.isnan().any()):
        raise ValueError("average_precision: found must have scores that are numbers")
    wrong = [threshold for threshold in thresholds if not 0 < threshold <= 1]
    if wrong:
        raise ValueError(f"average_precision: thresholds must be in (0, 1], got {wrong[0]}")
    for name, labels in (("found", found.labels), ("truth", truth.labels)):
        other = labels[(labels < 0) | (labels >= classes)]
        if len(other):
            raise ValueError(f"average_precision: {name} must hold classes 0 to {classes - 1}, got {int(other[0])}")
    scores = found.scores.double().numpy()
    images = np.repeat(np.arange(len(found.offsets) - 1), np.diff(found.offsets.numpy()))
    places = np.repeat(np.arange(len(truth.offsets) - 1), np.diff(truth.offsets.numpy()))
    boxes, true_boxes = found.boxes.double().numpy(), truth.boxes.double().numpy()
    out = np.full((len(thresholds), classes), np.nan)
    for label in range(classes):
        wanted = np.flatnonzero(truth.labels.numpy() == label)
        if len(wanted) == 0:
            continue
        own = np.flatnonzero(found.labels.numpy() == label)
        own = own[np.argsort(-scores[own], kind="stable")]
        of_image = {int(image): true_boxes[wanted[places[wanted] == image]] for image in np.unique(places[wanted])}
        hits = _hits(boxes[own], images[own], of_image, np.asarray(thresholds))
        out[:, label] = _area(hits, scores[own], len(wanted))
    return torch.from_numpy(out)


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others [n, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = sides.clip(min=0).prod(1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    return both / (area - both)


def _hits(boxes: np.ndarray, images: np.ndarray, of_image: dict[int, np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """Whether each box takes a true one, bool [n, T]."""
    hits = np.zeros((len(boxes), len(thresholds)), bool)
    taken = {image: np.zeros((len(true), len(thresholds)), bool) for image, true in of_image.items()}
    every = np.arange(len(thresholds))
    for i, (box, image) in enumerate(zip(boxes, images.tolist(), strict=True)):
        if image not in of_image:
            continue
        free = np.where(taken[image], -1.0, _overlap(box, of_image[image])[:, None])  # [true boxes, T]
        best = free.argmax(0)
        hits[i] = free[best, every] >= thresholds
        taken[image][best[hits[i]], every[hits[i]]] = True
    return hits


def _area(hits: np.ndarray, scores: np.ndarray, wanted: int) -> np.ndarray:
    """Area under the curve of each threshold, [T], of hits in the order of their scores."""
    if len(hits) == 0:
        return np.zeros(hits.shape[1])
    last = np.append(scores[1:] != scores[:-1], True)  # of equal scores the last alone is a point
    right = hits.cumsum(0)[last]
    recall = right / wanted
    precision = right / (np.flatnonzero(last) + 1)[:, None]
    above = np.maximum.accumulate(precision[::-1])[::-1]
    return np.asarray((np.diff(recall, axis=0, prepend=0) * above).sum(0))
