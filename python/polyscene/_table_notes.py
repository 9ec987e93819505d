"""What a reader of a table must know: differences, how they were tested, what was searched."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polyscene import _ranking_tables as ranked
from polyscene.results import metric_title

if TYPE_CHECKING:
    from polyscene.reproducing import Outcome

# What a table compares, seed by seed, in the scene that the models are carried into.
_COMPARED = {"interest-migration": (("attention_transfer", "no_attention"), ("attention_transfer", "target_only"))}


def differences(outcome: Outcome, metrics: Sequence[str]) -> list[str]:
    """What the compared runs of a table differ by, seed by seed."""
    notes = []
    for part in dict.fromkeys(row["part"] for row in outcome.rows):
        targets = {each["target"] for each in outcome.runs if each["part"] == part} - {None}
        target = targets.pop() if len(targets) == 1 else "overall"
        for one, other in _COMPARED.get(outcome.table, ()):
            texts = []
            for metric in metrics:
                pairs = zip(
                    outcome.values(part, target, one, metric), outcome.values(part, target, other, metric), strict=False
                )
                steps = [a - b for a, b in pairs if a is not None and b is not None]
                if steps:
                    sd = f" ± {statistics.stdev(steps):.4f}" if len(steps) > 1 else ""
                    texts.append(f"{metric_title(metric)} {statistics.fmean(steps):+.4f}{sd}")
            if texts:
                notes.append(f"{part}: {one} less {other} in {target}: {', '.join(texts)}.")
    return notes


def tested(outcome: Outcome, moving: Sequence[str]) -> list[str]:
    if not outcome.tests:
        return []
    over_rows = (
        "Differences are means over seeds, run less reference; p (rows) is of a paired bootstrap of the test rows, "
        "1000 resamples, p (seeds) of a paired t-test over the seeds; each is corrected by Holm over all runs and "
        "scenes."
    )
    return [
        *([] if outcome.table in ranked.TABLES else [over_rows]),
        *(
            [f"{', '.join(moving)}: the split moves with the seed; in other parts all seeds have the same rows."]
            if moving
            else []
        ),
        "Training on one thread; peak memory is that of the whole process, libraries and data included.",
    ]


def searched(chosen: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
    """The budget of the searches that made the configs, by part and number of trials."""
    budgets: dict[tuple[str, int], list[str]] = {}
    for part, run, config in chosen:
        if found := config.get("tune", {}).get("found"):
            budgets.setdefault((part, found["trials"]), []).append(run)
    return [
        f"{part}: options from {trials} trials on validation rows of the first seed: {', '.join(names)}."
        for (part, trials), names in budgets.items()
    ]
