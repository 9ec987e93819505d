"""A small table with every kind of column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

ROLES = {
    "time": "time",
    "categorical": ["city"],
    "numeric": ["age", "price"],
    "multi_hot": ["genres"],
    "sequence": [{"name": "clicked", "shares": "item_id"}],
    "interest": "genres",
}


def make_rows(n: int = 200, seed: int = 0) -> pa.Table:
    """Users, items, two scenes, labels that depend on neither; some empty cells, lists as lists."""
    rng = np.random.default_rng(seed)
    genres = [[str(g) for g in rng.choice(["a", "b", "c", "d"], rng.integers(0, 3), replace=False)] for _ in range(n)]
    clicked = [[int(i) for i in rng.integers(0, 12, rng.integers(0, 4))] for _ in range(n)]
    price = rng.random(n).round(3)
    return pa.table(
        {
            "user_id": pa.array(rng.integers(0, 20, n)),
            "item_id": pa.array(rng.integers(0, 12, n)),
            "scene": pa.array(rng.choice(["home", "search"], n)),
            "label": pa.array(rng.integers(0, 2, n)),
            "time": pa.array(1_700_000_000 + rng.permutation(n) * 60),
            "city": pa.array([None if rng.random() < 0.1 else f"00{c}" for c in rng.integers(0, 5, n)], pa.string()),
            "age": pa.array([None if rng.random() < 0.1 else int(a) for a in rng.integers(10, 70, n)], pa.int64()),
            "price": pa.array([None if i % 17 == 0 else float(p) for i, p in enumerate(price)], pa.float64()),
            "genres": pa.array(genres, pa.list_(pa.string())),
            "clicked": pa.array(clicked, pa.list_(pa.int64())),
        }
    )


def as_text(table: pa.Table) -> pa.Table:
    """Lists as text divided by blanks, as a CSV holds them."""
    for i, name in enumerate(table.column_names):
        if pa.types.is_list(table.column(name).type):
            cells = [" ".join(map(str, cell)) for cell in table.column(name).to_pylist()]
            table = table.set_column(i, name, pa.array(cells))
    return table


@pytest.fixture
def rows() -> pa.Table:
    return make_rows()


@pytest.fixture
def roles() -> dict:
    return dict(ROLES)
