"""Models of user interest across scenes: C++ on LibTorch, with Python as the way in."""

from polyscene._extension import __version__, cmake_prefix_path

__all__ = ["__version__", "cmake_prefix_path"]
