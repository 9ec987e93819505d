"""Whether a run folder can be gone on with, and whether there is anything left to do in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from polyscene._extension import _C
from polyscene.data.dataset import Dataset
from polyscene.results import read_json

_TRAINED = ("last.safetensors", "stages", "model.safetensors", "metrics.json")
_MAY_CHANGE = ("train.epochs", "train.patience", "train.threads", "dataset.root", "evaluate", "report", "tune")


@contextmanager
def leaving_nothing(folder: Path, resume: bool) -> Iterator[None]:
    """Takes away a run folder when what is done inside fails before anything is trained, so the run can be corrected.

    Args:
        folder: the run folder; a folder that holds anything else stays.
        resume: whether the run goes on with what the folder held; it stays then, too.
    """
    try:
        yield
    except (ValueError, TypeError, OSError):
        with suppress(OSError):
            (folder / "stages").rmdir()  # of a transfer that refused before its first training
        history = folder / "history.jsonl"
        trained = any((folder / name).exists() for name in _TRAINED) or (history.exists() and history.stat().st_size)
        with suppress(OSError):
            if not resume and not trained:
                for name in ("config.json", "environment.json", "history.jsonl"):
                    (folder / name).unlink(missing_ok=True)
            folder.rmdir()  # refused where it holds anything
        raise


def check_resumable(folder: Path, config: dict[str, Any], environment: dict[str, Any]) -> None:
    """Refuses to go on with a run of another config or other data, before anything of it is overwritten."""
    before, known = _config_of(folder), read_json(folder / "environment.json")
    differ = [] if before is None else _differences(before, config, "")
    if known is not None and not differ:
        names = {"data_digest": "the data", "split_digest": "the split"}
        differ = [f"{name} (its digest)" for key, name in names.items() if known.get(key) != environment[key]]
    if differ:
        raise ValueError(
            f"{folder}: cannot resume, these are not those of the run: {'; '.join(differ)}; "
            "leave them as they were, or start anew with another --out"
        )


def _config_of(folder: Path) -> dict[str, Any] | None:
    """The config of a run; options that were not there yet when it was written have their defaults."""
    found = read_json(folder / "config.json")
    if found is None:
        return None
    with suppress(ValueError):  # of a version that knew others
        return dict(json.loads(_C.train.resolve_config(json.dumps(found), str(folder / "config.json"))))
    return found


def _differences(before: Any, now: Any, path: str) -> list[str]:
    if before == now or path in _MAY_CHANGE:
        return []
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys([*now, *before])
        return [
            text
            for key in keys
            for text in _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [f"{path} was {json.dumps(before)}, is {json.dumps(now)}"]


def is_finished(folder: Path, config: dict[str, Any], data: Dataset) -> bool:
    """Whether a folder holds a complete run of this very config and data."""
    known = read_json(folder / "environment.json") or {}
    digests = (known.get("data_digest"), known.get("split_digest"))
    return (
        "seconds" in known
        and digests == (data.digest, data.split_digest)
        and _config_of(folder) == config
        and all((folder / name).exists() for name in ("metrics.json", "history.jsonl", "model.safetensors"))
    )
