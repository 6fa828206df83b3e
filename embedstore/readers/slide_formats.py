"""Which files are whole slides, told without the libraries that read them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

from embedstore.contracts.record import Source
from embedstore.errors import ReadFailure
from embedstore.readers.quiet import quiet
from embedstore.settings import Limits

WSI_CLASS = b"1.2.840.10008.5.1.4.1.1.77.1.6"
_CLASS_TAG = b"\x02\x00\x02\x00UI"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_JPEG, _SQLITE, _VMS = b"\xff\xd8\xff", b"SQLite format 3\x00", b"[Virtual Microscope Specimen]"
_VENDORS = ("svs", "ndpi", "bif", "scn", "qpi", "philips", "avs")
_REDUCED = 1


def sniff(head: bytes) -> bool:
    """Whether the first bytes may be those of a slide: TIFF, DICOM slide, or what OpenSlide reads besides."""
    return is_dicom_slide(head) or _is_tiff(head) or head.startswith((_JPEG, _SQLITE, _VMS))


def is_dicom_slide(head: bytes) -> bool:
    """VL Whole Slide Microscopy Image Storage in the file meta information (PS3.10 7.1)."""
    at = head.find(_CLASS_TAG, 132) if head[128:132] == b"DICM" else -1
    if at < 0:
        return False
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    return head[at + 8 : at + 8 + length].rstrip(b"\x00 ") == WSI_CLASS


def is_slide(source: Source, head: bytes, limits: Limits) -> bool:
    """Whether it is a slide indeed: a vendor's TIFF, a tiled pyramid, a tiled TIFF beyond `limits`, or DICOM.

    Formats whose own file is a mere JPEG or database are known by their suffix, as OpenSlide does it.
    """
    suffix = Path(source.path).suffix.lower()
    if is_dicom_slide(head):
        return True
    if _is_tiff(head):
        return _is_slide_tiff(source, limits)
    if head.startswith(_JPEG):
        return suffix == ".mrxs"
    return head.startswith(_VMS) or (head.startswith(_SQLITE) and suffix == ".svslide")


def head_of(source: Source) -> bytes:
    """The first 4,096 bytes. Raises ReadFailure."""
    with source.open() as stream:
        return _read(stream)


def path_of(source: Source) -> Path:
    """The file of a source on the disk.

    Raises ReadFailure for a member of an archive: the libraries read slides from the disk, piece by piece.
    """
    path = Path(source.path)
    if not path.is_file():
        raise ReadFailure("a whole slide inside an archive cannot be read in place; unpack it first")
    return path


def _read(stream: BinaryIO) -> bytes:
    try:
        return stream.read(4096)
    except OSError as error:
        raise ReadFailure(f"cannot be read: {error.strerror}") from None


def _is_tiff(head: bytes) -> bool:
    return head[:4] in _TIFF and head[128:132] != b"DICM"


def _is_slide_tiff(source: Source, limits: Limits) -> bool:
    with source.open() as stream, quiet("tifffile"):
        try:
            import tifffile  # a fifth of the start of a reading process

            with tifffile.TiffFile(stream) as file:
                return _is_pyramid(file, limits)
        except Exception:  # tifffile raises nearly any class on damaged data; the raster reader will say so
            return False


def _is_pyramid(file: Any, limits: Limits) -> bool:
    if any(getattr(file, f"is_{kind}", False) for kind in _VENDORS):
        return True
    first = file.pages[0]
    if not first.is_tiled:
        return False
    if first.subifds or first.imagewidth * first.imagelength > limits.max_pixels:
        return True
    later = file.pages[1:] if len(file.pages) > 1 else []
    return any(page.is_tiled and (page.subfiletype & _REDUCED or _coarser(first, page)) for page in later)


def _coarser(first: Any, page: Any) -> bool:
    """Whether a tiled page looks like a coarser level: smaller, with the same proportions to 2 %."""
    if page.imagewidth >= first.imagewidth or page.imagelength >= first.imagelength:
        return False
    across, down = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
    return bool(abs(math.log(across / down)) < 0.02)
