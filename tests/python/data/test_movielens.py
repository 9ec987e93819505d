"""The real ml-100k, where POLYSCENE_TEST_DATA holds it, in both layouts."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from polyscene import datasets

FOLDER = Path(os.environ.get("POLYSCENE_TEST_DATA", "")) / "ml-100k"
pytestmark = pytest.mark.skipif(
    "POLYSCENE_TEST_DATA" not in os.environ or not FOLDER.exists(), reason="POLYSCENE_TEST_DATA holds no ml-100k"
)


@pytest.fixture(scope="module")
def data():
    return datasets.load("ml-100k", root=FOLDER)


def rows_of(end):
    with open(FOLDER / f"ml-100k.{end}", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return rows[1:]


def test_counts_are_those_of_the_publisher(data):
    columns = data.columns
    assert columns.rows == 100_000
    assert dict(zip(columns.scene_names, np.bincount(columns.scene).tolist(), strict=True)) == {
        "age<25": 26_551, "25<=age<35": 35_444, "age>=35": 38_005,
    }  # fmt: skip
    ids = {name: len(columns.ids[f]) for f, name in enumerate(columns.categorical)}
    assert ids == {
        "user_id": 943,
        "item_id": 1682,
        "gender": 2,
        "occupation": 21,
        "zip_code": 795,
        "release_year": 73,
        "class": 19,
    }
    assert len(columns.interest_ids) == 19
    assert columns.label.sum().item() == 55_375
    assert {part: len(table) for part, table in data.tables.items()} == {
        "train": 80_000,
        "valid": 10_000,
        "test": 10_000,
    }
    assert data.report["dropped"] == {}


def test_rows_equal_a_join_by_hand(data):
    users = {row[0]: row for row in rows_of("user")}
    items = {row[0]: row for row in rows_of("item")}
    columns = data.columns
    ids = [each.list() for each in columns.ids]
    interests, ends = columns.interest_ids.list(), columns.interest.offsets.tolist()
    ratings = rows_of("inter")
    for row in np.random.default_rng(0).integers(0, 100_000, 300).tolist():
        user, item, rating, time = ratings[row]
        _, age, gender, occupation, zip_code = users[user]
        _, _, year, genres = items[item]
        wanted = [user, item, gender, occupation, zip_code, year, genres.split(" ")[0]]
        assert [ids[f][code] for f, code in enumerate(columns.codes[row].tolist())] == wanted
        assert columns.numbers[row].tolist() == [float(age)]
        assert columns.label[row].item() == (float(rating) >= 4)
        assert columns.time[row].item() == int(time)
        assert [interests[c] for c in columns.interest.values[ends[row] : ends[row + 1]].tolist()] == genres.split(" ")


def test_roles_can_be_changed():
    data = datasets.load("ml-100k", root=FOLDER, scenes="gender", label="rating", task="rating", split={"by": "time"})
    assert data.columns.scene_names == ["F", "M"]
    assert data.columns.label.max().item() == 5
    assert data.train.times().max() <= data.test.times().min()


def test_grouplens_own_files_give_the_same_rows(data, tmp_path):
    from polyscene.datasets._movielens import GENRES_100K

    (tmp_path / "u.data").write_text("".join("\t".join(row) + "\n" for row in rows_of("inter")))
    (tmp_path / "u.user").write_text("".join("|".join(row) + "\n" for row in rows_of("user")))
    with open(tmp_path / "u.item", "w", encoding="latin-1", errors="replace") as file:
        for item, title, year, genres in rows_of("item"):
            flags = ["1" if genre in genres.split(" ") else "0" for genre in GENRES_100K]
            file.write(
                "|".join(
                    [item, f"{title} ({year})", f"01-Jan-{year}" if year.isdigit() else "", "", "http://x", *flags]
                )
                + "\n"
            )
    again = datasets.load("ml-100k", root=tmp_path)
    a, b = data.columns, again.columns
    assert a.label.tolist() == b.label.tolist()
    assert a.scene.tolist() == b.scene.tolist()
    assert (a.codes[:, :5] == b.codes[:, :5]).all()
    genres = [
        [sorted(c.interest_ids.list()[k] for k in c.interest.take(np_rows(1000)).values.tolist())] for c in (a, b)
    ]
    assert genres[0] == genres[1]


def np_rows(n):
    import torch

    return torch.arange(n)
