"""The PEP 517 backend: setuptools, plus torch as a build requirement where none lies on disk."""

from __future__ import annotations

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403
from torch_locator import TORCH_VERSION, find_torch


def _torch() -> list[str]:
    return [] if find_torch() else [f"torch=={TORCH_VERSION}"]


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _torch()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _torch()
