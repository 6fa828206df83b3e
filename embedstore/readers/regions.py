"""Regions of interest, from a box or a mask file to the pixels of an image that they mark.

A mask file is a DICOM segmentation (SEG) or structure set (RTSTRUCT), which says what it belongs to; a
volume (NIfTI, NRRD, ...), which is laid on the image by the geometry of both; or a picture of the image's
size, non-zero where the region is. A file that does not fit is refused, never stretched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import Image
from embedstore.contracts.record import Asset, Source
from embedstore.contracts.region import Box, Extent, MaskFile, Region
from embedstore.errors import EmbedstoreError, ReadFailure
from embedstore.readers.choose import HEAD_BYTES, ReaderSet
from embedstore.readers.sources import source_at

if TYPE_CHECKING:
    from embedstore.readers.regions_dicom import DicomMasks

Mask = NDArray[np.bool_]
ELSEWHERE = "the mask belongs to other images"
NOTHING = "the mask marks no pixel of it"
_OPEN_MASKS = 4


class Unmarked(Exception):
    """A region that has no pixel of an image; the message says why."""


class Misfit(ReadFailure):
    """A region that cannot be read, or that does not fit an image.

    plain: the reason without words that people typed into masks and tables.
    """

    def __init__(self, reason: str, plain: str = "") -> None:
        super().__init__(reason)
        self.plain = plain or reason


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """An image that a region is looked for on. size: (rows, columns) of its frame as stored."""

    asset: Asset
    image: Image
    size: tuple[int, int]


class OpenMask(Protocol):
    """A mask file that was read."""

    def on(self, place: Place) -> Mask:
        """(rows, columns) bool over the frame as stored. Raises ReadFailure, Unmarked."""


class Regions:
    """Finds regions on images; the latest masks stay open, since slices of one volume come in turn."""

    def __init__(self, readers: ReaderSet) -> None:
        self._readers = readers
        self._opened = lru_cache(_OPEN_MASKS)(self._open)
        self._files = lru_cache(_OPEN_MASKS)(_dicom_masks)  # a slice may have a hundred segments of one

    def mask(self, region: Region, asset: Asset, image: Image) -> Mask:
        """(H, W) bool over `image`, with at least one pixel.

        Raises Unmarked for a region that has none on it, Misfit.
        """
        try:
            return self._shown(region, asset, image)
        except Misfit:
            raise
        except ReadFailure as failure:
            raise Misfit(failure.reason) from None

    def _shown(self, region: Region, asset: Asset, image: Image) -> Mask:
        if image.pixels.ndim != 3:
            raise ReadFailure("a region lies on a picture or slice; take the volume slice by slice")
        place = Place(asset, image, _frame_size(asset, image))
        found = _box_mask(region, place) if isinstance(region, Box) else self._opened(region).on(place)
        top, left = image.offset
        height, width = image.pixels.shape[:2]
        shown = found[top : top + height, left : left + width]
        if not shown.any():
            raise Unmarked(NOTHING)
        return shown

    def _open(self, region: MaskFile) -> OpenMask:
        try:
            source = source_at(region.path)
            with source.open() as stream:
                head = stream.read(HEAD_BYTES)
            return self._of_kind(source, head, region.segment)
        except (ReadFailure, MemoryError):
            raise
        except EmbedstoreError as error:
            raise Misfit(str(error), "the mask cannot be read") from None
        except Exception as error:  # a parser's own message may quote the file: only its kind is kept
            raise ReadFailure(f"the mask cannot be read ({type(error).__name__})") from None

    def _of_kind(self, source: Source, head: bytes, segment: str | None) -> OpenMask:
        from embedstore.readers.dicom_file import plausible  # late: pictures need no DICOM
        from embedstore.readers.regions_picture import picture_mask

        found = self._files(source.path) if plausible(head) else None
        if found is not None:
            return found.region(segment)
        return picture_mask(source, segment, self._readers)


def _dicom_masks(path: str) -> DicomMasks | None:
    from embedstore.readers.regions_dicom import open_masks

    return open_masks(source_at(path))


def extent_of(mask: Mask, offset: tuple[int, int]) -> Extent:
    """Of a mask that has a pixel, in the frame as stored. offset: (row, column) of its corner there."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = offset
    box = Box(
        int(columns[0]) + left, int(rows[0]) + top, int(columns[-1]) + left + 1, int(rows[-1]) + top + 1
    )
    return Extent(int(mask.sum()), box)


def other_size(mask: Mask, size: tuple[int, int]) -> ReadFailure:
    """What is said of a mask that has not the size of its image."""
    rows, columns = mask.shape
    return ReadFailure(
        f"the mask is {columns} pixels wide and {rows} high, the image {size[1]} wide and {size[0]} high"
    )


def _frame_size(asset: Asset, image: Image) -> tuple[int, int]:
    """Of the frame as stored: readers may show a part of it."""
    height, width = image.pixels.shape[:2]
    rows, columns = asset.header.rows, asset.header.columns
    top, left = image.offset
    if rows is not None and columns is not None and rows >= top + height and columns >= left + width:
        return rows, columns
    return top + height, left + width


def _box_mask(box: Box, place: Place) -> Mask:
    rows, columns = place.size
    if not (0 <= box.left < box.right <= columns and 0 <= box.top < box.bottom <= rows):
        raise ReadFailure(
            f"the box {box.left},{box.top},{box.right},{box.bottom} is not inside the image, which is "
            f"{columns} pixels wide and {rows} high"
        )
    mask = np.zeros(place.size, dtype=bool)
    mask[box.top : box.bottom, box.left : box.right] = True
    return mask
