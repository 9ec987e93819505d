"""Files of `user item label` without a header line, as DisenCDR and CDRIB publish them, and RecBole's of scenes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import commands
import polyscene as ps
import pytest

COLUMNS = ("user_id", "item_id", "label")


def files(folder: Path, between: str = "\t") -> dict[str, Path]:
    phone = [(0, 1, 1), (0, 2, 1), (1, 1, 1), (2, 3, 0)]
    sport = [(0, 1, 1), (1, 2, 1), (1, 3, 1)]
    out = {}
    for scene, rows in (("phone", phone), ("sport", sport)):
        out[scene] = folder / f"{scene}.txt"
        out[scene].write_text("".join(between.join(map(str, row)) + "\n" for row in rows))
    return out


@pytest.mark.parametrize("between", ["\t", " ", ","])
def test_rows_without_a_header(between: str, tmp_path: Path) -> None:
    label = {"column": "label", "at_least": 1}
    data = ps.read_table(train=files(tmp_path, between), columns=COLUMNS, task="ranking", label=label)
    users, items = (list(field.ids) for field in data.schema.categorical)
    assert data.schema.scenes == ["phone", "sport"] and data.report["dropped"] == {"label 0": 1}
    train = data.train
    found = sorted(
        (data.schema.scenes[s], users[u - 2], items[i - 2])
        for s, u, i in zip(train.scenes().tolist(), train.users().tolist(), train.items().tolist(), strict=True)
    )
    phone = [("phone", "0", "1"), ("phone", "0", "2"), ("phone", "1", "1")]
    assert found == [*phone, ("sport", "0", "1"), ("sport", "1", "2"), ("sport", "1", "3")]


def test_items_that_are_numbered_anew_in_every_scene(tmp_path: Path) -> None:
    data = ps.read_table(train=files(tmp_path), columns=COLUMNS, task="ranking", label=None, separate_items=True)
    assert list(data.schema.categorical[1].ids) == ["phone:1", "phone:2", "phone:3", "sport:1", "sport:2", "sport:3"]
    assert list(data.schema.categorical[0].ids) == ["0", "1", "2"]  # users are shared
    with pytest.raises(ValueError, match="separate_items needs a dict from scene to source"):
        ps.read_table(train=files(tmp_path)["phone"], columns=COLUMNS, task="ranking", separate_items=True)


def test_check_reads_them_too(capsys: Any, tmp_path: Path) -> None:
    paths = files(tmp_path)
    report = ps.datasets.check(paths, columns=COLUMNS, task="ranking")
    assert report.ok and report.rows == 7 and report.overlap is not None
    done = commands.command(
        capsys, "datasets", "check", *paths.values(), "--columns", "user_id,item_id,label", "--task", "ranking"
    )
    assert done.code == 0 and "phone" in done.out and "sport" in done.out
    wide = commands.command(
        capsys, "datasets", "check", *paths.values(), "--columns", "user_id, item_id ,label", "--task", "ranking"
    )
    assert wide == done


def test_read_names_the_columns(tmp_path: Path) -> None:
    path = files(tmp_path)["sport"]
    assert ps.data.read(path, columns=COLUMNS).to_pylist()[0] == {"user_id": "0", "item_id": "1", "label": "1"}


@pytest.mark.parametrize(
    ("columns", "text", "error", "message"),
    [
        ("user_id", "1 2 1\n", TypeError, "columns must be a list of names, got 'user_id'"),
        (("a", "a"), "1 2\n", ValueError, "columns: the column 'a' appears twice"),
        (COLUMNS, "1;2;1\n", ValueError, "line 1 has one cell alone, '1;2;1'; give a delimiter"),
        (COLUMNS, "1 2 1\n1 2\n", ValueError, r"row 2 \(line 2\) has 2 cells, wanted 3"),
        (COLUMNS, "", ValueError, "bad.txt"),
    ],
)
def test_what_is_wrong_is_named(columns: Any, text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(error, match=message):
        ps.read_table(train=tmp_path / "bad.txt", columns=columns, task="ranking", scene=None)


def test_atomic_files_of_scenes(tmp_path: Path) -> None:
    for scene, rows in (("book", ["a\tx\t5", "b\tx\t3"]), ("music", ["a\ty\t4"])):
        header = "user_id:token\titem_id:token\trating:float\n"
        (tmp_path / f"{scene}.inter").write_text(header + "\n".join(rows) + "\n")
    sources = {scene: tmp_path / f"{scene}.inter" for scene in ("book", "music")}
    data = ps.read_table(train=sources, task="ranking", label=None)
    assert data.schema.scenes == ["book", "music"] and len(data.train) == 3
    rated = ps.read_table(train=sources, task="rating", label="rating", min_count=1)
    assert sorted(rated.train.labels().tolist()) == [3, 4, 5]


def test_published_files_read_as_their_recipe_does() -> None:
    root = os.environ.get("POLYSCENE_TEST_DATA")
    if root is None or not (Path(root) / "amazon-cdr").exists():
        pytest.skip("no data")
    folder = Path(root) / "amazon-cdr"
    train = {"sport": folder / "sport_phone" / "train.txt", "phone": folder / "phone_sport" / "train.txt"}
    data = ps.read_table(train=train, columns=COLUMNS, task="ranking", separate_items=True)
    recipe = ps.datasets.load("amazon-sport-phone", root)
    assert len(data.train) == len(recipe.train) + len(recipe.valid)
    assert set(recipe.schema.categorical[1].ids) <= set(data.schema.categorical[1].ids)
