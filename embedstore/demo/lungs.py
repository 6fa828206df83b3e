"""What is seen inside a lung: its vessels, and the findings."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from embedstore.demo.anatomy import Lesion, Side
from embedstore.demo.shapes import SIGN, Frame, Grid, half_cage, soft

_BRANCHES, _CHILDREN, _STEPS = 14, 3, 7


def add_lesions(
    frame: Frame, lesions: tuple[Lesion, ...], side: Side, lung: tuple[Grid, Grid, Grid], added: Grid
) -> Grid:
    """The lung's share of the depth with its lesions. lung: lateral distance, chest wall, share of air."""
    lateral, wall, air = lung
    for lesion in lesions:
        if lesion.name == "pneumothorax":
            added = _pneumothorax(lesion, frame, lung, added)
    for lesion in lesions:
        if lesion.name == "nodule":
            added = added + _nodule(lesion, frame, lateral) * np.minimum(1, air * -5)
    for lesion in lesions:
        if lesion.name == "effusion":
            fluid = _fluid(lesion, frame, side, lateral, wall)
            added = added * (1 - fluid) + 0.07 * fluid * np.minimum(1, air * -8)
    return added


def _pneumothorax(lesion: Lesion, frame: Frame, lung: tuple[Grid, Grid, Grid], added: Grid) -> Grid:
    """Air between chest wall and lung: no markings beyond a thin white pleural line.

    As in Hansell et al., Fleischner Society: glossary of terms for thoracic imaging, Radiology 2008.
    """
    lateral, wall, air = lung
    gap = (0.085 + 0.12 * lesion.size) * (0.35 + 0.65 * np.exp(-np.square(frame.v / 0.5)))
    beside = wall - gap - lateral
    above = (frame.v - 0.09 - 0.14 * lesion.size) * 1.25
    corner = 0.22
    q_x, q_y = corner - beside, corner - above
    outside = np.sqrt(np.square(np.maximum(q_x, 0)) + np.square(np.maximum(q_y, 0)))
    edge = corner - outside - np.minimum(np.maximum(q_x, q_y), 0)
    free = soft(-edge, 0.006)
    line = np.exp(-np.square(edge / 0.0085)) * np.minimum(1, air * -12)
    collapsed = added * (0.90 - 0.08 * lesion.size)
    mixed: Grid = collapsed * (1 - free) + 1.18 * air * free + 0.085 * line
    return mixed


def _nodule(lesion: Lesion, frame: Frame, lateral: Grid) -> Grid:
    """A round, slightly lobed opacity of about 19 to 32 mm on a field of 360 mm."""
    person = frame.person
    v = 0.16 + 0.55 * lesion.place[1]
    at_y = person.apex + v * (person.base - person.apex)
    outer = half_cage(person, np.array(v * 0.88)).item()
    low, high = person.mediastinum + 0.13, outer - 0.09
    dx, dy = lateral - (low + (high - low) * lesion.place[0]), (frame.y - at_y) * 2
    radius = 0.054 + 0.034 * lesion.size
    near = np.square(dx) + np.square(dy) < (1.2 * radius) ** 2
    dx, dy = dx[near], dy[near]
    angle = np.arctan2(dy, dx)
    lobed = (
        1 + 0.06 * np.sin(3 * angle + 6 * lesion.place[0]) + 0.03 * np.sin(5 * angle + 9 * lesion.place[1])
    )
    r2 = (dx * dx + dy * dy) / np.square(radius * lobed)
    ball = np.zeros_like(lateral)
    ball[near] = (0.40 + 0.10 * lesion.size) * np.sqrt(np.clip(1 - r2, 0, 1))
    return ball


def _fluid(lesion: Lesion, frame: Frame, side: Side, lateral: Grid, wall: Grid) -> Grid:
    """Fluid over the dome, with a meniscus that climbs the chest wall."""
    low = frame.dome_top(side)
    level = low + 0.080 - 0.165 * lesion.size
    toward = np.clip((lateral - 0.20) / np.maximum(wall - 0.20, 0.05), 0, 1.1)
    meniscus = level - (0.05 + 0.05 * lesion.size) * toward * toward
    return soft((frame.y - meniscus) * 2, 0.045)


def draw_vessels(frame: Frame, texture: np.random.Generator) -> Grid:
    """Branching lines that start at the hila and thin out; the same trees at every study of a person."""
    from scipy.ndimage import gaussian_filter

    rows, columns = frame.x.shape
    canvas = Pillow.new("L", (columns, rows))
    pen = ImageDraw.Draw(canvas)
    for side in SIGN:
        wander = texture.normal(0, 1, (_BRANCHES, _CHILDREN, _STEPS)).tolist()
        for branch, children in enumerate(wander):
            _draw_branch(pen, frame, side, branch, children)
    fine: Grid = gaussian_filter(np.asarray(canvas, dtype=np.float32) / 255, rows / 500)
    return fine


def _draw_branch(
    pen: ImageDraw.ImageDraw, frame: Frame, side: Side, branch: int, children: list[list[float]]
) -> None:
    origin = (0.19, frame.person.apex + 0.30)
    heading = -1.35 + 2.6 * branch / (_BRANCHES - 1) + 0.12 * children[0][0]
    for child, wander in enumerate(children):
        at, thick = origin, frame.x.shape[0] * 0.0135 * (1, 0.6, 0.5)[child]
        turn, here = heading + (0, -0.45, 0.45)[child], frame.pixel(*origin, side)
        for step, swerve in enumerate(wander):
            turn += 0.16 * swerve
            at = (at[0] + 0.085 * math.cos(turn), at[1] + 0.0425 * math.sin(turn))
            there = frame.pixel(*at, side)
            pen.line((here, there), fill=int(235 * 0.86**step), width=max(1, round(thick)))
            here, thick = there, thick * 0.78
            if step == 1:
                origin = at
