"""Task text: classes, tokens, what training rows alone decide, and splits that keep groups together."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch

TRAIN = pa.table(
    {
        "text": ["Good day, good NIGHT!!", "bad bad day", "", None, "good bad night"] * 3,
        "label": ["pos", "neg", "neg", "pos", "pos"] * 3,
        "scene": ["a", "b", "a", "b", "a"] * 3,
    }
)
TEST = pa.table({"text": ["unheard words good", "bad"], "label": ["pos", "neg"], "scene": ["a", "b"]})
tokenizers = pytest.mark.parametrize("tokenizer", [None, "bpe", {"kind": "wordpiece", "size": 60}])


def read(train: Any = TRAIN, test: Any = TEST, **roles: Any) -> Any:
    return ps.read_table(train=train, test=test, task="text", text=["text"], **roles)


def tokens(data: Any, table: Any) -> list[list[str]]:
    """The tokens of each row in words, "?" for an unknown one."""
    text = table.batch(torch.arange(len(table))).sequence["text"]
    names = ["?", "-", *data.schema.lists[0].ids]
    ends = text.offsets.tolist()
    return [[names[code] for code in text.values[a:b].tolist()] for a, b in itertools.pairwise(ends)]


def test_words_are_normal_form_lower_case_and_runs_of_punctuation() -> None:
    data = read(TRAIN.set_column(0, "text", pa.array(["Cafe\u0301, cafe\u0301!!", "CAFÉ"] + ["x"] * 13)))
    assert tokens(data, data.train)[:2] == [["café", "?", "café", "?"], ["café"]]  # "," and "!!" stand once each


def test_each_row_carries_its_tokens_and_class() -> None:
    data = read()
    assert tokens(data, data.train)[:5] == [
        ["good", "day", ",", "good", "night", "!!"],
        ["bad", "bad", "day"],
        [],
        [],
        ["good", "bad", "night"],
    ]
    assert data.schema.classes == ["neg", "pos"]
    assert data.train.labels().tolist() == [1, 0, 0, 1, 1] * 3
    assert (data.schema.label_high, data.schema.lists[0].kind) == (1, "text")


@tokenizers
def test_words_of_test_rows_alone_are_unknown_and_change_nothing(tokenizer: Any) -> None:
    data = read(tokenizer=tokenizer)
    others = pa.table({"text": ["other unheard things 日本", "zebra"], "label": ["neg", "neg"], "scene": ["a", "b"]})
    assert read(test=others, tokenizer=tokenizer).schema.digest == data.schema.digest
    assert read(tokenizer=tokenizer).schema.digest == data.schema.digest
    found = tokens(read(test=others, tokenizer=tokenizer), read(test=others, tokenizer=tokenizer).test)
    assert "?" in found[0]
    seen = {token for row in tokens(data, data.train) for token in row}
    assert {token for row in found for token in row} <= seen | {"?"}
    assert tokens(data, data.test)[0][-1] == "good"


@tokenizers
def test_a_source_for_a_schema_is_read_as_in_training(tokenizer: Any) -> None:
    data = read(tokenizer=tokenizer)
    again = ps.data.encode(TRAIN.drop(["label"]), data.schema)
    assert tokens(data, again) == tokens(data, data.train)
    assert ps.data.encode(TEST, data.schema).labels().tolist() == [1, 0]


def test_the_first_tokens_are_kept() -> None:
    data = ps.read_table(
        train=TRAIN, test=TEST, task="text", text=[{"name": "text", "max_length": 2}], tokenizer="words"
    )
    assert tokens(data, data.train)[:2] == [["good", "day"], ["bad", "bad"]]
    again = ps.data.encode(TRAIN, data.schema)
    assert tokens(data, again) == tokens(data, data.train)


def test_whole_numbers_are_classes_in_the_order_of_their_values() -> None:
    labels = pa.array([10, 2, 2, 10, 1] * 3)
    data = read(TRAIN.set_column(1, "label", labels), TEST.set_column(1, "label", pa.array([10, 1])))
    assert data.schema.classes == ["1", "2", "10"]
    assert data.test.labels().tolist() == [2, 0]


def test_other_tasks_have_no_classes() -> None:
    assert ps.testing.tiny_data().schema.classes == []


def test_a_class_that_no_training_row_has_is_an_error() -> None:
    rows = pa.table({"text": ["good", "bad"], "label": ["pos", "nag"], "scene": ["a", "b"]})
    known = r"wanted a class of the training rows, neg, pos, got 'nag'"
    with pytest.raises(
        ValueError, match=rf"test: row 2, column 'label': {known} \(a row of test\); did you mean 'neg'"
    ):
        read(test=rows)
    with pytest.raises(ValueError, match=rf"row 2, column 'label': {known}; did you mean 'neg'"):
        ps.data.encode(rows, read().schema)


def test_one_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="label: task 'text' needs two classes or more in the training rows, got pos"):
        read(TRAIN.filter(pa.compute.equal(TRAIN["label"], "pos")))


@pytest.mark.parametrize(
    ("roles", "text"),
    [
        ({"text": []}, r"text must name one column \(task 'text'\), got 0"),
        ({"tokenizer": "word"}, "tokenizer: kind must be one of words, bpe, wordpiece, got 'word'; did you mean"),
        ({"tokenizer": {"size": 5}}, "tokenizer: size is for bpe and wordpiece; words are limited by min_count"),
        ({"tokenizer": {"kind": "bpe", "size": 0}}, "tokenizer: size must be a whole number of at least 1, got 0"),
        ({"task": "ctr"}, "text names 'text', but texts are for task 'text', got task 'ctr'"),
        ({"label": {"column": "label", "at_least": 1}}, "label: task 'text' takes the classes as they stand"),
        ({"text": [{"name": "text", "separator": ";"}]}, "text: unknown key 'separator'; known keys: name, max_length"),
    ],
)
def test_roles_that_do_not_fit(roles: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ps.read_table(train=TRAIN, test=TEST, **({"task": "text", "text": ["text"]} | roles))


def test_compiled_data_is_the_same_and_takes_another_split(tmp_path: Path) -> None:
    data = read(tokenizer="words")
    data.save(tmp_path / "data")
    again = ps.data.open_data(tmp_path / "data")
    assert (again.schema.digest, again.schema.classes) == (data.schema.digest, ["neg", "pos"])
    assert len(ps.data.open_data(tmp_path / "data", split={"ratios": [1, 1, 1]}).valid) == 5


def test_a_taught_tokeniser_stays_with_the_rows_that_taught_it(tmp_path: Path) -> None:
    data = read(tokenizer="bpe")
    data.save(tmp_path / "data")
    assert ps.data.open_data(tmp_path / "data").schema.digest == data.schema.digest
    with pytest.raises(ValueError, match="open_data: the bpe tokeniser was taught by the training rows as they are"):
        ps.data.open_data(tmp_path / "data", split={"ratios": [1, 1, 1]})
    with pytest.raises(ValueError, match=r"Dataset\.thin: the bpe tokeniser was taught"):
        data.thin("a", 0.5, parts=("train",))
    with pytest.raises(ValueError, match=r"Dataset\.without: the bpe tokeniser was taught"):
        data.without("a")


def test_thinning_fits_words_again_and_keeps_every_class() -> None:
    data = read()
    assert data.thin("a", 0.5, parts=("train",)).schema.classes == ["neg", "pos"]
    lonely = TRAIN.append_column("doc", pa.array(range(15)))
    lonely = lonely.set_column(
        1, "label", pa.array(["neg" if scene == "b" else "pos" for scene in ["a", "b"] * 7 + ["a"]])
    )
    lonely = lonely.set_column(2, "scene", pa.array(["a", "b"] * 7 + ["a"]))
    with pytest.raises(ValueError, match=r"Dataset\.without: no training row of class 'neg' is left"):
        read(lonely).without("b")


def test_groups_never_cross_parts_and_are_drawn_in_each_scene() -> None:
    n = 400
    rows = pa.table(
        {
            "item_id": [str(i % 7) for i in range(n)],
            "label": [i % 2 for i in range(n)],
            "scene": ["a" if i < 300 else "b" for i in range(n)],
            "doc": [None if i % 50 == 0 else f"d{i // 5}" for i in range(n)],
        }
    )
    split = {"by": "group", "column": "doc", "within": "scene", "seed": 3}
    data = ps.read_table(rows, split=split)
    docs = {part: {rows["doc"][i].as_py() for i in table.rows.tolist()} - {None} for part, table in data.tables.items()}
    assert not docs["train"] & docs["valid"] and not docs["train"] & docs["test"] and not docs["valid"] & docs["test"]
    groups = {"a": 60 + 6, "b": 20 + 2}  # documents, and the rows without one
    for scene, count in groups.items():
        mine = [i for i in data.test.rows.tolist() if rows["scene"][i].as_py() == scene]
        assert len({rows["doc"][i].as_py() or i for i in mine}) == count // 10
    assert ps.read_table(rows, split=split).split_digest == data.split_digest
    assert ps.read_table(rows, split=split | {"seed": 4}).split_digest != data.split_digest
    assert data.split.json()["column"] == "doc"
    everywhere = np.concatenate([table.rows.numpy() for table in data.tables.values()])
    assert sorted(everywhere.tolist()) == list(range(n))


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"by": "group"}, "split: give column, whose ids stay together, got by='group'"),
        ({"by": "random", "column": "scene"}, "split: column goes with group, got by='random'"),
        (
            {"by": "group", "column": "scene", "within": "user"},
            "split: groups are drawn within 'scene' or over all rows",
        ),
        (
            {"by": "group", "column": "scenes"},
            "split: column names no column 'scenes'; columns of .* did you mean 'scene'",
        ),
    ],
)
def test_groups_that_are_not_there(split: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ps.read_table(TRAIN, task="text", text=["text"], split=split)


def sentiment_files(folder: Path) -> Path:
    (folder / "text-sentiment").mkdir()
    for scene in ("movie", "amazon", "nyt", "tweets"):
        lines = [f"{n // 3}_{n % 3}\t{0.5 if n % 2 else -0.5}\tword{n % 7} good{n % 2}" for n in range(60)]
        (folder / "text-sentiment" / f"{scene}.tsv").write_text("\n".join(["id\tvalence\ttext", *lines]) + "\n")
    return folder


def test_sentences_of_a_document_stay_together(tmp_path: Path) -> None:
    data = ps.datasets.load("text-sentiment", sentiment_files(tmp_path))
    assert data.schema.classes == ["negative", "positive"]
    parts = {}
    for name, table in (("train", data.train), ("valid", data.valid), ("test", data.test)):
        for row in table.rows.tolist():
            parts.setdefault(row // 3, set()).add(name)  # three sentences a document, 60 a scene
    assert len(parts) == 80 and all(len(each) == 1 for each in parts.values())


def test_a_random_split_of_documents_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="a split by random rows divides what belongs together; its own is"):
        ps.datasets.load("text-sentiment", sentiment_files(tmp_path), split={"by": "random", "seed": 1})
