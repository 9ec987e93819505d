# ruff: noqa: E501, PT011  (messages stand as they are given, and are compared whole)
"""Bad input of every other kind than files of rows, each with the message it must give: where, what was wanted, what was given.

Files of rows, roles and splits: tests/python/data/test_bad_input.py; checkpoints of runs: tests/python/train/test_resume.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import polyscene as ps
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from every_model import NAMES, RANKING
from polyscene import runs
from polyscene._extension import _C

MODELS = "interest_migration, *, logistic, popularity, mf"


def check(error: BaseException, wanted: str) -> None:
    """The whole text, on one line, without the stack of C++; * stands for anything."""
    given = str(error)
    assert "\n" not in given and "Exception raised from" not in given and "incompatible function arguments" not in given
    assert "json.exception" not in given
    if "*" not in wanted:
        assert given == wanted
        return
    rest = given
    for i, part in enumerate(wanted.split("*")):
        assert part in rest and (i > 0 or rest.startswith(part)), given
        rest = rest[rest.index(part) + len(part) :]
    assert wanted.endswith("*") or rest == "", given


# fmt: off
CONFIGS = {
    "not JSON": ('{"model": }', "{path}: line 1, column 11: syntax error while parsing value - unexpected '}'; expected '[', '{', or a literal"),
    "cut off": ('{"model": {', "{path}: line 1, column 12: syntax error while parsing object key - unexpected end of input; expected string literal"),
    "NaN": ('{"train": {"lr": NaN}}', "{path}: line 1, column 18: syntax error while parsing value - invalid literal; last read: '\"lr\": N'"),
    "empty file": ("", "{path}: line 1, column 1: attempting to parse an empty input; check that your input string or stream contains the expected JSON"),
    "a list": ("[]", "{path}: a config must be an object, got list"),
    "a name twice": ('{"model": {"dim": 1, "dim": 2}}', "{path}: 'model.dim' is given twice"),
    "unknown section": ({"modle": {}}, "{path}: unknown key 'modle'; known keys: dataset, model, transfer, train, evaluate, report, tune; did you mean 'model'?"),
    "unknown option of the model": ({"model": {"name": "mf", "dims": 3}}, "{path}: unknown key 'model.dims'; known keys: name, dim, init_std, embedding_l2, history; did you mean 'dim'?"),
    "unknown option of the training": ({"train": {"epoch": 3}}, "{path}: unknown key 'train.epoch'; known keys: optimizer, lr, *; did you mean 'epochs'?"),
    "unknown option of the simulator": ({"dataset": {"user": 3}}, "{path}: unknown key 'dataset.user'; known keys: name, *; did you mean 'users'?"),
    "unknown key of a table": ({"dataset": {"name": "table", "data": "a.csv", "catgorical": []}}, "{path}: unknown key 'dataset.catgorical'; *; did you mean 'categorical'?"),
    "a section that is no object": ({"model": "mf"}, "{path}: model must be an object, got text"),
    "text for a number": ({"train": {"lr": "fast"}}, "{path}: train.lr must be float, got 'fast' (str)"),
    "a fraction for a whole number": ({"train": {"epochs": 1.5}}, "{path}: train.epochs must be int, got 1.5 (float)"),
    "a number for text": ({"train": {"optimizer": 3}}, "{path}: train.optimizer must be str, got 3 (int)"),
    "a number for true or false": ({"report": {"html": 1}}, "{path}: report.html must be bool, got 1 (int)"),
    "a list of two kinds": ({"train": {"betas": [0.9, "x"]}}, "{path}: train.betas: a list must hold either numbers or texts, got both"),
    "an object for a number": ({"train": {"lr": {"start": 1}}}, "{path}: train.lr: must be a number, text, true, false or a list of them, got an object"),
    "too large a number": ({"train": {"epochs": 10**30}}, "{path}: train.epochs must be int, got 1e+30 (float)"),
    "a batch of nothing": ({"train": {"batch_size": 0}}, "{path}: train.batch_size must be positive, got 0"),
    "a negative learning rate": ({"train": {"lr": -1}}, "{path}: train.lr must be positive and finite, got -1"),
    "threads beyond reason": ({"train": {"threads": 100000}}, "{path}: train.threads must lie in [0, 1024], got 100000"),
    "unknown optimizer": ({"train": {"optimizer": "adamm"}}, "{path}: train: unknown optimizer 'adamm'; known optimizers: adam, adamw, sgd, lazy_adam, rowwise_adagrad; did you mean 'adam'?"),
    "unknown schedule": ({"train": {"schedule": "cosin"}}, "{path}: train: unknown schedule 'cosin'; known schedules: constant, cosine, step, linear; did you mean 'cosine'?"),
    "unknown weighting": ({"train": {"class_weight": "balance"}}, "{path}: train.class_weight must be one of none, balanced, got 'balance'; did you mean 'balanced'?"),
    "unknown monitor": ({"train": {"monitor": "acu"}}, "{path}: train.monitor must be a metric of task ctr, got 'acu'; known metrics: auc, gauc, log_loss, accuracy, precision, recall, f1; did you mean 'auc'?"),
    "a monitor that epochs do not have": ({"train": {"monitor": "coverage"}}, "{path}: train.monitor must be a metric of task ctr, got 'coverage'; known metrics: auc, gauc, log_loss, accuracy, precision, recall, f1*"),
    "unknown metric": ({"evaluate": {"metrics": ["rmse"]}}, "{path}: evaluate.metrics: unknown metric 'rmse' for task ctr; known metrics: *"),
    "a threshold of 1": ({"evaluate": {"threshold": 1}}, "{path}: evaluate.threshold must be in (0, 1), got 1"),
    "unknown model": ({"model": {"name": "logistc"}}, f"{{path}}: model.name: unknown model 'logistc'; known models: {MODELS}*; did you mean 'logistic'?"),
    "a model without text": ({"model": {"name": 3}}, "{path}: model.name must be str, got int"),
    "unknown split": ({"dataset": {"split": {"by": "users"}}}, "{path}: dataset.split.by must be one of random, torch_random, user, scene, time, leave_one_out, cold_user, cold_scene, files, got 'users'; did you mean 'user'?"),
    "ratios of text": ({"dataset": {"split": {"ratios": ["a"]}}}, "{path}: dataset.split.ratios must be list of float, got ['a'] (list of str)"),
    "split within what": ({"dataset": {"split": {"within": "users"}}}, "{path}: dataset.split.within must be one of *user, scene, got 'users'; did you mean 'user'?"),
    "a label without a column": ({"dataset": {"name": "ml-100k", "label": {"at_least": 4}}}, '{path}: dataset.label must name its column: {"column": "rating", "at_least": 4}'),
    "a label with an unknown key": ({"dataset": {"name": "ml-100k", "label": {"column": "rating", "min": 4}}}, "{path}: unknown key 'dataset.label.min'; known keys: column, at_least, mapping"),
    "scenes with an unknown key": ({"dataset": {"name": "ml-100k", "scenes": {"by": "age", "edge": [25]}}}, "{path}: unknown key 'dataset.scenes.edge'; known keys: by, edges, tz; did you mean 'edges'?"),
    "unknown mechanism": ({"transfer": {"mechanism": "migrat"}}, "{path}: transfer.mechanism must be one of *migrate, got 'migrat'; did you mean 'migrate'?"),
}
OVERRIDES = {
    "no value": ("model.dim", "--set wants path=value, got 'model.dim'"),
    "no path": ("=3", "--set wants path=value, got '=3'"),
    "a hole in the path": ("model..dim=3", "--set wants path=value, got 'model..dim=3'"),
    "into a number": ("train.lr.start=3", "{path}: train.lr is no object, --set train.lr.start=3 cannot reach into it"),
    "text for a number": ("train.lr=fast", "{path}: train.lr must be float, got 'fast' (str)"),
}
# fmt: on


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name: str, tmp_path: Path) -> None:
    content, message = CONFIGS[name]
    path = tmp_path / "c.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError) as caught:
        runs.resolve(path)
    check(caught.value, message.replace("{path}", str(path)))


@pytest.mark.parametrize("name", OVERRIDES)
def test_override(name: str, tmp_path: Path) -> None:
    override, message = OVERRIDES[name]
    path = commands.write_config(tmp_path / "c.json")
    with pytest.raises(ValueError) as caught:
        runs.resolve(path, [override])
    check(caught.value, message.replace("{path}", str(path)))


def test_config_files(tmp_path: Path) -> None:
    path = commands.write_config(tmp_path / "mf.json")
    for given, error, message in (
        (tmp_path / "mg.json", FileNotFoundError, f"{tmp_path / 'mg.json'}: no such config; did you mean 'mf.json'?"),
        (tmp_path, FileNotFoundError, f"{tmp_path}: wanted a config, a JSON file, got a folder"),
    ):
        with pytest.raises(error) as caught:
            runs.resolve(given)
        check(caught.value, message)
    path.write_bytes(b'{"dataset": {"name": "caf\xe9"}}')
    with pytest.raises(ValueError) as caught:
        runs.resolve(path)
    check(caught.value, f"{path}: wanted JSON in UTF-8, byte 26 is not; save the file as UTF-8")
    with pytest.raises(ValueError) as caught:
        runs.resolve(None, data=tmp_path)
    check(
        caught.value,
        f"--data: the simulator makes its rows, it reads no folder {tmp_path}; name a data set by dataset.name",
    )


# Data of a config that is right as a text.

GOOD = "user_id,item_id,scene,label,age\n" + "".join(
    f"u{i % 5},i{i % 3},{'ab'[i % 2]},{i % 2},{i}\n" for i in range(40)
)
# fmt: off
DATASETS = {
    "unknown data set": ({"name": "ml-100"}, ValueError, "{dir}/c.json: dataset.name: unknown data set 'ml-100'; known data sets: table, simulator, ml-100k, *; did you mean 'ml-100k'?"),
    "a folder without the data": ({"name": "ml-100k", "root": "{dir}"}, ValueError, "ml-100k: {dir} holds neither ml-100k.inter nor *; `polyscene datasets get ml-100k --root {dir}` downloads them"),
    "a file that is not there": ({"name": "table", "data": "b.csv", "root": "{dir}"}, FileNotFoundError, "dataset: no file {dir}/b.csv; did you mean 'a.csv'?"),
    "no file": ({"name": "table"}, ValueError, "dataset: no source; give data (and split), or train, valid and test"),
    "features that are no list": ({"name": "table", "data": "{dir}/a.csv", "numeric": "age"}, TypeError, "dataset: numeric must be a list of columns, got 'age'; write numeric=['age']"),
    "a column that is not there": ({"name": "table", "data": "{dir}/a.csv", "numeric": ["ages"]}, ValueError, "dataset: numeric names no column 'ages'; columns of {dir}/a.csv: user_id, item_id, scene, label, age; did you mean 'age'?"),
    "min_count of text": ({"name": "table", "data": "{dir}/a.csv", "min_count": "two"}, ValueError, "dataset: min_count must be a whole number of at least 1, got 'two'"),
    "a cell that is no number": ({"name": "table", "data": "{dir}/a.csv", "numeric": ["user_id"], "user": None}, ValueError, "{dir}/a.csv: row 1 (line 2), column 'user_id': wanted a number, got 'u0'"),
    "files and a split": ({"name": "table", "train": "{dir}/a.csv", "test": "{dir}/a.csv", "split": "user"}, ValueError, "dataset: train, valid and test are given already; leave split out, or give data and split"),
    "users of the simulator": ({"name": "simulator", "users": 0}, ValueError, "simulator: users must be from 1 to 2^31 - 1, got 0"),
    "noise of the simulator": ({"name": "simulator", "noise": 2}, ValueError, "simulator: noise must be in [0, 1], got 2"),
    "a label of the simulator": ({"name": "simulator", "users": 9, "split": {"ratios": [1, 0, 0]}}, ValueError, "dataset: a run needs training and test rows, got train"),
    "one row": ({"name": "table", "data": "{dir}/one.csv"}, ValueError, "dataset: split by 'random' leaves no valid rows (1 rows, ratios [8.0, 1.0, 1.0]); give more rows or other ratios"),
    "a model of another task": ({"name": "table", "data": "{dir}/a.csv", "task": "rating"}, ValueError, "logistic: made for task ctr, the data's task is 'rating'; models for it: *"),
}
# fmt: on


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_of_a_run(name: str, tmp_path: Path) -> None:
    block, error, message = DATASETS[name]
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "one.csv").write_text("\n".join(GOOD.splitlines()[:2]))
    filled = {key: value.format(dir=tmp_path) if isinstance(value, str) else value for key, value in block.items()}
    path = commands.write_config(tmp_path / "c.json", dataset=filled, model={"name": "logistic"})
    with pytest.raises(error) as caught:
        config = runs.resolve(path)
        runs.execute(config, runs.folder_for(config, tmp_path / "run", False))
    check(caught.value, message.format(dir=tmp_path))
    assert not (tmp_path / "run" / "model.safetensors").exists()


# Models, tables, batches and scores.


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
    "a task of tiny data": (lambda g: ps.testing.tiny_data("text"), ValueError, "tiny_data: task must be 'ctr', 'rating' or 'ranking', got 'text'"),
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


def test_one_class(tmp_path: Path) -> None:
    """Metrics that need two classes have no value, and say why."""
    rows = GOOD.replace(",1,", ",0,")
    (tmp_path / "a.csv").write_text(rows)
    dataset = {"name": "table", "data": str(tmp_path / "a.csv"), "numeric": ["age"]}
    config = runs.resolve(commands.write_config(tmp_path / "c.json", dataset=dataset, model={"name": "logistic"}))
    done = runs.execute(config, runs.folder_for(config, tmp_path / "run", False))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["overall"]["auc"] is None and metrics["undefined"]["overall.auc"] == "one class"
    assert metrics["overall"]["accuracy"] == 1.0
    assert all(row["valid"]["log_loss"] < 1 for row in done.history)


def test_one_training_row() -> None:
    """One user, one item, one row: it trains, and what it predicts is a number."""
    one = pa.table({"user_id": ["a"], "item_id": ["x"], "label": [1], "age": [3.0]})
    data = ps.read_table(train=one, valid=one, test=one, numeric=["age"])
    for name in (name for name in NAMES if name not in RANKING):
        model = ps.models.create(name, data.schema)
        ps.Trainer(epochs=2, threads=1).fit(model, data)
        assert 0 < model.predict(data.test)[0] < 1, name
        assert ps.evaluate(model, data.test).undefined["overall.auc"] == "one class"


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
