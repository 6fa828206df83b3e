"""The grid of tiles over a slide at one resolution, and the names of its tiles."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure
from embedstore.readers.slide_pyramid import SAME, Box, SlideFacts

_PART = re.compile(r"tile/([0-9.]+)/([0-9]+)/([0-9]+)-([0-9]+)(?:/assumed/([0-9.]+))?", re.ASCII)
_FINEST, _COARSEST = 0.02, 20.0
_STRETCH = 1.25
_NO_TILE = "there is no such tile on the slide"


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, as its part key `tile/MPP/SIDE/COLUMN-ROW` names it.

    mpp: microns per pixel as asked for. column, row: its place in the grid, from 0. assumed: the resolution
    that the user gave for a slide that does not say its own; it is part of the key then, `.../assumed/MPP`.
    """

    mpp: float
    side: int
    column: int
    row: int
    assumed: float | None = None

    @property
    def part(self) -> str:
        """The canonical key."""
        end = "" if self.assumed is None else f"/assumed/{self.assumed:.6g}"
        return f"tile/{self.mpp:.6g}/{self.side}/{self.column}-{self.row}{end}"

    @classmethod
    def of(cls, part: str) -> Tile:
        """The tile that a part key names. Raises ReadFailure for any other spelling."""
        match = _PART.fullmatch(part) if len(part) < 200 else None
        if match is None:
            raise ReadFailure(_NO_TILE)
        try:
            mpp, assumed = float(match[1]), float(match[5]) if match[5] else None
            tile = cls(mpp, int(match[2]), int(match[3]), int(match[4]), assumed)
        except ValueError:
            raise ReadFailure(_NO_TILE) from None
        if tile.part != part or not tile.side or not plausible(mpp):
            raise ReadFailure(_NO_TILE)
        return tile


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles side by side from the left upper corner; the last of a row or column may reach beyond the slide.

    step_x, step_y: pixels of level 0 per tile. mpp: microns per pixel that the tiles really have.
    """

    side: int
    step_x: float
    step_y: float
    columns: int
    rows: int
    mpp: float

    def box(self, tile: Tile) -> Box:
        """x0, y0, x1, y1 in pixels of level 0. Raises ReadFailure when the grid has no such tile."""
        if tile.column >= self.columns or tile.row >= self.rows:
            raise ReadFailure(_NO_TILE)
        x, y = tile.column * self.step_x, tile.row * self.step_y
        return x, y, x + self.step_x, y + self.step_y

    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The columns + 1 and rows + 1 edges of the tiles in pixels of level 0."""
        columns = np.arange(self.columns + 1, dtype=np.float64)
        rows = np.arange(self.rows + 1, dtype=np.float64)
        return np.asarray(columns * self.step_x), np.asarray(rows * self.step_y)


def canonical(mpp: float) -> float:
    """Microns per pixel to six digits, as part keys write them."""
    return float(f"{mpp:.6g}")


def plausible(mpp: float) -> bool:
    """Whether a microscope could have such pixels; the 72 dots per inch of a TIFF (353 microns) are none."""
    return _FINEST <= mpp <= _COARSEST


def grid_of(facts: SlideFacts, own: tuple[float, float], mpp: float, side: int) -> Grid:
    """The grid of tiles of `side` pixels at `mpp` microns per pixel; `own` is the slide's, along x and y.

    A level that is within 1 % of what is asked is cut as it is, without resampling: this is how 0.499 serves
    0.5. Raises ReadFailure for a slide too coarse for it.
    """
    if max(own) > mpp * _STRETCH:
        raise ReadFailure(
            f"the slide has {max(own):.4g} microns per pixel, too coarse for {mpp:.4g}; "
            f"pass --mpp {max(own):.4g} or more"
        )
    base = facts.levels[0]
    for level in facts.levels:
        if all(abs(one * level.downsample / mpp - 1) <= SAME for one in own):
            step_x = step_y = side * level.downsample
            real = math.sqrt(own[0] * own[1]) * level.downsample
            break
    else:
        step_x, step_y, real = side * mpp / own[0], side * mpp / own[1], mpp
    return Grid(side, step_x, step_y, _count(base.width, step_x), _count(base.height, step_y), real)


def _count(length: int, step: float) -> int:
    return max(1, math.ceil(length / step - 1e-6))
