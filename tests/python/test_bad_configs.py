# ruff: noqa: E501, PT011  (messages stand as they are given, and are compared whole)
"""Bad configs of runs, each with the message it must give: where, what was wanted, what was given."""

from __future__ import annotations

import json
from pathlib import Path

import commands
import pytest
from messages import MODELS, check
from polyscene import runs

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
    "unknown split": ({"dataset": {"split": {"by": "users"}}}, "{path}: dataset.split.by must be one of random, torch_random, user, scene, time, leave_one_out, cold_user, cold_scene, group, files, got 'users'; did you mean 'user'?"),
    "ratios of text": ({"dataset": {"split": {"ratios": ["a"]}}}, "{path}: dataset.split.ratios must be list of float, got ['a'] (list of str)"),
    "split within what": ({"dataset": {"split": {"within": "users"}}}, "{path}: dataset.split.within must be one of *user, scene, got 'users'; did you mean 'user'?"),
    "a label without a column": ({"dataset": {"name": "ml-100k", "label": {"at_least": 4}}}, '{path}: dataset.label must name its column: {"column": "rating", "at_least": 4}'),
    "a label with an unknown key": ({"dataset": {"name": "ml-100k", "label": {"column": "rating", "min": 4}}}, "{path}: unknown key 'dataset.label.min'; known keys: column, at_least, mapping"),
    "scenes with an unknown key": ({"dataset": {"name": "ml-100k", "scenes": {"by": "age", "edge": [25]}}}, "{path}: unknown key 'dataset.scenes.edge'; known keys: by, edges, tz; did you mean 'edges'?"),
    "unknown mechanism": ({"transfer": {"mechanism": "migrat"}}, "{path}: transfer.mechanism must be one of *, got 'migrat'; did you mean 'migrate'?"),
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
