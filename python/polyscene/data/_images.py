"""Cells of images to pixels: numbers, encoded images, paths."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from polyscene._extension import _C
from polyscene.data._cells import BadCell, Lists, decoded, is_list, is_text
from polyscene.data._errors import suggestion
from polyscene.data.frame import Frame
from polyscene.data.reading import Piece
from polyscene.data.roles import ImageRole

_DEEP = ("I", "F")  # modes of Pillow with more than 8 bits a channel begin like this


def images(batch: _C.data.Batch, schema: _C.data.Schema) -> torch.Tensor:
    """The images of a batch, float32 [B, channels, height, width] in [0, 1]; an image that is missing is 0.

    Raises:
        ValueError: the data have no image column.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("image")
        >>> images(ps.testing.batch(data, 4), data.schema).shape
        torch.Size([4, 1, 8, 8])
    """
    return _C.data.images(batch, schema)


def image_lists(frame: Frame, role: ImageRole) -> tuple[Lists, ImageRole]:
    """The images of a column as lists of pixels (uint8, channel by channel, row by row), and the role with their size.

    A missing image is an empty list.

    Raises:
        ValueError: a cell is no image, or one of another size; the message names file, row, line and column.
        ImportError: images must be decoded or resized, and Pillow is not there.
    """
    reader = _Reader(role)
    parts = frame.each(role.name, reader.read)
    role = reader.role
    if not role.height:
        raise ValueError(
            f"{frame.owner}: image {role.name!r}: no cell holds an image, which would tell the size; give size"
        )
    known = np.concatenate([part[0] for part in parts])
    pixels = np.concatenate([part[1].reshape(-1) for part in parts])
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(known))) * role.pixels
    return Lists(pixels, offsets, pa.array([], pa.large_string())), role


class _Reader:
    """Reads the pieces of one column; the first image says how large all are where the role does not."""

    def __init__(self, role: ImageRole) -> None:
        self.role = role
        self.resizes = bool(role.height)

    def read(self, cells: pa.ChunkedArray, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """Where images are known, bool [n], and their pixels, uint8 [known, channels, height, width]."""
        if isinstance(cells.type, pa.BaseExtensionType):
            cells = pa.chunked_array([chunk.storage for chunk in cells.chunks], cells.type.storage_type)
        cells = cells.cast(pa.large_binary()) if pa.types.is_binary_view(cells.type) else decoded(cells)
        kind = cells.type
        if is_list(kind):
            return self._numbers(cells)
        binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
        both = pa.types.is_struct(kind) and {"bytes", "path"} >= {each.name for each in kind}
        if not (binary or both or is_text(kind) or pa.types.is_null(kind)):
            raise BadCell(
                0, f"wanted an image: lists of numbers, bytes of a file or a path, got a value of type {kind}"
            )
        known, found = np.zeros(len(cells), bool), []
        for row, cell in enumerate(cell for chunk in cells.chunks for cell in chunk.to_pylist()):
            if isinstance(cell, dict):
                cell = cell.get("bytes") or cell.get("path")
            if not cell:
                continue
            known[row] = True
            found.append(self._decoded(cell, piece.folder, row))
        return known, np.stack(found) if found else np.zeros(0, np.uint8)

    def _decoded(self, cell: bytes | str, folder: Path | None, row: int) -> np.ndarray:
        library = _library()
        source: Any = io.BytesIO(cell) if isinstance(cell, bytes) else (folder or Path()) / cell
        what = "bytes" if isinstance(cell, bytes) else f"the file {source}"
        if isinstance(source, Path) and not source.is_file():
            near = [other.name for other in source.parent.iterdir()] if source.parent.is_dir() else []
            raise BadCell(row, f"wanted an image, but there is no file {source}{suggestion(source.name, near)}")
        try:
            with library.Image.open(source) as opened:
                opened.load()
                picture, mode = library.ImageOps.exif_transpose(opened), opened.mode
        except (OSError, SyntaxError, ValueError, EOFError, library.Image.DecompressionBombError) as error:
            raise BadCell(row, f"wanted an image, got {what}, of which Pillow makes none ({error})") from error
        if mode.startswith(_DEEP):
            raise BadCell(row, f"wanted an image of 8 bits a channel, got {what} of mode {mode}")
        return self._stored(picture, row)

    def _stored(self, picture: Any, row: int) -> np.ndarray:
        """A picture of Pillow as it is stored, [channels, height, width]."""
        picture = picture.convert("L" if self.role.channels == 1 else "RGB")
        if self._resized(picture.height, picture.width, row):
            picture = picture.resize((self.role.width, self.role.height), _library().Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, np.uint8).reshape(self.role.height, self.role.width, self.role.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _resized(self, height: int, width: int, row: int) -> bool:
        """Whether an image of this size must be resized."""
        if not self.role.height:
            self.role = replace(self.role, height=height, width=width)
        if (height, width) == (self.role.height, self.role.width):
            return False
        if not self.resizes:
            raise BadCell(
                row,
                f"wanted {self.role.height} x {self.role.width} pixels, as the images before it have, got "
                f"{height} x {width}; give size, to which all are resized",
            )
        return True

    def _numbers(self, cells: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        known = pc.greater(pc.fill_null(pc.list_value_length(cells), 0), 0)
        inner = _one(cells.filter(known))
        known = known.to_numpy()
        rows, shapes = np.flatnonzero(known), []  # the lengths of lists, from the outermost
        if not len(rows):
            return known, np.zeros(0, np.uint8)
        ends = np.arange(len(rows) + 1)  # of each image's numbers, at the level that was reached
        while is_list(inner.type):
            lengths = pc.fill_null(pc.list_value_length(inner), 0).to_numpy(zero_copy_only=False).astype(np.int64)
            first = lengths[ends[:-1]]
            counts = np.diff(ends)
            uneven = np.flatnonzero(lengths != np.repeat(first, counts))
            if uneven.size:
                at = int(np.searchsorted(ends, uneven[0], side="right")) - 1
                raise BadCell(int(rows[at]), f"wanted lists of one length, got {first[at]} and {lengths[uneven[0]]}")
            empty = np.flatnonzero(first == 0)
            if empty.size:
                raise BadCell(int(rows[empty[0]]), "wanted an image, got a list without numbers")
            shapes.append(first)
            ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts * first)))
            inner = pc.list_flatten(inner)
        values = _bytes(inner, ends, rows)
        return known, self._of_shapes(values, ends, shapes, rows)

    def _of_shapes(
        self, values: np.ndarray, ends: np.ndarray, shapes: list[np.ndarray], rows: np.ndarray
    ) -> np.ndarray:
        """Numbers that lie one after another as images [n, channels, height, width]."""
        if len(shapes) == 1:  # the numbers of [height][width][channels] in one list
            if not self.role.height:
                raise BadCell(int(rows[0]), "one list of numbers does not tell height and width; give size")
            odd = np.flatnonzero(shapes[0] != self.role.pixels)
            if odd.size:
                wanted = f"{self.role.height} x {self.role.width} x {self.role.channels}"
                text = f"wanted {self.role.pixels} numbers ({wanted}), got {shapes[0][odd[0]]}"
                raise BadCell(int(rows[odd[0]]), text)
            shapes = [np.full(len(rows), each) for each in (self.role.height, self.role.width, self.role.channels)]
        if len(shapes) > 3:
            raise BadCell(
                int(rows[0]), f"wanted [height][width] or [height][width][channels], got lists {len(shapes)} deep"
            )
        if len(shapes) == 2:
            shapes = [*shapes, np.ones(len(rows), np.int64)]
        odd = np.flatnonzero((shapes[2] != 1) & (shapes[2] != 3))
        if odd.size:
            raise BadCell(int(rows[odd[0]]), f"wanted 1 or 3 numbers a pixel, got {shapes[2][odd[0]]}")
        sizes = np.stack(shapes, 1)
        self._resized(int(sizes[0, 0]), int(sizes[0, 1]), int(rows[0]))
        role = self.role
        if (sizes == (role.height, role.width, role.channels)).all():
            stored = values.reshape(-1, role.height, role.width, role.channels).transpose(0, 3, 1, 2)
            return np.ascontiguousarray(stored)
        out = np.empty((len(rows), role.channels, role.height, role.width), np.uint8)
        for i, (height, width, channels) in enumerate(sizes.tolist()):
            pixels = values[ends[i] : ends[i + 1]].reshape(height, width, channels)
            if not self._resized(height, width, int(rows[i])) and channels <= role.channels:
                out[i] = pixels.transpose(2, 0, 1)  # one number a pixel is that of every channel
            else:
                picture = _library().Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
                out[i] = self._stored(picture, int(rows[i]))
        return out


def _one(cells: pa.ChunkedArray) -> pa.Array:
    merged = cells.combine_chunks()
    return merged.chunk(0) if isinstance(merged, pa.ChunkedArray) else merged


def _bytes(numbers: pa.Array, ends: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Numbers as uint8; those of image i lie from ends[i] to ends[i + 1], rows[i] is where it stands."""
    kind = numbers.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise BadCell(int(rows[0]), f"wanted numbers from 0 to 255, got values of type {kind}")

    def owner(place: int) -> int:
        return int(rows[np.searchsorted(ends, place, side="right") - 1])

    if numbers.null_count:
        raise BadCell(
            owner(int(pc.index(pc.is_null(numbers), True).as_py())), "wanted a number for each pixel, got an empty one"
        )
    values: np.ndarray = numbers.to_numpy(zero_copy_only=False)
    if values.dtype == np.uint8:
        return values
    bad = np.flatnonzero(~((values >= 0) & (values <= 255) & (values == np.floor(values))))
    if bad.size:
        given = values[bad[0]]
        hint = "; multiply by 255" if 0 < given < 1 else ""
        raise BadCell(owner(int(bad[0])), f"wanted whole numbers from 0 to 255, got {given:g}{hint}")
    return values.astype(np.uint8)


def _library() -> Any:
    try:
        import PIL
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError('images need the package pillow: pip install "polyscene[image]"') from error
    return PIL
