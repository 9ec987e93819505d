"""A windowed shuffle: every row once, a function of (seed, epoch) alone, well mixed, in memory that does not grow."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene._extension import _C
from torch import nn

ROWS = 6_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """A compiled data set whose training rows are a selection; one scene, so that batches keep the order."""
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "user_id": draw.integers(0, 50, ROWS),
            "item_id": draw.integers(0, 30, ROWS),
            "label": draw.integers(0, 2, ROWS),
        }
    )
    folder = tmp_path_factory.mktemp("windows") / "data"
    ps.read_table(table, scene=None, clean={"duplicates": "keep"}, split={"by": "random", "seed": 1}).save(folder)
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> Any:
    return ps.open_data(folder)


def order(table: Any, window: int, seed: int = 1, epoch: int = 1, batch_size: int = 64) -> np.ndarray:
    batches = _C.data.Batches(table, batch_size, shuffle=True, seed=seed, epoch=epoch, window=window)
    found = [batch.row.numpy() for batch in batches]
    assert [len(rows) for rows in found[:-1]] == [batch_size] * (len(found) - 1)
    assert len(found) == len(batches)
    return np.concatenate(found)


@pytest.mark.parametrize("window", [64, 65, 100, 999, 1_600, 4_799])
@pytest.mark.parametrize("batch_size", [1, 64, 1_500])
def test_every_row_once(data, window, batch_size):
    found = order(data.train, window, batch_size=batch_size)
    assert np.array_equal(np.sort(found), np.arange(len(data.train)))


def test_the_order_depends_on_seed_and_epoch_alone(data, folder):
    first = order(data.train, 500)
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        assert np.array_equal(order(data.train, 500), first)
        assert np.array_equal(order(ps.open_data(folder).train, 500, batch_size=7), first)
    torch.set_num_threads(before)
    for other in ({"seed": 2}, {"epoch": 2}):
        again = order(data.train, 500, **other)
        assert (again == first).mean() < 0.01
    # The bits are a promise: a run of an earlier version is the same run today.
    assert hashlib.sha256(first.astype("<i8").tobytes()).hexdigest()[:16] == "0f7cbbdd19e00f54"


def test_a_window_of_all_rows_is_the_full_shuffle(data):
    n = len(data.train)
    full = np.asarray(_C.core.permutation(n, 1, "shuffle", 1))
    for window in (0, n, n + 1, 10**9):
        assert np.array_equal(order(data.train, window), full)


def test_neighbours_spread_over_their_window(data):
    """16 blocks of 100 neighbours make a window; 4,800 rows are three windows."""
    n, window, block = len(data.train), 1_600, 100
    assert n == 4_800
    found = order(data.train, window)
    blocks = np.asarray(_C.core.permutation(n // block, 1, "blocks", 1))
    spread = []
    for w in range(3):
        rows = found[w * window : (w + 1) * window]
        mine = blocks[w * 16 : (w + 1) * 16]
        assert set(rows // block) == set(mine)  # whole blocks, drawn from all over the table
        assert not np.array_equal(mine, np.sort(mine))
        for b in mine:
            place = (np.flatnonzero(rows // block == b) + 0.5) / window
            spread.append(place.mean())
            assert place.min() < 0.12 and place.max() > 0.88
            assert np.diff(place).max() < 0.12
    # The mean place of 100 rows of a window deviates by 0.29 / 10.
    assert abs(np.mean(spread) - 0.5) < 1e-9 and 0.015 < np.std(spread) < 0.045


def test_neighbouring_places_are_no_neighbours(data):
    """Rows that follow each other are from different blocks as often as in a full shuffle of the window."""
    found = order(data.train, 1_600) // 100
    same = (found[1:] == found[:-1]).mean()
    assert abs(same - 99 / 1_599) < 0.02


def test_selections_hold_training_rows_alone(data):
    rows = data.train.rows.numpy()
    seen = rows[order(data.train, 300)]
    others = np.concatenate([data.valid.rows.numpy(), data.test.rows.numpy()])
    assert len(others) == 1_200 and not np.isin(seen, others).any()
    assert np.array_equal(np.sort(seen), np.sort(rows))


class Failing(ps.Model):
    """Raises in the middle of the second epoch, if told so."""

    fails = False

    def __init__(self, schema: Any) -> None:
        super().__init__(schema)
        self.item = nn.Embedding(schema.categorical[schema.field("item_id")].rows, 4)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(4, 1)
        self.steps = 0

    def forward(self, batch: Any) -> torch.Tensor:
        self.steps += self.training
        if self.fails and self.steps == 60:
            raise OSError("power is gone")
        return self.head(self.drop(self.item(batch.item))).squeeze(1)


def test_a_run_that_stopped_in_mid_epoch_goes_on_to_the_same_bits(data, tmp_path, monkeypatch):
    def fit(**more: Any) -> tuple[Any, list[float]]:
        ps.seed_everything(3)
        model = Failing(data.schema)
        trainer = ps.Trainer(batch_size=128, epochs=3, patience=0, lr=0.01, seed=2, shuffle_window=700, threads=1)
        return model, [row["train_loss"] for row in trainer.fit(model, data, **more)]

    whole, losses = fit()
    checkpoint = tmp_path / "last.safetensors"
    monkeypatch.setattr(Failing, "fails", True)
    with pytest.raises(OSError, match="power is gone"):
        fit(checkpoint=checkpoint)
    monkeypatch.setattr(Failing, "fails", False)
    again, resumed = fit(checkpoint=checkpoint, resume=True)
    assert resumed == losses
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    trainer = ps.Trainer(batch_size=128, epochs=3, patience=0, lr=0.01, seed=2, threads=1)
    with pytest.raises(ValueError, match=r"train\.shuffle_window was 700, is null"):
        trainer.fit(Failing(data.schema), data, checkpoint=checkpoint, resume=True)


def test_windows_that_make_no_sense_are_refused(data):
    with pytest.raises(ValueError, match=r"Trainer: shuffle_window must be 0 or at least batch_size \(512\), got 511"):
        ps.Trainer(batch_size=512, shuffle_window=511)
    with pytest.raises(ValueError, match="shuffle_window must be 0 or at least"):
        ps.Trainer(shuffle_window=-1)


def test_a_truncated_file_is_named(folder, tmp_path):
    copy = tmp_path / "data"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    whole = (copy / "columns.safetensors").read_bytes()
    (copy / "columns.safetensors").write_bytes(whole[:-1_000])
    with pytest.raises(ValueError, match=r"columns\.safetensors.*(ends|truncated|bytes)"):
        ps.open_data(copy)


MEASURE = """
import json, sys
import numpy as np
import torch
import polyscene as ps
from polyscene._extension import _C
from polyscene.data.dataset import assemble
from polyscene.data.roles import LabelRole, Roles
from polyscene.data.splits import Split

folder, rows, window = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


if sys.argv[4] == "make":
    draw = np.random.default_rng(0)
    names = ("user_id", "item_id")
    columns = _C.data.Columns(
        categorical=list(names),
        codes=torch.from_numpy(draw.integers(0, 100, (rows, 2), dtype=np.int32)),
        ids=[_C.data.Strings([f"{name}{k}" for k in range(100)]) for name in names],
        numeric=[], numbers=torch.empty((rows, 0)), lists=[], list_codes=[], list_ids=[],
        scene=torch.zeros(rows, dtype=torch.int32), scene_names=["all"],
        label=torch.from_numpy(draw.integers(0, 2, rows).astype(np.float32)),
    )
    roles = Roles(label=LabelRole("label"), user="user_id", item="item_id", categorical=names)
    part = np.zeros(rows, np.int8)
    part[::50] = 1
    assemble("large", columns, roles, Split(), part, {}, history=False).save(folder)
    raise SystemExit


class Stop(Exception):
    pass


class Watch:
    highest = 0.0

    def on_progress(self, epoch, done, rows, loss):
        self.highest = max(self.highest, anonymous())
        if self.highest and done > 300_000:
            raise Stop


start, watch = anonymous(), Watch()
data = ps.open_data(folder, history=False)
opened = anonymous()
try:
    ps.Trainer(batch_size=4096, epochs=1, shuffle_window=window, threads=1).fit(
        ps.models.Logistic(data.schema), data.train, callbacks=watch
    )
except Stop:
    pass
watch.highest = max(watch.highest, anonymous())  # an epoch may be over before the first report of progress
print(json.dumps({"open": opened - start, "train": watch.highest - start, "digest": bool(data.train.digest()),
                  "counts": sum(data.counts()["train"].values()), "after": anonymous() - start}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is Linux's")
def test_memory_does_not_grow_with_rows(tmp_path):
    """Four times the rows: an order of all of them would take 24 MB more, twice that while it is made."""
    found: dict[int, dict[str, float]] = {}
    sizes = (1_000_000, 4_000_000)
    for rows in sizes:
        command = [sys.executable, "-c", MEASURE, tmp_path / str(rows), str(rows)]
        subprocess.run([*command, "0", "make"], check=True)
        done = subprocess.run([*command, "100000", "measure"], check=True, text=True, capture_output=True)
        found[rows] = json.loads(done.stdout)
    small, large = (found[rows] for rows in sizes)
    assert large["counts"] == 3_920_000
    for when in ("open", "train", "after"):
        assert large[when] - small[when] < 12, found
    assert large["train"] < 60, found


def with_lists(rows: int) -> pa.Table:
    draw = np.random.default_rng(4)
    lengths = draw.integers(0, 4, rows)
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
    tags = pa.array(np.char.add("t", draw.integers(0, 9, lengths.sum()).astype(str)))
    item = draw.integers(0, 400, rows)
    return pa.table(
        {
            "user_id": draw.integers(0, 3_000, rows),
            "item_id": item,
            "colour": item % 7,
            "scene": draw.choice(["a", "b"], rows),
            "label": draw.integers(0, 2, rows),
            "price": draw.random(rows),
            "tags": pa.ListArray.from_arrays(offsets, tags),
        }
    )


def test_a_catalogue_without_behaviour_is_that_of_a_whole_history():
    """Made part by part (32,768 rows), without events."""
    roles = {"categorical": ["colour"], "numeric": ["price"], "multi_hot": ["tags"], "interest": "tags"}
    data = ps.read_table(with_lists(400_000), **roles, clean={"duplicates": "keep"}, split={"ratios": [9, 1, 0]})
    whole = _C.data.History.fit(data.train).tensors()
    bare = _C.data.History.fit(data.train, events=False)
    assert not bare.keeps_events and bare.offsets.sum() == 0
    kept = {name: tensor for name, tensor in bare.tensors().items() if name != "offsets"}
    assert sorted(kept) == sorted(name for name in whole if name.startswith(("item_", "user_")))
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, whole[name], rtol=0, atol=1e-6, msg=name)
    # Independently: means of an item's numbers and its first list.
    train = data.train.batch(torch.arange(len(data.train)), history=0)
    of_item = train.item == 7
    assert bare.item_count[:, 7].tolist() == [int((of_item & (train.scene == s)).sum()) for s in range(2)]
    first = int(of_item.nonzero()[0])
    tags = train.sequence["tags"].take(torch.tensor([first])).values
    assert torch.equal(_C.data.Ragged(kept["item_lists.tags.values"], kept["item_lists.tags.offsets"]).take(
        torch.tensor([7])).values, tags)  # fmt: skip


def test_without_behaviour_recommend_and_followers_say_so(folder, tmp_path):
    data = ps.open_data(folder, history=False)
    model = ps.models.MF(data.schema)
    ps.Trainer(epochs=1, shuffle_window=500, batch_size=100).fit(model, data)
    ps.save(model, tmp_path / "m.safetensors")
    for each in (model, ps.load(tmp_path / "m.safetensors")):
        with pytest.raises(ValueError, match="without keeping the behaviour of users.*give events, or exclude_seen"):
            each.recommend(["3"], k=2)
        assert len(each.recommend(["3"], k=2, exclude_seen=False).items[0]) == 2
    with pytest.raises(ValueError, match=r"interest_migration follows the behaviour.*open_data\(path, history=True\)"):
        ps.Trainer(epochs=1).fit(ps.models.InterestMigration(data.schema), data)
