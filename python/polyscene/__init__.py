"""Models of user interest across scenes: C++ on LibTorch, with Python as the way in."""

from polyscene._extension import __version__, cmake_prefix_path
from polyscene._model import Model

from polyscene import models, testing  # isort: skip

__all__ = ["Model", "__version__", "cmake_prefix_path", "models", "testing"]
