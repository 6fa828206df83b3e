"""A slide as a pyramid of levels, and reading any part of it at any resolution in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image as Picture

from embedstore.contracts.record import Scalar
from embedstore.errors import ReadFailure

SAME = 0.01
OVERVIEW_SIDE = 1024
_BLOCK = 2048
_SUPPORT = 3  # of Lanczos, in pixels of the result
_WHITE = (255, 255, 255)
RGB = tuple[int, int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a slide: size in pixels, and how many pixels of level 0 one of them spans."""

    width: int
    height: int
    downsample: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideFacts:
    """What a slide says of itself.

    levels: from fine to coarse. mpp: microns per pixel of level 0 along x and y, None when it does not say.
    power: magnification of the objective. key: names the slide without saying whose it is. profile: its ICC
    profile. associated: names of further pictures in the file (label, macro, ...). finer: pixels of the
    slide's full resolution per pixel of level 0, more than 1 when level 0 is one coarser file of several.
    """

    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    key: str
    power: float | None = None
    profile: bytes | None = None
    background: RGB = _WHITE
    associated: tuple[str, ...] = ()
    finer: float = 1.0
    extra: Mapping[str, Scalar] = field(default_factory=dict)


class Slide(Protocol):
    """An open slide."""

    @property
    def facts(self) -> SlideFacts:
        """What it says of itself."""

    def region(self, level: int, corner: tuple[int, int], size: tuple[int, int]) -> Picture.Image:
        """RGB pixels of one level.

        corner: in pixels of that level, may be negative. What lies outside of the slide has the colour of its
        background. Raises ReadFailure.
        """

    def close(self) -> None:
        """Close its files; nothing can be read afterwards."""


def level_for(facts: SlideFacts, downsample: float) -> int:
    """The coarsest level that is at least as fine as asked (to 1 %), else the finest."""
    fitting = [i for i, level in enumerate(facts.levels) if level.downsample <= downsample * (1 + SAME)]
    return max(fitting, key=lambda i: facts.levels[i].downsample, default=0)


def resampled(slide: Slide, box: Box, size: tuple[int, int], kernel: Picture.Resampling) -> Picture.Image:
    """The part `box` (x0, y0, x1, y1 in pixels of level 0) as an RGB picture of exactly `size` pixels.

    Read from the level of `level_for`, unchanged when its pixels are those asked for; else reduced by an
    integer with a box filter, in blocks, as long as three pixels are left for each one asked for, and brought
    to size by `kernel`, both without aliasing. Raises ReadFailure.
    """
    x0, y0, x1, y1 = box
    index = level_for(slide.facts, min((x1 - x0) / size[0], (y1 - y0) / size[1]))
    per = slide.facts.levels[index].downsample
    left, top, right, bottom = x0 / per, y0 / per, x1 / per, y1 / per
    scale_x, scale_y = (right - left) / size[0], (bottom - top) / size[1]
    if abs(scale_x - 1) < 1e-9 and abs(scale_y - 1) < 1e-9:
        return slide.region(index, (round(left), round(top)), size)
    factor = max(1, math.floor(min(scale_x, scale_y) / _SUPPORT))
    margin_x, margin_y = _SUPPORT * max(scale_x, 1.0), _SUPPORT * max(scale_y, 1.0)
    corner = math.floor((left - margin_x) / factor), math.floor((top - margin_y) / factor)
    extent = (
        math.ceil((right + margin_x) / factor) - corner[0],
        math.ceil((bottom + margin_y) / factor) - corner[1],
    )
    within = (
        left / factor - corner[0],
        top / factor - corner[1],
        right / factor - corner[0],
        bottom / factor - corner[1],
    )
    return _reduced(slide, index, corner, extent, factor).resize(size, kernel, box=within)


def _reduced(
    slide: Slide, index: int, corner: tuple[int, int], extent: tuple[int, int], factor: int
) -> Picture.Image:
    """A level shrunk by an integer; corner and extent are in shrunken pixels."""
    if factor == 1 and max(extent) <= _BLOCK:
        return slide.region(index, corner, extent)
    whole = Picture.new("RGB", extent)
    block = max(1, _BLOCK // factor)
    for y in range(0, extent[1], block):
        for x in range(0, extent[0], block):
            size = min(block, extent[0] - x), min(block, extent[1] - y)
            at = (corner[0] + x) * factor, (corner[1] + y) * factor
            piece = slide.region(index, at, (size[0] * factor, size[1] * factor))
            whole.paste(piece.reduce(factor), (x, y))
    return whole


def whole_picture(slide: Slide, size: tuple[int, int], most_pixels: int) -> Picture.Image:
    """The whole slide in `size` pixels, by averaging.

    most_pixels: what may be decoded for it; a slide without a coarse level that would need more raises
    ReadFailure.
    """
    facts = slide.facts
    base = facts.levels[0]
    downsample = min(base.width / size[0], base.height / size[1])
    level = facts.levels[level_for(facts, downsample)]
    if level.width * level.height > most_pixels:
        raise ReadFailure(
            f"the slide has no coarse level: {level.width} x {level.height} pixels would have to be decoded "
            "for an overview; convert it to a pyramid, or keep the levels of a DICOM slide in one folder"
        )
    return resampled(slide, (0, 0, base.width, base.height), size, Picture.Resampling.BOX)
