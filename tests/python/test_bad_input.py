# ruff: noqa: E501  (messages stand as they are given, and are compared whole)
"""Bad input to functions and methods, each with the message it must give: where, what was wanted, what was given.

Configs of runs: tests/python/test_bad_configs.py; files of rows, roles and splits: tests/python/data/test_bad_input.py;
checkpoints of runs: tests/python/train/test_resume.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import polyscene as ps
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from every_model import NAMES, RANKING, RATING
from messages import MODELS, check
from polyscene._extension import _C


@pytest.fixture(scope="module")
def data() -> Any:
    return ps.testing.tiny_data(seed=3)


@pytest.fixture(scope="module")
def other() -> Any:
    return ps.testing.tiny_data(seed=4)


@pytest.fixture(scope="module")
def model(data: Any) -> ps.Model:
    out = ps.models.MF(data.schema, dim=4)
    ps.Trainer(epochs=1, threads=1).fit(out, data)
    return out


class Given:
    """What a case can use."""

    def __init__(self, data: Any, other: Any, model: ps.Model, folder: Path) -> None:
        self.data, self.other, self.model, self.dir = data, other, model, folder
        self.batch = ps.testing.batch(data, 8)


Case = tuple[Callable[[Given], Any], type[BaseException], str]
SCENES = "known scenes: phone, tablet, television"


def tensors_of(given: Given, change: Callable[[dict[str, Any], dict[str, str]], None]) -> Path:
    """A model file with other tensors or metadata."""
    path = given.dir / "m.safetensors"
    ps.save(given.model, path)
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    safetensors.torch.save_file(tensors, path, metadata)
    return path


def spoiled(given: Given, change: Callable[[bytes], bytes]) -> Path:
    path = given.dir / "m.safetensors"
    ps.save(given.model, path)
    path.write_bytes(change(path.read_bytes()))
    return path


# fmt: off
CASES: dict[str, Case] = {
    # options of models and trainers
    "unknown model": (lambda g: ps.models.create("mff", g.data.schema), ValueError, f"models: unknown model 'mff'; known models: {MODELS}*; did you mean 'mf'?"),
    "unknown option": (lambda g: ps.models.MF(g.data.schema, dims=3), ValueError, "MF: unknown option 'dims'; known options: dim, init_std, embedding_l2, history; did you mean 'dim'?"),
    "option of another type": (lambda g: ps.models.MF(g.data.schema, dim="four"), ValueError, "MF: option 'dim' must be int, got 'four' (str)"),
    "option without a value": (lambda g: ps.models.MF(g.data.schema, dim=None), TypeError, "mf: option 'dim' must be a bool, int, float, str or a list of int, float or str, got None; leave it out for its default"),
    "option of a strange type": (lambda g: ps.models.MF(g.data.schema, dim={}), TypeError, "mf: option 'dim' must be a bool, int, float, str or a list of int, float or str, got {} (dict)"),
    "option beyond 64 bits": (lambda g: ps.models.MF(g.data.schema, dim=2**70), ValueError, "mf: option 'dim' must fit into 64 bits, got 1180591620717411303424"),
    "option out of range": (lambda g: ps.models.MF(g.data.schema, dim=0), ValueError, "MF: dim must be *, got 0"),
    "heads that do not divide": (lambda g: ps.models.InterestMigration(g.data.schema, hidden=9, heads=2), ValueError, "*heads*9*"),
    "unknown encoder": (lambda g: ps.models.InterestMigration(g.data.schema, encoder="gruu"), ValueError, "SequenceEncoder: kind must be one of gru, lstm, cnn, transformer, got 'gruu'; did you mean 'gru'?"),
    "schema that is none": (lambda g: ps.models.MF(None), TypeError, "MF: wanted a polyscene.Schema, got NoneType"),
    "data for a schema": (lambda g: ps.models.MF(g.data), TypeError, "MF: wanted a polyscene.Schema, got TinyData; give data.schema"),
    "unknown option of the trainer": (lambda g: ps.Trainer(epoch=3), ValueError, "Trainer: unknown option 'epoch'; known options: optimizer, *; did you mean 'epochs'?"),
    "trainer's option of another type": (lambda g: ps.Trainer(lr="fast"), ValueError, "Trainer: option 'lr' must be float, got 'fast' (str)"),
    "trainer's option out of range": (lambda g: ps.Trainer(patience=-1), ValueError, "Trainer: patience must not be negative, got -1"),
    "a negative seed": (lambda g: ps.seed_everything(-1), ValueError, "seed_everything: seed must not be negative, got -1"),
    # training
    "fit of no model": (lambda g: ps.Trainer().fit(torch.nn.Linear(1, 1), g.data), TypeError, "Trainer.fit: model must be a polyscene.Model, got Linear"),
    "fit on no table": (lambda g: ps.Trainer().fit(g.model, "a.csv"), TypeError, "Trainer.fit: wanted a data set or a training table, got str"),
    "fit on an empty table": (lambda g: ps.Trainer().fit(g.model, g.data.train.take(torch.arange(0))), ValueError, "Trainer: the training table has no rows"),
    "fit on a table of another schema": (lambda g: ps.Trainer().fit(g.model, g.other), ValueError, "Trainer: the training table belongs to another schema than the model"),
    "validation of another schema": (lambda g: ps.Trainer().fit(g.model, g.data, g.other.valid), ValueError, "Trainer: the validation table belongs to another schema than the model"),
    "a monitor that is no metric": (lambda g: ps.Trainer(monitor="acu").fit(g.model, g.data), ValueError, "Trainer: monitor must be a metric of task ctr, got 'acu'; known metrics: auc, gauc, log_loss, accuracy, precision, recall, f1; did you mean 'auc'?"),
    "resume without a checkpoint": (lambda g: ps.Trainer().fit(g.model, g.data, resume=True), ValueError, "Trainer.fit: resume needs the checkpoint to resume from"),
    "a checkpoint that is not there": (lambda g: ps.Trainer().fit(g.model, g.data, checkpoint=g.dir / "c", resume=True), ValueError, "cannot read '{dir}/c': No such file or directory"),
    "a checkpoint below a file": (lambda g: (g.dir.joinpath("f").touch(), ps.Trainer(epochs=1).fit(g.model, g.data, checkpoint=g.dir / "f" / "c")), RuntimeError, "cannot write '{dir}/f/c': Not a directory"),
    # batches and tables
    "a tensor for a batch": (lambda g: g.model(torch.zeros(3)), TypeError, "mf: forward wants a polyscene.Batch, got Tensor; table.batch(rows) makes one"),
    "a table for a batch": (lambda g: g.model.loss(g.data.train), TypeError, "mf: loss wants a polyscene.Batch, got Table; table.batch(rows) makes one"),
    "a batch of another schema": (lambda g: g.model(ps.testing.batch(g.other, 4)), ValueError, "mf: the batch was encoded with schema *, the model has *; read the table with schema=model.schema"),
    "a row that is not there": (lambda g: g.batch.take([8]), IndexError, "Batch.take: index must be in [0, 8), got 8"),
    "a negative row": (lambda g: g.data.train.batch(torch.tensor([-1])), IndexError, "table.batch: positions must be in [0, 420), got -1"),
    "rows that are no vector": (lambda g: g.data.train.batch(torch.zeros(2, 2, dtype=torch.long)), ValueError, "table.batch: positions must be a vector, got 2 dimensions"),
    "table rows out of range": (lambda g: ps.Table(g.data.columns, g.data.schema, torch.tensor([600])), IndexError, "table: rows must be in [0, 600), got 600"),
    "unknown field": (lambda g: g.data.schema.field("user"), ValueError, "Schema: unknown categorical field 'user'; known fields: user_id, item_id, age_group, genre; did you mean 'user_id'?"),
    "unknown scene": (lambda g: g.data.schema.scene("phones"), ValueError, f"Schema: unknown scene 'phones'; {SCENES}; did you mean 'phone'?"),
    "a task of tiny data": (lambda g: ps.testing.tiny_data("sound"), ValueError, "tiny_data: task must be 'ctr', 'rating', 'ranking', 'sequence', 'text' or 'image', got 'sound'"),
    # scores
    "evaluate no model": (lambda g: ps.evaluate("m", g.data.test), TypeError, "evaluate: wanted a polyscene.Model, got str"),
    "evaluate on a number": (lambda g: ps.evaluate(g.model, 3), TypeError, "read_table: wanted a path, a list of paths, or a frame with __arrow_c_stream__ (Arrow, pandas >= 2.2, polars), got int"),
    "evaluate on another schema": (lambda g: ps.evaluate(g.model, g.other.test), ValueError, "mf: the table was encoded with another schema; read it with schema=model.schema"),
    "unknown metric": (lambda g: ps.evaluate(g.model, g.data.test, ["acu"]), ValueError, "unknown metric 'acu' for task ctr; known metrics: *; did you mean 'auc'?"),
    "metrics as text": (lambda g: ps.evaluate(g.model, g.data.test, "auc"), TypeError, "evaluate: metrics must be a list of names, got 'auc'; write metrics=['auc']"),
    "threshold of 0": (lambda g: ps.evaluate(g.model, g.data.test, threshold=0), ValueError, "evaluate: threshold must be in (0, 1), got 0"),
    "threshold of NaN": (lambda g: ps.evaluate(g.model, g.data.test, threshold=float("nan")), ValueError, "evaluate: threshold must be in (0, 1), got nan"),
    "scores that are NaN": (lambda g: ps.evaluate(nan_model(g), g.data.test), ValueError, "mf: the score of row 1 is NaN"),
    "predict without a column": (lambda g: trained(g).predict(pa.table({"user_id": ["1"], "scene": ["a"]})), ValueError, "read_table: categorical names no column 'item_id'; columns of data: user_id, scene; did you mean 'user_id'?"),
    "predict in a new scene": (lambda g: trained(g).predict(pa.table({"user_id": ["1"], "item_id": ["1"], "scene": ["c"]})), ValueError, "table: scene 'c' was not seen in training; known scenes: a, b; a model takes rows of new ones when it was trained with dataset.unseen_scene 'shared' or 'nearest' *"),
    "predict a file that is not there": (lambda g: trained(g).predict(g.dir / "x.csv"), FileNotFoundError, "read_table: no file {dir}/x.csv"),
    # recommendations
    "users as text": (lambda g: g.model.recommend("u1"), TypeError, "recommend: users must be a list of ids, got 'u1'; write ['u1']"),
    "k of 0": (lambda g: g.model.recommend(["u1"], k=0), ValueError, "recommend: k must be a whole number of at least 1, got 0"),
    "recommend in an unknown scene": (lambda g: g.model.recommend(["u1"], scene="Phone"), ValueError, f"recommend: unknown scene 'Phone'; {SCENES}; did you mean 'phone'?"),
    "recommend before training": (lambda g: ps.models.MF(g.data.schema).recommend(["u1"]), ValueError, "recommend: mf was not trained yet, it knows no items; fit it, or call prepare(data.train) *"),
    "profile before training": (lambda g: ps.models.MF(g.data.schema).recommend(["u1"], profile={"age_group": ["a1"]}), ValueError, "recommend: mf was not trained yet, it knows no users; fit it, or call prepare(data.train) *"),
    "recommend without items": (lambda g: no_items(g).recommend(["1"]), ValueError, "recommend: the data must name a user and an item column"),
    "an unknown field of the profile": (lambda g: g.model.recommend(["u1"], profile={"age": [3]}), ValueError, "recommend: profile: unknown field 'age'; those of users: *; did you mean 'age_group'?"),
    "a profile of items": (lambda g: g.model.recommend(["u1"], profile={"genre": ["g1"]}), ValueError, "recommend: profile field 'genre' does not belong to users; those that do: *"),
    "a short profile": (lambda g: g.model.recommend(["u1", "u2"], profile={"age_group": ["a1"]}), ValueError, "recommend: profile field 'age_group' must have a value a user, 2, got 1"),
    "an event without an item": (lambda g: g.model.recommend(["u1"], events=[{"user": "u1"}]), ValueError, "recommend: event 1 must have 'item', got user"),
    "an event with an unknown key": (lambda g: g.model.recommend(["u1"], events=[{"user": "u1", "item": "i1", "tims": 3}]), ValueError, "recommend: event 1 has an unknown key 'tims'; known: user, item, scene, label, time, interest; did you mean 'time'?"),
    "an event in an unknown scene": (lambda g: g.model.recommend(["u1"], events=[{"user": "u1", "item": "i1", "scene": "tv"}]), ValueError, f"recommend: event 1: unknown scene 'tv'; {SCENES}"),
    "an event of an unknown interest": (lambda g: g.model.recommend(["u1"], events=[{"user": "u1", "item": "i1", "interest": "g77"}]), ValueError, "recommend: event 1: unknown interest 'g77'; known interests: g0, g1, g2, g3, g4*"),
    "an event that is no object": (lambda g: g.model.recommend(["u1"], events=["i1"]), TypeError, "recommend: event 1 must be a dict, got str"),
    "an event without an item, to explain": (lambda g: g.model.explain_recommendation("u1", "i1", events=[{"user": "u1"}]), ValueError, "explain: event 1 must have 'item', got user"),
    "transitions of a model without": (lambda g: g.model.transition_matrix("phone", "tablet"), ValueError, "mf: this model has no interests that move from scene to scene; interest_migration has"),
    "transitions of an unknown scene": (lambda g: g.model.transition_matrix("phone", "table"), ValueError, f"Schema: unknown scene 'table'; {SCENES}; did you mean 'tablet'?"),
    # model files
    "save no model": (lambda g: ps.save(torch.nn.Linear(1, 1), g.dir / "m"), TypeError, "save: wanted a polyscene.Model, got Linear"),
    "save below a file": (lambda g: (g.dir.joinpath("f").touch(), ps.save(g.model, g.dir / "f" / "m")), RuntimeError, "cannot write '{dir}/f/m': Not a directory"),
    "a model that is not there": (lambda g: ps.load(g.dir / "m.safetensors"), FileNotFoundError, "load: no file {dir}/m.safetensors"),
    "a folder for a model": (lambda g: ps.load(g.dir), ValueError, "cannot read '{dir}': it is not a regular file"),
    "a text for a model": (lambda g: ps.load(commands.write_config(g.dir / "m")), ValueError, "{dir}/m: not a safetensors file: its header would take * bytes, the limit is 100 MB"),
    "a model that is cut off": (lambda g: ps.load(spoiled(g, lambda b: b[:-100])), ValueError, "{dir}/m.safetensors: tensor '*' ends at byte * of the data, the file has *: it was cut off"),
    "tensors of another tool": (lambda g: (safetensors.torch.save_file({"a": torch.ones(1)}, g.dir / "m"), ps.load(g.dir / "m")), ValueError, "{dir}/m: not a polyscene model, its metadata has no 'polyscene_format'"),
    "a data set for a model": (lambda g: (g.data.columns.save(str(g.dir / "m")), ps.load(g.dir / "m")), ValueError, "{dir}/m: not a polyscene model, its metadata has no 'polyscene_format'"),
    "a later format": (lambda g: ps.load(tensors_of(g, lambda t, m: m.update(polyscene_format="2"))), ValueError, "{dir}/m.safetensors: model format must be 1, got 2; a newer polyscene wrote it"),
    "a model that is not registered": (lambda g: ps.load(tensors_of(g, lambda t, m: m.update(model="mine"))), ValueError, "{dir}/m.safetensors: unknown model 'mine'; known models: *; a model written in Python must be registered under this name first"),
    "options that are damaged": (lambda g: ps.load(tensors_of(g, lambda t, m: m.update(options='{"dim": '))), ValueError, "{dir}/m.safetensors: line 1, column 9: *"),
    "a schema that is damaged": (lambda g: ps.load(tensors_of(g, lambda t, m: m.update(schema="{}"))), ValueError, "{dir}/m.safetensors: not a readable model: Schema: the file holds no schema"),
    "a schema with a hole": (lambda g: ps.load(tensors_of(g, lambda t, m: m.update(schema=m["schema"].replace('"task"', '"tusk"')))), ValueError, "{dir}/m.safetensors: not a readable model: Schema: the file's schema is damaged: *"),
    "a tensor that is missing": (lambda g: ps.load(tensors_of(g, lambda t, m: t.pop("model.user_bias.weight"))), ValueError, "{dir}/m.safetensors: the tensors of mf do not fit: 'user_bias.weight' is missing"),
    "a tensor of another shape": (lambda g: ps.load(tensors_of(g, lambda t, m: t.update({"model.user_bias.weight": torch.zeros(3, 1)}))), ValueError, "{dir}/m.safetensors: the tensors of mf do not fit: 'user_bias.weight' has shape [3, 1], wanted [*, 1]"),
    "a tensor too many": (lambda g: ps.load(tensors_of(g, lambda t, m: t.update({"model.x": torch.zeros(1)}))), ValueError, "{dir}/m.safetensors: the tensors of mf do not fit: 'x' is unexpected"),
    "vocabularies that are missing": (lambda g: ps.load(tensors_of(g, lambda t, m: [t.pop(n) for n in list(t) if n.startswith("schema.")])), ValueError, "{dir}/m.safetensors: not a readable model: Schema: the file holds no tensor '*'"),
    # compiled data
    "a folder without data": (lambda g: ps.open_data(g.dir), ValueError, "open_data: {dir} holds no compiled data set (dataset.json: *"),
    "columns that are not there": (lambda g: _C.data.Columns.open(str(g.dir / "c")), ValueError, "cannot read '{dir}/c': No such file or directory"),
    # results
    "compare one run": (lambda g: ps.compare(g.dir), ValueError, "compare: wanted at least two results, got 1"),
    "compare a folder without a run": (lambda g: ps.compare(g.dir, g.dir), ValueError, "{dir}: wanted the folder of a finished run, found no metrics.json"),
    "unknown data set": (lambda g: ps.datasets.load("ml100k"), ValueError, "datasets: unknown data set 'ml100k'; known: simulator, *; did you mean 'ml-100k'?"),
}
# fmt: on


def nan_model(given: Given) -> ps.Model:
    out = ps.models.MF(given.data.schema, dim=4)
    with torch.no_grad():
        for parameter in out.parameters():
            parameter.fill_(float("nan"))
    return out


def trained(given: Given) -> ps.Model:
    rows = pa.table(
        {"user_id": [1, 2] * 20, "item_id": [1, 2, 3, 4] * 10, "scene": ["a", "b"] * 20, "label": [0, 1] * 20}
    )
    return ps.models.Logistic(ps.read_table(rows).schema)


def no_items(given: Given) -> ps.Model:
    rows = pa.table({"user_id": [1, 2] * 20, "label": [0, 1] * 20})
    return ps.models.Logistic(ps.read_table(rows).schema)


@pytest.mark.parametrize("name", CASES)
def test_object(name: str, data: Any, other: Any, model: ps.Model, tmp_path: Path) -> None:
    call, error, message = CASES[name]
    with pytest.raises(error) as caught:
        call(Given(data, other, model, tmp_path))
    assert type(caught.value) is error
    check(caught.value, message.replace("{dir}", str(tmp_path)))


# What is unusual and yet no error.


def test_one_training_row() -> None:
    """One user, one item, one row: it trains, and what it predicts is a number."""
    one = pa.table({"user_id": ["a"], "item_id": ["x"], "label": [1], "age": [3.0]})
    data = ps.read_table(train=one, valid=one, test=one, numeric=["age"])
    for name in (name for name in NAMES if name not in RANKING | RATING):
        model = ps.models.create(name, data.schema)
        ps.Trainer(epochs=2, threads=1).fit(model, data)
        assert 0 < model.predict(data.test)[0] < 1, name
        assert ps.evaluate(model, data.test).undefined["overall.auc"] == "one class"


def test_one_rating() -> None:
    one = pa.table({"user_id": ["a"], "item_id": ["x"], "label": [4.0]})
    data = ps.read_table(train=one, valid=one, test=one, task="rating")
    for name in RATING:
        model = ps.models.create(name, data.schema)
        ps.Trainer(epochs=2, threads=1).fit(model, data)
        assert model.predict(data.test)[0] == 4, name  # the range of the training ratings


@pytest.mark.parametrize("name", sorted(RANKING))
def test_one_pair(name: str) -> None:
    """A user who met the only item there is: it trains, and ranks what it cannot know last."""
    one = pa.table({"user_id": ["a"], "item_id": ["x"]})
    new = pa.table({"user_id": ["a", "b"], "item_id": ["y", "x"]})
    data = ps.read_table(train=one, valid=one, test=new, task="ranking")
    model = ps.models.create(name, data.schema)
    ps.Trainer(epochs=2, threads=1).fit(model, data)
    assert ps.evaluate(model, data.valid).undefined["overall.ndcg@10"] == "no users to rank for"
    users = ps.evaluate(model, data.test).per_user
    assert dict(zip(users.user, users.values["hit@10"], strict=True)) == {"a": 0.0, "b": 1.0}
    assert model.recommend(["a"], scene=data.schema.scenes[0]).items[0, 0] is None


def test_scene_without_rows() -> None:
    """A scene that only training rows know is no line of the result; an empty table has no values."""
    train = pa.table(
        {"user_id": [1, 2, 3] * 9, "item_id": [1, 2, 3] * 9, "scene": ["a", "b", "c"] * 9, "label": [0, 1, 1] * 9}
    )
    test = train.slice(0, 2)
    data = ps.read_table(train=train, test=test)
    model = ps.models.Logistic(data.schema)
    ps.Trainer(epochs=1).fit(model, data)
    assert list(ps.evaluate(model, data.test).scenes) == ["a", "b"]
    empty = ps.evaluate(model, data.test.take(torch.arange(0)))
    assert empty.scenes == {} and empty.undefined["overall.auc"]
    assert len(model(data.test.batch(torch.arange(0)))) == 0


def test_ids_that_nobody_knows() -> None:
    """Unknown and empty ids have rows of their own, and numbers that are missing are filled."""
    rows = pa.table(
        {"user_id": ["1", "2"] * 20, "item_id": ["a", "b", "c", "d"] * 10, "label": [0, 1] * 20, "age": [1.0, 3.0] * 20}
    )
    data = ps.read_table(rows, numeric=["age"])
    model = ps.models.Logistic(data.schema)
    new = pa.table({"user_id": ["9", None], "item_id": [None, "z"], "age": [None, float("nan")]})
    batch = ps.data.encode(new, data.schema).batch(torch.arange(2))
    assert batch.categorical.tolist() == [[0, 1], [1, 0]] and batch.numeric.tolist() == [[0.0], [0.0]]
    assert model.predict(new).shape == (2,)


def test_events_of_users_who_are_not_asked_for_are_left_out(model: ps.Model) -> None:
    """A log of everybody serves each call, and is checked whole."""
    mine = {"user": "u1", "item": "i1", "scene": "phone"}
    log = [{"user": "u2", "item": "i3", "scene": "phone"}, mine, {"user": "u9", "item": "i4", "scene": "tablet"}]
    alone, among = (model.recommend(["u1"], k=30, scene="phone", events=given) for given in ([mine], log))
    assert alone.items.tolist() == among.items.tolist()
    assert "i1" not in alone.items and "i3" in among.items
    with pytest.raises(ValueError, match="recommend: event 2: unknown scene 'tv'"):
        model.recommend(["u1"], events=[mine, {"user": "u2", "item": "i1", "scene": "tv"}])
