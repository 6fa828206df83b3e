"""Is one better than the other, and how large a difference could these patients have shown?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from embedstore.evaluation.arrays import F64, I64, Groups, finite_or_none, group_codes
from embedstore.evaluation.intervals import BOOTSTRAP, BOUND, RESAMPLES, Estimate, bootstrap, resampled
from embedstore.evaluation.metrics import Metric
from embedstore.evaluation.splits import refuse_leakage

POWER = 0.8
Verdict = Literal["better", "worse", "not told apart"]
Side = tuple[ArrayLike, ArrayLike, Groups]  # y, prediction, patients


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The difference first minus second; whether more is better, the metric says.

    verdict: of the first, "better" or "worse" only when the interval excludes 0. smallest_detectable: the
    true difference that this many patients show with a chance of 80 % (two-sided, at the interval's level).
    """

    difference: Estimate
    first: float
    second: float
    verdict: Verdict
    smallest_detectable: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null. The two values are told with their own intervals."""
        return {
            "difference": self.difference.to_json(),
            "verdict": self.verdict,
            "smallest_detectable": finite_or_none(self.smallest_detectable),
        }


def judged(
    difference: Estimate, first: float, second: float, se: float, *, larger: bool = True
) -> Comparison:
    """A difference with the verdict its interval allows. larger: whether larger values are better ones."""
    above, below = difference.low > 0, difference.high < 0
    verdict: Verdict = "not told apart"
    if above or below:
        verdict = "better" if above == larger else "worse"
    return Comparison(
        difference=difference,
        first=first,
        second=second,
        verdict=verdict,
        smallest_detectable=smallest_detectable(se, difference.level),
    )


def smallest_detectable(se: float, level: float = 0.95, power: float = POWER) -> float:
    """The true difference that a two-sided normal test with this standard error finds with that chance.

    NaN for an error of 0, which no sample shows.
    """
    if se == 0:
        return float("nan")
    return float((normal_quantile(level) + ndtri(power)) * se)


def normal_quantile(level: float) -> float:
    """How many standard errors a two-sided normal interval reaches: 1.96 for 0.95."""
    return float(ndtri((1 + level) / 2))


def compare_by_bootstrap(
    name: str,
    metric: Metric,
    y: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patients: Groups,
    *,
    larger: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Any metric of two predictions, (n,) or (n, K) each, for the same rows: both see the same resamples.

    larger: whether larger values of the metric are better ones (not so for Brier score and log loss).
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)

    def difference(truth: I64, both: F64, weights: F64 | None) -> F64:
        return metric(truth, both[..., 0], weights) - metric(truth, both[..., 1], weights)

    found = bootstrap(
        f"difference of {name}",
        difference,
        y,
        np.stack([one, two], axis=-1),
        patients,
        resamples=resamples,
        seed=seed,
        level=level,
        paired=True,
    )
    truth = np.asarray(y)
    values = [float(metric(truth, side, None)) for side in (one, two)]
    return judged(found, values[0], values[1], standard_error_of(found), larger=larger)


def standard_error_of(found: Estimate) -> float:
    """What stands for the standard error of a bootstrap, which has none: half its interval's width.

    NaN for a bound of patients who all agree: how they scatter was not seen.
    """
    return (
        float("nan") if found.method == BOUND else (found.high - found.low) / 2 / normal_quantile(found.level)
    )


def compare_between_by_bootstrap(
    name: str, metric: Metric, first: Side, second: Side, *, larger: bool = True, seed: int = 0
) -> Comparison:
    """Any metric on one set of patients minus that on another; each set is drawn by itself.

    Raises LeakageRefused when a patient is in both: the two would not be independent.
    """
    refuse_leakage(first[2], second[2], what="a comparison of two sets")
    sides = first, second
    values = [float(metric(np.asarray(y), np.asarray(said, dtype=np.float64), None)) for y, said, _ in sides]
    drawn = [
        resampled(metric, y, np.asarray(said, dtype=np.float64), patients, RESAMPLES, seed + number)
        for number, (y, said, patients) in enumerate(sides)
    ]
    apart = drawn[0] - drawn[1] if len(drawn[0]) == len(drawn[1]) else np.empty(0)
    known = apart[np.isfinite(apart)]
    level, reach = 0.95, (float("nan"), float("nan"))
    if len(known):
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        reach = float(low), float(high)
    found = Estimate(
        metric=f"difference of {name}",
        value=values[0] - values[1],
        low=reach[0],
        high=reach[1],
        level=level,
        n_images=sum(len(np.asarray(y)) for y, _, _ in sides),
        n_patients=sum(len(np.unique(group_codes(patients))) for _, _, patients in sides),
        n_positives=None,
        method=BOOTSTRAP,
        resamples=RESAMPLES,
        skipped=RESAMPLES - len(known),
    )
    return judged(found, values[0], values[1], standard_error_of(found), larger=larger)
