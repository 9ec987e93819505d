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


def test_a_block_of_a_config_names_them_too(tmp_path: Path) -> None:
    train = {scene: str(path) for scene, path in files(tmp_path).items()}
    block = {"name": "table", "train": train, "columns": list(COLUMNS), "separate_items": True, "task": "ranking"}
    data = ps.datasets.from_config(block)
    assert list(data.schema.categorical[1].ids) == ["phone:1", "phone:2", "sport:1", "sport:2", "sport:3"]
    assert data.report["dropped"] == {"label 0": 1}
    with pytest.raises(ValueError, match="unknown key 'separate_item'.*did you mean 'separate_items'"):
        ps.datasets.from_config(block | {"separate_item": True})


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


def interactions(folder: Path, name: str, rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(rows)
    return folder / name


def test_check_names_scenes(capsys: Any, tmp_path: Path) -> None:
    header, rows = "user_id\titem_id\n", "u\t1\nv\t2\n"
    a, b = (interactions(tmp_path / folder, "train.txt", header + rows) for folder in ("book", "film"))
    other = interactions(tmp_path / "film", "music.txt", header + rows)

    def check(*arguments: Any) -> Any:
        return commands.command(capsys, "datasets", "check", *arguments, "--task", "ranking")

    by_folder = check(a, b, other)
    assert by_folder.code == 0
    assert "'book' and 'film' share 2 users and 2 items" in by_folder.out and "scene 'music': 2 rows" in by_folder.out
    named = check(f"x={a}", f"y={b}", "--separate-items")
    assert named.code == 0 and "'x' and 'y' share 2 users and 0 items" in named.out
    assert "item_id: 4 different text" in named.out
    assert "scene 'only' has 2 rows only" in check(f"only={a}").out
    twice = check(b, b)
    assert twice.code == 2 and "several files would be the scene 'film'; name scenes as SCENE=FILE" in twice.err
    one = check(a, "--separate-items")
    assert one.code == 2 and "--separate-items is for files of scenes" in one.err
    (tmp_path / "a=b.txt").write_text(header + rows)  # a file that is there is no scene
    assert "2 rows, 2 columns" in check(tmp_path / "a=b.txt").out


def test_files_that_share_no_column(tmp_path: Path) -> None:
    a = interactions(tmp_path, "a.txt", "1\t2\t5\n1\t3\t5\n")
    b = interactions(tmp_path, "b.txt", "3\t4\n3\t5\n")
    wanted = f"no column is in all files: {a} has 1, 2, 5; {b} has 3, 4; for files without a header line give columns"
    for source in ({"a": a, "b": b}, [a, b]):
        with pytest.raises(ValueError, match="^read_table: no column is") as error:
            ps.read_table(source, task="ranking")
        assert wanted in str(error.value)
        report = ps.datasets.check(source, task="ranking")
        assert [each.what for each in report.findings] == [f"check: {wanted}, the names"]


def test_columns_that_one_file_lacks(tmp_path: Path) -> None:
    a = interactions(tmp_path, "a.csv", "user_id,item_id,age\nu,i,1\n")
    b = interactions(tmp_path, "b.csv", "user_id,item_id\nv,j\n")
    report = ps.datasets.check({"a": a, "b": b}, task="ranking")
    lacking = next(each for each in report.findings if each.column == "age")
    assert report.ok and lacking.what == f"the column is not in all files, so it is left out; {b} lacks it"


def test_a_list_of_files_is_one_scene(tmp_path: Path, caplog: Any) -> None:
    names = ("book", "film")
    paths = [interactions(tmp_path, f"{name}.csv", "user_id,item_id\nu,i\nv,j\n") for name in names]
    data = ps.read_table(train=paths, task="ranking")
    assert len(data.schema.scenes) == 1 and "1 scene, " in repr(data)
    assert "the rows of 2 files" in caplog.text and "give a dict from scene to file" in caplog.text
    caplog.clear()
    ps.read_table(train=paths, task="ranking", scene=None)
    ps.read_table(train=paths[0], test=paths[1], task="ranking")
    ps.read_table(train=dict(zip(names, paths, strict=True)), task="ranking")
    assert caplog.text == ""


def test_one_hint_for_a_path(tmp_path: Path) -> None:
    interactions(tmp_path, "own.csv", "user_id,item_id\nu,i\n")
    for missing in (tmp_path / "on.csv", str(tmp_path / "on.csv"), [str(tmp_path / "on.csv")]):
        with pytest.raises(FileNotFoundError) as error:
            ps.read_table({"nope": missing}, task="ranking")
        assert str(error.value) == f"read_table: no file {tmp_path / 'on.csv'}; did you mean 'own.csv'?"


def test_floats_that_are_no_ids(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    rows = "".join(f"u{i}\t{i}.0\t{i % 5}.0\t88125094{i}.0\n" for i in range(9))
    path = interactions(tmp_path, "a.inter", header + rows)
    findings = ps.datasets.check(path, task="ranking", time="timestamp").findings
    assert {each.column for each in findings if "written as floats" in each.what} == {"item_id"}
    rows = "".join(f"u{i},i{i},1.0,{i}.0\n" for i in range(9))
    same = interactions(tmp_path, "a.csv", "user_id,item_id,label,when\n" + rows)

    def floats(**given: Any) -> set[str]:
        return {each.column for each in ps.datasets.check(same, **given).findings if "as floats" in each.what}

    assert floats() == {"when"} and floats(time="when") == set() and floats(numeric=["when"]) == set()


def test_one_is_singular(tmp_path: Path) -> None:
    path = interactions(tmp_path, "a.csv", "user_id,item_id\nu,i\n")
    text = ps.datasets.check({"a": path, "b": path}, task="ranking").text()
    assert "scene 'a': 1 row, 1 user, 1 item, " in text and "share 1 user and 1 item" in text
    assert "scene 'b' has 1 row only" in text and "a.csv and 1 more: 2 rows, 2 columns" in text
