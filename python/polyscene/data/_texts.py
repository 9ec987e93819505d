"""Texts to tokens and labels to classes, once it is known which rows train."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from polyscene.data._cells import Lists, take_lists
from polyscene.data._columns import Arrays
from polyscene.data._errors import listed, suggestion
from polyscene.data.frame import Frame
from polyscene.data.roles import CLASSED, TokenizerRole
from polyscene.data.splits import PARTS

_UNKNOWN = "[UNK]"  # a character that no training text has; no row of the vocabulary
_INSIDE = "##"  # in front of a piece that goes on a word


def settle(source: Arrays, part: np.ndarray | None, frame: Frame) -> None:
    """Makes classes of labels (tasks text and image) and tokens of texts; does nothing for other tasks.

    Args:
        source: as `arrays` gives it; its texts, labels and roles are replaced.
        part: int8 [N], 0 where a row trains: these rows teach tokeniser and classes; None: the roles know both.
        frame: the source, for messages.

    Raises:
        ValueError: a label that is no class, or fewer than two classes.
    """
    if source.roles.task not in CLASSED:
        return
    _classes(source, part, frame)
    for i, role in enumerate(source.roles.lists):
        if role.kind == "text":
            source.lists[i] = _tokens(source, source.lists[i], role.max_length, part)


def _classes(source: Arrays, part: np.ndarray | None, frame: Frame) -> None:
    if source.label is None or source.roles.label is None:
        return
    column = source.roles.label.column
    codes = source.label.astype(np.int64)
    classes = list(source.roles.classes)
    if part is not None:
        classes = class_order([source.label_ids[code] for code in np.unique(codes[part == 0])])
        if len(classes) < 2:
            raise ValueError(
                f"{frame.owner}: label: task {source.roles.task!r} needs two classes or more in the training rows, got "
                f"{listed(classes) or 'none'} in column {column!r}"
            )
        source.roles = replace(source.roles, classes=tuple(classes))
    index = {name: float(i) for i, name in enumerate(classes)}
    table = np.array([index.get(name, np.nan) for name in source.label_ids], np.float32)
    source.label = table[codes]
    bad = np.flatnonzero(np.isnan(source.label))
    if bad.size and source.origin is not None:
        row, name = int(bad[0]), source.label_ids[codes[bad[0]]]
        where = "" if part is None else f" (a row of {PARTS[part[row]]})"
        raise frame.problem(
            int(source.origin[row]),
            column,
            f"wanted a class of the training rows, {listed(classes)}, got {name!r}{where}{suggestion(name, classes)}",
        )


def class_order(names: list[str]) -> list[str]:
    """Class names in their order: by value where all are whole numbers, else as texts."""
    numbers = all(re.fullmatch(r"[+-]?[0-9]+", name) for name in names)
    return sorted(names, key=(lambda name: (int(name), name)) if numbers else (lambda name: (0, name)))


def _tokens(source: Arrays, texts: Lists, longest: int, part: np.ndarray | None) -> Lists:
    """Tokens of whole texts; each distinct text is divided once."""
    role = source.roles.tokenizer or TokenizerRole()
    known = texts.ids.to_pylist()
    if role.kind != "words" and not role.model:
        rows = np.arange(len(texts.offsets) - 1) if part is None else np.flatnonzero(part == 0)
        codes, _ = take_lists(texts.codes, texts.offsets, rows)
        role = replace(role, model=taught([known[code] for code in codes], role))
        source.roles = replace(source.roles, tokenizer=role)
    divide = divider(role)
    index: dict[str, int] = {}
    values, lengths = [], np.zeros(len(known), np.int64)
    used = np.zeros(len(known), bool)
    used[texts.codes] = True
    for i in np.flatnonzero(used):
        tokens = divide(known[i])[:longest]
        lengths[i] = len(tokens)
        values += [index.setdefault(token, len(index)) for token in tokens]
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    codes, inner = take_lists(np.array(values, np.int32), offsets, texts.codes)
    # A row has one text or none, so that its tokens end where those of its last text do.
    return Lists(codes, inner[texts.offsets], pa.array(list(index), pa.large_string()))


def divider(role: TokenizerRole) -> Callable[[str], list[str]]:
    """What makes tokens of a text: NFC, lower case, words and runs of punctuation, then pieces of words."""
    library = _library()
    if role.kind != "words":
        tokenizer = library.Tokenizer.from_str(role.model)
        return lambda text: list(tokenizer.encode(text, add_special_tokens=False).tokens)
    normalizer, words = _normalizer(library), library.pre_tokenizers.Whitespace()
    return lambda text: [word for word, _ in words.pre_tokenize_str(normalizer.normalize_str(text))]


def taught(texts: list[str], role: TokenizerRole) -> str:
    """The JSON text of a bpe (Sennrich et al., ACL 2016) or wordpiece (Wu et al., 2016) tokeniser of these texts."""
    library = _library()
    kind, normalizer = library.models.BPE if role.kind == "bpe" else library.models.WordPiece, _normalizer(library)
    letters = sorted({letter for text in texts for letter in normalizer.normalize_str(text) if not letter.isspace()})
    # Letters inside words are numbered in the order of a hash map, which breaks ties between merges: number them first.
    first = [_UNKNOWN, *letters, *(_INSIDE + letter for letter in letters)]
    trainer = library.trainers.BpeTrainer if role.kind == "bpe" else library.trainers.WordPieceTrainer
    marks = {"unk_token": _UNKNOWN, "continuing_subword_prefix": _INSIDE}
    learning = _pipeline(library, kind(**marks))
    learning.train_from_iterator(
        texts,
        trainer(
            vocab_size=max(role.size, len(first)),
            min_frequency=2,
            special_tokens=first,
            continuing_subword_prefix=_INSIDE,
            show_progress=False,
        ),
    )
    learned = json.loads(learning.to_str())["model"]
    merges = {"merges": [tuple(pair) for pair in learned["merges"]]} if role.kind == "bpe" else {}
    return str(_pipeline(library, kind(vocab=learned["vocab"], **merges, **marks)).to_str())  # without special tokens


def _pipeline(library: Any, model: Any) -> Any:
    tokenizer = library.Tokenizer(model)
    tokenizer.normalizer = _normalizer(library)
    tokenizer.pre_tokenizer = library.pre_tokenizers.Whitespace()
    return tokenizer


def _normalizer(library: Any) -> Any:
    return library.normalizers.Sequence([library.normalizers.NFC(), library.normalizers.Lowercase()])


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError('texts need the package tokenizers: pip install "polyscene[text]"') from error
    return tokenizers
