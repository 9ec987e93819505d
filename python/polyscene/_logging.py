"""Messages of the compiled part in Python's ``logging``, under the name "polyscene"."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")


class _Plain(logging.StreamHandler):  # type: ignore[type-arg]
    """Shows messages on standard error as long as nobody has set up logging."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("polyscene: %(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a message."""
        if not logging.getLogger().handlers:
            self.setStream(sys.stderr)
            super().emit(record)


def start(level: str | None = None) -> Any:
    """Sets the level that the environment variable ``POLYSCENE_LOG`` names; without it, logging stays as it is.

    Args:
        level: debug, info, warning, error or critical; what the variable holds if None.
    """
    logger = logging.getLogger("polyscene")
    wanted = (level if level is not None else os.environ.get("POLYSCENE_LOG", "")).strip()
    if not wanted:
        return logger
    if not any(isinstance(handler, _Plain) for handler in logger.handlers):
        logger.addHandler(_Plain())
    if wanted.lower() in LEVELS:
        logger.setLevel(wanted.upper())
    else:
        logger.warning("POLYSCENE_LOG must be one of %s, got %r", ", ".join(LEVELS), wanted)
    return logger
