"""Do two sets of images look alike, and how large a difference could these patients have shown?

Covariate shift only: whether the same picture now means something else is `evaluation.concept`'s question.
"""

from __future__ import annotations

import numpy as np

from embedstore.evaluation.arrays import Bools
from embedstore.evaluation.comparison import POWER
from embedstore.evaluation.mmd import gaussian_width, mmd2, patient_kernel
from embedstore.evaluation.shift_sides import LEVEL, ShiftTest, Sides
from embedstore.evaluation.two_sample import classifier_test, ks_test, mmd_test

PERMUTATIONS = 1999
_POWER_DRAWS = 200
_FURTHEST = 8.0  # standard deviations


def covariate_shift(
    sides: Sides, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[ShiftTest, ...]:
    """MMD, classifier two-sample and KS tests."""
    drawn = sides.permuted(permutations, seed)
    scores = sides.components()
    return (
        mmd_test(sides, drawn, seed=seed),
        classifier_test(sides, drawn, scores=scores, seed=seed),
        ks_test(sides, drawn, scores=scores),
    )


def smallest_detectable_shift(sides: Sides, drawn: Bools, *, seed: int = 0) -> float | None:
    """How far all new images would have to move for the MMD test to find it in 80 of 100 draws.

    In standard deviations along the first principal component. Found by drawing both sides from these
    patients together and moving one; None when not even eight deviations would be found.
    """
    centred = sides.x - sides.x.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    along, deviation = axes[:, -1], float(np.sqrt(max(float(variances[-1]), 0.0)))
    width = gaussian_width(sides.x, seed)
    kernel = patient_kernel(sides.x, sides.people, width)
    limit = float(np.quantile(mmd2(kernel, drawn), 1 - LEVEL))
    trials = sides.permuted(_POWER_DRAWS, seed + 1)

    def power(shift: float) -> float:
        cross = patient_kernel(sides.x, sides.people, width, along=along, shift=shift * deviation)
        return float(np.mean(mmd2(kernel, trials, cross) > limit))

    low, high = 0.0, _FURTHEST
    if power(high) < POWER:
        return None
    while high - low > 0.02 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
