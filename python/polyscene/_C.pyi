"""
The compiled part of polyscene.
"""
from __future__ import annotations
__all__: list[str] = ['torch_version', 'version']
def torch_version() -> str:
    """
    Returns the version of torch that the library was compiled against.
    """
def version() -> str:
    """
    Returns the version of the loaded library.
    """
