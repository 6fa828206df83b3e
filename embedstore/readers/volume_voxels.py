"""Voxels of one file: single slices read where they lie, packed files unpacked once and within bounds."""

from __future__ import annotations

import hashlib
import math
import mmap
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.record import Source
from embedstore.errors import ReadFailure
from embedstore.readers.sources import FileSource, reason_of
from embedstore.readers.volume_header import CUT_SHORT, Layout, check_size

_PIECE = 1 << 20
_HELD_BYTES = 256 << 20  # beyond this, unpacked voxels go to a temporary file instead of memory
_TRAILER_BYTES = 1 << 16
_SAMPLED_PLANES = 64
_SAMPLED_VALUES = 1 << 20
_DIGEST_BYTES = 64 << 20
_Read = Callable[[int, int], "memoryview | bytes"]


class Voxels:
    """Stored values of a volume, by slice.

    A plain file is read slice by slice and never held. What has to be unpacked (gzip, zlib, a member of an
    archive) is unpacked once, up to its last voxel and no further: into memory, or beyond 256 MiB into a
    temporary file that has no name.
    """

    def __init__(self, source: Source, layout: Layout) -> None:
        check_size(layout, source.size)
        self._source, self._layout = source, layout
        self._start = source.size - layout.end + layout.offset if layout.from_end else layout.offset
        plain = isinstance(source, FileSource) and not layout.packing
        self._held = None if plain else unpack(source, layout, self._start)

    def plane(self, time: int, axis: int, index: int) -> NDArray[Any]:
        """(a, b, C) stored values of a slice; a and b are the other two voxel axes in ascending order."""
        with self._reading() as read:
            plane = self._stored_plane(read, self._base(time), axis, index)
        return self._chosen(plane, time).swapaxes(0, 1)

    def volume(self, time: int) -> NDArray[Any]:
        """(i, j, k, C) stored values of a time point."""
        with self._reading() as read:
            i, j, k = self._layout.shape
            data = read(self._base(time), self._layout.volume_bytes)
            stored = np.frombuffer(data, self._layout.dtype).reshape(k, j, i, self._layout.cells)
        return self._chosen(stored, time).transpose(2, 1, 0, 3)

    def sample(self) -> NDArray[Any]:
        """Up to about a million stored values, spread evenly over all planes of all time points."""
        layout = self._layout
        times = 1 if layout.times_fastest else layout.times
        count = times * layout.shape[2]
        chosen = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_PLANES)).round().astype(int))
        per_plane = layout.shape[0] * layout.shape[1] * layout.cells
        step = max(1, math.ceil(per_plane * len(chosen) / _SAMPLED_VALUES))
        step += step > 1 and step % 2 == 0  # an odd step does not fall on the same columns of each row
        with self._reading() as read:
            planes = []
            for number in chosen:
                time, k = divmod(int(number), layout.shape[2])
                plane = self._stored_plane(read, self._base(time), 2, k)
                planes.append(plane.reshape(-1)[::step].copy())  # not a view, which would keep the plane
            return np.concatenate(planes)

    def _base(self, time: int) -> int:
        return self._start + (0 if self._layout.times_fastest else time * self._layout.volume_bytes)

    def _chosen(self, stored: NDArray[Any], time: int) -> NDArray[Any]:
        return stored[..., time : time + 1] if self._layout.times_fastest else stored

    def _stored_plane(self, read: _Read, base: int, axis: int, index: int) -> NDArray[Any]:
        """The slice with its faster axis last, and the cells: contiguous, in rows, or picked from planes."""
        layout = self._layout
        (i, j, k), cells, dtype = layout.shape, layout.cells, layout.dtype
        row_bytes = i * cells * dtype.itemsize
        if axis == 2:
            data = read(base + index * j * row_bytes, j * row_bytes)
            return np.frombuffer(data, dtype).reshape(j, i, cells)
        if axis == 1:
            found = np.empty((k, i, cells), dtype)
            for number in range(k):
                data = read(base + (number * j + index) * row_bytes, row_bytes)
                found[number] = np.frombuffer(data, dtype).reshape(i, cells)
            return found
        found = np.empty((k, j, cells), dtype)
        for number in range(k):
            data = read(base + number * j * row_bytes, j * row_bytes)
            found[number] = np.frombuffer(data, dtype).reshape(j, i, cells)[:, index]
        return found

    @contextmanager
    def _reading(self) -> Iterator[_Read]:
        if self._held is not None:
            held = self._held
            yield lambda start, length: held[start : start + length]
            return
        with self._source.open() as stream:

            def read(start: int, length: int) -> bytes:
                stream.seek(start)
                data = stream.read(length)
                if len(data) != length:
                    raise ReadFailure(CUT_SHORT)
                return data

            try:
                yield read
            except OSError as error:
                raise ReadFailure(reason_of(error)) from None


def unpack(source: Source, layout: Layout, start: int) -> memoryview:
    """The stream up to the last voxel. Raises ReadFailure when it ends earlier or does not check out."""
    end = start + layout.end - layout.offset
    try:
        with source.open() as stream:
            if layout.packing:
                stream.seek(layout.packed_at)
            return _collect(_inflated(stream, end) if layout.packing else _plain(stream, end), end)
    except OSError as error:
        raise ReadFailure(f"cannot be unpacked: {error.strerror or type(error).__name__}") from None
    except zlib.error:
        raise ReadFailure("the packed voxels are damaged") from None


def digest_of(source: Source) -> str:
    """Sixteen hexadecimal digits that tell contents apart without a name: of the bytes and their number.

    Of a file beyond 64 MiB, sixty-four pieces of 1 MiB spread evenly over it. Raises ReadFailure.
    """
    digest = hashlib.sha256(str(source.size).encode())
    pieces = _DIGEST_BYTES // _PIECE
    try:
        with source.open() as stream:
            for number in range(pieces):
                if source.size > _DIGEST_BYTES:
                    stream.seek((source.size - _PIECE) * number // (pieces - 1))
                digest.update(stream.read(_PIECE))
    except OSError as error:
        raise ReadFailure(reason_of(error)) from None
    return digest.hexdigest()[:16]


def _collect(pieces: Iterator[bytes], end: int) -> memoryview:
    """Memory for what fits, else a temporary file, mapped, which vanishes with the last use of the map."""
    if end <= _HELD_BYTES:
        held = bytearray()
        for piece in pieces:
            held += piece
        _refuse_short(len(held), end)
        return memoryview(held).toreadonly()
    with tempfile.TemporaryFile() as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        _refuse_short(file.tell(), end)
        return memoryview(mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ))


def _refuse_short(found: int, end: int) -> None:
    if found < end:
        raise ReadFailure(CUT_SHORT)


def _plain(stream: BinaryIO, end: int) -> Iterator[bytes]:
    left = end
    while left > 0 and (piece := stream.read(min(left, _PIECE))):
        left -= len(piece)
        yield piece


def _inflated(stream: BinaryIO, end: int) -> Iterator[bytes]:
    """`end` bytes of a zlib or gzip stream (of several gzip members too) in pieces of at most 1 MiB.

    What follows is unpacked for another 64 KiB, so that the checksum behind the last voxel is met.
    """
    left, inflate = end, zlib.decompressobj(zlib.MAX_WBITS | 32)
    while left > -_TRAILER_BYTES:
        packed = inflate.unconsumed_tail or stream.read(_PIECE)
        if inflate.eof:
            packed = inflate.unused_data or packed
            if left <= 0 or not packed.startswith(b"\x1f\x8b"):
                return
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif not packed:
            raise ReadFailure(CUT_SHORT)
        piece = inflate.decompress(packed, _PIECE)
        yield piece[: max(left, 0)]
        left -= len(piece)
