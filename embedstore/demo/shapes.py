"""The grid a phantom film is drawn on, and the few smooth shapes everything is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.demo.anatomy import Anatomy, Side

Grid = NDArray[np.floating[Any]]
"""(rows, columns) values on the film; float32 throughout."""

SIGN: dict[Side, int] = {"right": -1, "left": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How a person stood at one exposure. breath: 1 is a full inspiration, -1 shallow. lean: radians."""

    shift: float
    rise: float
    lean: float
    scale: float
    breath: float
    arms: float


def draw_pose(rng: np.random.Generator) -> Pose:
    """One exposure's positioning, at random."""
    return Pose(
        shift=float(rng.normal(0, 0.035)),
        rise=float(rng.normal(0, 0.012)),
        lean=float(rng.normal(0, 0.022)),
        scale=float(rng.uniform(0.88, 1.06)),
        breath=float(rng.uniform(-1, 1)),
        arms=float(rng.uniform(0, 1)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Film coordinates in the person's own frame, (rows, columns) float32 each.

    x: -1 to 1 from the image's left (the patient's right). away: distance from the midline. y: 0 to 1
    downwards. v: 0 at the top of the lungs, 1 at their lowest corner. base: `y` of the usual right dome.
    """

    person: Anatomy
    pose: Pose
    x: Grid
    y: Grid
    away: Grid
    v: Grid
    base: float

    def half(self, side: Side) -> slice:
        """The columns that hold that side of the person."""
        there = (self.x[[0, -1]] * SIGN[side]).max(axis=0) > 0
        columns = np.flatnonzero(there)
        return slice(int(columns[0]), int(columns[-1]) + 1)

    def part(self, columns: slice) -> Frame:
        """The same frame, of some columns only."""
        x, y, away, v = (grid[:, columns] for grid in (self.x, self.y, self.away, self.v))
        return Frame(self.person, self.pose, x, y, away, v, self.base)

    def dome_top(self, side: Side) -> float:
        """`y` of a dome's highest point."""
        lower = self.person.dome_gap if side == "left" else 0.0
        return self.base + lower - self.person.raised[side == "left"]

    def dome(self, side: Side, lateral: Grid) -> Grid:
        """`y` of the diaphragm at a distance from the midline."""
        low = self.dome_top(side)
        reach = np.abs((lateral - 0.36) / 0.36)
        height: Grid = low + 0.115 * reach * reach
        return height

    def pixel(self, lateral: float, y: float, side: Side) -> tuple[float, float]:
        """(column, row) of a point given in the person's frame."""
        rows, columns = self.x.shape
        across = (lateral * SIGN[side] + self.pose.shift) * self.pose.scale
        down = ((y + self.pose.rise) * 2 - 1) * self.pose.scale
        column = ((across + down * self.pose.lean) * rows / columns + 1) / 2 * columns
        return column, (down - across * self.pose.lean + 1) / 2 * rows


def make_frame(person: Anatomy, pose: Pose, shape: tuple[int, int]) -> Frame:
    """The grid of a film of (rows, columns) pixels that shows `person` in `pose`."""
    rows, columns = shape
    across = np.linspace(-1, 1, columns, dtype=np.float32)[None, :] * (columns / rows)
    down = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    cos, sin = math.cos(pose.lean), math.sin(pose.lean)
    x = (across * cos - down * sin) / pose.scale - pose.shift
    y = ((across * sin + down * cos) / pose.scale + 1) / 2 - pose.rise
    base = person.base + 0.022 * pose.breath
    v = np.clip((y - person.apex) / (base + 0.10 - person.apex), 0, 1.2)
    return Frame(person, pose, x, y, np.abs(x), v, base)


def half_cage(person: Anatomy, v: Grid) -> Grid:
    """Half width of the rib cage's inside at a height `v`."""
    arch = np.sin(np.clip(v / 0.72, 0, 1) * (math.pi / 2))
    width: Grid = np.sqrt(arch) * (person.chest - 0.34) + 0.34
    return width


def soft(distance: Grid, width: float) -> Grid:
    """0 outside, 1 inside, smooth over `width` on both sides of the edge, where `distance` is 0."""
    t = np.clip(distance * (0.5 / width) + 0.5, 0, 1)
    smooth: Grid = t * t * (3 - 2 * t)
    return smooth


def tube(distance: Grid, half: float) -> Grid:
    """A hollow cylinder seen from the side: brightest just inside its edges."""
    r2 = np.square(distance * (1 / half))
    lumen: Grid = 0.65 * np.sqrt(np.clip(1 - r2, 0, 1)) + 0.5 * np.exp(-np.square((r2 - 0.78) * 2.6))
    return lumen


def tubes(distance: Grid, gap: float, half: float) -> Grid:
    """Parallel tubes every `gap`."""
    turns = distance * (1 / gap)
    return tube((turns - np.rint(turns)) * gap, half)
