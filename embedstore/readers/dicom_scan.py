"""Reading a well-formed DICOM header in one pass over its bytes; whatever is unusual is left to pydicom.

pydicom reads headers leniently and therefore slowly. Nearly all files need none of that leniency: a preamble,
file meta information, and elements (PS3.5 7.1) whose representations are known and whose lengths lie within
the file. For these the elements found here are the same raw elements that pydicom finds, in the same Dataset,
which decodes each value when it is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag

UNDEFINED = 0xFFFFFFFF
_CHARSET = 0x00080005
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_SHORT = {
    vr.encode(): vr
    for vr in (
        *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN"),
        *("SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
    )
}
_LONG = {
    vr.encode(): vr for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
}
_EMPTY_TEXT = frozenset(
    ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "SQ", "ST", "TM", "UC", "UI", "UR", "UT")
)
# (tag, VR or None where it is not written, offset of the value, its length)
Found = tuple[int, str | None, int, int]
_Raw = dict[BaseTag, DataElement | RawDataElement]
_FIRST_READ, _MOST_READ = 1 << 16, 1 << 22
_LARGE_VALUE = 1 << 20
_DEEPEST = 16
_IMPLICIT, _EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
_BIG, _DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"


class Unusual(Exception):
    """Something that is not for this module: damage, a rare form, or bytes that are not read yet."""


@dataclass(frozen=True, slots=True)
class Coding:
    """How elements are written (PS3.5 7.1.2, 7.1.3)."""

    implicit: bool
    little: bool


def scan_header(stream: BinaryIO, size: int) -> Dataset | None:
    """The dataset up to its pixel data, with the stream set to the pixel data element or the end.

    None when the file is anything but plainly well-formed: deflated, without meta information, with an
    unknown representation, cut, or with a header or a value too long to hold; the stream is anywhere then.
    """
    stream.seek(0)
    data = stream.read(_FIRST_READ)
    while True:
        try:
            header, at = _dataset(data)
        except Unusual:
            if len(data) >= min(size, _MOST_READ):
                return None
            more = stream.read(3 * len(data))
            if not more:
                return None
            data += more
            continue
        if at >= len(data) and len(data) < size:
            data += stream.read(3 * len(data))
            if len(data) > _MOST_READ:
                return None
            continue
        stream.seek(at)
        return header


@lru_cache(maxsize=8192)
def tag_of(number: int) -> BaseTag:
    """The tag of a number, the same object each time: looking it up in a dataset is then quick."""
    return BaseTag(number)


def elements(data: bytes, at: int, end: int, coding: Coding) -> list[Found]:
    """The elements of one dataset in `data[at:end]`, up to the end of an item.

    Sequences of undefined length come with the length they have. Raises Unusual.
    """
    return _elements(data, at, end, coding, 1)[0]


def items(data: bytes, at: int, end: int, coding: Coding) -> Iterator[tuple[int, int]]:
    """(start, end) of the datasets in the items of a sequence value (PS3.5 7.5). Raises Unusual."""
    unpack = struct.Struct("<HHL" if coding.little else ">HHL").unpack_from
    while at < end:
        if at + 8 > end:
            raise Unusual
        group, element, length = unpack(data, at)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM:
            raise Unusual
        at += 8
        if length == UNDEFINED:
            inside = _elements(data, at, end, coding, 1)[1]
            yield at, inside
            at = inside + 8
        elif at + length > end:
            raise Unusual
        else:
            yield at, at + length
            at += length


def _dataset(data: bytes) -> tuple[Dataset, int]:
    if data[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise Unusual
    if len(data) < 144:
        raise Unusual
    begin = 144 + int.from_bytes(data[140:144], "little")
    if begin > len(data):
        raise Unusual
    meta, _ = _raw(data, 132, begin, Coding(False, True))
    syntax = meta.get(BaseTag(0x00020010))
    if syntax is None:
        raise Unusual
    coding = _coding(syntax.value)
    if coding.implicit and (data[begin + 4 : begin + 6] in _SHORT or data[begin + 4 : begin + 6] in _LONG):
        raise Unusual  # explicit elements under an implicit transfer syntax
    found, at = _raw(data, begin, len(data), coding)
    ds = Dataset(found)
    charset = found.get(BaseTag(_CHARSET))
    ds.set_original_encoding(coding.implicit, coding.little, _charset(charset.value if charset else None))
    ds.file_meta = FileMetaDataset(meta)
    ds.file_meta.set_original_encoding(False, True, default_encoding)
    return ds, at


@lru_cache(maxsize=64)
def _charset(value: bytes | None) -> str | list[str]:
    """Python's names of the values of Specific Character Set, in the form in which pydicom keeps them."""
    if value is None:
        return str(default_encoding)
    parts = [part.strip(" \0") for part in value.decode("ascii", "replace").split("\\")]
    return list(convert_encodings(parts))


def _coding(syntax: bytes | None) -> Coding:
    name = (syntax or b"").rstrip(b"\0 ")
    if name == _DEFLATED or not name.startswith(b"1.2.840.10008.1.2"):
        raise Unusual
    return Coding(implicit=name == _IMPLICIT, little=name != _BIG)


def _raw(data: bytes, at: int, end: int, coding: Coding) -> tuple[_Raw, int]:
    found, at = _elements(data, at, end, coding)
    implicit, little = coding.implicit, coding.little
    raw: _Raw = {}
    for number, vr, start, length in found:
        if length > _LARGE_VALUE:
            raise Unusual
        tag = tag_of(number)
        value = data[start : start + length] if length else _empty(vr)
        raw[tag] = RawDataElement(tag, vr, length, value, start, implicit, little)
    return raw, at


def _empty(vr: str | None) -> bytes | None:
    """What pydicom holds for an element without a value."""
    return b"" if vr in _EMPTY_TEXT else None


def _elements(data: bytes, at: int, end: int, coding: Coding, depth: int = 0) -> tuple[list[Found], int]:
    """Elements and where they ended: at pixel data, at an item delimiter, or at `end`."""
    if depth > _DEEPEST:
        raise Unusual
    order = "<" if coding.little else ">"
    short = struct.Struct(f"{order}HH2sH").unpack_from
    long = struct.Struct(f"{order}L").unpack_from
    plain = struct.Struct(f"{order}HHL").unpack_from
    implicit = coding.implicit
    found: list[Found] = []
    last = end - 8
    while at <= last:
        vr: str | None = None
        if implicit:
            group, element, length = plain(data, at)
            start = at + 8
        else:
            group, element, code, length = short(data, at)
            start = at + 8
            vr = _SHORT.get(code)
            if vr is None:
                vr = _LONG.get(code)
                if vr is None:
                    if group == 0xFFFE:
                        return _delimiter(found, group << 16 | element, at)
                    raise Unusual
                if start + 4 > end:
                    raise Unusual
                start, length = start + 4, long(data, start)[0]
        tag = group << 16 | element
        if tag in _PIXELS and depth == 0:
            return found, at
        if group == 0xFFFE:
            return _delimiter(found, tag, at)
        if length == UNDEFINED:
            if vr not in ("SQ", None):
                raise Unusual
            length, after = _undefined(data, start, end, coding, depth)
            found.append((tag, "SQ", start, length))
            at = after
            continue
        after = start + length
        if after > end:
            raise Unusual
        found.append((tag, vr, start, length))
        at = after
    if at != end:
        raise Unusual
    return found, at


def _delimiter(found: list[Found], tag: int, at: int) -> tuple[list[Found], int]:
    if tag != _ITEM_END:
        raise Unusual
    return found, at


def _undefined(data: bytes, at: int, end: int, coding: Coding, depth: int) -> tuple[int, int]:
    """Length of the items of a sequence of undefined length, and where the next element begins."""
    unpack = struct.Struct("<HHL" if coding.little else ">HHL").unpack_from
    begin = at
    while at + 8 <= end:
        group, element, length = unpack(data, at)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return at - begin, at + 8
        if tag != _ITEM:
            raise Unusual
        at += 8
        if length == UNDEFINED:
            at = _elements(data, at, end, coding, depth + 1)[1] + 8
        else:
            at += length
    raise Unusual
