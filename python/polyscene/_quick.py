"""Quick forms of tables: what they leave out, and the ranges in which their figures are expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyscene.results import metric_title, read_json

FILE = "quick.json"  # beside the folders of the tables


@dataclass(frozen=True)
class Quick:
    """The quick form of a table.

    Attributes:
        set: overrides of every config.
        only: the runs that it is of; empty for all.
        expected: part, scene, run and metric, with the least and most that the figure should be.
    """

    set: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    expected: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def told(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """What was expected and what came out, a line a figure.

        Args:
            rows: as `Outcome.rows` holds them.
        """
        found = {tuple(row[key] for key in ("part", "scene", "run", "metric")): row["mean"] for row in rows}
        out = []
        for each in self.expected:
            place = tuple(each[key] for key in ("part", "scene", "run", "metric"))
            if place not in found:
                continue  # not among the runs that were chosen, or left out for want of data
            (low, high), value = each["range"], found[place]
            told = "as expected" if value is not None and low <= value <= high else "NOT AS EXPECTED"
            shown = "no value" if value is None else f"{value:.4f}"
            name = f"{each['run']} in {each['scene']}" + (f" ({each['part']})" if each["part"] else "")
            out.append(f"Quick: {metric_title(each['metric'])} of {name}: {shown}, {told}: {low} to {high}.")
        return out


def of(configs: Path, table: str) -> Quick:
    """The quick form of a table; with no entry it is one seed of the whole."""
    found = (read_json(configs / FILE) or {}).get(table, {})
    return Quick(tuple(found.get("set", ())), tuple(found.get("only", ())), tuple(found.get("expected", ())))
