"""
Errors, options and random streams.
"""
from __future__ import annotations
import collections.abc
import torch
import typing
__all__: list[str] = ['log', 'nearest', 'permutation', 'suggestion', 'uniform']
def log(level: typing.SupportsInt | typing.SupportsIndex, message: str, threads: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
    """
    Logs as C++ code does; with `threads`, from that many threads that Python does not know.
    """
def nearest(name: str, known: collections.abc.Sequence[str]) -> str:
    """
    The known name nearest to `name`, '' when none is near.
    """
def permutation(n: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, name: str, index: typing.SupportsInt | typing.SupportsIndex = 0) -> torch.Tensor:
    """
    A uniform permutation of 0..n-1, int64 [n]: number `index` of the stream (seed, name).
    """
def suggestion(name: str, known: collections.abc.Sequence[str]) -> str:
    """
    '; did you mean ...?' for a near name, else ''.
    """
def uniform(n: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, name: str, index: typing.SupportsInt | typing.SupportsIndex = 0) -> torch.Tensor:
    """
    Uniform numbers in [0, 1), float64 [n]: number `index` of the stream (seed, name).
    """
