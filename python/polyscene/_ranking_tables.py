"""Tables of rankings: slices of users, further evaluations of one training, tests against models of one scene."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from polyscene import _statistics as stats
from polyscene._files import write_json
from polyscene._recorder import write_predictions
from polyscene.comparison import compare
from polyscene.data.overlap import overlap
from polyscene.evaluation import evaluate
from polyscene.results import PerUser, Result, nulls, read_json

if TYPE_CHECKING:
    from polyscene.runs import Run

SLICES = ("cold", "few", "some", "many")
MAIN = "ndcg@10"
COLUMNS = ("recall@10", MAIN, "hit@10", "mrr@10", "coverage@10", *(f"{MAIN} {name}" for name in SLICES))
TESTED = (MAIN, "recall@10", *(f"{MAIN} {name}" for name in SLICES))
DRAWS = 500
# What reads the rows of one scene alone, and what has no idea of scenes but reads the rows of all.
ALONE = ("popularity", "item_knn", "ease")
POOLED = ("item_knn_overall", "ease_overall", "bpr_mf", "neu_mf", "light_gcn", "ngcf", "gcn", "gat")
OF_SEQUENCES = ("item_knn_near", "sasrec_scene")  # read the rows of one scene alone, too
# The tables, with what each trained model is evaluated on besides all test rows and all items.
TABLES: dict[str, tuple[str, ...]] = {
    "cdr-amazon": ("999 candidates", "without twins"),
    "cdr-cold": ("without twins",),
    "cdr-douban": ("without twins",),
    "cdr-warm": ("without twins",),
    "sequences-ml100k": (),
    "sequences-movie-book": (),
}


def facts(result: Result) -> dict[str, Any]:
    """What a record holds of a ranking besides its metrics.

    Returns:
        ``scenes`` (scene, macro and overall -> metric of a slice -> value), ``users`` (scene -> slice -> number of
        rankings) and ``valid_scenes`` (scene and overall -> NDCG@10 of the validation rows).
    """
    rankings = result.per_user
    scenes: dict[str, dict[str, float | None]] = {name: {} for name in (*result.scenes, "macro", "overall")}
    users: dict[str, dict[str, int]] = {name: {} for name in (*result.scenes, "overall")}
    if rankings is not None and MAIN in rankings.values:
        means, masks = rankings.means(MAIN), rankings.slices()
        for name in SLICES:
            for scene in users:
                place = masks[name] if scene == "overall" else masks[name] & (rankings.scene == scene)
                users[scene][name] = int(place.sum())
                scenes[scene] |= nulls({f"{MAIN} {name}": means[name].get(scene, math.nan)})
            known = [value for scene in result.scenes if (value := scenes[scene][f"{MAIN} {name}"]) is not None]
            scenes["macro"][f"{MAIN} {name}"] = statistics.fmean(known) if known else None
    valid = result.valid
    parts = {} if valid is None else {**valid.scenes, "overall": valid.overall}
    judged = {scene: nulls(values).get(MAIN) for scene, values in parts.items()}
    return {"scenes": scenes, "users": users, "valid_scenes": judged}


def further(table: str, figure: Mapping[str, Any], done: Run, folder: Path) -> Iterator[dict[str, Any]]:
    """Evaluates a trained model on what the table asks for besides; kept in sub-folders of the run's.

    Args:
        table: its name, a key of `TABLES`.
        figure: what `Outcome.runs` holds of the run.
        done: the run.
        folder: that of the table.

    Yields:
        One figure an evaluation, in a part of its own, without what training took.
    """
    trained = hashlib.sha256((done.folder / "metrics.json").read_bytes()).hexdigest()
    for name in TABLES[table]:
        place = done.folder / name.replace(" ", "-")
        if (read_json(place / "environment.json") or {}).get("of") == trained:
            found = Result.load(place)
        else:
            whole = name != "without twins"
            rows = done.data.test if whole else without_twins(done.data)
            if rows is None:  # there are no twins
                continue
            found = evaluate(done.model, rows, candidates=int(name.split()[0]) if whole else "all")
            place.mkdir(exist_ok=True)
            write_predictions(found, place)
            write_json(place / "metrics.json", found.to_dict())
            write_json(place / "environment.json", {"split_digest": done.data.split_digest, "of": trained})
        scenes = {**found.scenes, "macro": found.macro, "overall": found.overall}
        mine = facts(found)
        yield {
            **figure,
            "part": f"{figure['part']}, {name}",
            "folder": place.relative_to(folder).as_posix(),
            "scenes": {scene: nulls(values) | mine["scenes"][scene] for scene, values in scenes.items()},
            "users": mine["users"],
            "rows": {scene: counts["rows"] for scene, counts in found.counts.items()},
            "training": {},
        }


def without_twins(data: Any) -> Any:
    """The test rows whose item has no twin in another scene, see `overlap`; None where none or all have."""
    names = {name for pair in overlap(data).pairs for twin in pair.twins for name in (twin.first, twin.second)}
    rows = data.test
    column = rows.columns.categorical.index(data.schema.item)
    is_twin = torch.tensor([*(name in names for name in rows.columns.ids[column].list()), False])  # -1: no item
    twin = is_twin[rows.columns.codes[:, column][rows.rows].long()]
    kept = torch.nonzero(~twin).flatten()
    return rows.take(kept) if 0 < len(kept) < rows.size else None


def paired_tests(figures: Sequence[Mapping[str, Any]], folder: Path, draws: int = DRAWS) -> list[dict[str, Any]]:
    """Differences of every run of a part from the best models that know no scenes, in every scene and overall.

    Two references a scene: the best of those that read its rows alone, and the best of all that have no idea of
    scenes; best by NDCG@10 of the validation rows, mean over seeds. The test of users is that of `compare`, over the
    rankings of all seeds, with a user's own taken together; that over seeds is a paired t-test. Holm corrects each kind
    over all runs, references and scenes, one metric at a time.

    Args:
        figures: the runs of one part, as `Outcome.runs` holds them.
        folder: that of the table, where ``per_user.parquet`` lies.
        draws: resamples of the users.

    Returns:
        As `paired_tests`, with ``unit`` "users"; ``p_rows`` is that over users.
    """
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for each in figures:
        runs.setdefault(each["run"], []).append(each)
    wanted: dict[str, list[str]] = {}
    for scene in (name for name in figures[0]["scenes"] if name != "macro"):
        for reference in best(runs, scene):
            wanted.setdefault(reference, []).append(scene)
    pooled = {run: _pooled(mine, folder) for run, mine in runs.items()} if wanted else {}
    out = []
    for reference, scenes in wanted.items():
        for run in (run for run in runs if run != reference):
            found = compare(pooled[reference], pooled[run], metric=TESTED, draws=draws)
            for scene in scenes:
                for metric in TESTED:
                    row = found.row(metric, None if scene == "overall" else scene)
                    gaps = _gaps(runs[run], runs[reference], scene, metric)
                    sd = statistics.stdev(gaps) if len(gaps) > 1 else None
                    out.append(
                        {"part": figures[0]["part"], "against": reference, "run": run, "scene": scene}
                        | {"metric": metric, "unit": "users", "rankings": row.n, "sd": sd}
                        | nulls({"difference": row.difference, "low": row.low, "high": row.high, "p_rows": row.p})
                        # Two models without chance differ by the same in every seed: nothing to test.
                        | {"p_seeds": stats.paired_t(np.array(gaps))[0] if sd else None}
                    )
    for metric in TESTED:
        family = [test for test in out if test["metric"] == metric]
        for kind in ("p_rows", "p_seeds"):
            p = np.array([math.nan if test[kind] is None else test[kind] for test in family])
            for test, corrected in zip(family, stats.holm(p), strict=True):
                test |= nulls({f"{kind}_holm": float(corrected)})
    return out


def best(runs: Mapping[str, Sequence[Mapping[str, Any]]], scene: str) -> list[str]:
    """The references in a scene: best by validation of those that read it alone, and of all that know no scenes."""
    judged = {}
    for run in (name for name in (*ALONE, *OF_SEQUENCES, *POOLED) if name in runs):
        values = [each["valid_scenes"].get(scene) for each in runs[run]]
        if None not in values:
            judged[run] = statistics.fmean(values)
    groups = ([run for run in judged if run in (*ALONE, *OF_SEQUENCES)], list(judged))
    return list(dict.fromkeys(max(group, key=lambda run: judged[run]) for group in groups if group))


def notes(figures: Sequence[Mapping[str, Any]], table: str) -> list[str]:
    """What a reader of a table of rankings must know."""
    known = {each["run"] for each in figures}
    alone, pooled = (", ".join(name for name in group if name in known) for group in ((*ALONE, *OF_SEQUENCES), POOLED))
    seen, mine = "has no training or validation row of", "their training items in the scene"
    if table.startswith("sequences"):
        seen, mine = "has not met before the row", "what they met in the scene before the row"
    best_of = "those that read it alone" + (", and of all that have no idea of scenes" if pooled else "")
    out = [
        f"Full ranking: a wanted item among all items of its scene that the user {seen}; the epoch is chosen by "
        f"NDCG@10 on validation rows. Slices are users by {mine}: cold none, few 1 to 5, some 6 to 20, many more.",
        f"{alone} read the rows of one scene alone"
        + (f"; {pooled} have no idea of scenes but read the rows of all." if pooled else "."),
        f"Differences are run less reference; the references of a scene are the best by NDCG@10 on validation rows of "
        f"{best_of}. p (users) is of a t-test over users, with what a user has in several scenes and seeds taken "
        "together; p (seeds) of a paired t-test over the seeds; each is corrected by Holm over all runs, references "
        "and scenes of a part.",
    ]
    parts = dict.fromkeys(each["part"] for each in figures)
    if any("candidates" in part for part in parts):
        out.append(
            "Sampled candidates flatter, and can turn the order of models around; that part is there to compare with "
            "papers. Each wanted item stands among drawn items of its scene that its user neither met nor wants, the "
            "same for every model."
        )
    if any("without twins" in part for part in parts):
        out.append(
            "Without twins: the same models, without the test rows whose item has a twin in another scene (an item "
            "with nearly the same users, as `datasets.overlap` finds them)."
        )
    return out


def _gaps(
    mine: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]], scene: str, metric: str
) -> list[float]:
    first, second = (
        {each["seed"]: each["scenes"].get(scene, {}).get(metric) for each in side} for side in (reference, mine)
    )
    pairs = [(first[seed], second[seed]) for seed in first if seed in second]
    return [b - a for a, b in pairs if a is not None and b is not None]


def _pooled(figures: Sequence[Mapping[str, Any]], folder: Path) -> Result:
    """The rankings of all seeds of a run as those of one result, with NDCG@10 of each slice as a metric of its own."""
    results = [Result.load(folder / each["folder"]) for each in figures]
    parts: list[PerUser] = []
    for number, result in enumerate(results):
        each = result.per_user
        if each is None:
            raise ValueError(f"{folder / figures[number]['folder']}: wanted per_user.parquet; run it again")
        values = {metric: each.values[metric] for metric in (MAIN, "recall@10")}
        for name, mask in each.slices().items():
            if name in SLICES:
                values[f"{MAIN} {name}"] = np.where(mask, each.values[MAIN], np.nan)
        # The same row of two seeds is two rankings.
        parts.append(PerUser(each.scene, each.user, each.facts | {"row": each.facts["row"] + (number << 40)}, values))
    first = parts[0]
    whole = PerUser(
        np.concatenate([each.scene for each in parts]),
        np.concatenate([each.user for each in parts]),
        {name: np.concatenate([each.facts[name] for each in parts]) for name in first.facts},
        {name: np.concatenate([each.values[name] for each in parts]) for name in first.values},
    )
    out = Result(scenes=results[0].scenes, task="ranking", name=figures[0]["run"])
    out.split_digest = " ".join(each.split_digest or "" for each in results)
    out.per_user = whole
    return out
