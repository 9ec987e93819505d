"""Task sequence: who sees what, in which order, in which windows."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pytest
import torch
from polyscene import _C
from polyscene.datasets import _sequences, registry


def frame(rows: list[tuple[str, str, str]]) -> pa.Table:
    user, item, scene = zip(*rows, strict=True)
    return pa.table({"user_id": user, "item_id": item, "scene": scene})


TRAIN = [("u", "a", "x"), ("v", "b", "y"), ("u", "b", "y"), ("u", "c", "x"), ("v", "a", "x"), ("u", "d", "x")]
VALID = [("u", "b", "y"), ("w", "a", "x")]
TEST = [("u", "c", "x"), ("n", "d", "x"), ("u", "a", "x")]
CONTEXT = [("n", "c", "x"), ("n", "zz", "x"), ("w", "b", "y"), ("n", "b", "y")]


def small(**further: Any) -> Any:
    parts = {"train": TRAIN, "valid": VALID, "test": TEST, "context": CONTEXT}
    return ps.read_table(**{part: frame(rows) for part, rows in parts.items()}, task="sequence", label=None, **further)


def pasts(data: Any, table: Any, length: int = 50) -> list[str]:
    """The items before each row; unknown ones as a question mark."""
    names = ["?", "-", *data.schema.categorical[data.schema.field("item_id")].ids]
    events = table.batch(torch.arange(len(table)), history=length).history
    at, item = events.offsets.tolist(), events.item.tolist()
    return ["".join(names[i] for i in item[a:b]) for a, b in itertools.pairwise(at)]


def lengths(table: Any) -> list[int]:
    return table.batch(torch.arange(len(table))).history.offsets.diff().tolist()


def test_a_row_sees_what_was_known_strictly_before_it() -> None:
    data = small()
    assert pasts(data, data.train) == ["", "", "a", "ab", "b", "abc"]
    assert pasts(data, data.valid) == ["abcd", "b"]  # training rows, and context of who is not in training
    assert pasts(data, data.test) == ["abcdb", "c?b", "abcdbc"]  # those of validation and earlier test rows too
    assert pasts(data, data.test, 2) == ["db", "?b", "bc"]
    # Context is no part to train or measure, and nothing is fitted on it.
    assert sorted(data.tables) == ["test", "train", "valid"] and len(data.context) == 4
    assert data.schema.categorical[0].ids == ["u", "v"]
    assert data.schema.categorical[1].ids == ["a", "b", "c", "d"]
    assert data.train.history.item_count.sum() == len(TRAIN)


def test_what_is_fitted_does_not_change_with_other_rows() -> None:
    data = small()
    other = ps.read_table(train=frame(TRAIN), valid=frame(VALID[:1]), task="sequence", label=None)
    assert other.schema == data.schema
    assert torch.equal(other.train.history.item_count, data.train.history.item_count)


def test_what_follows_is_the_next_event() -> None:
    data = small()
    batch = data.test.batch(torch.tensor([1, 0]))
    assert batch.next_item.tolist() == [0, 3, 5, 3, 4, 5, 3, 4]
    assert batch.next_scene.tolist() == [0, 1, 0, 1, 0, 0, 1, 0]
    taken = batch.take([1])
    assert taken.next_item.tolist() == [3, 4, 5, 3, 4] and taken.history.item.tolist() == [2, 3, 4, 5, 3]


def test_events_are_in_the_order_of_time_and_then_of_the_source() -> None:
    rows = pa.table(
        {"user_id": ["u"] * 5, "item_id": list("abcde"), "time": [30, 10, 10, 20, 5], "scene": list("xyxyx")}
    )
    data = ps.read_table(train=rows, task="sequence", label=None, time={"column": "time", "unit": "s"})
    assert pasts(data, data.train) == ["ebcd", "e", "eb", "ebc", ""]
    events = data.train.batch(torch.tensor([0])).history
    assert events.gaps().tolist() == [0, 5, 0, 10]
    view = events.of_scene(data.schema.scene("x"))
    assert view.time.tolist() == [5, 10] and view.gaps().tolist() == [0, 5]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 100])
def test_windows_cover_every_event_once(length: int) -> None:
    draw = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{draw.integers(9)}", "s") for u in range(12) for _ in range(int(draw.integers(1, 15)))]
    data = ps.read_table(train=frame([rows[i] for i in draw.permutation(len(rows))]), task="sequence", label=None)
    table = data.train
    windows = _C.data.Windows(table, length)
    batch = table.batch(windows.position, history=length)
    assert batch.history.offsets.diff().tolist() == windows.length.tolist()
    assert windows.length.min() > 0 and windows.length.max() <= length
    # What follows another event: all but the first of each user, each once.
    users = table.users()
    many = torch.bincount(users)
    assert batch.next_item.numel() == int((many[many > 0] - 1).sum())
    for user in set(users.tolist()):
        mine = table.items()[users == user].tolist()
        own = batch.take((batch.user == user).nonzero().squeeze(1))
        at = own.history.offsets.tolist()
        parts = [own.next_item[a:b].tolist() for a, b in itertools.pairwise(at)]
        assert list(itertools.chain(*parts[::-1])) == mine[1:]  # the newest window comes first


def test_windows_of_chosen_rows_cover_those() -> None:
    data = small()
    some = data.train.take(torch.tensor([2, 5]))
    windows = _C.data.Windows(some, 1)
    assert windows.position.tolist() == [1, 0]
    batch = some.batch(windows.position, history=1)
    assert batch.history.item.tolist() == [4, 2] and batch.item.tolist() == [5, 3]


def test_of_a_column_of_what_was_done_before_some_rows_may_train() -> None:
    draw = np.random.default_rng(0)
    rows = [
        {"user": f"u{u}", "item": f"i{draw.integers(9)}", "scene": "s",
         "before": [f"i{draw.integers(9)}" for _ in range(3)]}
        for u in range(20)
        for _ in range(5)
    ]  # fmt: skip
    roles = {"user": "user", "item": "item", "sequence": [{"name": "before", "shares": "item"}]}
    data = ps.read_table(train=pa.Table.from_pylist(rows), task="sequence", label=None, **roles)
    some = data.train.take(torch.arange(40))
    for batch in _C.data.WindowBatches(some, _C.data.Windows(some, 4), 4, 8, 0, 1):
        assert batch.next_item.min() > 1  # events of the column are no rows: none is hidden


@pytest.mark.parametrize("within", [False, True])
def test_of_some_training_rows_these_alone_follow(within: bool) -> None:
    data = ps.testing.tiny_data("sequence")
    chosen = torch.from_numpy(np.sort(np.random.default_rng(1).choice(len(data.train), 200, False)))
    some = data.train.take(chosen)

    def followers(table: Any) -> list[tuple[int, int, int]]:
        found = []
        for batch in _C.data.WindowBatches(table, _C.data.Windows(table, 4, within), 4, 16, 0, 1, within):
            owner = batch.user.repeat_interleave(batch.history.offsets.diff())
            asked = batch.next_item > 1
            rows = (owner[asked], batch.next_item[asked], batch.next_scene[asked])
            found += list(zip(*(column.tolist() for column in rows), strict=True))
        return sorted(found)

    every = followers(data.train)
    users, items, scenes = data.train.users(), data.train.items(), data.train.scenes()
    # Nobody meets an item twice here: a row is its user and its item.
    mine = {(int(users[i]), int(items[i]), int(scenes[i])) for i in chosen.tolist()}
    assert followers(some) == [row for row in every if row in mine]
    assert 0 < len(followers(some)) < len(every)


def test_batches_of_windows_are_of_about_one_length_and_of_the_seed_alone() -> None:
    data = ps.testing.tiny_data("sequence", rows=1200)
    draw = np.random.default_rng(0)
    keep = torch.from_numpy(np.sort(draw.choice(len(data.train), 700, False)))
    table = data.train.take(keep)
    windows = _C.data.Windows(table, 8)

    def walk(seed: int, epoch: int, threads: int = 1) -> list[list[int]]:
        torch.set_num_threads(threads)
        batches = _C.data.WindowBatches(table, windows, 8, 16, seed, epoch)
        return [batch.row.tolist() for batch in batches]

    first = walk(1, 1)
    assert sorted(itertools.chain(*first)) == sorted(windows.position.tolist())
    assert walk(1, 1, threads=2) == first
    torch.set_num_threads(1)
    assert walk(1, 2) != first and walk(2, 1) != first
    spread = [np.ptp(table.batch(torch.tensor(rows), history=8).history.offsets.diff().numpy()) for rows in first]
    assert np.mean(spread) < 1.5


def named_windows(data: Any, length: int, within_scene: bool) -> list[tuple[str, ...]]:
    """User, scene and items of each window that training walks, its newest item last."""
    windows = _C.data.Windows(data.train, length, within_scene)
    users, items = (["?", "-", *field.ids] for field in data.schema.categorical)
    out = []
    for batch in _C.data.WindowBatches(data.train, windows, length, 4, seed=1, epoch=1, within_scene=within_scene):
        at, past = batch.history.offsets.tolist(), batch.history.item.tolist()
        for b, (first, last) in enumerate(itertools.pairwise(at)):
            scene = int(batch.scene[b])
            assert 0 < last - first <= length
            assert set(batch.history.scene[first:last].tolist()) <= {scene} or not within_scene
            assert batch.next_item[first:last].tolist() == [*past[first + 1 : last], int(batch.item[b])]
            assert batch.next_scene[last - 1] == scene
            mine = [*past[first:last], int(batch.item[b])]
            out.append((users[int(batch.user[b])], data.schema.scenes[scene], *(items[i] for i in mine)))
    assert len(out) == len(windows)
    return sorted(out)


@pytest.mark.parametrize("length", [1, 2, 5, 50])
def test_windows_within_a_scene_are_those_of_its_rows_alone(length: int) -> None:
    draw = np.random.default_rng(2)
    rows = [(f"u{u}", f"i{draw.integers(9)}", "ab"[draw.integers(2)]) for u in range(9) for _ in range(3 * u)]
    rows = [rows[i] for i in draw.permutation(len(rows))]
    alone = []
    for scene in "ab":
        mine = ps.read_table(train=frame([row for row in rows if row[2] == scene]), task="sequence", label=None)
        alone += named_windows(mine, length, within_scene=False)
        assert named_windows(mine, length, within_scene=True) == named_windows(mine, length, within_scene=False)
    both = ps.read_table(train=frame(rows), task="sequence", label=None)
    assert named_windows(both, length, within_scene=True) == sorted(alone)


def test_windows_without_room_are_refused() -> None:
    for within_scene in (False, True):
        with pytest.raises(ValueError, match="windows must have room for a past event, got length 0"):
            _C.data.Windows(small().train, 0, within_scene)


def test_negatives_were_not_met_in_the_scene_of_what_followed() -> None:
    data = ps.testing.tiny_data("sequence")
    batch = ps.testing.batch(data, 60, negatives=4)
    known = data.train.history.interactions()
    owner = torch.arange(60).repeat_interleave(batch.history.offsets.diff())
    for n, row in enumerate(batch.next_negative.tolist()):
        scene = known.scene(int(batch.next_scene[n]))
        user = int(batch.user[owner[n]])
        met = scene.items[scene.user_offsets[user] : scene.user_offsets[user + 1]].tolist()
        assert set(row) <= set(scene.candidates.tolist()) - set(met)
    again = ps.testing.batch(data, 60, negatives=4)
    assert torch.equal(batch.next_negative, again.next_negative)
    assert torch.equal(batch.take([7]).next_negative, batch.next_negative[owner == 7])


def test_splits_of_sequences() -> None:
    rows = frame([(f"u{u}", f"i{(u * 3 + t) % 7}", "xy"[(u + t) % 2]) for u in range(6) for t in range(8)])
    data = ps.read_table(rows, task="sequence", label=None, split="leave_one_out")
    assert len(data.test) == len(data.valid) == 6
    assert lengths(data.test) == [7] * 6 and lengths(data.valid) == [6] * 6
    by_scene = ps.read_table(rows, task="sequence", label=None, split={"by": "leave_one_out", "within": "scene"})
    assert len(by_scene.test) == len(by_scene.valid) == 12
    # The newer of a user's test rows comes after the older one, which was known by then.
    assert sorted(lengths(by_scene.test)) == [6] * 6 + [7] * 6


def test_a_compiled_data_set_keeps_its_order_and_its_context(tmp_path: Path) -> None:
    data = small()
    data.save(tmp_path / "compiled")
    opened = ps.open_data(tmp_path / "compiled")
    for part in ("train", "valid", "test"):
        assert pasts(opened, getattr(opened, part)) == pasts(data, getattr(data, part))
    assert opened.split_digest == data.split_digest and len(opened.context) == 4
    other = ps.open_data(tmp_path / "compiled", split="leave_one_out")
    assert other.context is None and other.split_digest != data.split_digest


def test_rows_of_a_new_file_go_on_where_training_ended() -> None:
    data = small()
    model = ps.models.ItemKNN(data.schema, scope="overall")
    ps.Trainer().fit(model, data)
    new = ps.read_table(
        test=frame([("u", "a", "x"), ("m", "a", "x")]), context=frame([("m", "d", "x")]), schema=data.schema
    )
    new.test.history = model._impl.history
    assert pasts(data, new.test) == ["abcd", "d"]
    result = ps.evaluate(model, new.test, exclude_seen=False)
    assert result.counts["x"]["users"] == 2


def test_bad_sources_are_told() -> None:
    with pytest.raises(ValueError, match="context belongs to task 'sequence', got task 'ranking'"):
        ps.read_table(train=frame(TRAIN), context=frame(CONTEXT), task="ranking")
    with pytest.raises(ValueError, match="weight: rows of sequences are not weighed"):
        ps.read_table(train=pa.table({"user_id": ["u"], "item_id": ["a"], "w": [1.0]}), task="sequence", weight="w")
    with pytest.raises(ValueError, match="task 'sequence' needs one"):
        ps.read_table(train=pa.table({"item_id": ["a"]}), task="sequence")


def test_movie_book_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "num.txt").write_text("3\n9\n")
    (tmp_path / "train_overlap.txt").write_text("1\t1,4,2,5\n2\t3,1,4\n")
    (tmp_path / "valid.txt").write_text("1\t2,4,1\n")
    (tmp_path / "test.txt").write_text("1\t1,9,4\n2\t4,1,2,3\n")
    data = ps.datasets.load("movie-book", root=tmp_path)
    assert {part: len(table) for part, table in data.tables.items()} == {"train": 7, "valid": 1, "test": 2}
    assert data.schema.task == "sequence" and sorted(data.schema.scenes) == ["book", "movie"]
    assert pasts(data, data.test) == ["1?", "412"] and pasts(data, data.valid) == ["24"]
    scenes = [data.schema.scenes[code] for code in data.test.scenes().tolist()]
    assert scenes == ["book", "movie"]
    held = ps.datasets.load("movie-book", root=tmp_path, split="leave_one_out")
    assert len(held.train) == 5 and len(held.test) == 4 and len(held.valid) == 1
    # Item 5 was met by nobody else: it is unknown now.
    assert sorted(pasts(held, held.test)) == ["142", "1?", "31", "412"]
    whole = ps.datasets.load("movie-book", root=tmp_path, split={"by": "leave_one_out", "within": "user"})
    assert len(whole.test) == 5
    assert _sequences.read_movie_book("movie-book", tmp_path / "nowhere") is None
    assert registry.RECIPES["movie-book"].rows == 126_556
