"""What a run was made with and of: versions, machine, data."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from polyscene._extension import __version__
from polyscene.data.dataset import Dataset

_PACKAGES = ("torch", "numpy", "pyarrow", "scipy", "scikit-learn", "safetensors")


def versions() -> dict[str, str]:
    """Versions of polyscene, Python and the packages it computes with."""
    found = {"polyscene": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def facts(config: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """The content of ``environment.json``."""
    counts = data.counts()
    scenes: dict[str, dict[str, int]] = {}
    for part, numbers in counts.items():
        for scene, rows in numbers.items():
            scenes.setdefault(scene, {})[part] = rows
    schema = data.schema
    sizes = {field.name: field.rows - 2 for field in schema.categorical}
    about: dict[str, Any] = {
        "name": data.name,
        "rows": {part: len(table) for part, table in data.tables.items()},
        "scenes": scenes,
        "fields": [field.name for group in (schema.categorical, schema.numeric, schema.lists) for field in group],
    }
    if schema.user is not None:
        about["users"] = sizes[schema.user]
    if schema.item is not None:
        about["items"] = sizes[schema.item]
    if licence := _licence(data.name):
        about["licence"] = licence
    return {
        "versions": versions(),
        "threads": config["train"]["threads"] or torch.get_num_threads(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "platform": sys.platform,
        "seeds": {"train": config["train"]["seed"], "split": config["dataset"].get("split", {}).get("seed")},
        "data_digest": data.digest,
        "split_digest": data.split_digest,
        "schema_digest": schema.digest,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": about,
    }


def _licence(name: str) -> str | None:
    from polyscene.datasets.registry import RECIPES

    return RECIPES[name].licence if name in RECIPES else None
