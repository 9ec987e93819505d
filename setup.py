"""Compiles libpolyscene.so and the extension module with CMake; all other settings are in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "build_tools"))

from torch_locator import cmake_values  # noqa: E402


class CleanBuild(build):
    """A build that starts from an empty folder, so that no file of an earlier source tree reaches the wheel."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class CMakeBuild(build_ext):
    """Runs CMake and installs its results into the package folder."""

    def run(self) -> None:
        in_place = bool(self.inplace) or self.editable_mode
        package = ROOT / "python" / "polyscene" if in_place else Path(self.build_lib).resolve() / "polyscene"
        folder = ROOT / "build" / "dev" if in_place else Path(self.build_temp).resolve() / "cmake"
        values = cmake_values() | {
            "CMAKE_INSTALL_PREFIX": str(package),
            "POLYSCENE_UNITY": "OFF" if in_place else "ON",
            "PYTHON": sys.executable,
        }
        # The tools of an isolated build are gone afterwards: a cache that names them is of no use.
        fresh = [] if in_place else ["--fresh"]
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        jobs = os.environ.get("MAX_JOBS") or os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or "2"
        define = [f"-D{name}={value}" for name, value in values.items()]
        subprocess.check_call(["cmake", *fresh, "-S", str(ROOT), "-B", str(folder), *generator, *define])
        subprocess.check_call(["cmake", "--build", str(folder), "--target", "install", "--parallel", jobs])

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


setup(ext_modules=[Extension("polyscene._C", [])], cmdclass={"build": CleanBuild, "build_ext": CMakeBuild})
