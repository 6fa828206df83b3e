"""What a file is, and how its pixels come to the screen, in words; for a person, not for the catalog."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from embedstore.contracts.record import Header, Source
from embedstore.readers.choose import HEAD_BYTES
from embedstore.readers.dicom_file import plausible
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

Facts = Iterator[tuple[str, str]]
_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "BigTIFF"),
    (b"MM\x00+", "BigTIFF"),
    (b"RIFF", "WebP"),
    (b"BM", "BMP"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000 code stream"),
    (b"NRRD", "NRRD"),
    (b"ObjectType", "MetaImage"),
    (b"NDims", "MetaImage"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"<?xml", "XML"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What is known of one file.

    facts: (name, value) in the order a person reads them. display: how stored values become display
    values. remarks: what a person should know before trusting the picture.
    """

    format: str
    facts: tuple[tuple[str, str], ...] = ()
    display: str = ""
    remarks: tuple[str, ...] = ()


def explain(source: Source, frame: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Explained:
    """What is known of a source's format. frame: from 1, when one is meant. Raises ReadFailure."""
    with source.open() as stream:
        head = stream.read(HEAD_BYTES)
    if plausible(head):
        from embedstore.readers.dicom_explain import explain_dicom

        return explain_dicom(source, frame, limits)
    if head.startswith(b"\x1f\x8b"):
        return Explained(format=f"{format_of(_unzipped(head))}, gzip-compressed")
    return Explained(format=format_of(head))


_DISPLAY = {
    "medmnist": "as stored",
    "raster": "8 bits as stored; deeper grey stretched from percentile 0.5 to 99.5",
    "slide": "as scanned, in sRGB by the slide's colour profile",
    "volume": "percentiles 0.5 to 99.5 of the whole file, zeros left out",
}


def display_words(reader: str, header: Header) -> str:
    """The rule of readers that have one for all their files; "" where each file has its own."""
    words = _DISPLAY.get(reader, "")
    profile = header.extra.get("icc")
    return f"{words} (profile: {profile})" if words and profile else words


def format_of(head: bytes) -> str:
    """The name of a file format by its first bytes."""
    if head[344:348] in (b"n+1\x00", b"ni1\x00"):
        return "NIfTI-1"
    if head[4:8] in (b"n+2\x00", b"ni2\x00"):
        return "NIfTI-2"
    if head[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
        return "Analyze 7.5 or NIfTI-1"
    return next((name for magic, name in _FORMATS if head.startswith(magic)), "other")


def _unzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 1024)
    except zlib.error:
        return b""
