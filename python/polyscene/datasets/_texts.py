"""The files of data sets of texts, as their publishers lay them out, as one table of text columns.

Columns: text, label, scene and document, which a split keeps together.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from polyscene.data._delimited import Layout
from polyscene.data.reading import delimited

SCENES = ("movie", "amazon", "nyt", "tweets")


def read_sentiment(name: str, folder: Path) -> pa.Table | None:
    """text-sentiment: a file a scene, ``id<TAB>valence<TAB>text``; an id is ``document_sentence`` or a document's own.

    The label is "positive" where the valence is above 0, else "negative".
    """
    if not all((folder / f"{scene}.tsv").exists() for scene in SCENES):
        return None
    return pa.concat_tables(_sentences(folder / f"{scene}.tsv", scene) for scene in SCENES)


def _sentences(path: Path, scene: str) -> pa.Table:
    table = delimited(path, Layout("\t", "")).load(("id", "valence", "text")).combine_chunks()
    document = pc.list_element(pc.split_pattern(table.column("id"), "_"), 0)
    positive = pc.greater(table.column("valence").cast(pa.float64()), 0)
    return pa.table(
        {
            "text": table.column("text"),
            "label": pc.if_else(positive, "positive", "negative"),
            "scene": pa.array([scene] * len(table), pa.string()),
            "document": pc.binary_join_element_wise(scene, document, ":"),
        }
    )
