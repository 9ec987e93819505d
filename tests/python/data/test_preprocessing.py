"""What is learned from training rows only, and what becomes of wrong, missing and repeated values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from polyscene.data import cleaning, read_table
from sklearn.impute import KNNImputer

from .conftest import ROLES, make_rows


def parts(n_train=60, n_test=30):
    return {"train": make_rows(n_train, 1), "valid": make_rows(n_test, 2), "test": make_rows(n_test, 3)}


def changed(table: pa.Table, **columns) -> pa.Table:
    for name, cells in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(cells))
    return table


@pytest.mark.parametrize("outliers", ["keep", "clip", "drop", "interpolate"])
@pytest.mark.parametrize("missing", ["mean", "median", "knn", "category"])
def test_the_schema_and_training_batches_do_not_depend_on_other_rows(outliers, missing):
    roles = ROLES | {
        "numeric": ["age", {"name": "price", "outliers": outliers, "missing": missing, "scaling": "min_max"}]
    }
    sources = parts()
    one = read_table(**sources, **roles, min_count=1)
    n = sources["test"].num_rows
    sources["test"] = changed(
        sources["test"],
        price=[1e6] * n,
        age=[999] * n,
        city=["new city"] * n,
        user_id=list(range(500, 500 + n)),
        genres=[["new genre"]] * n,
        label=[1] * n,
    )
    two = read_table(**sources, **roles, min_count=1)
    assert one.schema.digest == two.schema.digest
    a, b = (data.train.batch(torch.arange(len(data.train))) for data in (one, two))
    assert torch.equal(a.numeric, b.numeric)
    assert torch.equal(a.categorical, b.categorical)
    assert torch.equal(a.history.item, b.history.item)
    ids = set(one.schema.categorical[0].ids)
    assert ids == {str(u) for u in sources["train"].column("user_id").to_pylist()}


def test_dropped_outliers_leave_training_rows_only():
    rng = np.random.default_rng(0)
    price = rng.normal(size=300)
    price[[5, 50, 299]] = [40, -40, 40]
    table = pa.table({"user_id": rng.integers(0, 9, 300), "label": rng.integers(0, 2, 300), "price": price})
    sources = {"train": table.slice(0, 200), "test": table.slice(200)}
    data = read_table(**sources, numeric=[{"name": "price", "outliers": "drop"}])
    low, high = cleaning.fences(price[:200].astype(np.float32))
    wanted = np.flatnonzero((price[:200] >= low) & (price[:200] <= high))
    assert data.train.rows.tolist() == wanted.tolist()
    assert data.report["outliers_dropped"] == {"price": 200 - len(wanted)}
    assert {5, 50}.isdisjoint(data.train.rows.tolist())
    assert len(data.test) == 100


def test_outliers_are_interpolated_between_the_users_training_rows():
    # user a: times 0 10 20 30, value at 20 is an outlier between 2 (10) and 6 (30); user b: an outlier at the end.
    price = [1.0, 2.0, 1000.0, 6.0, 3.0, 4.0, -1000.0] + [float(x) for x in range(20)]
    user = ["a"] * 4 + ["b"] * 3 + ["c"] * 20
    time = [0, 10, 20, 30, 5, 6, 7, *range(20)]
    order = np.random.default_rng(0).permutation(len(price))
    table = pa.table({"user_id": user, "time": time, "price": price, "label": [0, 1, 0] * 9}).take(pa.array(order))
    data = read_table(table, time="time", numeric=[{"name": "price", "outliers": "interpolate", "scaling": "none"}],
                      split={"by": "random", "ratios": [1, 0, 0]})  # fmt: skip
    got = np.empty(len(price))
    got[order] = data.columns.numbers[:, 0].numpy()
    assert got[2] == pytest.approx(4.0)
    assert got[6] == pytest.approx(4.0)
    np.testing.assert_allclose(np.delete(got, [2, 6]), np.delete(price, [2, 6]))
    assert data.report["outliers_interpolated"] == {"price": 2}


def test_an_outlier_of_a_user_without_other_values_becomes_missing():
    table = pa.table({"user_id": ["x"] + ["c"] * 30, "price": [1e5, *range(30)], "label": [0] + [0, 1] * 15})
    numeric = [{"name": "price", "outliers": "interpolate"}]
    data = read_table(table, numeric=numeric, split={"by": "random", "ratios": [1, 0, 0]})
    assert torch.isnan(data.columns.numbers[0, 0])
    assert data.train.batch(torch.tensor([0])).numeric.item() == pytest.approx(0)  # the mean, z-scored


def test_neighbours_impute_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)) * [1, 10, 100]
    x[:, 2] = x[:, 0] * 100 + rng.normal(size=400)
    hidden = rng.random((400, 3)) < 0.15
    given = np.where(hidden, np.nan, x).astype(np.float32)
    columns = {f"x{i}": pa.array([None if np.isnan(v) else float(v) for v in given[:, i]]) for i in range(3)}
    table = pa.table({"user_id": ["u"] * 400, "label": [0, 1] * 200, **columns})
    numeric = [{"name": f"x{i}", "missing": "knn", "scaling": "none"} for i in range(3)]
    data = read_table(train=table.slice(0, 300), test=table.slice(300), numeric=numeric)
    scale = np.nanstd(given[:300].astype(np.float64), axis=0)
    donors = given[:300][~np.isnan(given[:300]).any(1)]
    oracle = KNNImputer(n_neighbors=5).fit(donors / scale).transform(given / scale) * scale
    np.testing.assert_allclose(data.columns.numbers.numpy(), oracle, rtol=1e-5, atol=1e-5)
    assert data.report["imputed"] == {f"x{i}": int(hidden[:, i].sum()) for i in range(3)}
    # a model sees new rows as it saw these
    again = read_table(table.slice(300), schema=data.schema)
    batches = [t.batch(torch.arange(100)).numeric for t in (data.test, again.test)]
    torch.testing.assert_close(*batches, rtol=1e-5, atol=1e-5)


def test_wrong_rows_can_be_dropped():
    table = pa.table({"user_id": ["u"] * 5, "label": ["0", "1", "maybe", "1", "7"], "x": ["1", "two", "3", "", "5"]})
    data = read_table(table, numeric=["x"], clean={"wrong": "drop"}, split={"by": "random", "ratios": [1, 0, 0]})
    assert data.report["dropped"] == {"wrong label": 2, "wrong x": 1}
    assert data.columns.numbers[:, 0].tolist() == pytest.approx([1, np.nan], nan_ok=True)


def test_duplicates_are_counted_and_can_be_dropped():
    table = pa.concat_tables([make_rows(100), make_rows(40)])  # 40 are not a prefix of 100: they differ
    again = pa.concat_tables([table, table.slice(10, 25)])
    roles = ROLES | {"split": {"by": "random", "ratios": [1, 0, 0]}}
    kept = read_table(again, **roles)
    assert (kept.report["duplicates"], len(kept.train)) == (25, 165)
    dropped = read_table(again, **roles, clean={"duplicates": "drop"})
    assert dropped.report["dropped"] == {"duplicate": 25}
    assert dropped.digest == read_table(table, **roles).digest


def test_rows_that_differ_in_one_list_are_no_duplicates():
    table = pa.table({"user_id": ["u"] * 3, "label": [0, 0, 0], "clicked": [[1, 2], [2, 1], [1, 2]]})
    data = read_table(table, sequence=["clicked"], split={"by": "random", "ratios": [1, 0, 0]})
    assert data.report["duplicates"] == 1


def test_missing_cells_are_counted():
    table = make_rows()
    data = read_table(table, **ROLES)
    wanted = {name: table.column(name).null_count for name in ("age", "price", "city")}
    assert data.report["missing"] == wanted
