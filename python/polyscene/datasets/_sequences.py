"""The files of data sets of sequences, as their publishers lay them out, as one table of text columns.

Columns: user_id, item_id, scene and part ("train", "valid", "test" or "context"); the rows of a user in their order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyscene.data._delimited import Layout
from polyscene.data.reading import delimited


def read_movie_book(name: str, folder: Path) -> pa.Table | None:
    """movie-book: a line a user, ``user<TAB>item,item,...``; items up to the first number of num.txt are films.

    Of a line of valid.txt and test.txt the last item is the one to predict, the others are context. Lines with the same
    number in two files are of different users.
    """
    files = {"train": "train_overlap.txt", "valid": "valid.txt", "test": "test.txt"}
    if not all((folder / file).exists() for file in ("num.txt", *files.values())):
        return None
    films = int((folder / "num.txt").read_text().split()[0])
    return pa.concat_tables(_lines(folder / file, part, films) for part, file in files.items())


def _lines(path: Path, part: str, films: int) -> pa.Table:
    piece = delimited(path, Layout("\t", "", names=("user", "items")))
    table = piece.load(("user", "items")).combine_chunks()
    lists = pc.split_pattern(table.column("items").combine_chunks(), ",")
    items = pc.list_flatten(lists)
    owner = pc.list_parent_indices(lists)
    user = pc.binary_join_element_wise(part, table.column("user").combine_chunks().take(owner), ":")
    at = owner.to_numpy()
    last = np.append(at[1:] != at[:-1], True)
    parts = np.where(last | (part == "train"), part, "context")
    scene = pc.if_else(pc.less_equal(pc.cast(items, pa.int64()), films), "movie", "book")
    return pa.table({"user_id": user, "item_id": items, "scene": scene, "part": pa.array(parts, pa.string())})


def given(table: pa.Table, seed: int) -> dict[str, pa.Table]:
    """The publisher's own split; ``seed`` draws nothing."""
    part = table.column("part")
    parts = ("context", "train", "valid", "test")
    return {each: table.filter(pc.equal(part, each)).drop(["part"]) for each in parts}


def last_held_out(table: pa.Table, seed: int) -> dict[str, pa.Table]:
    """The same with the last row of every training sequence among the test rows."""
    user = table.column("user_id").combine_chunks().dictionary_encode().indices.to_numpy()
    last = np.append(user[1:] != user[:-1], True)
    train = pc.equal(table.column("part"), "train")
    part = pc.if_else(pc.and_(train, pa.array(last)), "test", table.column("part"))
    return given(table.set_column(table.column_names.index("part"), "part", part), seed)
