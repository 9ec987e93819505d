"""Builds a CMake project of this repository against the installed package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import polyscene
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, timeout: float = 1800) -> str:
    """Runs a command and returns what it printed; a failing one fails the test with all of it."""
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},  # idle threads spin, which is dear where cores are shared
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}", pytrace=False)
    return done.stdout


def build(source: Path, folder: Path, **define: str | Path) -> Path:
    """Configures and builds ``source`` in ``folder``; an earlier build there is brought up to date."""
    if (folder / "CMakeCache.txt").exists() and f"={source}\n" not in (folder / "CMakeCache.txt").read_text():
        shutil.rmtree(folder)
    jobs = os.environ.get("MAX_JOBS") or os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or "2"
    run(
        "cmake", "-S", source, "-B", folder, "-G", "Ninja",
        f"-Dpolyscene_DIR={Path(polyscene.cmake_prefix_path) / 'polyscene'}",
        f"-DTORCH_DIR={Path(torch.__file__).parent}",
        *(f"-D{name}={value}" for name, value in define.items()),
    )  # fmt: skip
    run("cmake", "--build", folder, "--parallel", jobs)
    return folder
