"""Volumes in two files: finding the voxels that a header names, and the header that voxels belong to.

A header may only name a file in its own folder: names with a folder in them are refused, so that a hostile
header cannot make another file of the machine be read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from embedstore.contracts.record import Source
from embedstore.errors import ReadFailure
from embedstore.readers import volume_meta, volume_nifti, volume_nrrd
from embedstore.readers.sources import FileSource
from embedstore.readers.volume_header import VolumeHeader

_NIFTI_DATA = {".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr", ".hdr.gz")}
_HEADER_SUFFIXES = (".mhd", ".nhdr")
_DATA_SUFFIXES = (".raw", ".zraw", ".gz", ".bin", ".data", ".dat", ".img")
_MOST_HEADERS = 100
_HEAD = 4096


def voxels_of(source: Source, header: VolumeHeader) -> Source:
    """The source of the voxels: the header's own, or its neighbour. Raises ReadFailure."""
    if header.data is None:
        return source
    if not isinstance(source, FileSource):
        raise ReadFailure("its voxels are in a second file, which is not looked for in archives; unpack them")
    place = source.location
    for name in [header.data] if header.data else _twins(place.name):
        if name != Path(name).name or "\\" in name or "\x00" in name or name in (".", ".."):
            raise ReadFailure("its header names voxels outside its own folder; refused")
        if (place.parent / name).is_file():
            return FileSource.of(place.parent / name)
    raise ReadFailure("the file with its voxels is not beside the header; put it there")


def header_of_data(source: Source) -> str | None:
    """Name of the header that this file of voxels belongs to, None for all other files.

    Asked by suffix first: most files cost nothing.
    """
    if not isinstance(source, FileSource):
        return None
    place, lower = source.location, source.location.name.lower()
    for suffix, headers in _NIFTI_DATA.items():
        if lower.endswith(suffix):
            stem = place.name[: -len(suffix)]
            for name in (stem + form for header in headers for form in (header, header.upper())):
                if "Pair" in (found := _kind_of(place.parent / name)) or "Analyze" in found:
                    return name
    if lower.endswith(_DATA_SUFFIXES):
        for neighbour in _text_headers(place):
            if _names(neighbour, place.name):
                return neighbour.name
    return None


def unpacked_head(head: bytes, most: int = 4096) -> bytes:
    """The first bytes of a gzipped file unpacked, at most `most`; as they are when they are not gzip."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, most)
    except zlib.error:
        return b""


def _twins(name: str) -> list[str]:
    """Where the voxels of `x.hdr` may be: x.img, x.img.gz, in the same case."""
    lower = name.lower()
    suffix = next((end for end in (".hdr.gz", ".hdr") if lower.endswith(end)), None)
    if suffix is None:
        raise ReadFailure("a header whose voxels are in a second file; name the two x.hdr and x.img")
    stem = name[: -len(suffix)]
    forms = (".img.gz", ".img") if suffix == ".hdr.gz" else (".img", ".img.gz")
    return [stem + form for end in forms for form in (end, end.upper())]


def _kind_of(path: Path) -> str:
    return volume_nifti.kind(unpacked_head(_head(path))) or ""


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""


def _text_headers(place: Path) -> Iterator[Path]:
    """Detached headers of the folder, those with the same stem first."""
    stem = place.name.split(".")[0].lower()
    try:
        found = [path for path in place.parent.iterdir() if path.suffix.lower() in _HEADER_SUFFIXES]
    except OSError:
        return
    yield from sorted(found, key=lambda path: (path.name.split(".")[0].lower() != stem, path.name))[
        :_MOST_HEADERS
    ]


def _names(header: Path, name: str) -> bool:
    try:
        with header.open("rb") as stream:
            nrrd = volume_nrrd.sniff(stream.read(10))
            stream.seek(0)
            found = volume_nrrd.header_of(stream) if nrrd else volume_meta.header_of(stream)
            return found.data == name
    except (OSError, ReadFailure):
        return False
