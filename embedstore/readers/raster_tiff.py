"""TIFF: pages as frames, deep and floating values by tifffile, everything of 8 bits by Pillow."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.record import Scalar
from embedstore.errors import ReadFailure
from embedstore.readers.icc import icc_status
from embedstore.readers.quiet import quiet
from embedstore.readers.raster_pillow import (
    DAMAGED,
    DEEP_GREY,
    TIFF,
    TURNED,
    PictureFacts,
    check_size,
    opened,
    pillow_values,
)
from embedstore.readers.raster_pixels import upright
from embedstore.settings import Limits

_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_SLIDES = ("svs", "ndpi", "bif", "scn", "qpi", "philips", "avs")
_REDUCED, _MASK = 1, 4
_UNSPECIFIED, _UNASSOCIATED = 0, 2  # ExtraSamples
_PALETTE, _SEPARATED = 3, 5
_ICC = 34675
_SLIDE = "whole-slide images are not supported by this version"


def sniff(head: bytes) -> bool:
    """Classic or BigTIFF, of either byte order."""
    return head[:4] in _MAGIC


def page_facts(stream: BinaryIO, limits: Limits) -> dict[int, PictureFacts]:
    """Page number from 1 to what its tags say, for every page that is an image of its own.

    Raises ReadFailure for whole-slide pyramids, damaged files and pages beyond the limits.
    """
    with quiet("tifffile"):
        try:
            import tifffile  # a fifth of the start of a reading process

            with tifffile.TiffFile(stream) as file:
                _refuse_slide(file)
                pages = _pages(file, limits)
                facts = {number: PictureFacts(*_size(page), _extra(page)) for number, page in pages.items()}
        except ReadFailure:
            raise
        except Exception:  # tifffile raises nearly any class on damaged data
            raise ReadFailure(DAMAGED) from None
    for page in facts.values():
        check_size(page.rows, page.columns, limits)
    return facts


def read_page(stream: BinaryIO, number: int | None, limits: Limits, managed: bool) -> NDArray[Any]:
    """Pixels of one page, upright; None is the only page of the file. Raises ReadFailure.

    managed: colours of 8 bits are converted from the page's ICC profile to sRGB.
    """
    with quiet("tifffile", "PIL"):
        try:
            import tifffile  # a fifth of the start of a reading process

            with tifffile.TiffFile(stream) as file:
                pages = _pages(file, limits)
                number = next(iter(pages), 0) if number is None else number
                if number not in pages:
                    raise ReadFailure("there is no such page in the file")
                check_size(*_size(pages[number]), limits)
                if _is_deep(pages[number]):
                    return _deep(pages[number])
            stream.seek(0)
            with opened(stream, limits, TIFF) as picture:
                picture.seek(number - 1)
                check_size(picture.size[1], picture.size[0], limits)
                return pillow_values(picture, managed)  # Pillow turns TIFF pages upright itself
        except ReadFailure:
            raise
        except Exception:  # decoders raise nearly any class on damaged data
            raise ReadFailure(DAMAGED) from None


def _refuse_slide(file: Any) -> None:
    first = file.pages[0]
    if any(getattr(file, f"is_{kind}", False) for kind in _SLIDES):
        raise ReadFailure(_SLIDE)
    later = file.pages[1:] if len(file.pages) > 1 else []
    smaller = any(page.is_tiled and (page.subfiletype & _REDUCED or _halves(first, page)) for page in later)
    if first.is_tiled and (smaller or first.subifds):
        raise ReadFailure(_SLIDE)


def _halves(first: Any, page: Any) -> bool:
    """Whether a tiled page looks like a coarser level: smaller, with the same proportions to 2 %."""
    if page.imagewidth >= first.imagewidth or page.imagelength >= first.imagelength:
        return False
    across, down = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
    return bool(abs(math.log(across / down)) < 0.02)


def _pages(file: Any, limits: Limits) -> dict[int, Any]:
    """Pages that are images of their own: neither thumbnails of others nor masks."""
    if len(file.pages) > limits.max_members:
        raise ReadFailure(f"more pages than the limit of {limits.max_members:,}")
    return {
        number: page
        for number, page in enumerate(file.pages, start=1)
        if number == 1 or not page.subfiletype & (_REDUCED | _MASK)
    }


def _extra(page: Any) -> dict[str, Scalar]:
    """Which display rule the page falls under, and what becomes of its colour profile."""
    colour = int(page.photometric) not in (0, 1) and page.samplesperpixel >= 3
    kind, bits = page.dtype.kind if page.dtype is not None else "u", int(page.bitspersample or 8)
    if int(page.photometric) == _PALETTE:
        words = "palette"
    elif not _is_deep(page):
        words = "colour as stored" if colour else f"{bits} bits as stored"
    elif not colour:
        words = DEEP_GREY
    else:
        words = f"colour, upper 8 of {bits} bits" if kind == "u" else f"colour, 0 to 1 or {DEEP_GREY}"
    extra: dict[str, Scalar] = {"display": f"{words}, on black" if _sees_black(page) else words}
    tag = page.tags.get(_ICC)
    if tag is not None and colour:
        mode = "CMYK" if int(page.photometric) == _SEPARATED else "RGB"
        deep = "ignored: colours of more than 8 bits" if _is_deep(page) else None
        extra["icc"] = deep or icc_status(bytes(tag.value), mode) or "ignored: the profile is empty"
    return extra


def _size(page: Any) -> tuple[int, int]:
    rows, columns = int(page.imagelength), int(page.imagewidth)
    return (columns, rows) if _orientation(page) in TURNED else (rows, columns)


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1


def _is_deep(page: Any) -> bool:
    """More than 8 bits, signed or floating: what Pillow would round or does not take."""
    return page.dtype is not None and page.dtype not in (np.dtype(np.uint8), np.dtype(np.bool_))


def _sees_black(page: Any) -> bool:
    return any(int(one) != _UNSPECIFIED for one in page.extrasamples)


def _is_clear(page: Any) -> bool:
    """Whether its one extra sample is transparency that the others do not have in them yet.

    Of associated alpha they are what is seen on black already (TIFF 6.0 section 18); an unspecified one is a
    channel of its own, as of fluorescence, and no transparency.
    """
    return _UNASSOCIATED in map(int, page.extrasamples)


def _deep(page: Any) -> NDArray[Any]:
    if int(page.photometric) not in (0, 1, 2) or page.imagedepth > 1:
        raise ReadFailure("a TIFF of this colour model and depth is not supported")
    values = np.asarray(page.asarray())
    if page.axes == "SYX":
        values = values.transpose(1, 2, 0)
    elif page.axes not in ("YX", "YXS"):
        raise ReadFailure("a TIFF of this layout is not supported")
    if values.dtype.kind == "c":
        raise ReadFailure("a TIFF of complex numbers is not supported")
    if values.ndim == 3 and len(page.extrasamples) == 1 and not _is_clear(page):
        values = values[..., :-1]
    if int(page.photometric) == 0:  # WhiteIsZero
        top = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
        values = values.copy()
        shown = values if values.ndim == 2 else values[..., :1]  # and not its transparency
        shown[...] = top - shown
    return upright(values, _orientation(page))
