"""The only place that loads the compiled part."""

from __future__ import annotations

from pathlib import Path

import torch  # loads libtorch, which the compiled part needs, wherever torch is installed

try:
    from polyscene import _build
except ImportError as error:
    raise ImportError(
        "polyscene: the compiled part is missing; run `pip install .` in the source folder "
        "(for a developer build see CONTRIBUTING.md)"
    ) from error

if _build.TORCH_VERSION.split("+")[0] != torch.__version__.split("+")[0]:
    raise ImportError(
        f"polyscene: built against torch {_build.TORCH_VERSION}, but torch {torch.__version__} is installed; "
        f"run `pip install torch=={_build.TORCH_VERSION.split('+')[0]}`, or reinstall polyscene from its source folder "
        "with `pip install --force-reinstall --no-deps .`"
    )

from polyscene import _C, _logging

_logging.start()

__all__ = ["_C", "__version__", "cmake_prefix_path"]

__version__: str = _C.version()
cmake_prefix_path: str = str(Path(__file__).parent / "share" / "cmake")
"""What CMake's ``CMAKE_PREFIX_PATH`` must hold for ``find_package(polyscene)``."""
