"""Task image: what a cell may hold, sizes, what training rows alone decide, and what bad cells are told."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import polyscene as ps
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
SIZE = [{"name": "image", "size": [4, 5]}]


def table(cells: Any, **columns: Any) -> Any:
    n = len(cells)
    rows = {"image": cells, "label": (["cat", "dog"] * n)[:n], "scene": (["a", "b"] * n)[:n]}
    return pa.table(rows | columns)


def read(cells: Any, image: Any = ("image",), **options: Any) -> Any:
    rows = cells if isinstance(cells, (pa.Table, dict)) else table(cells)
    return ps.read_table(train=rows, task="image", image=image, **options)


def stored(data: Any) -> torch.Tensor:
    """The images of the training rows as whole numbers, [n, C, h, w]."""
    found = ps.data.images(data.train.batch(torch.arange(len(data.train))), data.schema)
    assert found.dtype == torch.float32 and float(found.max()) <= 1
    return found.mul(255).round().to(torch.int64)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def files(folder: Path) -> list[str]:
    (folder / "pictures").mkdir()
    for i, pixels in enumerate(PIXELS):
        (folder / "pictures" / f"{i}.png").write_bytes(encoded(pixels))
    return [f"pictures/{i}.png" for i in range(len(PIXELS))]


def flat(kind: Any) -> Any:
    return pa.array([each.reshape(-1).tolist() for each in PIXELS], kind)


GREY = {
    "nested lists": (PIXELS.tolist(), ("image",)),
    "nested lists with one number a pixel": (PIXELS[..., None].tolist(), ("image",)),
    "one list": (flat(pa.list_(pa.int64())), SIZE),
    "one list of whole floats": (flat(pa.list_(pa.float32())), SIZE),
    "one list of one length": (flat(pa.list_(pa.uint8(), 20)), SIZE),
    "a large list": (flat(pa.large_list(pa.int16())), SIZE),
    "bytes": ([encoded(each) for each in PIXELS], ("image",)),
    "a view of bytes": (pa.array([encoded(each) for each in PIXELS], pa.binary_view()), ("image",)),
    "a struct of bytes and path": ([{"bytes": encoded(each), "path": None} for each in PIXELS], ("image",)),
}


@pytest.mark.parametrize("name", GREY)
def test_grey_images_from_every_kind_of_cell(name: str) -> None:
    cells, image = GREY[name]
    data = read(cells, image)
    assert np.array_equal(stored(data)[:, 0], PIXELS)
    assert data.schema.images == [("image", 1, 4, 5)] and data.schema.classes == ["cat", "dog"]
    assert (data.schema.lists[0].kind, data.schema.lists[0].max_length) == ("image", 20)
    assert data.train.labels().tolist() == [0, 1] * 3


@pytest.mark.parametrize("name", ["nested", "flat", "bytes"])
def test_colours_are_stored_channel_by_channel(name: str) -> None:
    cells = {
        "nested": COLOURS.tolist(),
        "flat": [each.reshape(-1).tolist() for each in COLOURS],
        "bytes": [encoded(each) for each in COLOURS],
    }
    data = read(cells[name], [{"name": "image", "size": [4, 5], "channels": 3}])
    assert np.array_equal(stored(data), COLOURS.transpose(0, 3, 1, 2))
    values = data.train.batch(torch.arange(1)).sequence["image"].values
    assert values.dtype == torch.int32 and np.array_equal(values, COLOURS[0].transpose(2, 0, 1).reshape(-1))


@pytest.mark.parametrize("cells", [COLOURS.tolist(), [encoded(each) for each in COLOURS]])
def test_colours_become_grey_as_pillow_makes_them(cells: Any) -> None:
    expected = np.stack([np.asarray(Image.fromarray(each).convert("L")) for each in COLOURS])
    assert np.array_equal(stored(read(cells))[:, 0], expected)


@pytest.mark.parametrize("cells", [PIXELS.tolist(), [encoded(each) for each in PIXELS]])
def test_grey_becomes_three_equal_channels(cells: Any) -> None:
    found = stored(read(cells, [{"name": "image", "channels": 3}]))
    assert all(np.array_equal(found[:, c], PIXELS) for c in range(3))


@pytest.mark.parametrize("cells", [PIXELS.tolist(), [encoded(each) for each in PIXELS]])
def test_images_are_resized_where_a_size_is_given(cells: Any) -> None:
    expected = [np.asarray(Image.fromarray(each).resize((7, 3), Image.Resampling.BILINEAR)) for each in PIXELS]
    data = read(cells, [{"name": "image", "size": [3, 7]}])
    assert np.array_equal(stored(data)[:, 0], np.stack(expected))
    mixed = read([PIXELS[0].tolist(), PIXELS[0, :2].tolist()], SIZE)
    small = Image.fromarray(PIXELS[0, :2]).resize((5, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(stored(mixed)[:, 0], np.stack([PIXELS[0], np.asarray(small)]))


def test_jpeg_is_read_as_pillow_decodes_and_turns_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    cells = [encoded(each.repeat(8, 0).repeat(8, 1), "JPEG", exif=exif) for each in PIXELS[:2]]
    expected = [np.rot90(np.asarray(Image.open(io.BytesIO(cell))), -1) for cell in cells]
    assert np.array_equal(stored(read(cells))[:, 0], np.stack(expected))


def test_paths_go_out_from_the_folder_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(files(tmp_path))
    pq.write_table(rows, tmp_path / "rows.parquet")
    lines = [
        ",".join(map(str, row)) for row in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True)
    ]
    (tmp_path / "rows.csv").write_text("\n".join([",".join(rows.column_names), *lines]) + "\n")
    for name in ("rows.parquet", "rows.csv"):
        data = ps.read_table(train=tmp_path / name, task="image", image=["image"])
        assert np.array_equal(stored(data)[:, 0], PIXELS)
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(stored(read(rows))[:, 0], PIXELS)
    whole = table([{"bytes": None, "path": str(tmp_path / cell)} for cell in rows["image"].to_pylist()])
    assert np.array_equal(stored(read(whole))[:, 0], PIXELS)


@pytest.mark.parametrize(
    "cells",
    [
        [PIXELS[0].tolist(), None, PIXELS[2].tolist(), [], PIXELS[4].tolist()],
        [encoded(PIXELS[0]), None, encoded(PIXELS[2]), b"", encoded(PIXELS[4])],
    ],
)
def test_an_empty_cell_is_a_missing_image(cells: Any) -> None:
    data = read(cells)
    expected = PIXELS[:5].copy()
    expected[[1, 3]] = 0
    assert np.array_equal(stored(data)[:, 0], expected)
    batch = data.train.batch(torch.tensor([3, 0, 1]))
    assert batch.sequence["image"].offsets.tolist() == [0, 0, 20, 20]
    assert ps.data.images(batch.take([1]), data.schema).shape == (1, 1, 4, 5)


def test_a_source_for_a_schema_is_read_in_the_size_of_training() -> None:
    data = read(PIXELS.tolist())
    again = ps.data.encode(table(PIXELS.tolist()).drop(["label"]), data.schema)
    rows = torch.arange(len(PIXELS))
    assert torch.equal(again.batch(rows).sequence["image"].values, data.train.batch(rows).sequence["image"].values)
    larger = ps.data.encode(table(PIXELS.repeat(2, 1).tolist()), data.schema)
    assert ps.data.images(larger.batch(rows), data.schema).shape == (6, 1, 4, 5)
    with pytest.raises(ValueError, match=r"row 1, column 'label': wanted a class of the training rows, cat, dog, got"):
        ps.data.encode(table(PIXELS[:2].tolist(), label=["cow", "dog"]), data.schema)


def test_images_of_test_rows_change_nothing_in_the_schema() -> None:
    def schema(test: int) -> Any:
        rows = table([np.full((4, 5), test).tolist()] * 2)
        return ps.read_table(train=table(PIXELS.tolist()), test=rows, task="image", image=["image"]).schema

    assert schema(0).digest == schema(255).digest


def test_compiled_data_hold_a_byte_a_pixel_and_take_another_split(tmp_path: Path) -> None:
    cells = [*PIXELS.repeat(200, 0).tolist(), None]
    data = ps.read_table(table(cells), task="image", image=["image"])
    data.save(tmp_path / "data")
    assert (tmp_path / "data" / "columns.safetensors").stat().st_size < 1200 * (20 + 40)
    again = ps.data.open_data(tmp_path / "data")
    assert (again.digest, again.schema.digest, again.schema.images) == (
        data.digest,
        data.schema.digest,
        [("image", 1, 4, 5)],
    )
    for part in ("train", "test"):
        here, there = (getattr(each, part) for each in (data, again))
        rows = torch.arange(len(here))
        assert torch.equal(here.batch(rows).sequence["image"].values, there.batch(rows).sequence["image"].values)
    other = ps.data.open_data(tmp_path / "data", split={"ratios": [1, 1, 1]})
    assert len(other.valid) == 400 and stored(other).shape == (401, 1, 4, 5)
    thin = data.thin("b", 0.1, parts=("train",))
    assert len(thin.train) < len(data.train) and stored(thin).shape[1:] == (1, 4, 5)


def test_duplicates_are_found_among_images() -> None:
    rows = table(PIXELS[[0, 1, 0, 2]].tolist(), label=["x", "y", "x", "y"], scene=["a"] * 4)
    assert read(rows).report["duplicates"] == 1
    assert len(read(rows, clean={"duplicates": "drop"}).train) == 3


def test_data_without_images_keep_their_digests() -> None:
    """Roles without images are written as before there were any."""
    rows = pa.table({"user_id": ["1", "2"] * 5, "item_id": ["3", "4"] * 5, "label": [0, 1] * 5})
    data = ps.read_table(rows, split={"ratios": [8, 1, 1]})
    assert "images" not in data.schema.reader and data.schema.images == []


BAD = {
    "a wrong size": (
        [PIXELS[0].tolist(), PIXELS[1, :3].tolist()],
        ("image",),
        r"row 2, column 'image': wanted 4 x 5 pixels, as the images before it have, got 3 x 5; give size",
    ),
    "bytes of a wrong size": (
        [encoded(PIXELS[0]), encoded(PIXELS[1, :3])],
        ("image",),
        r"row 2, column 'image': wanted 4 x 5 pixels, .* got 3 x 5; give size",
    ),
    "a wrong number": (
        [PIXELS[0].reshape(-1).tolist(), [1, 2, 3]],
        SIZE,
        r"row 2, column 'image': wanted 20 numbers \(4 x 5 x 1\), got 3",
    ),
    "no size": (
        [[1, 2, 3, 4]],
        ("image",),
        "row 1, column 'image': one list of numbers does not tell height and width",
    ),
    "too large": ([[[1, 2]], [[3, 256]]], ("image",), "row 2, .*: wanted whole numbers from 0 to 255, got 256"),
    "negative": ([[[1, 2]], None, [[-1, 2]]], ("image",), "row 3, .*: wanted whole numbers from 0 to 255, got -1"),
    "shares": ([[[0.0, 1.0]], [[0.0, 0.5]]], ("image",), "row 2, .* 0 to 255, got 0.5; multiply by 255"),
    "no number": ([[[1.0, float("nan")]]], ("image",), "row 1, .*: wanted whole numbers from 0 to 255, got nan"),
    "a hole": ([[[1, 2]], [[3, None]]], ("image",), "row 2, .*: wanted a number for each pixel, got an empty one"),
    "uneven": ([[[1, 2]], [[1, 2], [3]]], ("image",), "row 2, .*: wanted lists of one length, got 2 and 1"),
    "empty rows": ([[[1, 2]], [[], []]], ("image",), "row 2, .*: wanted an image, got a list without numbers"),
    "two channels": ([[[[1, 2]]]], ("image",), "row 1, .*: wanted 1 or 3 numbers a pixel, got 2"),
    "four deep": ([[[[[1]]]]], ("image",), r"row 1, .*: wanted \[height\]\[width\] or .* got lists 4 deep"),
    "texts in lists": ([[["a"]]], ("image",), "row 1, .*: wanted numbers from 0 to 255, got values of type string"),
    "a number": ([1, 2], ("image",), "row 1, .*: wanted an image: lists of numbers, bytes of a file or a path, got"),
    "no image": ([b"what is this"], ("image",), "row 1, .*: wanted an image, got bytes, of which Pillow makes none"),
    "a cut image": (
        [encoded(PIXELS[0]), encoded(PIXELS[0].repeat(30, 0))[:80]],
        SIZE,
        "row 2, .*: wanted an image, got bytes, of which Pillow makes none",
    ),
    "no file": (
        ["pictures/nothing.png"],
        ("image",),
        "row 1, .*: wanted an image, but there is no file pictures/nothing",
    ),
    "16 bits": (
        [encoded(PIXELS[0].astype(np.uint16))],
        ("image",),
        "row 1, .*: wanted an image of 8 bits a channel, got bytes of mode I;16",
    ),
    "nothing at all": (pa.array([None, None], pa.binary()), ("image",), "image 'image': no cell holds an image"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_cells_are_told_with_row_and_column(name: str) -> None:
    cells, image, text = BAD[name]
    with pytest.raises(ValueError, match=text):
        read(cells, image)


def test_a_missing_file_is_told_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "rows.csv").write_text("image,label\npictures/0.png,x\npictures/10.png,y\n")
    known = (
        r"rows\.csv: row 2 \(line 3\), column 'image': wanted an image, but there is no file .*10\.png; did you mean"
    )
    with pytest.raises(ValueError, match=known):
        ps.read_table(train=tmp_path / "rows.csv", task="image", image=["image"])


@pytest.mark.parametrize(
    ("roles", "text"),
    [
        ({"image": []}, r"image must name one column \(task 'image'\), got 0"),
        ({"task": "ctr"}, "image names 'image', but images are for tasks 'image' and 'text', got task 'ctr'"),
        ({"image": [{"name": "image", "size": 28}]}, r"image 'image': size must be \[height, width\], got 28"),
        ({"image": [{"name": "image", "size": [0, 5]}]}, "image 'image': size must be a whole number of at least 1"),
        ({"image": [{"name": "image", "channels": 2}]}, r"image 'image': channels must be 1 \(grey\) or 3"),
        ({"image": [{"name": "image", "width": 2}]}, "image: unknown key 'width'; known keys: name, size, channels"),
        ({"image": ["imag"]}, "image names no column 'imag'; columns of .* did you mean 'image'"),
        ({"label": {"column": "label", "at_least": 1}}, "label: task 'image' takes the classes as they stand"),
        ({"tokenizer": "words"}, "tokenizer is given, but texts are for task 'text', got task 'image'"),
        ({"categorical": ["image"]}, "the column 'image' is both categorical and image; name it once"),
    ],
)
def test_roles_that_do_not_fit(roles: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ps.read_table(train=table(PIXELS.tolist()), **({"task": "image", "image": ["image"]} | roles))


def test_batches_without_the_column_and_other_sizes_are_refused() -> None:
    data, other = read(PIXELS.tolist()), read(PIXELS.tolist(), [{"name": "image", "size": [2, 2]}])
    batch = data.train.batch(torch.arange(2))
    with pytest.raises(
        ValueError, match=r"images: an image of column 'image' must have 4 pixels \(1 x 2 x 2\), got 20"
    ):
        ps.data.images(batch, other.schema)
    with pytest.raises(ValueError, match="images: the data have no image column; name it when the table is read"):
        ps.data.images(batch, ps.testing.tiny_data().schema)


def test_without_pillow_numbers_are_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "PIL", None)
    assert np.array_equal(stored(read(PIXELS.tolist()))[:, 0], PIXELS)
    with pytest.raises(ImportError, match=r'images need the package pillow: pip install "polyscene\[image\]"'):
        read([b"1"])


def test_digits_are_of_two_scenes_in_one_size(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    (tmp_path / "digits").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "digits" / "mnist_10k.npz", images=images, labels=np.arange(40, dtype=np.uint8) % 10)
    data = ps.datasets.load("digits", tmp_path, split={"by": "random", "ratios": [8, 1, 1]})
    assert data.schema.classes == [str(digit) for digit in range(10)] and data.schema.scenes == ["mnist", "uci"]
    assert data.schema.images == [("image", 1, 28, 28)] and data.columns.rows == 40 + 1797
    rows, found = data.train.rows, stored(data)[:, 0]
    uci, mnist = rows[rows >= 40], rows[rows < 40]
    assert np.array_equal(found[rows < 40], images[mnist]) and len(mnist) > 20
    first = Image.fromarray(np.round(load_digits().images[int(uci[0]) - 40] * 255 / 16).astype(np.uint8))
    assert np.array_equal(found[len(mnist)], np.asarray(first.resize((28, 28), Image.Resampling.BILINEAR)))
    assert data.train.labels()[rows >= 40].tolist() == load_digits().target[uci - 40].tolist()


def test_check_looks_at_images_as_such() -> None:
    def errors(cells: Any) -> list[str]:
        report = ps.data.check(table(cells), task="image", image=["image"])
        assert ("image", "images") in report.columns
        return [each.what for each in report.findings if each.severity == "error"]

    assert errors(PIXELS.tolist()) == errors([encoded(each) for each in PIXELS]) == []
    found = errors([encoded(PIXELS[0]), b"nothing"])
    assert len(found) == 1 and "row 2, column 'image': wanted an image, got bytes" in found[0]
