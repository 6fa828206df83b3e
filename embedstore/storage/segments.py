"""Vector segments: append-only files of little-endian float32 rows behind a checksummed header.

Layout: 128 bytes of header, then rows of `dim` float32. Which rows count, and the CRC-32 of each block of
them, is in SQL: bytes behind the last committed row do not exist for a reader and are cut off by the next
writer. Header, little-endian: magic (8 bytes), version (u32), dim (u32), space fingerprint (64 bytes,
NUL-padded), zeros (44 bytes), CRC-32 of the 124 bytes before it (u32).
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.errors import StoreDamaged
from embedstore.fingerprint import digest
from embedstore.storage.disk import full_means_storage_full, sync_folder

MAGIC = b"EMBSEG\r\n"
VERSION = 1
HEADER_BYTES = 128
SEGMENT_BYTES = 1 << 30
_HEADER = struct.Struct("<8sII64s44x")


@dataclass(frozen=True, slots=True)
class SegmentState:
    """A segment as SQL knows it. rows: committed ones. fresh: no commit has used it yet."""

    filename: str
    space: str
    dim: int
    rows: int
    fresh: bool = False

    @property
    def end(self) -> int:
        """Bytes of the file that are committed."""
        return HEADER_BYTES + self.rows * self.dim * 4


@dataclass(frozen=True, slots=True)
class BlockState:
    """Rows that one commit appended, with the CRC-32 of their bytes."""

    first_row: int
    n_rows: int
    crc32: int


def segment_name(space_id: int, number: int) -> str:
    """File name of a space's segment; numbers start at 1."""
    return f"space{space_id:04d}-{number:06d}.f32"


def header_bytes(space: str, dim: int) -> bytes:
    """The header of a segment of a space."""
    name = space.encode() if len(space.encode()) <= 64 else digest(space).encode()
    body = _HEADER.pack(MAGIC, VERSION, dim, name)
    return body + struct.pack("<I", zlib.crc32(body))


def append(folder: Path, segment: SegmentState, vectors: F32) -> BlockState:
    """Append (n, dim) float32 rows behind the committed ones and make them durable.

    What an interrupted writer left behind the committed rows is cut off first. The rows count once
    SQL says so. Raises StorageFull (the file is cut back) and StoreDamaged (shorter than what SQL knows).
    """
    path = folder / segment.filename
    data = np.ascontiguousarray(vectors, dtype="<f4")
    raw = memoryview(data.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # arrays are buffers
    with full_means_storage_full(path):
        handle = _open_for_append(path, segment.fresh)
        try:
            if segment.fresh:
                _write(handle, memoryview(header_bytes(segment.space, segment.dim)), 0)
            _cut_tail(handle, path, segment)
            _write_or_cut(handle, raw, segment.end)
            os.fsync(handle)
        finally:
            os.close(handle)
        if segment.fresh:
            sync_folder(folder)
    return BlockState(segment.rows, len(data), zlib.crc32(raw))


def _open_for_append(path: Path, fresh: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if fresh else 0), 0o644)
    except FileNotFoundError as error:
        raise StoreDamaged(f"{path} is missing; restore it from a backup") from error


def _cut_tail(handle: int, path: Path, segment: SegmentState) -> None:
    size = os.fstat(handle).st_size
    if size < segment.end:
        raise StoreDamaged(f"{path} is shorter than what was committed to it; restore it from a backup")
    if size > segment.end:
        os.ftruncate(handle, segment.end)


def _write_or_cut(handle: int, raw: memoryview, offset: int) -> None:
    try:
        _write(handle, raw, offset)
    except OSError:
        os.ftruncate(handle, offset)
        raise


def _write(handle: int, raw: memoryview, offset: int) -> None:
    while raw:
        written = os.pwrite(handle, raw, offset)
        raw, offset = raw[written:], offset + written


class SegmentReader:
    """Committed rows of one segment, memory-mapped. A block is checked before its first use.

    Grows by `extend` when more rows are committed. Every method raises StoreDamaged naming the file.
    """

    def __init__(self, folder: Path, segment: SegmentState, blocks: Sequence[BlockState]) -> None:
        self.path = folder / segment.filename
        self._segment = segment
        self._blocks: list[BlockState] = []
        self._firsts = np.empty(0, np.int64)
        self._checked = np.empty(0, np.bool_)
        self._rows: F32 = np.empty((0, segment.dim), np.float32)
        self._check_header()
        self.extend(segment.rows, blocks)

    def extend(self, rows: int, blocks: Sequence[BlockState]) -> None:
        """Take notice of further committed blocks, up to `rows` rows in all."""
        new = [b for b in blocks if not self._blocks or b.first_row > self._blocks[-1].first_row]
        # In this order a `vectors` in another thread never sees a block without its rows and its mark.
        self._rows = self._map(rows)
        self._checked = np.concatenate([self._checked, np.zeros(len(new), np.bool_)])
        self._blocks += new
        self._firsts = np.array([b.first_row for b in self._blocks], np.int64)

    def vectors(self, rows: I64) -> F32:
        """(n, dim) vectors of the given rows, in that order, copied."""
        for block in np.unique(np.searchsorted(self._firsts, rows, side="right") - 1):
            if not self._checked[block]:
                self._check_block(int(block))
        return self._rows[rows]

    def damaged_blocks(self) -> list[BlockState]:
        """Blocks whose bytes are not those that were committed; looks at every byte."""
        return [block for block in self._blocks if self._crc(block) != block.crc32]

    def _map(self, rows: int) -> F32:
        dim = self._segment.dim
        end = HEADER_BYTES + rows * dim * 4
        try:
            with self.path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < end:
                    raise self._damaged("is shorter than what was committed to it")
                if not rows:
                    return np.empty((0, dim), np.float32)
                mapped = mmap.mmap(stream.fileno(), end, access=mmap.ACCESS_READ)
        except OSError as error:
            raise self._damaged(f"cannot be read ({error.strerror})") from error
        return np.frombuffer(mapped, "<f4", rows * dim, HEADER_BYTES).reshape(rows, dim)

    def _check_header(self) -> None:
        try:
            with self.path.open("rb") as stream:
                found = stream.read(HEADER_BYTES)
        except OSError as error:
            raise self._damaged(f"cannot be read ({error.strerror})") from error
        if found != header_bytes(self._segment.space, self._segment.dim):
            raise self._damaged("has a damaged header")

    def _crc(self, block: BlockState) -> int:
        rows = self._rows[block.first_row : block.first_row + block.n_rows]
        return zlib.crc32(rows.reshape(-1).view(np.uint8).data)

    def _check_block(self, number: int) -> None:
        block = self._blocks[number]
        if self._crc(block) != block.crc32:
            last = block.first_row + block.n_rows - 1
            raise self._damaged(f"fails its checksum in rows {block.first_row} to {last}")
        self._checked[number] = True

    def _damaged(self, what: str) -> StoreDamaged:
        return StoreDamaged(f"{self.path} {what}; restore it from a backup")
