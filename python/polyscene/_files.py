"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when all went well; else an earlier file stays.

    Raises:
        OSError: it could not be written; the message names ``target``.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # the folder may not be one
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Writes text in UTF-8, whole or not at all, and returns the path.

    Raises:
        OSError: it could not be written; the message names the file.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all.

    Raises:
        OSError: it could not be written; the message names the file.
        ValueError: a number that JSON does not have.
    """
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
