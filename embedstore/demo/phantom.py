"""Draws a chest phantom: how much the rays are weakened on their way through the chest, pixel by pixel.

Everything is a smooth function of film coordinates (see `anatomy`), so a film of 400 x 400 takes some
hundredths of a second. The result is optical depth in arbitrary units: large behind bone, heart and abdomen,
small behind lung, zero beside the body. What a scanner makes of it is in `scanners`.
"""

from __future__ import annotations

import math

import numpy as np

from embedstore.demo.anatomy import Anatomy, Lesion, Side
from embedstore.demo.lungs import add_lesions, draw_vessels
from embedstore.demo.shapes import SIGN, Frame, Grid, Pose, half_cage, make_frame, soft, tube, tubes

_LUNG_AIR = 0.66


def optical_depth(person: Anatomy, lesions: tuple[Lesion, ...], pose: Pose, shape: tuple[int, int]) -> Grid:
    """(rows, columns) float32 optical depth of one phantom film; 0 is open air, about 1 is soft tissue."""
    frame = make_frame(person, pose, shape)
    texture = np.random.default_rng(person.texture_seed)
    body = _body(frame)
    heart = _heart(frame, lesions)
    vessels = draw_vessels(frame, texture)
    relative = 1 + _midline(frame) + _bones(frame, texture)
    for side in SIGN:
        half = frame.half(side)
        relative[:, half] += _lung(frame.part(half), side, lesions, heart[:, half], vessels[:, half])
    depth = body * relative
    depth += body * heart + _breasts(frame) + body * _bubble(frame, texture)
    return np.maximum(depth, 0).astype(np.float32)


def _body(frame: Frame) -> Grid:
    person, away, y = frame.person, frame.away, frame.y
    ramp = np.clip((away - 0.24) / 0.8, 0, 1)
    shoulder = 0.075 + 0.16 * ramp * np.sqrt(ramp) - 0.3 * soft(0.235 - away, 0.06)
    torso = person.chest + person.girth + 0.02
    wide = 1.12 + 0.1 * frame.pose.arms - torso
    width = torso + wide * soft(0.33 - y, 0.11) + 0.03 * np.clip(y - 0.75, 0, 1)
    r = np.square(away / width)
    round_ = np.sqrt(np.clip(1 - r * r, 0, 1))
    thick = 0.9 + 0.9 * person.girth + 0.22 * np.clip((y - 0.2) / 0.8, 0, 1)
    neck = 1 - 0.30 * soft(0.15 - y, 0.11) * (0.5 + 3 * np.clip(away, 0, 0.4))
    body: Grid = soft(y - shoulder, 0.02) * round_ * thick * neck
    return body


def _lung(frame: Frame, side: Side, lesions: tuple[Lesion, ...], heart: Grid, vessels: Grid) -> Grid:
    """What one lung adds to the depth of the body around it; negative, for lung is mostly air."""
    person, y = frame.person, frame.y
    lateral = frame.x * SIGN[side]
    wall = half_cage(person, frame.v)
    dome = frame.dome(side, lateral)
    outward, inward, up = wall - lateral, lateral - 0.055, (dome - y) * 2
    inside = soft(outward, 0.012) * soft(inward, 0.05) * soft(up, 0.012) * soft(y - person.apex, 0.004)
    apical = soft(lateral - 0.30 + 1.6 * np.clip(frame.v, 0, 0.14), 0.05)
    thick = 1 - 0.60 * np.exp(np.clip(outward, 0, 1) * -10) - 0.30 * np.exp(np.clip(up, 0, 1) * -10)
    thick -= 0.45 * np.exp(frame.v * -6)
    aerated = inside * apical * thick * (1 - np.minimum(0.72, 1.9 * heart))
    air = (-_LUNG_AIR * aerated).astype(np.float32)
    root = np.exp(-np.square((lateral - 0.22) / 0.085) - np.square((y - person.apex - 0.30) / 0.085))
    markings = aerated * (0.12 * person.vessels * vessels + 0.13 * root)
    mine = tuple(lesion for lesion in lesions if lesion.side == side)
    return add_lesions(frame, mine, side, (lateral, wall, air), air + markings)


def _heart(frame: Frame, lesions: tuple[Lesion, ...]) -> Grid:
    """Heart, great vessels and aortic knob.

    The heart is .37 to .475 of the chest's width; enlarged, above .52 (the threshold is .50: Danzer, Am J Med
    Sci 1919).
    """
    person, x, y = frame.person, frame.x, frame.y
    large = next((lesion for lesion in lesions if lesion.name == "cardiomegaly"), None)
    half = person.chest * (person.heart if large is None else 0.525 + 0.14 * large.size)
    cos, sin = math.cos(0.55 * person.heart_tilt), math.sin(0.55 * person.heart_tilt)
    dx, dy = x - 0.27 * half, (y - frame.base - 0.012 + 0.27 * half) * 2
    r2 = np.square((dx * cos + dy * sin) / (1.05 * half)) + np.square((dy * cos - dx * sin) / (0.80 * half))
    muscle = 0.36 * np.sqrt(np.clip(1 - r2, 0, 1))
    down = np.clip((y - person.apex - 0.05) * 2.2, 0, 1)
    edge = person.mediastinum + 0.06 * down * down - np.abs(x - 0.010 - 0.035 * down)
    stalk = 0.26 * soft(edge, 0.035) * soft((y - person.apex + 0.02) * 2, 0.12)
    stalk *= soft(frame.base + 0.06 - y, 0.05)
    knob2 = np.square(x - person.mediastinum + 0.030) + np.square((y - person.apex - 0.155) * 1.7)
    knob = 0.24 * np.sqrt(np.clip(1 - knob2 / (1.9 * person.knob) ** 2, 0, 1))
    silhouette: Grid = np.maximum(np.maximum(muscle, stalk), knob)
    return silhouette


def _midline(frame: Frame) -> Grid:
    """Vertebral column and trachea."""
    person, away, y = frame.person, frame.away, frame.y
    discs = 0.8 + 0.2 * np.cos((y - person.apex) * (2 * math.pi / (person.rib_gap * 0.98)))
    spine = 0.12 * soft(0.085 - away, 0.02) * discs
    pedicle = 0.05 * np.exp(-np.square((away - 0.05) / 0.014)) * np.clip(2 * discs - 1.2, 0, 1)
    trachea = 0.15 * soft(0.040 - np.abs(frame.x + 0.012), 0.014) * soft(person.apex + 0.21 - y, 0.03)
    midline: Grid = spine + pedicle - trachea
    return midline


def _bones(frame: Frame, texture: np.random.Generator) -> Grid:
    """Posterior and anterior ribs, clavicles, shoulder blades."""
    person, away, y = frame.person, frame.away, frame.y
    right, left = (float(value) for value in texture.normal(0, 0.006, 2))
    uneven = np.where(frame.x < 0, np.float32(right), np.float32(left))
    t = away / (half_cage(person, frame.v) + 0.02)
    cage = soft(1.03 - t, 0.04) * soft(y - person.apex + 0.05, 0.01) * soft(frame.base + 0.15 - y, 0.05)
    back = (
        uneven
        - 0.018 * np.sin(np.clip(t, 0, 0.7) * (math.pi / 0.7))
        + 0.085 * person.curve * t * t * np.sqrt(t)
    )
    posterior = tubes(y - person.apex - back, person.rib_gap, person.rib_width) * soft(away - 0.09, 0.03)
    front = 0.5 * uneven + 0.19 * person.curve * np.clip(1 - t, 0, 1) + 0.3 * person.rib_gap
    anterior = tubes(y - person.apex - front, person.rib_gap * 1.12, person.rib_width * 1.15)
    rim = np.exp(-np.square((t - 1.02) / 0.035))
    ribs = cage * (0.085 * posterior + 0.045 * anterior * soft(t - 0.45, 0.12) + 0.025 * rim)
    line = (
        person.apex
        + 0.045
        - person.clavicle * np.clip(away - 0.12, 0, 1)
        + 0.05 * np.sin(4.6 * away)
        - uneven
    )
    clavicle = tube((y - line) * 2, 0.026) * soft(away - 0.10, 0.02) * soft(0.86 - away, 0.05)
    blade = soft(away - (0.74 + 0.10 * frame.pose.arms - 0.22 * y), 0.03) * soft(0.42 - y, 0.05)
    return person.rib_contrast * ribs + 0.14 * clavicle + 0.06 * blade * soft(y - 0.13, 0.05)


def _bubble(frame: Frame, texture: np.random.Generator) -> Grid:
    """The stomach's air under the left dome."""
    at_x, size = float(texture.uniform(0.25, 0.45)), float(texture.uniform(0.02, 0.085))
    at_y = frame.dome_top("left") + 0.085
    r2 = (np.square((frame.x - at_x) / 1.5) + np.square((frame.y - at_y) * 2)) / size**2
    bubble: Grid = -0.18 * np.clip(1 - r2, 0, 1)
    return bubble


def _breasts(frame: Frame) -> Grid | float:
    person = frame.person
    if person.breast == 0:
        return 0.0
    dx, dy = frame.away - 0.40, (frame.y - person.base + 0.10 - 0.05 * person.breast) * 2
    r2 = (np.square(dx) + np.square(dy * np.where(dy > 0, np.float32(1.15), np.float32(0.6)))) / (
        0.27 + 0.08 * person.breast
    ) ** 2
    breasts: Grid = 0.13 * person.breast * np.sqrt(np.clip(1 - r2, 0, 1)) * soft(frame.y - 0.3, 0.1)
    return breasts
