"""Digits found in larger images of two scenes: their pixels by a U-Net, their boxes by a head of centres.

Each image of 48 x 48 has 1 to 3 handwritten digits of MNIST, 14 to 22 pixels high or wide, whose boxes overlap by an
intersection over union of 0.1 at most. In scene `plain` they are bright on black, in `textured` dark on a light texture
of random waves; both have noise. The digits themselves are split (6 : 2 : 2) before any image is made, so that no
handwriting of a test image was ever trained.

Both networks are trained on the images of one scene, or of both, and tested on each: mean intersection over union of 11
classes (digits and background), average precision of 10 classes at an intersection over union of 0.5 and as the mean
over 0.5 to 0.95. The epoch is the best on validation images of the training scenes.

    python experiments/digits_found.py --root DIR [--quick] [--seeds 1] [--first 2022] [--epochs 6] [--threads 1]
        [--trained plain textured both] [--out FILE]

DIR holds mnist_10k.npz: images uint8 [N, 28, 28], labels [N].
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polyscene as ps
import torch
from torch import nn

SIZE, LOW, HIGH, MOST, OVERLAP, INK = 48, 14, 22, 3, 0.1, 0.4
SCENES = ("plain", "textured")
TRAINED = {"plain": ["plain"], "textured": ["textured"], "both": ["plain", "textured"]}
UNET: dict[str, Any] = {"channels": 8, "depth": 3, "norm": "batch"}
HEAD: dict[str, Any] = {"hidden": 32, "stride": 4}
LEARNING = {"lr": 3e-3, "batch_size": 8}


class Images(NamedTuple):
    """Images with what is to be found in them."""

    pixels: torch.Tensor  # float [B, 1, SIZE, SIZE]
    classes: torch.Tensor  # int64 [B, SIZE, SIZE]: 0 background, 1 + digit
    boxes: ps.nn.Boxes  # of the digits, of the class of the digit

    def take(self, rows: torch.Tensor) -> Images:
        """The images of some rows, in their order."""
        starts, counts = self.boxes.offsets[rows], self.boxes.offsets.diff()[rows]
        first = torch.repeat_interleave(starts - counts.cumsum(0) + counts, counts)
        own = first + torch.arange(len(first))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        boxes = ps.nn.Boxes(self.boxes.boxes[own], self.boxes.labels[own], offsets)
        return Images(self.pixels[rows], self.classes[rows], boxes)


def joined(parts: list[Images]) -> Images:
    """The images of all parts, one part after another."""
    counts = torch.cat([part.boxes.offsets.diff() for part in parts])
    boxes = ps.nn.Boxes(
        torch.cat([part.boxes.boxes for part in parts]),
        torch.cat([part.boxes.labels for part in parts]),
        torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
    )
    return Images(torch.cat([part.pixels for part in parts]), torch.cat([part.classes for part in parts]), boxes)


def written(digit: np.ndarray, side: int) -> np.ndarray:
    """The ink of a digit alone in [0, 1], enlarged or reduced so that its longer side is ``side``."""
    rows, columns = np.flatnonzero(digit.max(1)), np.flatnonzero(digit.max(0))
    ink = torch.from_numpy(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255.0)
    scale = side / max(ink.shape)
    size = [max(3, round(length * scale)) for length in ink.shape]
    return torch.nn.functional.interpolate(ink[None, None], size, mode="bilinear", antialias=True)[0, 0].numpy()


def background(scene: str, rng: np.random.Generator) -> np.ndarray:
    """What the digits are drawn on."""
    if scene == "plain":
        return np.zeros((SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = [
        np.sin(2 * np.pi * (fx * x + fy * y) + phase)
        for fx, fy, phase in zip(*rng.uniform(-8, 8, (2, 5)), rng.uniform(0, 2 * np.pi, 5), strict=True)
    ]
    return np.asarray(0.7 + 0.25 * np.tanh(np.sum(waves, 0) / 2))


def draw(
    scene: str, digits: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, list[int]]]]:
    """One image: its pixels, their classes, and the digits with their boxes."""
    ink, classes, found = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE), np.int64), []
    wanted = int(rng.integers(1, MOST + 1))
    for _ in range(20):  # attempts; a crowded image may keep fewer
        if len(found) == wanted:
            break
        pick = int(rng.integers(len(digits)))
        digit = written(digits[pick], int(rng.integers(LOW, HIGH + 1)))
        top, left = (int(rng.integers(0, SIZE - length + 1)) for length in digit.shape)
        drawn = digit > INK
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        box = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
        if any(overlap(box, other) > OVERLAP for _, other in found):
            continue
        place = (slice(top, top + digit.shape[0]), slice(left, left + digit.shape[1]))
        ink[place] = np.maximum(ink[place], digit)
        classes[place][drawn] = 1 + labels[pick]
        found.append((int(labels[pick]), [int(side) for side in box]))
    paper = background(scene, rng)
    pixels = ink if scene == "plain" else paper * (1 - 0.9 * ink)
    return pixels + rng.normal(0, 0.1, pixels.shape), classes, found


def overlap(a: list[int], b: list[int]) -> float:
    """Intersection over union of two boxes."""
    both = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def make(scene: str, digits: np.ndarray, labels: np.ndarray, count: int, seed: int) -> Images:
    """``count`` images of a scene; the same for the same seed."""
    rng = np.random.default_rng([seed, SCENES.index(scene)])
    drawn = [draw(scene, digits, labels, rng) for _ in range(count)]
    found = [each for _, _, here in drawn for each in here]
    boxes = ps.nn.Boxes(
        torch.tensor([box for _, box in found], dtype=torch.float32),
        torch.tensor([label for label, _ in found]),
        torch.tensor(np.cumsum([0, *(len(here) for _, _, here in drawn)])),
    )
    pixels = torch.from_numpy(np.stack([pixels for pixels, _, _ in drawn])).float()
    return Images(pixels[:, None], torch.from_numpy(np.stack([classes for _, classes, _ in drawn])), boxes)


def detector() -> nn.Sequential:
    """A small backbone, a quarter of the image's height and width, and the head."""

    def layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*layer(1, 16), *layer(16, 32, 2), *layer(32, 48, 2), *layer(48, 48), *layer(48, 48)]
    return nn.Sequential(*layers, ps.nn.CenterHead(48, 10, **HEAD))


def in_batches(images: Images, rows: torch.Tensor) -> Iterator[Images]:
    """Batches of some rows."""
    for part in rows.split(LEARNING["batch_size"]):  # type: ignore[no-untyped-call]
        yield images.take(part)


@torch.no_grad()
def segmented(net: nn.Module, images: Images) -> dict[str, float]:
    """Mean intersection over union of the classes."""
    rows = torch.arange(len(images.pixels))
    given = torch.cat([net(batch.pixels).argmax(1) for batch in in_batches(images, rows)])
    return {"miou": float(ps.vision.intersection_over_union(given, images.classes, 11).nanmean())}


@torch.no_grad()
def detected(net: nn.Sequential, images: Images) -> dict[str, float]:
    """Average precision at 0.5 and as the mean over 0.5 to 0.95, means over the digits."""
    rows = torch.arange(len(images.pixels))
    maps = torch.cat([net(batch.pixels) for batch in in_batches(images, rows)])
    found = net[-1].decode(maps, top=20, threshold=0.02)
    precision = ps.vision.average_precision(found, images.boxes, 10)
    return {"ap50": float(precision[0].nanmean()), "ap": float(precision.nanmean())}


def segmenter(train: Images) -> Any:
    """A U-Net that starts with the shares of the classes among the training pixels, most of them background."""
    net = ps.nn.UNet(1, 11, **UNET)
    shares = torch.bincount(train.classes.flatten(), minlength=11).float() / train.classes.numel()
    with torch.no_grad():
        net.output.bias.copy_(shares.clamp_min(1e-6).log())
    return net


class Task(NamedTuple):
    """How a network is made, trained and measured."""

    build: Callable[[Images], Any]
    loss: Callable[[Any, Images], torch.Tensor]
    measured: Callable[[Any, Images], dict[str, float]]
    watched: str


TASKS = {
    "pixels": Task(
        segmenter, lambda net, batch: ps.nn.segmentation_loss(net(batch.pixels), batch.classes), segmented, "miou"
    ),
    "boxes": Task(
        lambda train: detector(), lambda net, batch: net[-1].loss(net(batch.pixels), batch.boxes), detected, "ap50"
    ),
}


def fit(task: str, train: Images, valid: Images, epochs: int, seed: int) -> Any:
    """A network as it was after its best epoch."""
    torch.manual_seed(seed)
    net = TASKS[task].build(train)
    optimiser = torch.optim.Adam(net.parameters(), lr=LEARNING["lr"])
    steps = epochs * -(-len(train.pixels) // int(LEARNING["batch_size"]))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING["lr"], total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    best, kept = -1.0, net
    for epoch in range(epochs):
        net.train()
        lost = 0.0
        for batch in in_batches(train, torch.randperm(len(train.pixels), generator=generator)):
            optimiser.zero_grad()
            loss = TASKS[task].loss(net, batch)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            lost += float(loss.detach()) * len(batch.pixels) / len(train.pixels)
        value = TASKS[task].measured(net.eval(), valid)[TASKS[task].watched]
        print(f"  {task} epoch {epoch + 1}: loss {lost:.4f}, valid {TASKS[task].watched} {value:.4f}", flush=True)
        if value > best:
            best, kept = value, copy.deepcopy(net)
    return kept


def run(root: Path, seed: int, counts: dict[str, int], epochs: int, trained: list[str]) -> dict[str, dict[str, float]]:
    """What each network reaches on the test images of each scene."""
    with np.load(root / "mnist_10k.npz") as held:
        digits, labels = held["images"], held["labels"].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(digits))
    parts = dict(zip(counts, np.split(order, [len(order) * 6 // 10, len(order) * 8 // 10]), strict=True))
    images = {
        (part, scene): make(scene, digits[parts[part]], labels[parts[part]], counts[part], 10 * seed + i)
        for i, part in enumerate(counts)
        for scene in SCENES
    }
    out: dict[str, dict[str, float]] = {}
    for name in trained:
        train, valid = (joined([images[part, scene] for scene in TRAINED[name]]) for part in ("train", "valid"))
        for task, how in TASKS.items():
            print(f"seed {seed}, {task} on {name}: {len(train.pixels)} images", flush=True)
            net = fit(task, train, valid, epochs, seed)
            for scene in SCENES:
                for metric, value in how.measured(net, images["test", scene]).items():
                    out.setdefault(name, {})[f"{scene}.{metric}"] = value
    return out


def table(results: list[dict[str, dict[str, float]]]) -> str:
    """The figures in Markdown: a row for the scenes trained on, a column for the scene and metric tested."""
    columns = [f"{scene}.{metric}" for scene in SCENES for metric in ("miou", "ap50", "ap")]
    lines = ["| trained on | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name in results[0]:
        cells = []
        for column in columns:
            values = [each[name][column] for each in results]
            sd = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{sd}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs every seed and prints the table; ``--out`` also writes all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="few images and epochs, scene plain")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=2022)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trained", nargs="+", choices=list(TRAINED), default=list(TRAINED), help="on what scenes")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    counts = {"train": 300, "valid": 40, "test": 80} if given.quick else {"train": 1200, "valid": 100, "test": 400}
    epochs = 4 if given.quick else given.epochs
    trained = ["plain"] if given.quick else given.trained
    start = time.time()
    results = [run(given.root, seed, counts, epochs, trained) for seed in range(given.first, given.first + given.seeds)]
    print(table(results))
    if given.out is not None:
        settings = {"unet": UNET, "head": HEAD, "learning": LEARNING, "images": counts, "epochs": epochs}
        facts = {"first": given.first, "threads": given.threads, "seconds": round(time.time() - start)}
        given.out.write_text(json.dumps(facts | settings | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
