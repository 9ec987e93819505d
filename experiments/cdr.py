"""Writes docs/cdr.md from the records of `polyscene reproduce cdr-...`; no figure is typed by hand.

Run from anywhere: python experiments/cdr.py [TABLE.json ...]. New records are kept in experiments/results.
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
CONFIGS = ROOT / "experiments" / "configs"
PAGE = ROOT / "docs" / "cdr.md"
ALONE = ("popularity", "item_knn", "ease")
POOLED = ("item_knn_overall", "ease_overall", "bpr_mf", "neu_mf", "light_gcn", "ngcf", "gcn", "gat")
METRICS = ("recall@10", "ndcg@10", "hit@10", "mrr@10", "coverage@10")
SLICES = ("cold", "few", "some", "many")
TABLES = {
    "cdr-douban": (
        "Douban, book and music",
        "Ratings of 3 and more, users and items with five rows at least, each user's rows split 8:1:1 at random. Both "
        "scenes are trained on together and each is evaluated: both directions of the papers in one run. The split is "
        "the same for all seeds.",
    ),
    "cdr-amazon": (
        "Amazon, sport with phone and with cloth",
        "The publisher's test rows, one a user and scene; validation rows are drawn from its training rows. Full "
        "ranking first, then the papers' protocol of 999 drawn items beside each wanted one, then full ranking without "
        "the test rows whose item has a twin: the same product listed in both scenes under two ids. The first two "
        "hold the rows with twins. Candidates are drawn from all items alike; epochs are chosen by the full ranking.",
    ),
    "cdr-warm": (
        "Users who are known, over moving splits",
        "What the other scene adds for users with rows of their own: ratings of 3 and more in Douban, each user's rows "
        "split 8:1:1 at random, in Amazon those of the publisher's test, too. The split moves with the seed.",
    ),
    "cdr-cold": (
        "Users who are new in a scene",
        "A fifth of the users of both scenes loses all rows of one scene to the test, another fifth to validation, "
        "half of each in either direction: known there, new here. The split moves with the seed.",
    ),
}


class Record:
    """The rows, runs and tests of a table, by name."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.parts = list(dict.fromkeys(row["part"] for row in content["rows"]))
        self.cells = {(r["part"], r["scene"], r["run"], r["metric"]): r for r in content["rows"]}
        self.tests = {(t["part"], t["against"], t["run"], t["scene"], t["metric"]): t for t in content["tests"]}

    def scenes(self, part: str) -> list[str]:
        """The scenes of a part."""
        names = dict.fromkeys(row["scene"] for row in self.content["rows"] if row["part"] == part)
        return [name for name in names if name not in ("macro", "overall")]

    def runs(self, part: str) -> list[str]:
        """Names of the runs of a part: scenes alone, scenes pooled, across scenes."""
        known = dict.fromkeys(row["run"] for row in self.content["rows"] if row["part"] == part)
        first = [name for name in (*ALONE, *POOLED) if name in known]
        return first + [name for name in known if name not in first]

    def cell(self, part: str, scene: str, run: str, metric: str) -> str:
        """Mean and standard deviation over seeds."""
        row = self.cells.get((part, scene, run, metric))
        if row is None or row["mean"] is None:
            return "–"
        return f"{row['mean']:.4f}" + (f" ± {row['sd']:.4f}" if row["sd"] else "")

    def references(self, part: str, scene: str) -> list[str]:
        """What the runs of a scene are tested against, models of the scene alone first."""
        names = dict.fromkeys(at[1] for at in self.tests if (at[0], at[3]) == (part, scene))
        return sorted(names, key=(*ALONE, *POOLED).index)

    def users(self, part: str, scene: str) -> dict[str, float]:
        """Users of each slice, mean over seeds."""
        first = self.runs(part)[0]
        found = [r["users"][scene] for r in self.content["runs"] if (r["part"], r["run"]) == (part, first)]
        return {name: statistics.fmean(each[name] for each in found) for name in SLICES}

    def cost(self, part: str, run: str, key: str) -> str:
        """Mean of what training took."""
        mine = [each for each in self.content["runs"] if (each["part"], each["run"]) == (part, run)]
        values = [each["epochs"] if key == "epochs" else each["training"].get(key) for each in mine]
        known = [value for value in values if value is not None]
        return f"{statistics.fmean(known):.0f}" if known and len(known) == len(values) else "–"


def table(head: list[str], lines: list[list[str]], left: int = 1) -> str:
    """A table in Markdown with the first columns to the left."""
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, marks, *lines])


def named(names: list[str]) -> str:
    """Names of runs in code, joined."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def p(value: float | None) -> str:
    """A p-value in words."""
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def marked(test: dict[str, Any] | None) -> str:
    """A difference with a star where p over users is below 0.05."""
    if test is None or test["difference"] is None:
        return "–"
    clear = test["p_rows_holm"] is not None and test["p_rows_holm"] < 0.05
    return f"{test['difference']:+.4f}" + ("*" if clear else "")


def kind(run: str) -> str:
    """What a model reads."""
    return "alone" if run in ALONE else "pooled" if run in POOLED else "across"


def scene_table(record: Record, part: str, scene: str) -> str:
    """All models in a scene, with what training took where the part is that of the training."""
    runs = record.runs(part)
    trained = any(each["training"] for each in record.content["runs"] if each["part"] == part)
    users = record.users(part, scene)
    shown = [name for name in SLICES if users[name]]
    lines = []
    for run in runs:
        line = [f"`{run}`", kind(run), *(record.cell(part, scene, run, metric) for metric in METRICS)]
        line += [record.cell(part, scene, run, f"ndcg@10 {name}") for name in shown]
        if trained:
            line += [record.cost(part, run, key) for key in ("epochs", "cpu_seconds", "seconds", "peak_memory_mb")]
        lines.append(line)
    head = ["Model", "Reads", "Recall@10", "NDCG@10", "Hit@10", "MRR@10", "Coverage@10"]
    head += [f"{name} ({users[name]:,.0f})" for name in shown] + (
        ["Epochs", "CPU s", "Seconds", "MB"] if trained else []
    )
    return table(head, lines, 2)


def beside_popularity(record: Record, part: str, scene: str) -> str:
    """The models whose means lie above those of popularity in a scene, and the others."""

    def reached(run: str) -> list[float]:
        return [record.cells[part, scene, run, metric]["mean"] for metric in ("hit@10", "ndcg@10")]

    bar, others = reached("popularity"), [run for run in record.runs(part) if run != "popularity"]
    above = [run for run in others if all(mine > its for mine, its in zip(reached(run), bar, strict=True))]
    others = [run for run in others if run not in above]
    said = f"Above `popularity` in the means of both Hit@10 and NDCG@10: {named(above)}; not in both: {named(others)}."
    return textwrap.fill(f"{said} Means alone, without a test of chance.", 120)


def differences(record: Record, part: str, scene: str) -> str:
    """Every model less the references of a scene, over all users and by slice."""
    blocks, users = [], record.users(part, scene)
    shown = [name for name in SLICES if users[name]]
    for against in record.references(part, scene):
        lines, above, below = [], [], []
        for run in (run for run in record.runs(part) if run != against):
            tests = [
                record.tests.get((part, against, run, scene, f"ndcg@10{s}")) for s in ("", *(f" {s}" for s in shown))
            ]
            test = tests[0]
            if test is None or test["difference"] is None:
                continue
            lines.append(
                [f"`{run}`", marked(test), f"{test['low']:+.4f} … {test['high']:+.4f}", p(test["p_rows_holm"])]
            )
            lines[-1] += [p(test["p_seeds_holm"]), *map(marked, tests[1:])]
            if "*" in marked(test):
                (above if test["difference"] > 0 else below).append(run)
        if not lines:
            continue
        what = "reads this scene alone" if against in ALONE else "knows no scenes and reads the rows of all"
        head = ["Model", "NDCG@10", "95 % of the resamples", "p (users)", "p (seeds)", *shown]
        said = f"Beyond chance, over users, above `{against}`: {named(above)}; below it: {named(below)}."
        blocks.append(f"Less `{against}`, which {what}:\n\n{table(head, lines)}\n\n{textwrap.fill(said, 120)}")
    return "\n\n".join(blocks)


def missing(name: str, record: Record) -> str:
    """The configs of a table that its record does not have."""
    files = sorted((CONFIGS / name).glob("*/*.json"))
    left: dict[str, list[str]] = {}
    for file in files:
        if file.stem not in record.content["configs"].get(file.parent.name, {}):
            left.setdefault(file.parent.name, []).append(file.stem)
    said = "; ".join(f"{part}: {named(runs)}" for part, runs in left.items())
    return textwrap.fill(f"**Not in this record**, though in the table's configs: {said}.", 120) if left else ""


def section(name: str, record: Record | None) -> str:
    """What the page says of a table."""
    title, about = TABLES[name]
    lines = [f"## {title}", textwrap.fill(about, 120)]
    if record is None:
        lines.append(f"**No record yet**: `polyscene reproduce {name} --data DIR` makes it.")
        return "\n\n".join(lines)
    seeds = record.content["seeds"]
    lines.append(
        f"[The record](../experiments/results/{name}.json) of `polyscene reproduce {name} --seeds {seeds} --data DIR`,"
        f"\nwith [all scenes and metrics](../experiments/results/{name}.md)."
    )
    lines += [text] if (text := missing(name, record)) else []
    for part in record.parts:
        lines.append(f"### {part}")
        for scene in record.scenes(part):
            lines += [f"#### {part}: {scene}", scene_table(record, part, scene)]
            lines.append(beside_popularity(record, part, scene))
            lines += [text] if (text := differences(record, part, scene)) else []
    return "\n\n".join(lines)


def page(records: dict[str, Record]) -> str:
    """The whole page."""
    sections = "\n\n".join(section(name, records.get(name)) for name in TABLES)
    return f"""# Rankings across scenes

Written by [experiments/cdr.py](../experiments/cdr.py) from records of `polyscene reproduce`. What does another scene
add for a user, and to whom? Models that read one scene alone ("alone"), and those that read the rows of all without an
idea of scenes ("pooled"), therefore stand in the same tables as the models that carry interest across ("across").

Figures are test rows, mean ± standard deviation over seeds (without ± where a model has no chance in it or there is one
seed); a wanted item is ranked among all items of its scene that the user did not meet there, see
[definitions](definitions.md). The epoch is chosen by NDCG@10 of the validation rows, a run reads test rows
after training. Columns cold, few, some and many are NDCG@10 of users with 0, 1 to 5, 6 to 20 and more training
items in the scene, with their number.
Differences are model less reference; the references of a scene are the best by validation rows of
the models that read it alone, and of those and the pooled ones together. * marks p < 0.05 of a paired t-test over users
in which a user's rankings of all seeds count together, p (seeds) is of a paired t-test over seeds; both are corrected
by Holm over all models, references and scenes of a part. One thread. CPU s is what training took of the processor;
seconds are by the clock and hold what else the machine did. MB is the peak of the whole process while it trains, and a
table runs in one process or in several, so that it also holds what earlier runs left behind: an upper bound for a
model, not a comparison between them.

The options of the models are set by hand and stand in the [configs](../experiments/configs); in a table they are
the same for all data sets. They come from trial runs on the same data while the models were written, which showed test
figures, too, and no search with a budget alike for all was made: a model with other options may reach more.

Some models are made for other users than most of these. `cdrib`, as its paper has it, ranks whoever has rows elsewhere
without their rows here; in `cdr-douban` and `cdr-amazon` it may read these, too (`trained` and `scored` "mean").
`ptupcdr`, `emcdr` and `sscdr` serve whom a scene knows from its own factors, as factors of that scene alone would, and
map those of other scenes for new users. Phases that no validation row can judge train 30 epochs at most.

{sections}
"""


def written() -> str:
    """The page of the records that are kept."""
    paths = {name: RESULTS / f"{name}.json" for name in TABLES}
    kept = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
    return page({name: Record(content) for name, content in kept.items()})


def main() -> None:
    """Keeps new records and writes the page."""
    for given in map(Path, sys.argv[1:]):
        name = json.loads(given.read_text(encoding="utf-8"))["table"]
        if name not in TABLES:
            raise SystemExit(f"{given}: wanted a record of {', '.join(TABLES)}, got one of {name}")
        shutil.copy(given, RESULTS / f"{name}.json")
        shutil.copy(given.with_suffix(".md"), RESULTS / f"{name}.md")
    PAGE.write_text(written(), encoding="utf-8")
    print(f"page: {PAGE}")


if __name__ == "__main__":
    main()
