"""Files and frames of the same rows give the same columns."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from polyscene.data import read, read_table

from .conftest import as_text, make_rows


def write_csv(table: pa.Table, path: Path, delimiter: str = ",") -> Path:
    options = pa.csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
    pa.csv.write_csv(as_text(table), path, options)
    return path


class Stream:
    """The least that a frame must be."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def as_csv(table, tmp_path):
    return write_csv(table, tmp_path / "a.csv")


def as_csv_gz(table, tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(write_csv(table, tmp_path / "b.csv").read_bytes()))
    return path


def as_tsv(table, tmp_path):
    return write_csv(table, tmp_path / "a.tsv", "\t")


def as_two_files(table, tmp_path):
    half = table.num_rows // 2
    first, second = tmp_path / "1.csv", tmp_path / "2.parquet"
    write_csv(table.slice(0, half), first)
    pq.write_table(table.slice(half), second)
    return [first, second]


def as_parquet(table, tmp_path):
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=37)
    return str(tmp_path / "a.parquet")


def as_feather(table, tmp_path):
    pyarrow.feather.write_feather(table, tmp_path / "a.feather")
    return tmp_path / "a.feather"


def as_arrow_stream_file(table, tmp_path):
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return tmp_path / "a.arrow"


def as_pandas(table, tmp_path):
    return table.to_pandas()  # integers with empty cells become floats


def as_pandas_category(table, tmp_path):
    frame = table.to_pandas()
    frame["city"] = frame["city"].astype("category").cat.set_categories(["unused", "004", "003", "002", "001", "000"])
    frame["user_id"] = frame["user_id"].astype("float64")
    frame["age"] = frame["age"].astype("float32")
    return frame


def as_stream(table, tmp_path):
    return Stream(table)


def as_chunks(table, tmp_path):
    return pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3)])


def as_dictionaries(table, tmp_path):
    shuffled = pa.concat_tables([table.slice(120), table.slice(0, 120)]).column("item_id").unique()
    codes = pa.DictionaryArray.from_arrays(
        pa.compute.index_in(table.column("item_id").combine_chunks(), shuffled), shuffled.cast(pa.string())
    )
    return table.set_column(table.column_names.index("item_id"), "item_id", codes)


KINDS = [
    as_csv, as_csv_gz, as_tsv, as_two_files, as_parquet, as_feather, as_arrow_stream_file, as_pandas,
    as_pandas_category, as_stream, as_chunks, as_dictionaries,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__[3:])
def test_every_kind_of_source_gives_the_same_columns_schema_and_split(kind, rows, roles, tmp_path):
    wanted = read_table(rows, **roles)
    given = read_table(kind(rows, tmp_path), **roles)
    assert given.digest == wanted.digest
    assert given.schema.digest == wanted.schema.digest
    assert given.split_digest == wanted.split_digest


def test_a_changed_cell_changes_the_digest(rows, roles):
    other = rows.to_pandas()
    other.loc[7, "price"] = 0.5
    assert read_table(other, **roles).digest != read_table(rows, **roles).digest


def test_columns_hold_what_an_independent_reader_finds(rows, roles, tmp_path):
    data = read_table(as_csv(rows, tmp_path), **roles)
    columns = data.columns
    assert columns.categorical == ["user_id", "item_id", "city"]
    for f, name in enumerate(columns.categorical):
        ids = columns.ids[f].list()
        got = [None if code < 0 else ids[code] for code in columns.codes[:, f].tolist()]
        assert got == [None if cell is None else str(cell) for cell in rows.column(name).to_pylist()]
    for m, name in enumerate(columns.numeric):
        wanted = np.array([np.nan if cell is None else cell for cell in rows.column(name).to_pylist()], np.float32)
        np.testing.assert_array_equal(columns.numbers[:, m].numpy(), wanted)
    for column, name in ((0, "genres"), (1, "clicked")):
        codes, ids = columns.list_codes[column], columns.list_ids[column].list()
        ends = codes.offsets.tolist()
        got = [[ids[c] for c in codes.values[a:b].tolist()] for a, b in pairwise(ends)]
        assert got == [list(map(str, cell)) for cell in rows.column(name).to_pylist()]
    assert columns.time.tolist() == rows.column("time").to_pylist()
    assert [columns.scene_names[s] for s in columns.scene.tolist()] == rows.column("scene").to_pylist()


def small(tmp_path: Path, text: str | bytes, name: str = "small.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def ids_of(path, column="c", **roles):
    data = read_table(
        path, categorical=[column], label=None, task="ranking", split={"by": "random", "ratios": [1, 0, 0]}, **roles
    )
    f = data.columns.categorical.index(column)
    names = data.columns.ids[f].list()
    return [None if code < 0 else names[code] for code in data.columns.codes[:, f].tolist()]


def test_ids_are_text_and_only_an_empty_cell_is_missing(tmp_path):
    path = small(
        tmp_path,
        'c,x\n007,1\n7,1\n,1\n"",1\nNA,1\nnan,1\nnull,1\n 7,1\n7.0,1\n"a,b",1\n"say ""hi""",1\n"two\nlines",1\n',
    )
    assert ids_of(path) == ["007", "7", None, None, "NA", "nan", "null", " 7", "7.0", "a,b", 'say "hi"', "two\nlines"]


def test_integral_floats_become_decimal_text():
    table = pa.table({"c": pa.array([7.0, -0.0, 0.0, None, float("nan"), 2.5, 1e15, 2.0**60])})
    assert ids_of(table) == ["7", "0", "0", None, None, "2.5", "1000000000000000", str(2**60)]


def test_a_byte_order_mark_and_windows_line_ends_are_passed_over(tmp_path):
    assert ids_of(small(tmp_path, b"\xef\xbb\xbfc,x\r\na,1\r\nb,2\r\n")) == ["a", "b"]


def test_non_ascii_ids_survive(tmp_path):
    assert ids_of(small(tmp_path, "c,x\nMünchen,1\n東京,2\n")) == ["München", "東京"]


def test_a_delimiter_can_be_given(tmp_path):
    assert ids_of(small(tmp_path, "c;x\na;1\nb;2\n", "a.dat"), delimiter=";") == ["a", "b"]


def test_read_returns_text_as_it_is(tmp_path):
    assert read(small(tmp_path, "c,x\n007,1\n,2\n")).to_pydict() == {"c": ["007", None], "x": ["1", "2"]}


def test_atomic_files_join_users_and_items(tmp_path):
    (tmp_path / "t.inter").write_text(
        "user_id:token\titem_id:token\tlabel:float\n1\t10\t1\n2\t11\t0\n1\t11\t0\n3\t10\t1\n"
    )
    (tmp_path / "t.user").write_text("user_id:token\tage:float\n2\t40\n1\t20\n")
    (tmp_path / "t.item").write_text('item_id:token\tclass:token_seq\n10\tA "B\n11\tC\n')
    data = read_table(
        tmp_path / "t.inter", numeric=["age"], multi_hot=["class"], split={"by": "random", "ratios": [1, 0, 0]}
    )
    np.testing.assert_array_equal(data.columns.numbers[:, 0], [20, 40, 20, np.nan])
    assert data.columns.list_ids[0].list() == ["A", '"B', "C"]
    assert data.columns.list_codes[0].values.tolist() == [0, 1, 2, 2, 0, 1]
    assert data.columns.label.tolist() == [1, 0, 0, 1]


def test_dates_of_any_form_become_the_wanted_unit(tmp_path):
    wanted = [1_704_067_200_000, 1_704_110_400_500]
    forms = {
        "text": pa.array(["2024-01-01", "2024-01-01T12:00:00.5"]),
        "zone": pa.array(["2024-01-01T02:00:00+02:00", "2024-01-01T12:00:00.500Z"]),
        "nanoseconds": pa.array(["2024-01-01 00:00:00.000000000", "2024-01-01 12:00:00.500999999"]),
        "stamp": pa.array(wanted, pa.timestamp("ms")),
        "number": pa.array(wanted),
        "float": pa.array([float(each) for each in wanted]),
        "number_text": pa.array([str(each) for each in wanted]),
        "float_text": pa.array([f"{each}.0" for each in wanted]),
    }
    for cells in forms.values():
        table = pa.table({"user_id": ["a", "b"], "label": [0, 1], "t": cells})
        data = read_table(table, time={"column": "t", "unit": "ms"}, split={"by": "random", "ratios": [1, 0, 0]})
        assert data.columns.time.tolist() == wanted


def test_files_may_differ_in_types(tmp_path):
    first, second = make_rows(30, 1), make_rows(30, 2)
    pq.write_table(first, tmp_path / "1.parquet")
    changed = second.set_column(0, "user_id", second.column("user_id").cast(pa.string()))
    pq.write_table(changed, tmp_path / "2.parquet")
    data = read_table([tmp_path / "1.parquet", tmp_path / "2.parquet"])
    assert data.digest == read_table(pa.concat_tables([first, second])).digest
