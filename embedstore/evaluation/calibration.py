"""Does a probability of 0.8 come true eight times in ten?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.evaluation.arrays import F64, Groups, finite_or_none, group_codes
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.metrics import PROBABILITY_FLOOR, bin_of
from embedstore.evaluation.proportions import proportion

_MAX_STEPS = 30
_STEEPEST = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Rows whose probability lies in [low, high). share: of them, those that were positive; NaN in an empty
    bin."""

    low: float
    high: float
    mean_predicted: float
    share: Estimate

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers of an empty bin are null."""
        return {
            "low": self.low,
            "high": self.high,
            "n": self.share.n_images,
            "mean_predicted": finite_or_none(self.mean_predicted),
            "observed": finite_or_none(self.share.value),
            "share": self.share.to_json(),
        }


def reliability(y: ArrayLike, p: ArrayLike, patients: Groups, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """The reliability table of (n,) 0/1 labels and (n,) probabilities over equal-width bins."""
    truth, prob, people = np.asarray(y) == 1, np.asarray(p, dtype=np.float64), group_codes(patients)
    where = bin_of(prob, bins)
    return tuple(
        ReliabilityBin(
            low=number / bins,
            high=(number + 1) / bins,
            mean_predicted=float(prob[where == number].mean()) if (where == number).any() else float("nan"),
            share=proportion("observed share", truth[where == number], people[where == number]),
        )
        for number in range(bins)
    )


def calibration_line(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> tuple[F64, F64]:
    """Cox's calibration intercept and slope: logit P(y = 1) = intercept + slope * logit(p).

    (0, 1) is perfect; a slope under 1 is overconfidence (Cox, Biometrika 45:562, 1958; Van Calster et al.,
    BMC Medicine 17:230, 2019). Fitted together by Newton's method, for all resamples at once; NaN where the
    classes are separated or one is missing, since no finite line exists then.
    """
    truth = (np.asarray(y) == 1).astype(np.float64)
    prob = np.clip(np.asarray(p, dtype=np.float64), PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    x = np.log(prob / (1 - prob))
    w = np.atleast_2d(np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64))
    # From (0, 0), not from the hoped-for (0, 1): where probabilities are near 0 and 1 the curve is flat there
    # and Newton's first step would leave for good.
    a, b = np.zeros(len(w)), np.zeros(len(w))
    open_rows = np.arange(len(w))
    with np.errstate(all="ignore"):  # diverging rows are found below and answered with NaN
        for _ in range(_MAX_STEPS):
            step_a, step_b = _newton_step(x, truth, w[open_rows], a[open_rows], b[open_rows])
            a[open_rows] += step_a
            b[open_rows] += step_b
            moved = np.maximum(np.abs(step_a), np.abs(step_b)) > 1e-9
            alive = moved & np.isfinite(b[open_rows]) & (np.abs(b[open_rows]) < _STEEPEST)
            failed = moved & ~alive
            a[open_rows[failed]] = b[open_rows[failed]] = np.nan
            open_rows = open_rows[alive]
            if not len(open_rows):
                break
    a[open_rows] = b[open_rows] = np.nan
    bad = ~np.isfinite(a) | ~np.isfinite(b)
    a[bad] = b[bad] = np.nan
    shape = () if weights is None else np.shape(weights)[:-1]
    return a.reshape(shape), b.reshape(shape)


def _newton_step(x: F64, y: F64, w: F64, a: F64, b: F64) -> tuple[F64, F64]:
    p = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * x)))
    miss = w * (y - p)
    curve = w * p * (1 - p)
    g0, g1 = miss.sum(axis=1), miss @ x
    h00, h01, h11 = curve.sum(axis=1), curve @ x, curve @ (x * x)
    det = h00 * h11 - h01 * h01
    return (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
