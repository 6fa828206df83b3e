"""MedMNIST's npz files (Yang et al. 2023): arrays of small images with labels, by split."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Header, Report, Skip, Source
from embedstore.errors import ReadFailure
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

_IMAGES = re.compile(r"(?:(?P<split>.+)_)?images")
_MOST_LABEL_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class _Member:
    """An array inside the npz, from its .npy header alone."""

    file: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class MedMnistReader:
    """Reads npz files with arrays `SPLIT_images` (and `SPLIT_labels`), or just `images` (and `labels`).

    Parts: "SPLIT/N" (or "images/N"), N the row from 0. Images are uint8, (n, H, W) or (n, H, W, 3); volumes
    and other types are refused. A label of one column is its number as text; of several 0/1 columns the
    positions of the ones joined by `;`. Arrays of Python objects (pickles) are refused by their header,
    before any byte of them is unpickled. The last array read stays in memory, since rows are read one
    after the other.
    """

    name = "medmnist"

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._last: tuple[tuple[str, int, int, str], NDArray[np.uint8]] | None = None

    def sniff(self, head: bytes) -> bool:
        """A zip whose first member is a .npy array."""
        if head[:4] != b"PK\x03\x04" or len(head) < 30:
            return False
        length = int.from_bytes(head[26:28], "little")
        return head[30 : 30 + length].endswith(b".npy")

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """One asset per row of each array of images. Raises ReadFailure; only labels are unpacked."""
        with source.open() as stream:
            arrays = _members(stream)
            names = [name for name in arrays if _IMAGES.fullmatch(name)]
            if not names:
                raise ReadFailure("no array called images or SPLIT_images in the npz file")
            for name in names:
                self._check(arrays[name])
            if sum(arrays[name].shape[0] for name in names) == 0:
                raise ReadFailure("the npz file holds no images")
            labels = {name: _labels(stream, arrays, name) for name in names}
        for name in names:
            yield from self._rows(source, name, arrays[name], labels[name])

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """One row: uint8 for "display", float32 for "raw". Raises ReadFailure."""
        if want in ("hu", "suv"):
            raise ReadFailure("its values are neither Hounsfield units nor uptake values")
        split, _, number = asset.part.rpartition("/")
        array = self._array(asset.source, "images" if split == "images" else f"{split}_images")
        if not (number.isascii() and number.isdigit()) or int(number) >= len(array):
            raise ReadFailure("there is no such row in the file")
        row = array[int(number)]
        pixels = row[..., None] if row.ndim == 2 else row
        if want == "raw":
            return Image(pixels=np.ascontiguousarray(pixels, np.float32), intensity="raw")
        return Image(pixels=np.array(pixels, order="C"), intensity="display")

    def _rows(self, source: Source, name: str, member: _Member, labels: list[str | None]) -> Iterator[Asset]:
        split = name.removesuffix("_images")
        for row in range(member.shape[0]):
            header = Header(
                frame=row,
                label=labels[row] if row < len(labels) else None,
                split=None if split == "images" else split,
                rows=member.shape[1],
                columns=member.shape[2],
            )
            yield Asset(source=source, part=f"{split}/{row}", reader=self.name, header=header)

    def _check(self, member: _Member) -> None:
        shape = member.shape
        if member.dtype != np.uint8:
            raise ReadFailure("images of the npz file are not unsigned 8-bit numbers")
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3):
            raise ReadFailure("images of the npz file are not (n, height, width) or (n, height, width, 3)")
        if min(shape[1:3]) < 1:
            raise ReadFailure("images of the npz file have no pixels")
        if shape[1] * shape[2] > self._limits.max_pixels:
            raise ReadFailure(f"an image has more pixels than the limit of {self._limits.max_pixels:,}")
        if shape[0] > self._limits.max_members:
            raise ReadFailure(f"more images than the limit of {self._limits.max_members:,}")
        if math.prod(shape) > self._limits.max_file_bytes:
            raise ReadFailure(f"unpacked larger than the limit of {self._limits.max_file_bytes:,} bytes")

    def _array(self, source: Source, name: str) -> NDArray[np.uint8]:
        key = (source.path, source.size, source.mtime_ns, name)
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        with source.open() as stream:
            arrays = _members(stream)
            if name not in arrays:
                raise ReadFailure("there is no such array in the file")
            self._check(arrays[name])
            array: NDArray[np.uint8] = _load(stream, arrays[name])
        self._last = (key, array)
        return array


def _members(stream: BinaryIO) -> dict[str, _Member]:
    """Arrays by name with shape and type from their .npy headers; refuses Python objects."""
    found: dict[str, _Member] = {}
    try:
        with zipfile.ZipFile(stream) as opened:
            for file in opened.namelist():
                if file.endswith(".npy"):
                    with opened.open(file) as member:
                        shape, dtype = _npy_header(member.read(1 << 16))
                    if math.prod(shape) * dtype.itemsize > opened.getinfo(file).file_size:
                        raise ReadFailure("an array of the npz file is shorter than its header promises")
                    found[file.removesuffix(".npy")] = _Member(file, shape, dtype)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        raise ReadFailure("the npz file is damaged or cut short") from None
    return found


def _npy_header(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    stream = io.BytesIO(head)
    version = npy.read_magic(stream)
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise ReadFailure("an array of the npz file holds pickled Python objects; refused")
    if any(length < 0 for length in shape):
        raise ValueError("negative shape")
    return shape, dtype


def _load(stream: BinaryIO, member: _Member) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(stream) as opened, opened.open(member.file) as packed:
            return np.asarray(npy.read_array(packed, allow_pickle=False))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        raise ReadFailure("the npz file is damaged or cut short") from None


def _labels(stream: BinaryIO, arrays: dict[str, _Member], images: str) -> list[str | None]:
    name = images.removesuffix("images") + "labels"
    member = arrays.get(name)
    if member is None:
        return []
    count = arrays[images].shape[0]
    if member.dtype.kind not in "biuU" or len(member.shape) not in (1, 2) or member.shape[0] != count:
        raise ReadFailure("labels of the npz file do not fit its images")
    if math.prod(member.shape) * member.dtype.itemsize > _MOST_LABEL_BYTES:
        raise ReadFailure("labels of the npz file are too large")
    values = _load(stream, member)
    if values.ndim == 1 or values.shape[1] == 1:
        return [str(value) for value in values.reshape(count).tolist()]
    return [";".join(str(column) for column in np.flatnonzero(row)) or None for row in values]
