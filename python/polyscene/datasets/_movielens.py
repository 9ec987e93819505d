"""The files of the MovieLens sets, as GroupLens and RecBole lay them out, as one table of text columns.

Columns: user_id, item_id, rating, timestamp, release_year, genres (joined by "|") and class (the first genre);
ml-100k and ml-1m also have age, gender, occupation and zip_code.
"""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from polyscene.data._delimited import Layout
from polyscene.data.reading import delimited, join, pieces

GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
PEOPLE = ("age", "gender", "occupation", "zip_code")
_YEAR = r"\((?P<year>[0-9]{4})\)\s*$"


def _atomic(name: str, folder: Path, people: bool) -> pa.Table | None:
    """RecBole's `name.inter`, `.user` and `.item`; None when they are not there."""
    path = folder / f"{name}.inter"
    if not path.exists():
        return None
    piece = pieces(path, name)[0]
    genres = next((column for column in ("class", "genre", "genres") if column in piece.names), "")
    wanted = ["user_id", "item_id", "rating", "timestamp", "release_year", *(PEOPLE if people else ())]
    missing = [column for column in wanted if column not in piece.names] or ([] if genres else ["class"])
    if missing:
        beside = f"{name}.user and {name}.item" if people else f"{name}.item"
        raise ValueError(f"{name}: {path} and {beside} beside it have no column {missing[0]!r}")
    table = piece.load([*wanted, genres])
    names = pc.replace_substring(table.column(genres), " ", "|")
    table = table.drop([genres]).append_column("genres", names)
    return _with_class(table)


def _with_class(table: pa.Table) -> pa.Table:
    first = pc.list_element(pc.split_pattern(pc.fill_null(table.column("genres"), ""), "|", max_splits=1), 0)
    return table.append_column("class", first)


def _coded(side: pa.Table, key: str) -> pa.Table:
    """Side columns as dictionaries, so that joining costs four bytes a row."""
    for i, column in enumerate(side.column_names):
        if column != key:
            side = side.set_column(i, column, side.column(column).dictionary_encode())
    return side


def read_100k(name: str, folder: Path) -> pa.Table | None:
    """ml-100k: RecBole's atomic files, else u.data, u.user and u.item."""
    if (atomic := _atomic(name, folder, people=True)) is not None:
        return atomic
    if not (folder / "u.data").exists():
        return None
    ratings = _all(folder / "u.data", Layout("\t", "", names=("user_id", "item_id", "rating", "timestamp")))
    users = _all(folder / "u.user", Layout("|", "", names=("user_id", *PEOPLE)))
    names = ("item_id", "title", "release_date", "video_release_date", "url", *GENRES_100K)
    items = _all(folder / "u.item", Layout("|", "", "latin-1", names=names))
    flags = [pc.if_else(pc.equal(items.column(genre), "1"), genre, None) for genre in GENRES_100K]
    genres = pc.binary_join_element_wise(*flags, "|", null_handling="skip")
    year = pc.utf8_slice_codeunits(items.column("release_date"), -4, None)
    return _joined(ratings, users, items.column("item_id"), year, genres, folder)


def _all(path: Path, layout: Layout) -> pa.Table:
    piece = delimited(path, layout)
    return piece.load(piece.names)


def _joined(
    ratings: pa.Table,
    users: pa.Table | None,
    item_id: pa.ChunkedArray,
    year: pa.ChunkedArray,
    genres: pa.ChunkedArray,
    folder: Path,
) -> pa.Table:
    items = _with_class(pa.table({"item_id": item_id, "release_year": year, "genres": genres}))
    if users is not None:
        ratings = join(ratings, _coded(users, "user_id"), "user_id", str(folder))
    return join(ratings, _coded(items, "item_id"), "item_id", str(folder))


def _double_colon(path: Path, names: tuple[str, ...]) -> pa.Table:
    """A file whose cells are divided by two colons, in Latin-1."""
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    raw = path.read_bytes().decode("latin-1").replace("::", "\x1f").encode()
    try:
        return pa.csv.read_csv(
            io.BytesIO(raw),
            read_options=pa.csv.ReadOptions(column_names=list(names)),
            parse_options=pa.csv.ParseOptions(delimiter="\x1f", quote_char=False),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: wanted {len(names)} cells divided by '::' in each row ({error})") from error


def read_1m(name: str, folder: Path) -> pa.Table | None:
    """ml-1m: RecBole's atomic files, else ratings.dat, users.dat and movies.dat."""
    if (atomic := _atomic(name, folder, people=True)) is not None:
        return atomic
    if not (folder / "ratings.dat").exists():
        return None
    ratings = _double_colon(folder / "ratings.dat", ("user_id", "item_id", "rating", "timestamp"))
    users = _double_colon(folder / "users.dat", ("user_id", "gender", "age", "occupation", "zip_code"))
    movies = _double_colon(folder / "movies.dat", ("item_id", "title", "genres"))
    year = pc.struct_field(pc.extract_regex(movies.column("title"), _YEAR), "year")
    return _joined(ratings, users, movies.column("item_id"), year, movies.column("genres"), folder)


def read_csv(name: str, folder: Path) -> pa.Table | None:
    """ml-20m and ml-25m: RecBole's atomic files, else ratings.csv and movies.csv."""
    if (atomic := _atomic(name, folder, people=False)) is not None:
        return atomic
    if not (folder / "ratings.csv").exists():
        return None
    ratings = _all(folder / "ratings.csv", Layout()).rename_columns(["user_id", "item_id", "rating", "timestamp"])
    movies = _all(folder / "movies.csv", Layout()).rename_columns(["item_id", "title", "genres"])
    year = pc.struct_field(pc.extract_regex(movies.column("title"), _YEAR), "year")
    genres = pc.replace_substring(movies.column("genres"), "(no genres listed)", "none")
    return _joined(ratings, None, movies.column("item_id"), year, genres, folder)
