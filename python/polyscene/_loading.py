"""The data set that a config names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polyscene.data.dataset import Dataset

_ROLES = ("label", "scene", "user", "item")


def load_data(config: dict[str, Any], carried: bool = False) -> Dataset:
    """The data set of a resolved config, with as many labels of the target as ``transfer.labels`` says.

    Args:
        config: as `resolve` returns it.
        carried: whether finished runs are carried into it: then all its scenes are the target.

    Raises:
        ValueError: the files are not what the config says; the message names file, row and column.
        FileNotFoundError: a file or folder is not there.
    """
    from polyscene import datasets

    given = config["dataset"]
    bare = _ROLES if given["name"] == "table" else ()  # null: no such column, in the place of the default
    block = {key: value for key, value in given.items() if value is not None or key in bare}
    if block["name"] == "table" and "root" in block:
        block = _below(Path(block.pop("root")), block)
    try:
        out = datasets.from_config(block)
    except (ValueError, TypeError, FileNotFoundError) as error:
        text = str(error)
        if not text.startswith("read_table: "):
            raise
        raise type(error)(f"dataset: {text.removeprefix('read_table: ')}") from error
    return out if config["transfer"]["labels"] == 1 else _few_labels(out, config["transfer"], carried)


def _few_labels(data: Dataset, block: dict[str, Any], carried: bool) -> Dataset:
    from polyscene.transfer import few_labels
    from polyscene.transfer.migration import scenes_of

    if not carried and not block["mechanism"]:
        raise ValueError("transfer.labels is for a transfer, and there is no transfer.mechanism")
    if carried:
        return few_labels(data, list(data.counts()["train"]), block["labels"])
    _, target = scenes_of(data, list(block["sources"]), block["target"])
    return few_labels(data, [target], block["labels"])


def _below(root: Path, block: dict[str, Any]) -> dict[str, Any]:
    """The block with the paths of its files below a folder."""

    def placed(source: Any) -> Any:
        if isinstance(source, str):
            return str(root / source)
        if isinstance(source, list):
            return [placed(each) for each in source]
        return {scene: placed(each) for scene, each in source.items()} if isinstance(source, dict) else source

    return block | {
        part: placed(block[part]) for part in ("data", "train", "valid", "test", "context") if part in block
    }
