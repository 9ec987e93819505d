"""`check` finds what was put into a file."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from polyscene.data import check, read_table

from .conftest import make_rows
from .test_reading import write_csv


def found(report, column, text):
    return [f for f in report.findings if f.column == column and text in f.what]


def test_a_good_file_has_no_findings(tmp_path):
    table = make_rows(400).drop(["city"])
    report = check(write_csv(table, tmp_path / "a.csv"), time="time", numeric=["age", "price"], interest="genres")
    assert report.findings == []
    assert report.ok
    assert report.rows == 400
    assert report.text().splitlines()[-1] == "no problems found"


def test_what_is_wrong_is_found_at_its_row(tmp_path):
    lines = ["user_id,item_id,scene,label,time,age,price"]
    for i in range(200):
        lines.append(f"u{i % 20},{i},home,{i % 2},{1_700_000_000 + i},{20 + i % 30},{i}.5")
    lines[6] = "u6 ,5,home,1,1700000005,NA,5.5"
    lines[8] = "u7,7,home,3,1700000007,old,7.5"
    lines[9] = "u8,8,,1,1700000008,30,8.5"
    lines[10] = "u9,9,home,,1700000009,30,9.5"
    lines[12] = lines[11]
    lines[15] = "u1,14,rare,1,1700000014000,30,1e50"
    lines[16] = "U1,015,home,1,1700000015,30,1"
    lines[17] = "u1,15,home,1,-5,30,1"
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    report = check(path, time="time", numeric=["age", "price"])
    assert not report.ok

    def row(column, text, severity):
        findings = found(report, column, text)
        assert len(findings) == 1, (column, text, report.text())
        assert findings[0].severity == severity
        return findings[0]

    assert row("user_id", "begin or end with blanks", "warning").row == 6
    assert row("age", "look like missing values", "warning").example == "NA"
    assert row("age", "nearly every cell is a number", "warning").row == 8
    bad = row("age", "the cell is no number", "error")
    assert (bad.row, bad.count, bad.example) == (6, 2, "NA")
    assert row("price", "the cell is no number", "error").example == "1e50"
    label = row("label", "the cell is no label of 0 or 1", "error")
    assert (label.row, label.example) == (8, "3")
    assert row("label", "the label is empty", "warning").row == 10
    assert row("scene", "the scene is empty", "warning").row == 9
    assert row("", "repeats an earlier one", "warning").row == 12
    assert row("scene", "'rare' has 1 row only", "warning").row is None
    assert row("scene", "every label of the scene 'rare' is 1", "warning")
    assert row("time", "after the year 2100", "warning").example == "1700000014000"
    assert row("time", "before 1970", "warning").row == 17
    assert row("item_id", "leading zeros", "warning").example == "015"
    assert row("user_id", "upper and lower case", "note")
    severities = [f.severity for f in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert "error: row 8, column 'label': the cell is no label of 0 or 1 (task ctr), for example '3'" in report.text()


def test_floats_as_ids_and_constant_and_empty_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,label,none,one\n" + "".join(f"{i}.0,{i % 2},,x\n" for i in range(60)))
    report = check(path)
    assert found(report, "user_id", "integers are written as floats")
    assert found(report, "none", "every cell is empty")
    assert found(report, "one", "has one value only")


def test_missing_roles_and_unreadable_files_are_findings(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n1,2,3\n")
    report = check(path)
    assert [f.what for f in report.findings] == [f"{path}: row 2 (line 3) has 3 cells, the header has 2"]
    path.write_text("a,b\n1,2\n")
    assert any("label (task 'ctr' needs one) names no column" in f.what for f in check(path).findings)
    report = check(path, label="b", time="zeit")
    assert any("time names no column 'zeit'" in f.what for f in report.findings)
    with pytest.raises(TypeError, match="check: unknown role 'lable'"):
        check(path, lable="b")


def test_every_empty_scene_of_edges_is_noted():
    report = check(make_rows(300), scene={"by": "age", "edges": [5, 30]})
    assert [f.what for f in report.findings if f.severity == "note"] == ["the scene 'age<5' has no rows"]


def test_milliseconds_without_a_unit_are_taken_as_such():
    seconds = 1_700_000_000 + 60 * np.arange(100)
    rows = {"user_id": [1, 2] * 50, "item_id": [3, 4] * 50, "label": [0, 1] * 50}
    for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        table = pa.table(rows | {"time": seconds * factor})
        report = check(table, time="time")
        told = [f.what for f in report.findings if "taken as times in" in f.what]
        assert len(told) == (unit != "s") and all(f"in {unit}:" in what for what in told)
        assert not found(report, "time", "after the year 2100")
        data = read_table(table, time="time", scene={"by": "day_of_week"})
        assert json.loads(data.schema.reader)["time"] == {"column": "time", "unit": unit}
        assert data.columns.time.tolist() == (seconds * factor).tolist()
        assert data.schema.scenes == ["tue"]
    dated = pa.table(rows | {"time": pa.array(seconds * 10**3, pa.timestamp("ms"))})
    assert read_table(dated, time="time").columns.time.tolist() == seconds.tolist()
    # A unit that was given is obeyed.
    report = check(pa.table(rows | {"time": seconds * 1_000}), time={"column": "time", "unit": "s"})
    assert found(report, "time", "after the year 2100")


@pytest.mark.parametrize(("columns", "missing"), [("ui", ["user", "item"]), (["user_id", "i"], ["item"])])
def test_a_ranking_without_users_or_items(columns, missing):
    report = check(pa.table({column: ["1", "2", "3"] for column in columns}), task="ranking")
    errors = [each.what for each in report.findings if each.severity == "error"]
    assert [each.split(" column of ")[1].split("s,")[0] for each in errors] == missing
    known = ", ".join(columns)
    assert all(f"no '{role}_id'; name it by {role}; columns of data: {known}" in " ".join(errors) for role in missing)
    assert report.text().endswith("cannot be used as it is")
    assert check(pa.table({"u": ["1", "2"], "i": ["1", "2"]}), task="ranking", user="u", item="i").ok
