# ruff: noqa: E501  (messages stand as they are given)
"""Bad files, schemas and ids, each with the message that it must give: owner, what was wanted, what was given, the fix."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polyscene.data import read_table

from .conftest import make_rows

HEAD = "user_id,item_id,scene,label,age\n"
GOOD = HEAD + "u1,i1,a,0,20\nu2,i2,b,1,30\nu1,i2,a,1,40\n"
ALL = {"by": "random", "ratios": [1, 0, 0]}
COLUMNS = "user_id, item_id, scene, label, age"


class Case:
    """A file (or nothing), arguments of `read_table`, and the error."""

    def __init__(self, name, content, error, message, file="a.csv", **arguments):
        self.name, self.content, self.error, self.message = name, content, error, message
        self.file, self.arguments = file, {"split": ALL} | arguments


def truncated_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(make_rows(50), sink)
    return sink.getvalue().to_pybytes()[:-100]


# fmt: off
FILES = [
    Case("no such file", None, FileNotFoundError, "read_table: no file {dir}/b.csv; did you mean 'a.csv'?", data="{dir}/b.csv"),
    Case("a folder", None, ValueError, "read_table: wanted a file, got the folder {dir}; name the file, or give a list of files",
         data="{dir}"),
    Case("unknown ending", GOOD, ValueError, "read_table: {path} is of an unknown kind; known endings: .csv, .tsv, .txt, .tab, "
         ".parquet, .pq, .arrow, .feather, .ipc, .inter, .user, .item; or give a delimiter", file="a.xlsx"),
    Case("empty file", "", ValueError, "{path}: the file is empty; wanted a header line and rows"),
    Case("header only", HEAD, ValueError, "read_table: {path} has no rows"),
    Case("too few cells", HEAD + "u1,i1,a,0,20\n\nu2,i2,b\n", ValueError,
         "{path}: row 2 (line 4) has 3 cells, the header has 5"),
    Case("too many cells", HEAD + 'u1,"i\n1",a,0,20\nu2,i2,b,1,30,9\n', ValueError,
         "{path}: row 2 (line 4) has 6 cells, the header has 5"),
    Case("bytes that are not UTF-8", GOOD.encode() + "u9,caf\u00e9,a,1,2\n".encode("latin-1"), ValueError,
         "{path}: row 4 (line 5), column 'item_id': 'caf\ufffd' is not UTF-8 text; save the file as UTF-8"),
    Case("UTF-16", GOOD.encode("utf-16"), ValueError, "{path}: the file is UTF-16; save it as UTF-8"),
    Case("a column twice", GOOD.replace("item_id", "user_id"), ValueError,
         "{path}: the column 'user_id' appears twice (columns 1 and 2)"),
    Case("a quotation mark that is never closed", GOOD + 'u9,"i3,a,1,2\nu9,i3,a,1,2,,,,,\n', ValueError,
         "{path}: row 4 (line 5): a quotation mark is opened and never closed"),
    Case("truncated gzip", gzip.compress(GOOD.encode() * 500)[:-20], ValueError,
         "{path}: the compressed file ends early or is damaged (Truncated compressed stream); copy or download it again",
         file="a.csv.gz"),
    Case("truncated Parquet", truncated_parquet(), ValueError, "{path}: not a readable Parquet file, cut off or damaged (*",
         file="a.parquet"),
    Case("Parquet named text", truncated_parquet(), ValueError,
         "{path}: the file is Parquet but its name says text; rename it to .parquet"),
    Case("a quotation mark that is never closed, whole columns", GOOD + 'u9,i3,a,1,"2\nu9,i3,a,1,2\n', ValueError,
         "{path}: row 4 (line 5): a quotation mark is opened and never closed"),
    Case("another delimiter", GOOD.replace(",", ";"), ValueError,
         "read_table: categorical names no column 'user_id'; columns of {path}: user_id;item_id;scene;label;age; "
         "the file has a single column: is the delimiter ';'?", categorical=["user_id"], task="ranking"),
    Case("atomic header without types", "user_id\titem_id:token\n1\t2\n", ValueError,
         "{path}: line 1: wanted typed names such as 'user_id:token', got 'user_id'", file="a.inter"),
    Case("a number that is none", GOOD + "u3,i3,a,1,forty\n", ValueError,
         "{path}: row 4 (line 5), column 'age': wanted a number, got 'forty'", numeric=["age"]),
    Case("NaN as text", GOOD + "u3,i3,a,1,NaN\n", ValueError,
         "{path}: row 4 (line 5), column 'age': wanted a number, got 'NaN'; leave the cell empty if the value is missing",
         numeric=["age"]),
    Case("a number that float32 does not hold", GOOD + "u3,i3,a,1,1e39\n", ValueError,
         "{path}: row 4 (line 5), column 'age': wanted a number up to 3.4e38, got 1e+39", numeric=["age"]),
    Case("a time that is none", GOOD, ValueError,
         "{path}: row 1 (line 2), column 'item_id': wanted a whole number or a date such as 2024-05-01T12:00:00, got 'i1'",
         time="item_id", item=None),
    Case("a numeric column without values", HEAD + "u1,i1,a,0,\nu2,i1,a,1,\n", ValueError,
         "numeric column 'age': no training row has a value", numeric=["age"]),
]

ROLES = [
    Case("a label that is not there", GOOD, ValueError,
         f"read_table: label names no column 'lable'; columns of {{path}}: {COLUMNS}; did you mean 'label'?", label="lable"),
    Case("no label for ctr", GOOD.replace("label", "clicks"), ValueError,
         "read_table: label (task 'ctr' needs one) names no column 'label'; columns of {path}: "
         "user_id, item_id, scene, clicks, age"),
    Case("a categorical column that is not there", GOOD, ValueError,
         f"read_table: categorical names no column 'itemid'; columns of {{path}}: {COLUMNS}; did you mean 'item_id'?",
         categorical=["itemid"]),
    Case("a label that is no 0 or 1", GOOD + "u3,i3,a,4,5\n", ValueError,
         "{path}: row 4 (line 5), column 'label': wanted a label of 0 or 1 (task ctr), got 4; "
         'give label={{"column": "label", "at_least": ...}} or task="rating"'),
    Case("a label of text", GOOD + "u3,i3,a,yes,5\n", ValueError,
         "{path}: row 4 (line 5), column 'label': wanted a number, got 'yes'; "
         'for text give label={{"column": "label", "mapping": {{"yes": 1, "no": 0}}}}'),
    Case("a label of truth values", None, ValueError,
         "read_table: label: 'label' of data holds truth values; "
         'give label={{"column": "label", "mapping": {{"true": 1, "false": 0}}}}',
         data=pa.table({"user_id": [1, 2], "label": [True, False]})),
    Case("a label that the mapping lacks", GOOD.replace(",1,", ",yess,").replace(",0,", ",no,"), ValueError,
         "{path}: row 2 (line 3), column 'label': the label mapping knows yes, no, got 'yess'; did you mean 'yes'?",
         label={"column": "label", "mapping": {"yes": 1, "no": 0}}),
    Case("a key that label does not know", GOOD, ValueError,
         "read_table: label: unknown key 'atleast'; known keys: column, at_least, mapping; did you mean 'at_least'?",
         label={"column": "age", "atleast": 4}),
    Case("the label among the features", GOOD, ValueError,
         "read_table: the column 'age' is both numeric and label; the model would see the answer; name it once",
         numeric=["age"], label={"column": "age", "at_least": 30}),
    Case("a column twice among the features", GOOD, ValueError,
         "read_table: the column 'age' is both categorical and numeric; name it once", numeric=["age"], categorical=["age"]),
    Case("no features", "x,label\n1,0\n2,1\n", ValueError,
         "read_table: no features: name columns in categorical, numeric, multi_hot or sequence, or give user, item; "
         "columns of {path}: x, label"),
    Case("features that are no list", GOOD, TypeError,
         "read_table: numeric must be a list of columns, got 'age'; write numeric=['age']", numeric="age"),
    Case("a scene that is not there", GOOD, ValueError,
         f"read_table: scene names no column 'scenes'; columns of {{path}}: {COLUMNS}; did you mean 'scene'?", scene="scenes"),
    Case("edges that do not rise", GOOD, ValueError,
         "read_table: scene: edges must be numbers that rise, got [35, 25]", scene={"by": "age", "edges": [35, 25]}),
    Case("no such time zone", GOOD, ValueError,
         "read_table: scene: no time zone 'Mars/Base'; wanted a name such as 'Europe/Berlin'",
         scene={"by": "day_of_week", "tz": "Mars/Base"}, time="age"),
    Case("time of day without time", GOOD, ValueError,
         "read_table: scene: 'time_of_day' needs a time column; give time=", scene={"by": "time_of_day"}),
    Case("every row a scene of its own", None, ValueError,
         "read_table: scene: 'user_id' has 10,001 values, wanted at most 10,000 scenes; give the edges of a number, or another column",
         data=pa.table({"user_id": list(range(10_001)), "label": [0, 1, 0] * 3333 + [1, 0]}), scene="user_id"),
    Case("a unit of time", GOOD, ValueError,
         "read_table: time: unit must be one of s, ms, us, ns, got 'sec'", time={"column": "age", "unit": "sec"}),
    Case("a negative weight", GOOD + "u3,i3,a,1,-5\n", ValueError,
         "{path}: row 4 (line 5), column 'age': wanted a weight of 0 or more, got -5", weight="age"),
    Case("a scaling", GOOD, ValueError,
         "read_table: numeric 'age': scaling must be one of z_score, min_max, zero_mean, median, none, got 'zscore'; "
         "did you mean 'z_score'?", numeric=[{"name": "age", "scaling": "zscore"}]),
    Case("shares a column that is not categorical", GOOD, ValueError,
         "read_table: 'age' shares the ids of 'scene', which is not categorical", sequence=[{"name": "age", "shares": "scene"}]),
    Case("lists where ids are wanted", None, ValueError,
         "data: row 1, column 'tags': wanted one id in a cell, got a list (list<item: int64>); name it in multi_hot or sequence",
         data=pa.table({"user_id": [1], "label": [0], "tags": [[1, 2]]}), categorical=["tags"]),
    Case("a task", GOOD, ValueError,
         "read_table: task must be one of ctr, ranking, rating, sequence, text, image, got 'crt'; did you mean 'ctr'?", task="crt"),
    Case("numbers of a column in a dict", None, TypeError,
         "read_table: wanted a path, a list of paths, or a frame with __arrow_c_stream__ (Arrow, pandas >= 2.2, polars), got int; "
         "a dict maps scenes to sources (here 'user_id'), columns belong into a pyarrow.table",
         data={"user_id": [1, 2], "label": [0, 1]}),
    Case("ids of a column in a dict", None, FileNotFoundError,
         "read_table: no file nobody-1; a dict maps scenes to sources (here 'user_id'), columns belong into a pyarrow.table",
         data={"user_id": ["nobody-1", "nobody-2"], "label": [0, 1]}),
    Case("texts", GOOD, ValueError, "read_table: text names 'scene', but texts are for task 'text', got task 'ctr'", scene=None, text=["scene"]),
]

SPLITS = [
    Case("a split by nothing known", GOOD, ValueError,
         "read_table: split: by must be one of random, torch_random, user, scene, time, leave_one_out, cold_user, cold_scene, group, files, got 'rand'; "
         "did you mean 'random'?", split={"by": "rand"}),
    Case("a key that split does not know", GOOD, ValueError,
         "read_table: split: unknown key 'ratio'; known keys: by, ratios, seed, within, column; did you mean 'ratios'?",
         split={"ratio": [8, 2]}),
    Case("two ratios", GOOD, ValueError,
         "read_table: split: ratios must be three numbers (train, valid, test) such as [8, 1, 1], got [8, 2]",
         split={"ratios": [8, 2]}),
    Case("too few rows", GOOD, ValueError,
         "read_table: split by 'random' leaves no valid rows (3 rows, ratios [8, 1, 1]); give more rows or other ratios", split=None),
    Case("a split by time without time", GOOD, ValueError,
         "read_table: split by 'time' needs a time column; give time=", split="time"),
    Case("cold users without users", GOOD, ValueError,
         "read_table: split by 'cold_user' needs a user column; give user=", split="cold_user", user=None),
    Case("a scene that training lacks", None, ValueError,
         "table: scene 'c' was not seen in training; known scenes: a, b; a model takes rows of new ones when it was trained with "
         "dataset.unseen_scene 'shared' or 'nearest' (read_table(..., unseen_scene=...)); did you mean 'a'?",
         train=pa.table({"user_id": [1, 2], "scene": ["a", "b"], "label": [0, 1]}),
         test=pa.table({"user_id": [1, 2], "scene": ["a", "c"], "label": [0, 1]}), split=None),
    Case("data and train", GOOD, ValueError, "read_table: give data or train, not both", train="{path}"),
    Case("test without train", None, ValueError, "read_table: valid and test need train beside them", test="{other}", split=None),
    Case("no source", None, ValueError, "read_table: no source; give data (and split), or train, valid and test", data=None),
    Case("something that is no source", None, TypeError,
         "read_table: wanted a path, a list of paths, or a frame with __arrow_c_stream__ (Arrow, pandas >= 2.2, polars), got int", data=3),
    Case("no rows left", HEAD + "u1,i1,,0,20\nu2,i2,,1,30\n", ValueError,
         "read_table: no rows of {path} are left; dropped: {{'empty scene': 2}}"),
    Case("a frame with mixed types", None, ValueError, "data: the frame has no Arrow form (*",
         data=pd.DataFrame({"user_id": ["a", 1], "label": [0, 1]})),
    Case("incomplete rows that must not be", HEAD + "u1,i1,a,0,20\nu2,i2,,1,30\n", ValueError,
         "{path}: row 2 (line 3), column 'scene': the scene is empty", clean={"incomplete": "error"}),
]
# fmt: on


@pytest.mark.parametrize("case", [*FILES, *ROLES, *SPLITS], ids=lambda case: case.name)
def test_bad_input_says_what_is_wrong(case: Case, tmp_path: Path):
    path, other = tmp_path / case.file, tmp_path / "other.csv"
    other.write_text(GOOD)
    content = GOOD if case.content is None else case.content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    names = {"path": path, "dir": tmp_path, "other": other}

    def filled(value):
        return value.format(**names) if isinstance(value, str) and "{" in value else value

    arguments = {key: filled(value) for key, value in case.arguments.items()}
    if not {"data", "train", "valid", "test"} & set(arguments) or (case.name == "data and train"):
        arguments["data"] = path
    with pytest.raises(case.error) as caught:
        read_table(**arguments)
    wanted = case.message.format(**names)
    given = str(caught.value).splitlines()[0]
    if wanted.endswith("*"):
        assert given.startswith(wanted[:-1])
    else:
        assert given == wanted
