"""The files of data sets whose scenes share users, as their publishers lay them out, as one table of text columns.

Columns: user_id, item_id, scene, rating, and part ("train" or "test") where the publisher has split them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyscene._extension import _C
from polyscene.data._delimited import Layout
from polyscene.data.reading import delimited

_NAMES = ("user_id", "item_id", "rating")


def _file(path: Path, scene: str, part: str | None) -> pa.Table:
    piece = delimited(path, Layout("\t", "", names=_NAMES))
    table = piece.load(list(_NAMES))
    # Items are numbered anew in every scene: "7" here and "7" there are two things.
    items = pc.binary_join_element_wise(scene, table.column("item_id"), ":")
    table = table.set_column(1, "item_id", items)
    table = table.append_column("scene", pa.array([scene] * len(table), pa.string()))
    return table if part is None else table.append_column("part", pa.array([part] * len(table), pa.string()))


def read_amazon(name: str, folder: Path) -> pa.Table | None:
    """A pair of Amazon scenes as published with DisenCDR: folders A_B and B_A with train.txt and test.txt."""
    first, second = name.removeprefix("amazon-").split("-")
    folders = {first: folder / f"{first}_{second}", second: folder / f"{second}_{first}"}
    if not all((each / "train.txt").exists() for each in folders.values()):
        return None
    return pa.concat_tables(
        _file(each / f"{part}.txt", scene, part) for scene, each in folders.items() for part in ("train", "test")
    )


def read_douban(name: str, folder: Path) -> pa.Table | None:
    """Douban ratings: <scene>.ratings.dat for each scene of the name."""
    scenes = name.removeprefix("douban-").split("-")
    if not all((folder / f"{scene}.ratings.dat").exists() for scene in scenes):
        return None
    return pa.concat_tables(_file(folder / f"{scene}.ratings.dat", scene, None) for scene in scenes)


LEAST_ROWS = 5


def divided(table: pa.Table, seed: int) -> dict[str, pa.Table]:
    """Sources of train, valid and test for `read_table`.

    Validation rows are drawn from the publisher's training rows: one of every user of a scene with at least 5 of them,
    whose item keeps another training row.
    """
    train = table.filter(pc.equal(table.column("part"), "train")).drop(["part"])
    test = table.filter(pc.equal(table.column("part"), "test")).drop(["part"])
    scene, user, item = (train.column(name).combine_chunks() for name in ("scene", "user_id", "item_id"))
    who = pc.binary_join_element_wise(scene, user, "\x1f").dictionary_encode().indices.to_numpy()
    left = np.bincount(what := item.dictionary_encode().indices.to_numpy())
    mine = np.bincount(who)
    open_ = mine >= LEAST_ROWS
    keep = np.ones(len(train), bool)
    for row in np.argsort(_C.core.permutation(len(train), seed, "published", 0).numpy(), kind="stable"):
        if open_[who[row]] and left[what[row]] > 1:
            open_[who[row]] = keep[row] = False
            left[what[row]] -= 1
    held = np.flatnonzero(~keep)
    return {"train": train.take(np.flatnonzero(keep)), "valid": train.take(held), "test": test}
