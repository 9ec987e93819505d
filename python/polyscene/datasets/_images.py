"""The files of data sets of images, as their publishers lay them out, as one table: image, label, scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa


def read_digits(name: str, folder: Path) -> pa.Table | None:
    """digits: ``mnist_10k.npz`` (images uint8 [10000, 28, 28], labels), and the digits of UCI from scikit-learn.

    The levels 0 to 16 of UCI become 0 to 255, and its 8 x 8 pixels stay as they are: reading resizes them.
    """
    path = folder / "mnist_10k.npz"
    if not path.exists():
        return None
    from sklearn.datasets import load_digits

    with np.load(path) as held:
        images, labels = held["images"], held["labels"]
    uci = load_digits()
    levels = np.round(uci.images * (255 / 16)).astype(np.uint8)
    return pa.concat_tables([_scene("mnist", images, labels), _scene("uci", levels, uci.target)])


def _scene(scene: str, images: np.ndarray, labels: np.ndarray) -> pa.Table:
    n, height, width = images.shape
    rows = pa.ListArray.from_arrays(_ends(n * height, width), pa.array(images.reshape(-1)))
    return pa.table(
        {
            "image": pa.ListArray.from_arrays(_ends(n, height), rows),
            "label": pa.array(labels.astype(int).astype(str)),
            "scene": pa.array([scene] * n, pa.string()),
        }
    )


def _ends(lists: int, length: int) -> pa.Array:
    return pa.array(np.arange(lists + 1, dtype=np.int32) * np.int32(length))
