"""Sizes out of JPEG, JPEG-LS and JPEG 2000 code streams, read before a decoder may allocate for them."""

from __future__ import annotations

import struct

_J2K = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  "
_SOI = b"\xff\xd8"
_NOT_SOF = frozenset({0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_LS = 0xF7


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) that the code stream declares; None when the frame is in none of these formats.

    JPEG: the first frame header (T.81 B.2.2, T.87 C.2.2). JPEG 2000: the SIZ marker (T.800 A.5.1), also
    inside JP2 boxes, which some writers leave around it. Raises ValueError when damaged.
    """
    if frame.startswith(_JP2):
        frame = frame[_codestream_box(frame) :]
    if frame.startswith(_J2K):
        return _jpeg2000_size(frame)
    if frame.startswith(_SOI):
        return _jpeg_size(frame)
    return None


def ends_whole(frame: bytes) -> bool:
    """Whether a JPEG code stream has its end marker; libjpeg fills up without one. Padding may follow."""
    return b"\xff\xd9" in frame[-64:]


def _codestream_box(frame: bytes) -> int:
    """Offset of the contents of the jp2c box (T.800 I.4)."""
    at = 0
    while at + 8 <= len(frame):
        length = int.from_bytes(frame[at : at + 4], "big")
        if frame[at + 4 : at + 8] == b"jp2c":
            return at + 8
        if length < 8:  # 0 and 1 are for the last and for huge boxes: neither stands before the code stream
            break
        at += length
    raise ValueError("no code stream in the JP2 boxes")


def _jpeg2000_size(frame: bytes) -> tuple[int, int]:
    if len(frame) < 24:
        raise ValueError("the code stream ends inside its SIZ marker")
    right, bottom, left, top = struct.unpack(">IIII", frame[8:24])
    return bottom - top, right - left


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
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
    raise ValueError("no frame header in the code stream")
