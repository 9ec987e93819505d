"""Models of user interest across scenes: C++ on LibTorch, with Python as the way in."""

# Loads torch, and with it libtorch, before anything needs the compiled part.
from polyscene._extension import __version__, cmake_prefix_path  # isort: skip

from polyscene import data, datasets, models, testing, transfer, vision
from polyscene._model import Model
from polyscene.comparison import Comparison, compare
from polyscene.data import Batch, Dataset, Schema, Table, open_data, read_table
from polyscene.display import TrainingProgress
from polyscene.evaluation import Recommendations, evaluate
from polyscene.moving import moves
from polyscene.quantizing import is_quantized, quantize
from polyscene.results import Predictions, Result
from polyscene.saving import load, save
from polyscene.sessions import Session
from polyscene.training import Trainer, seed_everything
from polyscene.tuning import tune

__all__ = [
    "Batch",
    "Comparison",
    "Dataset",
    "Model",
    "Predictions",
    "Recommendations",
    "Result",
    "Schema",
    "Session",
    "Table",
    "Trainer",
    "TrainingProgress",
    "__version__",
    "cmake_prefix_path",
    "compare",
    "data",
    "datasets",
    "evaluate",
    "is_quantized",
    "load",
    "models",
    "moves",
    "open_data",
    "quantize",
    "read_table",
    "save",
    "seed_everything",
    "testing",
    "transfer",
    "tune",
    "vision",
]
