"""DICOM whole slides (VL Whole Slide Microscopy, PS3.3 A.32.8), their tiles through wsidicom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_values import code, element, integer, item_at, number
from embedstore.readers.quiet import quiet
from embedstore.readers.slide_pyramid import Level, SlideFacts
from embedstore.readers.slide_series import SlideFile

_DAMAGED = "the slide is damaged or truncated: its pixels cannot be decoded"
_NOT_OPENED = "wsidicom cannot open the slide: its header is damaged or its transfer syntax is not supported"
_WHITE = 255


class DicomSlide:
    """One level file of a slide as level 0, and coarser files of the same slide after it.

    Files are opened when they are first read from. Of several focal planes and optical paths in one file the
    first is read. wsidicom keeps 100 MB of decoded tiles.
    """

    def __init__(self, files: Sequence[SlideFile], facts: SlideFacts) -> None:
        self._point, self._open = _library()
        self._files = tuple(files)
        self._facts = facts
        self._opened: dict[int, tuple[Any, Any]] = {}

    @property
    def facts(self) -> SlideFacts:
        """What the slide says of itself."""
        return self._facts

    def region(self, level: int, corner: tuple[int, int], size: tuple[int, int]) -> Picture.Image:
        """RGB pixels of one level, `corner` in pixels of that level. Raises ReadFailure."""
        pixels = np.full((size[1], size[0], 3), _WHITE, np.uint8)
        with quiet("wsidicom", "pydicom"):
            try:
                self._fill(pixels, level, corner)
            except ReadFailure:
                raise
            except MemoryError:
                raise
            except Exception:  # decoders raise nearly any class on damaged data
                raise ReadFailure(_DAMAGED) from None
        return Picture.fromarray(pixels)

    def close(self) -> None:
        """Close the files."""
        for source, _ in self._opened.values():
            source.close()
        self._opened.clear()

    def _fill(self, pixels: NDArray[np.uint8], level: int, corner: tuple[int, int]) -> None:
        instance = self._instance(level)
        place, (height, width) = self._facts.levels[level], pixels.shape[:2]
        tile_width, tile_height = instance.tile_size.width, instance.tile_size.height
        left, top = max(corner[0], 0), max(corner[1], 0)
        right, bottom = min(corner[0] + width, place.width), min(corner[1] + height, place.height)
        for row in range(top // tile_height, math.ceil(bottom / tile_height)):
            for column in range(left // tile_width, math.ceil(right / tile_width)):
                point = self._point(column, row)
                tile = instance.get_tile(point, instance.default_z, instance.default_path)
                _paste(pixels, tile, column * tile_width - corner[0], row * tile_height - corner[1])

    def _instance(self, level: int) -> Any:
        if level not in self._opened:
            source = self._open(self._files[level].path)
            try:
                self._opened[level] = source, next(iter(source.level_instances))
            except BaseException:
                source.close()
                raise
        return self._opened[level][1]


def slide_facts(
    ds: Dataset, own: SlideFile, levels: Sequence[SlideFile]
) -> tuple[list[SlideFile], SlideFacts]:
    """The files to read `own` from (itself first, then coarser ones) and the facts of that slide.

    levels: what is known of its pyramid, `own` included. Raises ReadFailure for a header that contradicts
    itself and for pixels that are not of 8 bits.
    """
    _refuse(ds, own)
    coarser = [one for one in levels if one.width < own.width]
    files = [own, *sorted(coarser, key=lambda one: -one.width)]
    finest = max([own, *levels], key=lambda one: one.width)
    path = item_at(ds, "OpticalPathSequence", 0)
    power = number(path, "ObjectiveLensPower") if path is not None else None
    alone = own.resampled and finest.width == own.width
    profile = element(path, "ICCProfile") if path is not None else None
    return files, SlideFacts(
        levels=tuple(Level(one.width, one.height, own.width / one.width) for one in files),
        mpp=own.mpp,
        key=own.slide,
        power=None if alone else power,
        profile=bytes(profile) if isinstance(profile, bytes) else None,
        finer=finest.width / own.width,
        extra={"slide_format": "dicom"},
    )


def _paste(pixels: NDArray[np.uint8], tile: NDArray[Any], x: int, y: int) -> None:
    if tile.dtype != np.uint8:
        raise ReadFailure("a slide of more than 8 bits per channel is not supported")
    if tile.ndim == 2 or tile.shape[2] == 1:
        tile = np.repeat(tile.reshape(*tile.shape[:2], 1), 3, axis=2)
    from_y, from_x = max(-y, 0), max(-x, 0)
    piece = tile[from_y : pixels.shape[0] - y, from_x : pixels.shape[1] - x]
    pixels[y + from_y : y + from_y + piece.shape[0], x + from_x : x + from_x + piece.shape[1]] = piece


def _refuse(ds: Dataset, own: SlideFile) -> None:
    if own.part_of is not None:
        raise ReadFailure(
            "a level of the slide is spread over several files (a concatenation); join them first"
        )
    if own.width < 1 or own.height < 1:
        raise ReadFailure("the slide has no pixels: its total pixel matrix is empty or missing")
    if integer(ds, "BitsAllocated") != 8 or integer(ds, "SamplesPerPixel") not in (1, 3):
        raise ReadFailure("a slide of more than 8 bits per channel is not supported")
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    if not rows or not columns or rows < 1 or columns < 1:
        raise ReadFailure("the slide has no pixels: its tiles are empty")
    needed = math.ceil(own.width / columns) * math.ceil(own.height / rows)
    full = code(ds, "DimensionOrganizationType") != "TILED_SPARSE"
    if full and needed > (integer(ds, "NumberOfFrames") or 1):
        raise ReadFailure("the slide holds fewer tiles than its header promises")


def _library() -> tuple[Any, Any]:
    """wsidicom's point in the grid of tiles, and its way to open a file."""
    try:
        from wsidicom.file import WsiDicomFileSource
        from wsidicom.geometry import Point
    except ImportError:
        raise ReadFailure("DICOM whole slides are read by wsidicom; install embedstore[slides]") from None
    return Point, WsiDicomFileSource.open
