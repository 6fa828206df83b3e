"""Which bytes of encapsulated pixel data are frame N (PS3.5 A.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure

I64 = NDArray[np.int64]
_END = b"\xff\xd9"  # end of image of JPEG and JPEG-LS, end of code stream of JPEG 2000
_FEW = "fewer frames than the header promises; the file is truncated"


@dataclass(frozen=True, slots=True, eq=False)
class Fragments:
    """Items of encapsulated pixel data. starts, lengths: of their values, the offset table left out.

    table: place and length of the basic offset table's value.
    """

    starts: I64
    lengths: I64
    table: tuple[int, int]

    def __len__(self) -> int:
        return len(self.starts)

    def frame(self, stream: BinaryIO, index: int, frames: int) -> bytes:
        """The encoded frame `index` of `frames`. Raises ReadFailure when nothing says which it is."""
        if frames == 1:
            return self._joined(stream, 0, len(self))
        if len(self) == frames:
            return self._joined(stream, index, index + 1)
        bounds = self._by_table(stream, frames) or self._by_markers(stream, frames)
        return self._joined(stream, bounds[index], bounds[index + 1])

    def _joined(self, stream: BinaryIO, first: int, last: int) -> bytes:
        parts = []
        for number in range(first, last):
            stream.seek(int(self.starts[number]))
            parts.append(stream.read(int(self.lengths[number])))
            if len(parts[-1]) != self.lengths[number]:
                raise ReadFailure("pixel data are cut short; the file is truncated")
        return b"".join(parts)

    def _by_table(self, stream: BinaryIO, frames: int) -> list[int] | None:
        """First fragment of each frame by the basic offset table, and the end; None when it is no help."""
        place, length = self.table
        if length != 4 * frames:
            return None
        stream.seek(place)
        offsets = np.frombuffer(stream.read(length), "<u4").astype(np.int64)
        heads = self.starts - 8 - (place + length)
        found = np.searchsorted(heads, offsets)
        inside = found < len(heads)
        if not inside.all() or not np.array_equal(heads[found], offsets) or (np.diff(found) < 1).any():
            return None
        return [*found.tolist(), len(self)] if found[0] == 0 else None

    def _by_markers(self, stream: BinaryIO, frames: int) -> list[int]:
        """The same by code streams that end: an end marker in the last bytes of a fragment."""
        bounds = [0]
        for number, end in enumerate((self.starts + self.lengths).tolist(), 1):
            last = min(int(self.lengths[number - 1]), 10)
            stream.seek(end - last)
            if _END in stream.read(last):
                bounds.append(number)
        if len(bounds) != frames + 1:
            raise ReadFailure("nothing says which fragments of the pixel data are which frame")
        return [*bounds[:-1], len(self)]


def find_fragments(stream: BinaryIO, size: int) -> Fragments:
    """Walk over the items from the stream's place, reading only their 8-byte heads.

    Raises ReadFailure when they are damaged or go beyond the `size` of the stream.
    """
    starts: list[int] = []
    lengths: list[int] = []
    at = stream.tell()
    begin = stream.read(8)
    while len(begin) == 8 and begin[:4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(begin[4:], "little")
        starts.append(at + 8)
        lengths.append(length)
        at += 8 + length
        if at > size:
            raise ReadFailure("pixel data are cut short; the file is truncated")
        stream.seek(at)
        begin = stream.read(8)
    if len(starts) < 2 or (begin and begin[:4] != b"\xfe\xff\xdd\xe0"):
        raise ReadFailure("the encapsulated pixel data are damaged or cut short")
    return Fragments(np.array(starts[1:], np.int64), np.array(lengths[1:], np.int64), (starts[0], lengths[0]))
