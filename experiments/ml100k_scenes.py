"""Writes docs/ml100k-scenes.md from the record of `polyscene reproduce ml100k-scenes`; no figure is typed by hand.

Run from anywhere: python experiments/ml100k_scenes.py [RECORD.json]. A new record is kept in experiments/results.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "experiments" / "results"
PAGE = ROOT / "docs" / "ml100k-scenes.md"
SCENE_MODELS = (
    "shared_bottom", "mmoe", "ple", "sar_net", "star", "m2m",
    "ada_sparse", "adapt_dhm", "ep_net", "pp_net", "hamur", "m3oe",
)  # fmt: skip
GOAL, WORSE, NEAR, ABOVE = 0.770, 0.005, 0.002, 0.003
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class Record:
    """The rows, runs and tests of the table, by name."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.cells = {(r["part"], r["scene"], r["run"], r["metric"]): r for r in content["rows"]}
        self.tests = {(t["part"], t["against"], t["run"], t["scene"], t["metric"]): t for t in content["tests"]}
        self.scenes = [s for s in dict.fromkeys(r["scene"] for r in content["rows"]) if s not in ("macro", "overall")]

    def runs(self, part: str) -> list[str]:
        """Names of the runs of a part that are there, multi-scene models first."""
        known = dict.fromkeys(r["run"] for r in self.content["rows"] if r["part"] == part)
        return [name for name in SCENE_MODELS if name in known] + [name for name in known if name not in SCENE_MODELS]

    def mean(self, part: str, run: str, scene: str = "overall", metric: str = "auc") -> float:
        """Mean over seeds."""
        return float(self.cells[part, scene, run, metric]["mean"])

    def cell(self, part: str, run: str, scene: str = "overall", metric: str = "auc") -> str:
        """Mean and standard deviation over seeds."""
        row = self.cells[part, scene, run, metric]
        return f"{row['mean']:.4f} ± {row['sd']:.4f}" if row["sd"] is not None else f"{row['mean']:.4f}"

    def test(self, part: str, run: str, against: str, scene: str = "overall") -> dict[str, Any]:
        """The test of a difference in AUC."""
        return self.tests[part, against, run, scene, "auc"]

    def cost(self, part: str, run: str, key: str) -> float:
        """Mean of what training took."""
        mine = [each for each in self.content["runs"] if (each["part"], each["run"]) == (part, run)]
        return statistics.fmean(each["training"].get(key, float("nan")) for each in mine)


def table(head: list[str], lines: list[list[str]], left: int = 1) -> str:
    """A table in Markdown with the first columns to the left."""
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, marks, *lines])


def count(number: int) -> str:
    """A number in words where it is small."""
    return COUNTS[number] if number < len(COUNTS) else str(number)


def named(names: list[str]) -> str:
    """Names of runs in code, joined."""
    return ", ".join(f"`{name}`" for name in names)


def paper(record: Record, peers: dict[str, Any]) -> str:
    """The first part: each model as its paper has it, beside the peer."""
    runs, models = record.runs("paper"), peers["models"]
    lines, behind, worst = [], [], {}
    for run in runs:
        mean, peer = record.mean("paper", run), models.get(run)
        line = [f"`{run}`", record.cell("paper", run)]
        if peer:
            gaps = [record.mean("paper", run, s) - p for s, p in zip(record.scenes, peer["scenes"], strict=True)]
            worst[run] = min(gaps)
            if mean < peer["auc"]:
                behind.append(run)
            line += [f"{peer['auc']:.4f}", f"{mean - peer['auc']:+.4f}", *(f"{gap:+.4f}" for gap in gaps)]
        else:
            line += ["–"] * (2 + len(record.scenes))
        line += [record.cell("paper", run, metric=metric) for metric in ("log_loss", "gauc", "f1")]
        lines.append([*line, f"{record.cost('paper', run, 'cpu_seconds'):.1f}"])
    reached = [run for run in runs if run in SCENE_MODELS and record.mean("paper", run) >= GOAL]
    below = [run for run in runs if run in SCENE_MODELS and run not in reached]
    over = [run for run, gap in worst.items() if gap < -WORSE]
    said = [
        f"{count(len(worst) - len(behind)).capitalize()} of {count(len(worst))} reach at least the mean AUC of the peer"
        + (f"; behind it: {named(behind)}." if behind else ".")
    ]
    low = min(worst, key=lambda run: worst[run])
    said.append(
        f"The largest loss in any one scene is that of `{low}`, {worst[low]:+.4f}"
        + (f"; beyond {WORSE} are {named(over)}." if over else f": none is beyond {WORSE}.")
    )
    said.append(
        f"{count(len(reached)).capitalize()} have a mean AUC of {GOAL:.3f} or more"
        + (f"; below it: {named(below)}." if below else ".")
    )
    head = ["Model", "AUC", "Peer", "Less peer", *record.scenes, "Log loss", "GAUC", "F1", "CPU s"]
    return table(head, lines) + "\n\n" + textwrap.fill(" ".join(said), 120)


def beside(record: Record, part: str, references: tuple[str, ...]) -> str:
    """Every model of a part beside factorisation."""
    runs, lines = record.runs(part), []
    for run in sorted(runs, key=lambda each: -record.mean(part, each)):
        config = record.content["configs"][part][run]["model"]
        kind = config.get("interaction", "") if run in SCENE_MODELS else ""
        line = [f"`{run}`" + (f" + {kind}" if kind else ""), record.cell(part, run)]
        line += ["" if run == against else difference(record.test(part, run, against)) for against in references]
        line += [record.cell(part, run, metric=metric) for metric in ("log_loss", "gauc", "f1")]
        cost = record.cost(part, run, "cpu_seconds"), record.cost(part, run, "peak_memory_mb")
        lines.append([*line, f"{cost[0]:.1f}", f"{cost[1]:.0f}"])
    ours = [run for run in runs if run in SCENE_MODELS]
    floor = max(record.mean(part, "mf"), record.mean(part, "factorization_machine"))
    near = [run for run in ours if record.mean(part, run) >= floor - NEAR]
    best = max(ours, key=lambda run: record.mean(part, run))
    far = [run for run in ours if run not in near]
    said = (
        f"{count(len(near)).capitalize()} of {count(len(ours))} are within {NEAR} of both `mf` and "
        f"`factorization_machine`, or above them" + (f"; not so {named(far)}. " if far else ". ")
    )
    test = record.test(part, best, "mf")
    gap, clear = test["difference"], min(test["p_rows_holm"], test["p_seeds_holm"]) < 0.05
    said += f"The best, `{best}`, is {told(test)} from `mf`, "
    said += "" if clear else "which no corrected test tells from chance, "
    said += f"{'no less' if gap >= ABOVE else 'less'} than our aim of {ABOVE}."
    if "svdpp" in runs:
        above = [run for run in ours if record.mean(part, run) > record.mean(part, "svdpp")]
        said += (
            f" Matrix factorisation with the same past, `svdpp`, is {told(record.test(part, 'svdpp', 'mf'))} from `mf`:"
            f" that much of it needs no scene structure. {count(len(above)).capitalize()} of {count(len(ours))} are "
            f"above `svdpp`, the best by {told(record.test(part, best, 'svdpp'))}."
        )
    less = [f"Less `{against}`" for against in references]
    head = ["Model", "AUC", *less, "Log loss", "GAUC", "F1", "CPU s", "MB"]
    return table(head, lines) + "\n\n" + textwrap.fill(said, 120)


def told(test: dict[str, Any]) -> str:
    """A difference with its interval and its p-values."""
    return (
        f"{test['difference']:+.4f} (95 % of the resamples of rows {test['low']:+.4f} to {test['high']:+.4f}, "
        f"p {p(test['p_rows_holm'])} over rows, {p(test['p_seeds_holm'])} over splits, by Holm)"
    )


def p(value: float) -> str:
    """A p-value in words."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def difference(test: dict[str, Any]) -> str:
    """A difference with a star where p over rows is below 0.05, and a dagger where p over seeds is."""
    marks = ("*" if test["p_rows_holm"] < 0.05 else "") + ("†" if test["p_seeds_holm"] < 0.05 else "")
    return f"{test['difference']:+.4f}{marks}"


def scene_by_scene(record: Record) -> str:
    """What scene structure adds to factorisation, in each scene."""
    ours = [run for run in record.runs("interaction") if run in SCENE_MODELS]
    places = [*record.scenes, "overall"]
    blocks = []
    for against, what in (
        ("factorization_machine", "a factorisation over the same fields, the scene one of them"),
        ("deep_fm", "a factorisation and one network that all scenes share, the scene a field"),
        (
            "svdpp",
            "matrix factorisation with the same past, in the third part; the models also have all other columns",
        ),
    ):
        part = "history" if against == "svdpp" else "interaction"
        if against not in record.runs(part):
            continue
        lines = [[f"`{run}`", *(difference(record.test(part, run, against, s)) for s in places)] for run in ours]
        blocks.append(f"Less `{against}` ({what}):\n\n" + table(["Model", *places], lines))
        said = []
        for scene in places:
            tests = {run: record.test(part, run, against, scene) for run in ours}
            gaps = {run: test["difference"] for run, test in tests.items()}
            best = max(gaps, key=lambda run: gaps[run])
            clear = [r for r, t in tests.items() if "*" in difference(t) and t["difference"] > 0]
            lost = [r for r, t in tests.items() if "*" in difference(t) and t["difference"] < 0]
            said.append(
                f"- {scene}: {count(sum(gap > 0 for gap in gaps.values()))} of {count(len(ours))} are above it, the "
                f"median model by {statistics.median(gaps.values()):+.4f}, the best, `{best}`, by {gaps[best]:+.4f}; "
                f"beyond the chance of test rows {count(len(clear))} above and {count(len(lost))} below."
            )
        blocks.append("\n".join(said))
    return "\n\n".join(blocks)


def budgets(record: Record) -> str:
    """How each config was found."""
    lines = []
    for part, configs in record.content["configs"].items():
        for run in record.runs(part):
            found = configs[run].get("tune", {}).get("found")
            if found:
                settings = {**configs[run]["model"], **configs[run]["train"]}
                names = [path.split(".")[1] for path in configs[run]["tune"]["space"]]
                shown = ", ".join(f"{name} {settings[name]}" for name in names)
                trials = f"{found['trials']} ({found['pruned']})"
                cost = f"{found['cpu_seconds']:.0f}"
                lines.append([f"{part}: `{run}`", shown, trials, cost, f"{found['value']:.4f}"])
    return table(["Run", "Found", "Trials (ended early)", "CPU s", "Validation AUC"], lines, left=2)


def unsearched(record: Record) -> str:
    """The configs that no search of their own made."""
    names = [
        f"{part}: {named(mine)}"
        for part, configs in record.content["configs"].items()
        if (mine := [run for run in record.runs(part) if not configs[run].get("tune", {}).get("found")])
    ]
    return (
        f"No search of their own: {'; '.join(names)}; their options are the first trial, by hand, of the others."
        if names
        else ""
    )


def missing(record: Record) -> str:
    """The configs of the table that the record does not have."""
    files = sorted((ROOT / "experiments" / "configs" / "ml100k-scenes").glob("*/*.json"))
    left = [(f.parent.name, f.stem) for f in files if f.stem not in record.content["configs"].get(f.parent.name, {})]
    parts = dict.fromkeys(part for part, _ in left)
    names = "; ".join(f"{part}: {named([run for at, run in left if at == part])}" for part in parts)
    return textwrap.fill(f"**Not in this record**, though in the table's configs: {names}.", 120) if left else ""


def crossed(search: dict[str, Any]) -> str:
    """What cross layers reached where they were searched."""
    said = []
    for run, trials in search["interaction"].items():
        best = {
            kind: max((t["value"] for t in trials if t["settings"].get("model.interaction") == kind), default=None)
            for kind in ("fm", "cross")
        }
        if best["fm"] is not None and best["cross"] is not None:
            said.append(f"`{run}` {best['cross']:.4f} against {best['fm']:.4f} of `fm`")
    return (
        "Cross layers were searched beside the factorisation machine and reached a validation AUC of "
        f"{', '.join(said)}; the other models were searched with `fm` alone."
    )


def page(record: Record, peers: dict[str, Any], search: dict[str, Any]) -> str:
    """The whole page."""
    seeds = record.content["seeds"]
    edges = ", ".join(f"`{scene}`" for scene in record.scenes)
    return f"""# Twelve multi-scene models on MovieLens 100K

Written by [experiments/ml100k_scenes.py](../experiments/ml100k_scenes.py) from
[the record](../experiments/results/ml100k-scenes.json) of
`polyscene reproduce ml100k-scenes --seeds {seeds} --data DIR`
([all scenes and metrics](../experiments/results/ml100k-scenes.md)). Scenes are the ages {edges}; a
rating of 4 or more is a positive; rows are split 8:1:1. The epoch is chosen on validation rows, test rows are read
once, at the end. Of differences, * marks p < 0.05 over test rows (paired bootstrap) and † p < 0.05 over seeds (paired
t-test), both after Holm's correction over all models and scenes of the comparison.

{missing(record)}

## As in the papers

{seeds} seeds of the model on one split: the rows and columns on which {peers["library"]} was measured
([its record](../experiments/results/ml100k-scenes-peers.json)).

{textwrap.fill(peers["about"] + " The columns of scenes are differences from the peer's AUC in each.", 120)}

{paper(record, peers)}

The embeddings of user and item meet in these models only inside a network, which hardly finds their product. That is
what the next part adds.

## With an interaction beside the towers

`interaction` adds a factorisation machine (`fm`) or cross layers (`cross`) on the same embeddings to the logit.
All columns of the data set, {seeds} splits, each with its own test rows: the split moves with the seed. The bootstrap
draws the rows of each split again and takes the mean over splits; test rows of different splits overlap by chance,
which no test here accounts for. MB is the peak of the whole process, CPU s that of the machine and day: compare both
within a part.

{beside(record, "interaction", ("mf", "factorization_machine"))}

## With what the user did before

`history` adds one more slot to the same models: the items that the user met before the row in the training rows, pooled
as SVD++ pools them (Koren, KDD 2008), whatever their labels; the factorisation machine pairs it with every other field,
and the towers read it. `svdpp` is `mf` with the same. Splits as in the part before; `mf` and `factorization_machine`
are those of that part; `history` is 50 events throughout. Options were searched anew, in 12 trials for each model: a
gap to the part before is not of `history` alone.

{beside(record, "history", ("mf", "factorization_machine", "svdpp"))}

## What scene structure adds to factorisation

{scene_by_scene(record)}

The scenes hold different people: a user is of one age. User embeddings therefore already tell scenes apart, and what is
left for towers, experts and gates of scenes is what all people of an age share beyond their own tastes.

## How the options were found

By `polyscene tune` on the validation rows of the first split, never on test rows: a first trial by hand, then
Optuna's TPE sampler with seed 2022, trials ended early where they fell behind. Options that are not named have their
defaults, or stand in the configs ([paper](../experiments/configs/ml100k-scenes/paper),
[interaction](../experiments/configs/ml100k-scenes/interaction),
[history](../experiments/configs/ml100k-scenes/history)). The options of the second and third part were found on the
first split and are the same for all.

{budgets(record)}

{textwrap.fill(unsearched(record) + " " + crossed(search), 120).strip()}
[All trials](../experiments/results/ml100k-scenes-search.json).
"""


def written() -> str:
    """The page of the records that are kept."""
    names = ("ml100k-scenes", "ml100k-scenes-peers", "ml100k-scenes-search")
    record, peers, search = (json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in names)
    return page(Record(record), peers, search)


def main() -> None:
    """Reads the records and writes the page."""
    kept = RESULTS / "ml100k-scenes.json"
    if len(sys.argv) > 1:
        given = Path(sys.argv[1])
        shutil.copy(given, kept)
        shutil.copy(given.with_suffix(".md"), kept.with_suffix(".md"))
    PAGE.write_text(written(), encoding="utf-8")
    print(f"page: {PAGE}")


if __name__ == "__main__":
    main()
