"""What JPEG, JPEG-LS, JPEG 2000 and JPEG XL code streams say of themselves, read before a decoder may
allocate for them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_J2K = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  "
_JXL = b"\xff\x0a"
_JXL_BOXES = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_SOI = b"\xff\xd8"
_NOT_SOF = frozenset({0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_LS = 0xF7
_SOS, _APP0, _APP14 = 0xDA, 0xE0, 0xEE
_RGB_IDS = (b"RGB", b"rgb")
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStream:
    """The frame header of a code stream.

    kind: "jpeg", "jpegls", "jpeg2000" or "jpegxl". precision: bits per sample, and signed whether they have
      a sign; for "jpegxl" both are left to its decoder, as is components (0). ycc: whether the components
      are luminance and chrominance by the stream's own word (APP markers, component names), None when it
      does not say. even: all components have the full size.
    """

    kind: str
    rows: int
    columns: int
    components: int = 0
    precision: int = 0
    signed: bool = False
    ycc: bool | None = None
    even: bool = True


def look(frame: bytes) -> CodeStream | None:
    """The frame header; None when the bytes are in none of these formats.

    JPEG: the first frame header (T.81 B.2.2, T.87 C.2.2). JPEG 2000: the SIZ marker (T.800 A.5.1), also
    inside JP2 boxes, which some writers leave around it. JPEG XL: the size header (18181-1 D.2), also in its
    container. Raises ValueError when damaged.
    """
    if frame.startswith(_JP2):
        frame = frame[_box(frame, b"jp2c") :]
    if frame.startswith(_J2K):
        return _jpeg2000(frame)
    if frame.startswith(_JXL_BOXES):
        frame = _jpegxl_contents(frame)
    if frame.startswith(_JXL):
        return _jpegxl(frame)
    if frame.startswith(_SOI):
        return _jpeg(frame)
    return None


def ends_whole(frame: bytes) -> bool:
    """Whether a JPEG code stream has its end marker; libjpeg fills up without one. Padding may follow."""
    return b"\xff\xd9" in frame[-64:]


def _box(frame: bytes, name: bytes) -> int:
    """Offset of the contents of a box (T.800 I.4)."""
    at = 0
    while at + 8 <= len(frame):
        length = int.from_bytes(frame[at : at + 4], "big")
        if frame[at + 4 : at + 8] == name:
            return at + (16 if length == 1 else 8)
        if length < 8:  # 0 and 1 are for the last and for huge boxes: neither stands before the code stream
            break
        at += length
    raise ValueError("no code stream in the boxes")


def _jpeg2000(frame: bytes) -> CodeStream:
    if len(frame) < 42:
        raise ValueError("the code stream ends inside its SIZ marker")
    right, bottom, left, top = struct.unpack(">IIII", frame[8:24])
    (components,) = struct.unpack(">H", frame[40:42])
    each = [frame[42 + 3 * n : 45 + 3 * n] for n in range(components)]
    if not each or len(each[-1]) < 3:
        raise ValueError("the code stream ends inside its SIZ marker")
    depth = each[0][0]
    return CodeStream(
        kind="jpeg2000",
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        even=all(component == bytes((depth, 1, 1)) for component in each),
    )


def _jpeg(frame: bytes) -> CodeStream:
    at, ycc = 2, None
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif (0xC0 <= marker <= 0xCF and marker not in _NOT_SOF) or marker == _JPEG_LS:
            return _frame_header(frame, at, ycc)
        elif marker == _SOS:
            break
        else:
            length = int.from_bytes(frame[at + 2 : at + 4], "big")
            said = _application(marker, frame[at + 4 : at + 2 + length])
            ycc = said if said is not None else ycc
            at += 2 + length
    raise ValueError("no frame header in the code stream")


def _frame_header(frame: bytes, at: int, ycc: bool | None) -> CodeStream:
    precision, rows, columns, components = struct.unpack(">BHHB", frame[at + 4 : at + 10])
    each = [frame[at + 10 + 3 * n : at + 13 + 3 * n] for n in range(components)]
    if not each or len(each[-1]) < 3:
        raise ValueError("the code stream ends inside its frame header")
    if b"".join(component[:1] for component in each) in _RGB_IDS:
        ycc = False
    return CodeStream(
        kind="jpegls" if frame[at + 1] == _JPEG_LS else "jpeg",
        rows=rows,
        columns=columns,
        components=components,
        precision=precision,
        ycc=ycc,
        even=len({component[1] for component in each}) == 1,
    )


def _application(marker: int, content: bytes) -> bool | None:
    """JFIF is always luminance and chrominance (T.871); Adobe's marker says which transform was used."""
    if marker == _APP0 and content.startswith(b"JFIF\x00"):
        return True
    if marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
        return content[11] != 0
    return None


def _jpegxl_contents(frame: bytes) -> bytes:
    try:
        return frame[_box(frame, b"jxlc") :]
    except ValueError:
        return frame[_box(frame, b"jxlp") + 4 :]


def _jpegxl(frame: bytes) -> CodeStream:
    bits = int.from_bytes(frame[2:16], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def length(small: int) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    rows = length(small)
    ratio = take(3)
    columns = length(small) if ratio == 0 else rows * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    return CodeStream(kind="jpegxl", rows=rows, columns=columns)
