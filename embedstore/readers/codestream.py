"""Sizes out of JPEG, JPEG-LS and JPEG 2000 code streams, read before a decoder may allocate for them."""

from __future__ import annotations

import struct

_J2K = b"\xff\x4f\xff\x51"
_SOI = b"\xff\xd8"
_NOT_SOF = frozenset({0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_LS = 0xF7


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) that the code stream declares; None when it is none of these formats or is damaged.

    JPEG: the first frame header (T.81 B.2.2, T.87 C.2.2). JPEG 2000: the SIZ marker (T.800 A.5.1).
    """
    if frame.startswith(_J2K):
        return _jpeg2000_size(frame)
    if frame.startswith(_SOI):
        return _jpeg_size(frame)
    return None


def ends_whole(frame: bytes) -> bool:
    """Whether a JPEG code stream has its end marker; libjpeg fills up without one. Padding may follow."""
    return b"\xff\xd9" in frame[-64:]


def _jpeg2000_size(frame: bytes) -> tuple[int, int] | None:
    if len(frame) < 24:
        return None
    right, bottom, left, top = struct.unpack(">IIII", frame[8:24])
    return (bottom - top, right - left) if bottom > top and right > left else None


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif (0xC0 <= marker <= 0xCF and marker not in _NOT_SOF) or marker == _JPEG_LS:
            rows, columns = struct.unpack(">HH", frame[at + 5 : at + 9])
            return rows, columns
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
