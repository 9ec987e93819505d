"""Tables of transfer: what each way to use source scenes gains in a target that knows few of its labels."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polyscene import _statistics as stats
from polyscene import models, runs
from polyscene._files import write_json
from polyscene._markdown import cell
from polyscene._markdown import table as table_of
from polyscene.data._errors import choice
from polyscene.evaluation import evaluate
from polyscene.results import metric_title, read_json
from polyscene.training import seed_everything

if TYPE_CHECKING:
    from polyscene.reproducing import Outcome
    from polyscene.transfer.flow import Migration

TARGET, SOURCES, FUSED, TOGETHER = "target_only", "source_only", "fused", "together"
PLAIN = (TARGET, SOURCES, FUSED, TOGETHER)


@dataclass(frozen=True)
class Study:
    """What a table of transfer asks of one data set.

    Attributes:
        targets: scenes that are the target, one after another; the others are its sources.
        metric: what is measured on the target's test rows.
        shares: shares of the target's training and validation rows that keep their labels.
        each: in the place of shares, how many training and validation rows of each label keep theirs.
        source_share: share of the training rows of each source that is used.
        unlabelled: whether all of the target's training rows are shown without labels, to mechanisms that want such.
        fusions: whether each source model is continued by itself too, and what comes of it is fused.
        ways: what is compared; empty for all.
        settings: options of mechanisms, by name.
    """

    targets: tuple[str, ...]
    metric: str
    shares: tuple[float, ...] = ()
    each: tuple[tuple[int, int], ...] = ()
    source_share: float = 1
    unlabelled: bool = False
    fusions: bool = False
    ways: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def quick(self) -> Study:
        """The same for one target and one amount of labels."""
        return replace(self, targets=self.targets[-1:], shares=(0.05,) if self.shares else (), each=self.each[:1])

    def amounts(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Name of each amount of labels, and arguments of the calls of `Dataset.thin`; none of them for all labels."""
        for share in self.shares:
            yield f"{share:.0%} of the labels", [{"share": share}] if share < 1 else []
        for train, valid in self.each:
            thin = [{"each": train, "parts": ("train",)}, {"each": valid, "parts": ("valid",)}]
            yield f"{train + valid} labels a class", thin


_AGES = Study(("age>=35",), "auc", shares=(0.01, 0.05, 0.2), fusions=True)
_TEXTS = Study(("movie", "amazon", "nyt", "tweets"), "f1", shares=(0.05,), unlabelled=True)
_DIGITS = Study(("uci",), "f1", each=((7, 3),), source_share=0.4, unlabelled=True)
_FEW_TO_ALL = (0.01, 0.05, 0.2, 1.0)
# A study for each config of a table.
TABLES: dict[str, dict[str, Study]] = {
    "mechanisms": {
        "ml-100k": Study(("age>=35",), "auc", shares=_FEW_TO_ALL),
        "text-sentiment": Study(("tweets",), "f1", shares=_FEW_TO_ALL, unlabelled=True),
        "digits": Study(("uci",), "f1", shares=_FEW_TO_ALL, source_share=0.4, unlabelled=True),
    },
    "transfer-digits": {"digits": _DIGITS},
    "transfer-ml100k": {"ml-100k": _AGES},
    "transfer-text": {"text-sentiment": _TEXTS},
}


def fill(
    outcome: Outcome,
    configs: Mapping[str, Mapping[str, Any]],
    told: Callable[[str], Any],
    ways: Sequence[str],
    quick: bool,
) -> None:
    """Runs the studies of a table; fills in its runs, tests and notes.

    Args:
        outcome: of the table, empty.
        configs: of its data sets, by name.
        told: called with what is run next.
        ways: what is compared; empty for all.
        quick: one target and one amount of labels of each.
    """
    from polyscene.transfer import mechanisms

    for name in ways:
        choice("reproduce: only", name, [*PLAIN, *mechanisms()])
    for part, config in configs.items():
        study = TABLES[outcome.table][part]
        study = study.quick() if quick else study
        study = replace(study, ways=tuple(ways), fusions=False) if ways else study
        found = figures(study, part, config, outcome.seeds, outcome.folder / part, told)
        outcome.runs += found
        outcome.tests += tests(found, study.metric)
    outcome.notes = notes(TABLES[outcome.table])


def figures(
    study: Study, part: str, config: Mapping[str, Any], seeds: int, folder: Path, told: Callable[[str], Any]
) -> list[dict[str, Any]]:
    """Runs a study; what is in ``folder`` already is not run again.

    Args:
        study: what is asked.
        part: the name of its data set in the table.
        config: data, model and training; the seed moves split, choice of labels, initialisation and training.
        seeds: how many.
        folder: holds a JSON file a target, amount and seed.
        told: called with what is run next.

    Returns:
        One a target, amount of labels, seed and way, as `Outcome.runs` holds them.
    """
    out = []
    folder.mkdir(parents=True, exist_ok=True)
    for target in study.targets:
        for amount, thin in study.amounts():
            for number in range(seeds):
                seed = config["train"]["seed"] + number
                place = folder / (re.sub(r"[^\w.]+", "-", f"{target} {amount} {seed}") + ".json")
                asked = asdict(replace(study, targets=(), shares=(), each=())) | {"target": target, "thin": thin}
                wanted = json.loads(json.dumps({"config": config, "study": asked, "seed": seed}))
                found = read_json(place)
                if found is None or found["of"] != wanted:
                    told(f"{part}: {target}, {amount}, seed {seed}")
                    found = {"of": wanted} | _one(study, config, target, thin, seed)
                    write_json(place, found)
                for way, value in found["scores"].items():
                    out.append(
                        {"part": f"{part}, {amount}", "run": way, "seed": seed, "target": target}
                        | {"scenes": {target: {study.metric: value}}, "rows": found["rows"]}
                        | {"folder": place.relative_to(folder.parent).as_posix(), "split_digest": found["split_digest"]}
                        | {"seconds": found["seconds"]}
                    )
    return out


def _one(
    study: Study, config: Mapping[str, Any], target: str, thin: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Any]:
    """The score of every way on the target's test rows, one seed."""
    from polyscene.transfer import plan, rows_of
    from polyscene.transfer.labels import unlabelled

    start = time.time()
    here = copy.deepcopy(dict(config))
    here["dataset"]["split"] = (here["dataset"]["split"] or {}) | {"seed": seed}
    whole = runs.load_data(here)
    data = whole
    for given in thin:
        data = data.thin(target, **given, seed=seed)
    for source in (name for name in whole.schema.scenes if name != target and study.source_share < 1):
        data = data.thin(source, study.source_share, seed=seed, parts=("train",))
    shown = None
    if study.unlabelled and thin:
        shown = unlabelled(whole, data, [target])
    seed_everything(seed)
    of_model = {key: value for key, value in here["model"].items() if key != "name"}
    model = models.create(here["model"]["name"], data.schema, **of_model)
    train = {key: value for key, value in here["train"].items() if value is not None} | {"seed": seed}
    options = {name: here["transfer"][name] for name in ("strength", "lr_scale", "frozen", "source_epochs")}
    flow = plan(model, data, target=target, trainer=train, unlabelled=shown, **options)
    test = rows_of(data.test, [target])

    def measured(state: Any, of: Any = None) -> float:
        of = model if of is None else of
        of.load_state_dict(state)
        return float(evaluate(of, test, [study.metric]).overall[study.metric])

    scores = dict(_scores(study, flow, measured))
    rows = {"train": len(flow.rows), "valid": 0 if flow.valid is None else len(flow.valid), "test": len(test)}
    seconds = round(time.time() - start, 1)
    return {"rows": rows, "scores": scores, "seconds": seconds, "split_digest": data.split_digest}


def _scores(study: Study, flow: Migration, measured: Callable[..., float]) -> Iterator[tuple[str, float]]:
    from polyscene.transfer import _mechanisms, mechanisms, rows_of

    known = mechanisms()
    wanted = study.ways or (*PLAIN, *known)
    starts = flow.migrated()
    one = starts.get("joint", next(iter(starts.values())))
    if TARGET in wanted:
        yield TARGET, measured(flow.stages.fit(TARGET, flow.initial, flow.rows, flow.valid).state)
    if SOURCES in wanted:
        yield SOURCES, measured(one)
    if FUSED in wanted and "fused" in starts:
        yield FUSED, measured(starts["fused"])
    if TOGETHER in wanted:
        everything = rows_of(flow.data.train, [*flow.sources, flow.target])
        yield TOGETHER, measured(flow.stages.fit(TOGETHER, flow.initial, everything, flow.valid).state)
    for name in (name for name in known if name in wanted):
        flow.options |= {"mechanism": name, "settings": known[name].options | dict(study.settings.get(name, {}))}
        begun = {} if name in (*_mechanisms.TOGETHER, *_mechanisms.WARM) else {"joint": one}
        found = [each for each in flow.continued(begun) if each.stage is not None][-1]
        yield name, measured(found.state, found.model)
    if study.fusions and len(flow.sources) > 1:
        yield from _fusions(flow, measured)


def _fusions(flow: Migration, measured: Callable[..., float]) -> Iterator[tuple[str, float]]:
    """Each source model continued on the target by itself, and these fused in each way."""
    from polyscene.transfer.fusing import FUSIONS, Evidence, fuse_sources, state_of

    flow.options |= {"mechanism": "migrate"}
    tie = {key: flow.options[key] for key in ("strength", "lr_scale", "frozen")}
    stages = {}
    for source, (state, _) in flow.trained.items():
        stages[source] = flow.stages.fit(f"{source}, continued", state, flow.rows, flow.valid, tie)
        yield f"{source}, migrated", measured(stages[source].state)
    states = {source: stage.state for source, stage in stages.items()}
    # Rows that the continued models were not trained on: validation rows, and folds if these are few.
    evidence = []
    if flow.valid is not None:
        evidence.append(Evidence(states, partial(flow.value, table=flow.valid), len(flow.valid)))
    for number in range(0 if flow.enough() else flow.most_folds()):
        held, rest = (flow.rows.take(where) for where in flow.parted(number))
        without = {
            source: state_of(flow.stages.refit(state, rest, stages[source].best_epoch, len(flow.rows), tie))
            for source, (state, _) in flow.trained.items()
        }
        evidence.append(Evidence(without, partial(flow.value, table=held), len(held)))
    continued = {source: (states[source], rows) for source, (_, rows) in flow.trained.items()}
    for fusion in FUSIONS:
        state, _ = fuse_sources(fusion, flow.model, flow.initial, continued, evidence, flow.seed, flow.rows)
        yield f"migrated, fused by {fusion}", measured(state)


def tests(found: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Gains over the target's own model and over that of the sources, seed by seed, with 95 % intervals of Student's t.

    Holm corrects the p-values of a part and target against one reference.
    """
    out: list[dict[str, Any]] = []
    for part, target in dict.fromkeys((each["part"], each["target"]) for each in found):
        scores: dict[str, dict[int, float]] = {}
        for each in found:
            if (each["part"], each["target"]) == (part, target):
                scores.setdefault(each["run"], {})[each["seed"]] = each["scenes"][target][metric]
        for against in (name for name in (TARGET, SOURCES) if name in scores):
            family = []
            for run in (run for run in scores if run != against):
                gaps = np.array([scores[run][seed] - scores[against][seed] for seed in scores[against]])
                p = half = None
                if len(gaps) > 1:
                    p, error = stats.paired_t(gaps)
                    half = stats.reach(error, len(gaps))
                mean = float(gaps.mean())
                family.append(
                    {"part": part, "against": against, "run": run, "scene": target, "metric": metric}
                    | {"p_rows": None, "p_rows_holm": None, "p_seeds_holm": None}
                    | {"sd": float(gaps.std(ddof=1)) if len(gaps) > 1 else None}
                    | {"difference": mean, "gained": int((gaps > 0).sum()), "seeds": len(gaps), "p_seeds": p}
                    | {"low": None if half is None else mean - half, "high": None if half is None else mean + half}
                )
            if family and family[0]["p_seeds"] is not None:
                corrected = stats.holm(np.array([each["p_seeds"] for each in family]))
                for each, value in zip(family, corrected, strict=True):
                    each["p_seeds_holm"] = float(value)
            out += family
    return out


def text(outcome: Outcome) -> list[str]:
    """The tables in Markdown: a part, a way a line."""
    found, tested, seeds, table = outcome.runs, outcome.tests, outcome.seeds, outcome.table
    means = {(row["part"], row["scene"], row["run"]): row for row in outcome.rows}
    lines = [f"# {table}", "", f"Test rows of the target, {f'{seeds} seeds' if seeds > 1 else 'one seed'}."]
    gains = {(each["part"], each["scene"], each["run"], each["against"]): each for each in tested}
    for part, target in dict.fromkeys((each["part"], each["target"]) for each in found):
        mine = [each for each in found if (each["part"], each["target"]) == (part, target)]
        metric = next(iter(mine[0]["scenes"][target]))
        rows = mine[0]["rows"]
        lines += ["", f"## {part}: {target}", ""]
        lines += [f"{rows['train']:,} training, {rows['valid']:,} validation and {rows['test']:,} test rows.", ""]
        cells = [["Way", "", metric_title(metric), f"less {TARGET}", f"less {SOURCES}"]]
        for way in dict.fromkeys(each["run"] for each in mine):
            shown = [_gain(gains.get((part, target, way, against))) for against in (TARGET, SOURCES)]
            cells.append([way, "", cell(means[part, target, way], seeds), *shown])
        lines += table_of(cells, skip=1)
    return lines


def _gain(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return "–"
    reach = "" if test["low"] is None else f" [{test['low']:+.4f}, {test['high']:+.4f}]"
    return f"{test['difference']:+.4f}{reach}"


def notes(study: Mapping[str, Study]) -> list[str]:
    """What a reader of such a table must know."""
    out = [
        "Each seed moves the split, the choice of labels, the initialisation and the training; epochs are chosen on "
        "the target's validation rows, thinned as its training rows are. Differences are seed by seed, with 95 % "
        "intervals of Student's t.",
        f"{SOURCES}: trained on the rows of all sources, not on the target's; {TARGET}: on the target's alone; "
        f"{TOGETHER}: on all of these; {FUSED}: the models of the single sources in one; mechanisms go on from "
        f"{SOURCES}, uncertainty and pcgrad train on all rows from the start, reptile and fomaml start from the "
        "sources as tasks.",
    ]
    if any(each.unlabelled for each in study.values()):
        out.append(
            "Of texts and images all training rows of the target are shown, without labels, to dann, mmd, coral, "
            "pseudo_labels and mean_teacher."
        )
    return out
