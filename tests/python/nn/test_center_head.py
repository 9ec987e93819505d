"""`CenterHead` against loops over cells and boxes, and average precision against a slow one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import polyscene as ps
import polyscene.nn as pn
import pytest
import torch
from gradients import random

STRIDE, HEIGHT, WIDTH = 4, 6, 8
TRUTH = pn.Boxes(
    torch.tensor(
        [[1.0, 2.0, 12.0, 9.0], [3.0, 2.0, 14.0, 12.5], [20.0, 10.0, 31.5, 24.0], [0.0, 0.0, 3.0, 3.0]],
        dtype=torch.float64,
    ),
    torch.tensor([1, 1, 0, 2]),
    torch.tensor([0, 3, 3, 4]),
)


def made(**options: Any) -> Any:
    torch.manual_seed(7)
    return pn.CenterHead(5, 3, **{"hidden": 4, "stride": STRIDE} | options).double()


def overlap(a: Any, b: Any) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.mark.parametrize("size", [(10.0, 10.0), (3.0, 17.0), (40.0, 2.5), (1.0, 1.0)])
@pytest.mark.parametrize("t", [0.3, 0.7, 0.95])
def test_corners_within_the_radius_keep_the_overlap(size: tuple[float, float], t: float) -> None:
    r, box = pn.gaussian_radius(*size, t), (0.0, 0.0, *size)
    moves = list(itertools.product([-r, 0, r], repeat=4))
    kept = [overlap(box, [side + move for side, move in zip(box, moved, strict=True)]) for moved in moves]
    assert min(kept) == pytest.approx(t, abs=1e-12)  # the worst of them has just that


def slow_targets(head: Any, truth: pn.Boxes) -> np.ndarray:
    heat = np.zeros((len(truth.offsets) - 1, 3, HEIGHT, WIDTH))
    for b, (start, end) in enumerate(itertools.pairwise(truth.offsets.tolist())):
        for i in range(start, end):
            left, top, right, bottom = truth.boxes[i].tolist()
            column, row = int((left + right) / 2 / STRIDE), int((top + bottom) / 2 / STRIDE)
            w, h = (right - left) / STRIDE, (bottom - top) / STRIDE
            r = pn.gaussian_radius(w, h, head.options["min_overlap"])
            sigma = (2 * r + 1) / 6
            for y, x in np.ndindex(HEIGHT, WIDTH):
                value = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
                heat[b, truth.labels[i], y, x] = max(heat[b, truth.labels[i], y, x], value)
    return heat


def test_targets_match_loops() -> None:
    head = made(min_overlap=0.5)
    found = head.targets(TRUTH, HEIGHT, WIDTH)
    np.testing.assert_allclose(found.heat, slow_targets(head, TRUTH), atol=1e-14)
    assert found.cells.tolist() == [[0, 1, 1], [0, 1, 2], [0, 4, 6], [2, 0, 0]]
    assert found.sizes.tolist() == [[11, 7], [11, 10.5], [11.5, 14], [3, 3]]
    torch.testing.assert_close(found.shifts[1], torch.tensor([8.5 / 4 - 2, 7.25 / 4 - 1], dtype=torch.float64))
    assert (found.heat == 1).sum() == 4 and (found.heat[1] == 0).all()


def slow_loss(head: Any, maps: np.ndarray, truth: pn.Boxes) -> float:
    heat, total = slow_targets(head, truth), 0.0
    for place in np.ndindex(heat.shape):
        p = 1 / (1 + math.exp(-maps[place]))
        if heat[place] == 1:
            total -= (1 - p) ** 2 * math.log(p)
        else:
            total -= (1 - heat[place]) ** 4 * p**2 * math.log(1 - p)
    for b, (start, end) in enumerate(itertools.pairwise(truth.offsets.tolist())):
        for i in range(start, end):
            left, top, right, bottom = truth.boxes[i].tolist()
            x, y = (left + right) / 2 / STRIDE, (top + bottom) / 2 / STRIDE
            own = maps[b, 3:, int(y), int(x)]
            total += head.options["size_weight"] * (abs(own[0] - (right - left)) + abs(own[1] - (bottom - top)))
            total += head.options["offset_weight"] * (abs(own[2] - x % 1) + abs(own[3] - y % 1))
    return total / max(1, len(truth.boxes))


@pytest.mark.parametrize("options", [{}, {"size_weight": 0.7, "offset_weight": 0.2, "min_overlap": 0.3}])
def test_loss_matches_loops(options: dict[str, float]) -> None:
    head, maps = made(**options), random(3, 7, HEIGHT, WIDTH)
    assert head.loss(maps, TRUTH).item() == pytest.approx(slow_loss(head, maps.detach().numpy(), TRUTH), abs=1e-12)
    assert torch.autograd.gradcheck(lambda z: head.loss(z, TRUTH), [maps])


def test_loss_of_images_without_boxes_falls_to_zero() -> None:
    head = made()
    none = pn.Boxes(torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0]))
    maps = torch.full((1, 7, HEIGHT, WIDTH), -40.0, dtype=torch.float64, requires_grad=True)
    loss = head.loss(maps, none)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert maps.grad is not None and maps.grad.isfinite().all()
    assert head.decode(maps).offsets.tolist() == [0, 0]


def test_forward_matches_convolutions_and_starts_at_a_tenth() -> None:
    head = made()
    x = random(2, 5, HEIGHT, WIDTH)
    state, parts = head.state_dict(), []
    for name in ("heat", "size", "offset"):
        h = torch.conv2d(x, state[f"{name}_hidden.weight"], state[f"{name}_hidden.bias"], padding=1).relu()
        parts.append(torch.conv2d(h, state[f"{name}_output.weight"], state[f"{name}_output.bias"]))
    torch.testing.assert_close(head(x), torch.cat(parts, 1))
    torch.testing.assert_close(state["heat_output.bias"].sigmoid(), torch.full((3,), 0.1, dtype=torch.float64))


def perfect(head: Any, truth: pn.Boxes) -> torch.Tensor:
    """Maps that say what is true."""
    target = head.targets(truth, HEIGHT, WIDTH)
    maps = torch.zeros(len(truth.offsets) - 1, 7, HEIGHT, WIDTH, dtype=torch.float64)
    maps[:, :3] = torch.logit(target.heat.clamp(1e-9, 1 - 1e-3))
    image, row, column = target.cells.T
    maps[image, 3:, row, column] = torch.cat([target.sizes, target.shifts], 1)
    return maps


def test_boxes_come_back() -> None:
    head = made()
    apart = pn.Boxes(TRUTH.boxes[[0, 2, 3]], TRUTH.labels[[0, 2, 3]], torch.tensor([0, 2, 2, 3]))
    found = head.decode(perfect(head, apart), threshold=0.5)
    assert found.offsets.tolist() == [0, 2, 2, 3] and found.scores is not None
    order = torch.tensor([1, 0, 2]) if found.labels[0] == 0 else torch.tensor([0, 1, 2])  # equal scores
    torch.testing.assert_close(found.boxes, apart.boxes[order])
    assert torch.equal(found.labels, apart.labels[order])
    precision = ps.vision.average_precision(found, apart, 3)
    assert (precision == 1).all()


def slow_decode(maps: np.ndarray, top: int, threshold: float) -> list[list[tuple[Any, ...]]]:
    out = []
    for image in maps:
        peaks = []
        for k, y, x in np.ndindex(3, HEIGHT, WIDTH):
            around = image[k, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            p = 1 / (1 + np.exp(-image[k, y, x]))
            if image[k, y, x] < around.max() or p < threshold:
                continue
            w, h, dx, dy = image[3:, y, x]
            cx, cy, w, h = (x + dx) * STRIDE, (y + dy) * STRIDE, max(w, 0), max(h, 0)
            peaks.append((p, k, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
        out.append(sorted(peaks, reverse=True)[:top])
    return out


@pytest.mark.parametrize(("top", "threshold"), [(100, 0.0), (4, 0.1), (100, 0.7)])
def test_decode_matches_loops(top: int, threshold: float) -> None:
    maps = 2 * random(2, 7, HEIGHT, WIDTH)
    found = made().decode(maps, top, threshold)
    assert found.scores is not None and not found.boxes.requires_grad
    for b, expected in enumerate(slow_decode(maps.detach().numpy(), top, threshold)):
        own = slice(int(found.offsets[b]), int(found.offsets[b + 1]))
        np.testing.assert_allclose(found.scores[own], [each[0] for each in expected], atol=1e-12)
        assert found.labels[own].tolist() == [each[1] for each in expected]
        np.testing.assert_allclose(
            found.boxes[own], np.array([each[2:] for each in expected]).reshape(-1, 4), atol=1e-9
        )


def test_learns_where_bright_squares_are() -> None:
    generator = torch.Generator().manual_seed(3)
    x = 0.1 * torch.randn(12, 1, 24, 32, generator=generator)
    boxes = []
    for b in range(12):
        left, top, size = (
            int(torch.randint(low, high, (), generator=generator)) for low, high in ((0, 20), (0, 14), (5, 11))
        )
        x[b, 0, top : top + size, left : left + size] += 1
        boxes.append([left, top, left + size, top + size])
    truth = pn.Boxes(torch.tensor(boxes).float(), torch.zeros(12, dtype=torch.int64), torch.arange(13))
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 5, 2, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 5, 2, 2), torch.nn.ReLU()
    )
    head = pn.CenterHead(16, 1, hidden=16)
    optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        head.loss(head(body(x)), truth).backward()
        optimiser.step()
    assert ps.vision.average_precision(head.decode(head(body(x))), truth, 1, [0.5]).item() > 0.9


def slow_precision(found: pn.Boxes, truth: pn.Boxes, label: int, threshold: float) -> float:
    """The best precision at or above each hundred-thousandth of recall, summed: an integral, not a sum of steps."""
    wanted, boxes = [], []
    for b in range(len(truth.offsets) - 1):
        for i in range(int(truth.offsets[b]), int(truth.offsets[b + 1])):
            if truth.labels[i] == label:
                wanted.append((b, truth.boxes[i].tolist()))
        for i in range(int(found.offsets[b]), int(found.offsets[b + 1])):
            if found.labels[i] == label:
                boxes.append((float(found.scores[i]), b, found.boxes[i].tolist()))  # type: ignore[index]
    if not wanted:
        return math.nan
    points, free = [], set(range(len(wanted)))
    hits = count = 0
    for score, group in itertools.groupby(sorted(boxes, key=lambda each: -each[0]), key=lambda each: each[0]):
        assert score <= 1
        for _, b, box in group:
            count += 1
            fits = [(overlap(box, wanted[j][1]), -j) for j in free if wanted[j][0] == b]
            if fits and max(fits)[0] >= threshold:
                free.remove(-max(fits)[1])
                hits += 1
        points.append((hits / len(wanted), hits / count))
    edges = sorted({0.0, *(recall for recall, _ in points)})
    area = 0.0
    for low, high in itertools.pairwise(edges):
        area += (high - low) * max(precision for recall, precision in points if recall >= high)
    return area


def drawn(seed: int, ties: bool) -> tuple[pn.Boxes, pn.Boxes]:
    generator = np.random.default_rng(seed)
    corner, size = generator.uniform(0, 20, (40, 2)), generator.uniform(5, 15, (40, 2))
    truth = pn.Boxes(
        torch.from_numpy(np.concatenate([corner, corner + size], 1)),
        torch.from_numpy(generator.integers(0, 3, 40)),
        torch.tensor([0, 9, 9, 20, 32, 40]),
    )
    pick = np.sort(generator.integers(0, 40, 60))
    moved = truth.boxes[pick] + torch.from_numpy(generator.normal(0, 1, (60, 4)))
    labels = np.where(generator.random(60) < 0.8, truth.labels[pick], generator.integers(0, 4, 60))
    scores = generator.random(60)
    found = pn.Boxes(
        moved,
        torch.from_numpy(labels),
        torch.from_numpy(np.searchsorted(pick, truth.offsets.numpy())),
        torch.from_numpy(scores.round(1) if ties else scores),
    )
    return found, truth


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_matches_a_slow_one(seed: int, ties: bool) -> None:
    found, truth = drawn(seed, ties)
    thresholds = ps.vision.THRESHOLDS
    expected = [[slow_precision(found, truth, label, t) for label in range(5)] for t in thresholds]
    values = ps.vision.average_precision(found, truth, 5)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert values[:, 3:].isnan().all() and ((values[0, :3] > 0) & (values[0, :3] < 1)).all()


def test_average_precision_of_four_boxes_by_hand() -> None:
    true = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    truth = pn.Boxes(true, torch.tensor([0, 0]), torch.tensor([0, 2]))
    # a hit, the same box again (a miss, for it is taken), a miss, a hit: precision 1 and 2 / 4 at recall 1 / 2 and 1
    given = torch.stack([true[0], true[0], true[1] + 40, true[1]])
    found = pn.Boxes(given, torch.zeros(4, dtype=torch.int64), torch.tensor([0, 4]), torch.tensor([0.9, 0.8, 0.7, 0.6]))
    assert ps.vision.average_precision(found, truth, 1, [0.5]).item() == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    nothing = pn.Boxes(true[:0], torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0]), torch.zeros(0))
    assert ps.vision.average_precision(nothing, truth, 2, [0.5]).tolist()[0][0] == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min_overlap": 1.0}, r"CenterHead: min_overlap must be in \(0, 1\), got 1"),
        ({"stride": 0}, "CenterHead: stride must be positive, got 0"),
        ({"size_weight": -1.0}, "CenterHead: size_weight must be 0 or more, got -1"),
        ({"offset_weight": -2.0}, "CenterHead: offset_weight must be 0 or more, got -2"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        made(**options)


def test_boxes_that_do_not_fit() -> None:
    head, maps = made(), random(3, 7, HEIGHT, WIDTH)

    def lost(text: str, **changed: Any) -> None:
        with pytest.raises(ValueError, match=text):
            head.loss(maps, TRUTH._replace(**changed))

    lost(r"CenterHead: boxes must be floating \[L, 4\], got Long \[4, 4\]", boxes=TRUTH.boxes.long())
    lost(r"CenterHead: labels must be int64 \[4\], got Long \[3\]", labels=TRUTH.labels[:3])
    lost("CenterHead: labels must be 0 to 2, got 3", labels=TRUTH.labels + 1)
    lost("CenterHead: offsets must run from 0 up to the 4 boxes, got 0 to 3", offsets=torch.tensor([0, 1, 2, 3]))
    lost(r"CenterHead: offsets must be int64 \[4\] for 3 images, got \[3\]", offsets=torch.tensor([0, 3, 4]))
    flat, outside = TRUTH.boxes.clone(), TRUTH.boxes.clone()
    flat[2, 3] = 10.0
    outside[3] += 40
    lost("CenterHead: box 2 must have its right edge right of the left one .* width 11.5 and height 0", boxes=flat)
    lost("CenterHead: the centre of box 3 lies outside of the image of 24 x 32 pixels", boxes=outside)


def test_calls_that_do_not_fit() -> None:
    head, found = made(), drawn(0, False)[0]
    with pytest.raises(ValueError, match=r"CenterHead: x must be \[B, 5, h, w\], got \[1, 4, 2, 2\]"):
        head(random(1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"CenterHead: maps must be \[B, 7, h, w\], got \[1, 5, 2, 2\]"):
        head.decode(random(1, 5, 2, 2))
    with pytest.raises(ValueError, match="CenterHead: top must be positive, got 0"):
        head.decode(random(1, 7, 2, 2), top=0)
    with pytest.raises(ValueError, match=r"CenterHead: threshold must be in \[0, 1\), got 1"):
        head.decode(random(1, 7, 2, 2), threshold=1.0)
    with pytest.raises(ValueError, match="gaussian_radius: width and height must be positive, got 0 and 2"):
        pn.gaussian_radius(0, 2)
    with pytest.raises(ValueError, match="found and truth must be of the same images, got 5 and 3"):
        ps.vision.average_precision(found, TRUTH, 3)
    with pytest.raises(ValueError, match="found must have scores that are numbers"):
        ps.vision.average_precision(TRUTH, TRUTH, 3)
    with pytest.raises(ValueError, match=r"thresholds must be in \(0, 1\], got 0"):
        ps.vision.average_precision(found, found, 3, [0.5, 0])
