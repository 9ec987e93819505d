"""
The compiled part of polyscene.
"""
from __future__ import annotations
from . import core
from . import data
from . import nn
from . import models
from . import transfer
from . import eval
from . import train
__all__: list[str] = ['core', 'data', 'eval', 'models', 'nn', 'torch_version', 'train', 'transfer', 'version']
def torch_version() -> str:
    """
    Version of torch that this build was made against.
    """
def version() -> str:
    """
    Version of polyscene.
    """
