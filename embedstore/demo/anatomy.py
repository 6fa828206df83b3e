"""The chest that a phantom film shows: its natural variation between patients, and what can be wrong in it.

Coordinates: `x` in [-1, 1] from the image's left to its right, `y` in [0, 1] from top to bottom. The film is
seen as usual, so the patient's right is at negative `x`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

FINDINGS = ("effusion", "pneumothorax", "nodule", "cardiomegaly")
SIDED = ("effusion", "pneumothorax", "nodule")
Side = Literal["right", "left"]
SIDES: tuple[Side, Side] = ("right", "left")

_PREVALENCE = {"effusion": 0.22, "pneumothorax": 0.17, "nodule": 0.22, "cardiomegaly": 0.24}
_EFFUSION_WITH_LARGE_HEART = 0.40


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """A finding in one patient at one time. size: 0 (barely visible) to 1 (gross). side: None for the heart.

    place: where in the lung a nodule lies, (across, down), 0 to 1.
    """

    name: str
    side: Side | None
    size: float
    place: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One person's proportions, in film coordinates; what stays the same from study to study.

    chest: half width of the rib cage. apex, base: `y` of the lung tops and of the right dome. dome_gap: how
    much lower the left dome stands; raised: how much higher than usual each dome (right, left) is. curve: how
    strongly the ribs slope. heart: cardiothoracic ratio while the heart is not enlarged. girth: soft tissue
    around the chest. breast: 0 for none. texture_seed: vessels and other fine detail.
    """

    sex: Literal["M", "F"]
    age: int
    chest: float
    apex: float
    base: float
    dome_gap: float
    raised: tuple[float, float]
    curve: float
    rib_gap: float
    rib_width: float
    rib_contrast: float
    heart: float
    heart_tilt: float
    mediastinum: float
    knob: float
    girth: float
    breast: float
    vessels: float
    clavicle: float
    texture_seed: int


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """One person, at random."""
    sex: Literal["M", "F"] = "F" if rng.random() < 0.5 else "M"
    age = int(np.clip(rng.normal(58, 16), 19, 94))
    build = float(np.clip(rng.normal(0, 1), -2, 2.4))
    return Anatomy(
        sex=sex,
        age=age,
        chest=float(np.clip(rng.normal(0.72 if sex == "M" else 0.68, 0.03) + 0.008 * build, 0.58, 0.79)),
        apex=float(rng.uniform(0.10, 0.17)),
        base=float(np.clip(rng.normal(0.735, 0.045) - 0.01 * build, 0.62, 0.84)),
        dome_gap=float(rng.uniform(0.0, 0.045)),
        raised=_raised(rng),
        curve=float(rng.uniform(0.8, 1.25)),
        rib_gap=float(rng.uniform(0.068, 0.080)),
        rib_width=float(rng.uniform(0.012, 0.017)),
        rib_contrast=float(rng.uniform(0.7, 1.3)),
        heart=float(rng.uniform(0.37, 0.475)),
        heart_tilt=float(rng.uniform(0.45, 0.8)),
        mediastinum=float(rng.uniform(0.115, 0.16)) + 0.0004 * age,
        knob=float(rng.uniform(0.035, 0.055)) + 0.00025 * age,
        girth=float(0.12 + 0.035 * build + rng.uniform(-0.02, 0.02)),
        breast=float(rng.uniform(0.3, 1.0)) if sex == "F" else 0.0,
        vessels=float(rng.uniform(0.7, 1.3)),
        clavicle=float(rng.uniform(0.10, 0.15)),
        texture_seed=int(rng.integers(2**32)),
    )


def _raised(rng: np.random.Generator) -> tuple[float, float]:
    """How much higher than usual each dome stands: mostly not at all; a harmless look-alike of fluid."""
    right, left = (float(rng.uniform(0.02, 0.10)) if rng.random() < 0.2 else 0.0 for _ in SIDES)
    return right, left


def draw_lesions(rng: np.random.Generator) -> tuple[Lesion, ...]:
    """What is wrong with a person: any of the four findings, effusions more often beside a large heart."""
    present = {name: rng.random() < share for name, share in _PREVALENCE.items()}
    if present["cardiomegaly"] and not present["effusion"]:
        present["effusion"] = rng.random() < _EFFUSION_WITH_LARGE_HEART - _PREVALENCE["effusion"]
    found = []
    for name in FINDINGS:
        side: Side | None = None
        if name in SIDED:
            side = "right" if rng.random() < 0.5 else "left"
        size = float(rng.beta(1.6, 1.4))
        place = (float(rng.uniform(0.15, 0.85)), float(rng.uniform(0.2, 0.8)))
        if present[name]:
            found.append(Lesion(name=name, side=side, size=size, place=place))
    return tuple(found)


def follow_up(lesions: tuple[Lesion, ...], rng: np.random.Generator) -> tuple[Lesion, ...]:
    """The same person later: sizes drift, and air or fluid may be gone."""
    later = []
    for lesion in lesions:
        if lesion.name in ("effusion", "pneumothorax") and rng.random() < 0.35:
            continue
        size = float(np.clip(lesion.size + rng.normal(0, 0.2), 0, 1))
        later.append(Lesion(name=lesion.name, side=lesion.side, size=size, place=lesion.place))
    return tuple(later)
