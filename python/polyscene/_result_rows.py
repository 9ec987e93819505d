"""What stands behind the metrics of a result: predictions row by row, and what each user's ranking is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_CLASS = "score_"  # and the number of a class: columns of predictions.parquet
_FACTS = ("row", "positives", "unreachable", "known_here", "known_elsewhere")


@dataclass
class Predictions:
    """The rows behind a result, in the order of the table.

    Attributes:
        row: row numbers in the evaluated table, int64 [N].
        scene: scene names, str [N].
        label: observed labels, float64 [N].
        score: predicted probabilities (for ratings: predicted values), float64 [N]. Of classes it is the probability of
            the row's own class, its label.
        user: users, [N], or None.
        weight: what each row counts in the metrics, float64 [N], or None for 1 each.
        classes: probabilities of all classes, float64 [N, C], or None where labels are no classes.
    """

    row: np.ndarray
    scene: np.ndarray
    label: np.ndarray
    score: np.ndarray
    user: np.ndarray | None = None
    weight: np.ndarray | None = None
    classes: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.row = np.asarray(self.row, dtype=np.int64)
        self.scene = np.asarray(self.scene)
        self.label = np.asarray(self.label, dtype=np.float64)
        self.score = np.asarray(self.score, dtype=np.float64)
        self.user = None if self.user is None else np.asarray(self.user)
        self.weight = None if self.weight is None else np.asarray(self.weight, dtype=np.float64)
        self.classes = None if self.classes is None else np.asarray(self.classes, dtype=np.float64)
        for name in ("scene", "label", "score", "user", "weight"):
            column = getattr(self, name)
            if column is not None and column.shape != self.row.shape:
                raise ValueError(f"Predictions: {name} must have the shape of row {self.row.shape}, got {column.shape}")
        if self.classes is not None and (self.classes.ndim != 2 or len(self.classes) != len(self.row)):
            raise ValueError(
                f"Predictions: classes must be [N, C] with N of {len(self.row)} rows, got {self.classes.shape}"
            )

    def __len__(self) -> int:
        return len(self.row)

    def of(self, scene: str) -> Predictions:
        """The rows of one scene."""
        return self.take(self.scene == scene)

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows picked by a boolean mask or by positions."""
        user = None if self.user is None else self.user[rows]
        weight = None if self.weight is None else self.weight[rows]
        classes = None if self.classes is None else self.classes[rows]
        return Predictions(self.row[rows], self.scene[rows], self.label[rows], self.score[rows], user, weight, classes)

    @classmethod
    def read(cls, path: str | Path) -> Predictions:
        """Reads ``predictions.parquet`` of a run folder.

        Raises:
            ValueError: a column is missing.
        """
        import pyarrow.parquet as parquet

        table = parquet.read_table(path)
        missing = [name for name in ("row", "scene", "label", "score") if name not in table.column_names]
        if missing:
            raise ValueError(f"{path}: wanted the columns row, scene, label, score; missing: {', '.join(missing)}")

        def column(name: str) -> np.ndarray:
            return table.column(name).to_numpy()

        user, weight = (column(name) if name in table.column_names else None for name in ("user", "weight"))
        names = sorted((name for name in table.column_names if name.startswith(_CLASS)), key=_class_number)
        classes = np.stack([column(name) for name in names], axis=1) if names else None
        return cls(column("row"), column("scene").astype(str), column("label"), column("score"), user, weight, classes)

    def write(self, path: str | Path) -> None:
        """Writes the rows as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        columns = {"row": self.row, "scene": pa.array(self.scene.astype(str).tolist(), pa.string())}
        columns |= {"label": self.label, "score": self.score}
        columns |= {name: each for name in ("user", "weight") if (each := getattr(self, name)) is not None}
        if self.classes is not None:
            columns |= {f"{_CLASS}{number}": each for number, each in enumerate(self.classes.T)}
        parquet.write_table(pa.table(columns), path)


def _class_number(column: str) -> int:
    return int(column.removeprefix(_CLASS))


@dataclass
class PerUser:
    """What each user's ranking in a scene is worth: what paired tests and slices need. Q users in scenes.

    With sampled candidates each wanted item is a line of its own.

    Attributes:
        scene: scene names, [Q].
        user: user ids, [Q].
        facts: "row" (first row of the table), "positives" (wanted items), "unreachable" (of them without training rows
            in the scene), "known_here" and "known_elsewhere" (the user's training items in the scene and in others),
            int64 [Q] each.
        values: metric -> float64 [Q].
    """

    scene: np.ndarray
    user: np.ndarray
    facts: dict[str, np.ndarray]
    values: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.scene)

    def write(self, path: str | Path) -> None:
        """Writes ``per_user.parquet``."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        columns: dict[str, Any] = {"scene": pa.array(self.scene.tolist(), pa.string())}
        columns |= {"user": pa.array(self.user.tolist(), pa.string())}
        parquet.write_table(pa.table(columns | self.facts | self.values), path)

    @classmethod
    def read(cls, path: str | Path) -> PerUser:
        """Reads ``per_user.parquet`` of a run folder.

        Raises:
            ValueError: a column is missing.
        """
        import pyarrow.parquet as parquet

        table = parquet.read_table(path)
        missing = [name for name in ("scene", "user", *_FACTS) if name not in table.column_names]
        if missing:
            raise ValueError(f"{path}: wanted the columns scene, user, {', '.join(_FACTS)}; missing: {missing[0]}")
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        scene, user = columns.pop("scene"), columns.pop("user")
        facts = {name: columns.pop(name) for name in _FACTS}
        return cls(scene, user, facts, columns)

    def slices(self) -> dict[str, np.ndarray]:
        """Groups of users by what training knew of them, as masks [Q].

        "cold" users have no training item in the scene, "few" 1 to 5, "some" 6 to 20, "many" more; "overlapping" users
        have training items in another scene too, "non_overlapping" ones have none there.
        """
        here, elsewhere = self.facts["known_here"], self.facts["known_elsewhere"]
        return {
            "cold": here == 0,
            "few": (here > 0) & (here <= 5),
            "some": (here > 5) & (here <= 20),
            "many": here > 20,
            "overlapping": (here > 0) & (elsewhere > 0),
            "non_overlapping": (here > 0) & (elsewhere == 0),
        }

    def means(self, metric: str) -> dict[str, dict[str, float]]:
        """Mean of a metric over each slice: slice -> scene -> value; "overall" pools scenes, "users" counts.

        Raises:
            ValueError: an unknown metric.
        """
        if metric not in self.values:
            raise ValueError(f"PerUser: unknown metric {metric!r}; known: {', '.join(self.values)}")
        out: dict[str, dict[str, float]] = {}
        for name, mask in self.slices().items():
            line = {"overall": _mean(self.values[metric][mask])}
            for scene in dict.fromkeys(self.scene):
                line[scene] = _mean(self.values[metric][mask & (self.scene == scene)])
            out[name] = line | {"users": float(mask.sum())}
        return out


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
