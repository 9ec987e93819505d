"""New files for a trained model."""

from __future__ import annotations

import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene.data import encode, read_table

from .conftest import ROLES, make_rows


@pytest.fixture
def trained():
    return read_table(
        make_rows(300), **ROLES | {"scene": {"by": "age", "edges": [30, 50]}, "numeric": ["price"]}, min_count=1,
        split={"by": "random", "ratios": [1, 0, 0]},
    )  # fmt: skip


def everything(table, batch=None):
    return table.batch(torch.arange(len(table)))


def test_rows_are_seen_as_in_training(trained):
    source = make_rows(300).filter(pa.compute.is_valid(make_rows(300).column("age")))
    table = encode(source, trained.schema)
    a, b = everything(trained.train), everything(table)
    for name in ("categorical", "numeric", "scene", "label", "time"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    for name in ("genres", "clicked"):
        assert torch.equal(a.sequence[name].values, b.sequence[name].values)
    assert torch.equal(a.interest.values, b.interest.values)
    assert table.schema.digest == trained.schema.digest


def test_rows_keep_their_order_and_labels_are_not_needed(trained):
    source = make_rows(50, 5).drop(["label", "genres", "time"])
    source = source.append_column("genres", make_rows(50, 5).column("genres"))
    source = source.filter(pa.compute.is_valid(source.column("age")))
    table = encode(source, trained.schema)
    assert len(table) == source.num_rows
    assert table.labels() is None
    known = set(trained.schema.categorical[0].ids)
    wanted = [str(u) in known for u in source.column("user_id").to_pylist()]
    assert (table.users() > 0).tolist() == wanted


def test_unknown_ids_and_empty_cells_have_their_rows(trained):
    source = make_rows(2, 5).slice(0, 1)
    for column, cell in (("user_id", ["nobody"]), ("city", pa.array([None], pa.string())), ("age", [40])):
        source = source.set_column(source.column_names.index(column), column, pa.array(cell))
    batch = everything(encode(source, trained.schema))
    assert batch.user.tolist() == [0]
    assert batch.categorical[0, 2].item() == 1


def test_roles_can_be_given_anew(trained):
    source = make_rows(30, 5).rename_columns(
        ["user_id", "item_id", "where", "click", "time", "city", "age", "price", "genres", "clicked"]
    )
    source = source.filter(pa.compute.is_valid(source.column("age")))
    table = encode(source, trained.schema, label="click")
    assert table.labels().tolist() == source.column("click").to_pylist()


def test_a_row_is_never_dropped(trained):
    source = make_rows(40, 5)
    row = source.column("age").to_pylist().index(None)
    with pytest.raises(ValueError, match=rf"data: row {row + 1}, column 'age': the scene is empty"):
        encode(source, trained.schema)


def test_a_missing_column_is_named(trained):
    with pytest.raises(ValueError, match="read_table: categorical names no column 'city'; columns of data: user_id, "):
        encode(make_rows(5).drop(["city"]), trained.schema)


def test_an_unseen_scene_is_refused_by_its_name():
    data = read_table(make_rows(100))
    source = make_rows(2).set_column(2, "scene", pa.array(["homes", "search"]))
    with pytest.raises(ValueError, match=r"table: scene 'homes' was not seen in training; .* did you mean 'home'\?"):
        encode(source, data.schema)


def test_a_split_makes_no_sense_for_a_schema(trained):
    with pytest.raises(ValueError, match="a source that is encoded for a schema is not split; leave split out"):
        read_table(make_rows(5), schema=trained.schema, split="random")


def test_a_schema_survives_pickling_with_its_roles(trained):
    import pickle

    schema = pickle.loads(pickle.dumps(trained.schema))
    assert schema.digest == trained.schema.digest
    source = make_rows(30, 5)
    source = source.filter(pa.compute.is_valid(source.column("age")))
    assert torch.equal(everything(encode(source, schema)).scene, everything(encode(source, trained.schema)).scene)


@pytest.mark.parametrize("part", ["batch", "table"])
def test_a_mask_is_no_list_of_positions(part):
    data = ps.testing.tiny_data()
    taken = {"batch": ps.testing.batch(data, 4), "table": data.test}[part]
    for wrong in (torch.ones(4, dtype=torch.bool), torch.tensor([0.5])):
        with pytest.raises(TypeError, match=r"take: \w+ must hold whole numbers, got (Bool; mask\.nonzero|Float)"):
            taken.take(wrong)
    assert len(taken.take(torch.tensor([]))) == 0


def test_a_batch_moves_to_a_device_by_name():
    batch = ps.testing.batch(ps.testing.tiny_data(), 4)
    for device in ("cpu", torch.device("cpu")):
        assert torch.equal(batch.to(device).categorical, batch.categorical)
    assert batch.to("meta").categorical.device.type == "meta"
    with pytest.raises(RuntimeError, match="device type"):
        batch.to("cpy")
