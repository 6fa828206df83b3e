"""Opening a DICOM file: header without pixels, where its pixel data lie, and whether they are all there."""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from embedstore.errors import ReadFailure
from embedstore.readers.decoders_frames import Fragments, find_fragments
from embedstore.readers.dicom_scan import scan_header
from embedstore.readers.dicom_values import code, element, integer
from embedstore.readers.quiet import quiet_pydicom
from embedstore.settings import Limits

_PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}
_DEFER_BYTES = 1 << 20
_UNDEFINED = 0xFFFFFFFF
_VR = re.compile(
    rb"AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OD|OF|OL|OV|OW|PN|SH|SL|SQ|SS|ST|SV|TM|U[CILNRSTV]"
)
_NO_PIXELS = "the file ends inside its header; it is truncated"
_CUT = "pixel data are cut short; the file is truncated"


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The element that holds the pixels.

    start: offset of its value. length: its bytes that are in the file, None when undefined (encapsulated).
    items: fragments of encapsulated pixel data, None for native.
    """

    keyword: str
    vr: str | None
    start: int
    length: int | None
    items: Fragments | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DicomFile:
    """A parsed file. header: the dataset up to its pixel data. pixels: None for an object without an image.

    inflated: the dataset's bytes when the file was deflated; offsets count in it instead of in the file.
    """

    header: Dataset
    syntax: UID
    pixels: PixelElement | None
    inflated: bytes | None = None

    def stream(self, opened: BinaryIO) -> BinaryIO:
        """The stream in which pixel offsets count."""
        return opened if self.inflated is None else io.BytesIO(self.inflated)


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the stored pixel data, from the header alone. `bits` is Bits Allocated."""

    frames: int
    rows: int
    columns: int
    samples: int
    bits: int
    subsampled: bool

    @property
    def frame_bytes(self) -> float:
        """Bytes of one native frame; fractional for packed bits. 4:2:2 stores two samples per pixel."""
        samples = 2 if self.subsampled else self.samples
        return self.rows * self.columns * samples * self.bits / 8


def plausible(head: bytes) -> bool:
    """Whether the first bytes are a DICOM file, with or without its preamble.

    Without one the file must begin with an element of group 0002 or 0008 whose VR or length makes sense.
    """
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group not in (0x0002, 0x0008) or element > 0x0070:
            continue
        if _VR.match(head[4:6]):
            return True
        length = struct.unpack(f"{order}I", head[4:8])[0]
        if order == "<" and length <= 1024 and length % 2 == 0:
            return True
    return False


def parse(opened: BinaryIO, size: int, limits: Limits) -> DicomFile:
    """Read the header and find the pixel data. Raises ReadFailure when it is no DICOM or is cut short."""
    head = opened.read(1024)
    if not plausible(head):
        raise ReadFailure("not a DICOM file")
    inflated = _inflate(opened, head, limits) if _is_deflated(head) else None
    opened.seek(0)
    with quiet_pydicom():
        try:
            header, stream = _header(opened, inflated, size)
            _refuse_cut_header(header, size if inflated is None else len(inflated))
            syntax = _syntax(header)
        except ReadFailure:
            raise
        except Exception:  # pydicom raises nearly any class on damaged input, with values in the message
            raise ReadFailure("the DICOM header is damaged") from None
    pixels = _pixel_element(stream, header, size if inflated is None else len(inflated))
    return DicomFile(header, syntax, pixels, inflated)


def _header(opened: BinaryIO, inflated: bytes | None, size: int) -> tuple[Dataset, BinaryIO]:
    if inflated is None:
        plain = scan_header(opened, size)
        if plain is not None:
            return plain, opened
        opened.seek(0)
        return dcmread(opened, force=True, stop_before_pixels=True, defer_size=_DEFER_BYTES), opened
    stream = io.BytesIO(inflated)
    header = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: int(tag) in _PIXEL_KEYWORDS)
    end = _meta_end(opened.read(144))
    opened.seek(0)
    meta = dcmread(io.BytesIO(opened.read(end)), force=True)
    header.file_meta = meta.file_meta
    return header, stream


def _is_deflated(head: bytes) -> bool:
    uid = DeflatedExplicitVRLittleEndian.encode()
    return head[128:132] == b"DICM" and uid in head and uid in head[: _meta_end(head)]


def _meta_end(head: bytes) -> int:
    """Where the dataset begins, by the group length that opens the file meta information (PS3.10 7.1)."""
    if head[132:140] != b"\x02\x00\x00\x00UL\x04\x00" or len(head) < 144:
        raise ReadFailure("the file meta information has no group length")
    return 144 + int(struct.unpack("<I", head[140:144])[0])


def _inflate(opened: BinaryIO, head: bytes, limits: Limits) -> bytes:
    """The deflated dataset (PS3.5 A.5), refused when it grows beyond any image within the limits."""
    most = min(limits.max_file_bytes, 8 * limits.max_pixels)
    opened.seek(_meta_end(head))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    packed = opened.read(most + 1)
    try:
        data = inflate.decompress(packed, most)
    except zlib.error:
        raise ReadFailure("the deflated dataset is damaged") from None
    if inflate.unconsumed_tail or len(packed) > most:
        raise ReadFailure(f"the deflated dataset is larger than the limit of {most:,} bytes")
    if not inflate.eof:
        raise ReadFailure(_CUT)
    return data


def _refuse_cut_header(header: Dataset, size: int) -> None:
    """pydicom accepts a last element that is shorter than its length says."""
    tags = list(header.keys())  # in the order of the file
    last = header.get_item(tags[-1]) if tags else None
    if not isinstance(last, RawDataElement) or last.length == _UNDEFINED:
        return
    held = last.value_tell + last.length <= size if last.value is None else len(last.value) >= last.length
    if not held:
        raise ReadFailure(_NO_PIXELS)


def _syntax(header: Dataset) -> UID:
    meta = getattr(header, "file_meta", None)
    declared = str(meta.get("TransferSyntaxUID") or "") if meta is not None else ""
    if declared:
        return UID(declared.strip("\x00 "))
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _pixel_element(stream: BinaryIO, header: Dataset, size: int) -> PixelElement | None:
    """The element at which the header ended; None when there is none. Raises ReadFailure when cut short."""
    implicit, little = header.original_encoding
    order = "<" if little else ">"
    begin = stream.read(8)
    if len(begin) < 8:
        return None
    group, number, length = struct.unpack(f"{order}HHI", begin)
    keyword = _PIXEL_KEYWORDS.get(group << 16 | number)
    if keyword is None:
        return None
    vr = None
    if not implicit:
        vr = begin[4:6].decode("ascii", "replace")
        rest = stream.read(4)
        if len(rest) < 4:
            raise ReadFailure(_CUT)
        length = struct.unpack(f"{order}I", rest)[0]
    start = stream.tell()
    if length != _UNDEFINED:
        return PixelElement(keyword, vr, start, min(length, size - start))
    return PixelElement(keyword, vr, start, None, find_fragments(stream, size))


def shape_of(file: DicomFile, limits: Limits) -> Shape:
    """Size of the image, checked: present, within the limits, and no more than the file can hold.

    Raises ReadFailure.
    """
    if file.pixels is None:
        raise ReadFailure("there are no pixel data; the file is truncated or holds only a header")
    found = _declared_shape(file.header)
    if found.rows < 1 or found.columns < 1:
        raise ReadFailure("the image has no pixels (zero rows or columns)")
    if found.rows * found.columns > limits.max_pixels:
        raise ReadFailure(
            f"{found.rows} x {found.columns} pixels are more than the limit of {limits.max_pixels:,}"
        )
    pixels = file.pixels
    if pixels.items is not None:
        if found.frames > len(pixels.items):
            raise ReadFailure("fewer frames than the header promises; the file is truncated")
        return found
    needed = math.ceil(found.frames * found.frame_bytes)
    if (pixels.length or 0) < needed:
        raise ReadFailure("pixel data are shorter than the header promises")
    return found


def _declared_shape(header: Dataset) -> Shape:
    frames = element(header, "NumberOfFrames")
    count = integer(header, "NumberOfFrames")
    if frames is not None and (count is None or count < 0):
        raise ReadFailure("the number of frames is no number")
    rows, columns = integer(header, "Rows"), integer(header, "Columns")
    bits = integer(header, "BitsAllocated")
    if rows is None or columns is None or bits is None:
        raise ReadFailure("rows, columns or bits of the image are missing in the header")
    samples = integer(header, "SamplesPerPixel") or 1
    subsampled = code(header, "PhotometricInterpretation") == "YBR_FULL_422" and samples == 3
    return Shape(count or 1, rows, columns, samples, bits, subsampled)
