"""Shares and means per image with intervals over patients; what a decision at a threshold is worth.

A share's interval is Wilson's with the effective number of images: those there are, divided by the design
effect of the patients (Rao and Scott, A simple method for the analysis of clustered binary data, Biometrics
48:577, 1992). It is Wilson's own with one image per patient, does not change when every row is repeated, and
does not collapse at 0 or 1, where each patient counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, Bools, Groups, group_codes, same_length
from embedstore.evaluation.comparison import normal_quantile
from embedstore.evaluation.intervals import AGREED, ALIKE, FEW_PATIENTS, Estimate

WILSON = "Wilson, effective sample size by patient (Rao and Scott 1992)"
SANDWICH = "normal, clustered by patient"
PREDICTIVE = "log likelihood ratio (Walter 1975) at the stated prevalence, clustered by patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What "positive at or above the threshold" does. ppv, npv: at `prevalence`, not at that of the rows."""

    threshold: float
    prevalence: float
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: one.to_json() if isinstance(one, Estimate) else one for name, one in found.items()}


def proportion(
    name: str, hits: ArrayLike, patients: Groups, *, level: float = 0.95, n_positives: int | None = None
) -> Estimate:
    """Share of (n,) true entries. n_positives: of the finding among the rows; by default the true entries."""
    hit, people = np.asarray(hits, dtype=bool), group_codes(patients)
    n, k = same_length(hits=hit, patients=people), len(np.unique(people))
    low = high = value = float("nan")
    if n:
        value = float(hit.mean())
        if k > 1:
            low, high = _wilson(value, _effective(hit, people, value), level)
    positives = int(hit.sum()) if n_positives is None else n_positives
    return _estimate(name, value, low, high, level, (n, k, positives), WILSON)


def clustered_mean(
    name: str, values: ArrayLike, patients: Groups, *, level: float = 0.95, n_positives: int | None = None
) -> Estimate:
    """Mean of (n,) numbers with the normal interval of a ratio of patient totals; NaN rows are left out."""
    found = np.asarray(values, dtype=np.float64)
    same_length(values=found, patients=patients)
    known = np.isfinite(found)
    people = group_codes(np.asarray(patients)[known])
    kept = found[known]
    value = float(kept.mean()) if len(kept) else float("nan")
    error = standard_error(kept, people)
    reach = normal_quantile(level) * error if error > AGREED else float("nan")
    counts = (len(kept), len(np.unique(people)), n_positives)
    return _estimate(name, value, value - reach, value + reach, level, counts, SANDWICH)


def standard_error(values: F64, patients: Groups) -> float:
    """Of the mean of (n,) numbers, clustered by patient; NaN with fewer than two patients."""
    people = group_codes(patients)
    totals = np.bincount(people, values - values.mean()) if len(values) else np.empty(0)
    k = len(totals)
    return float(np.sqrt(k / (k - 1) * (totals @ totals)) / len(values)) if k > 1 else float("nan")


def rates_at(
    truth: Bools, said: Bools, patients: Groups, *, level: float = 0.95
) -> tuple[Estimate, Estimate]:
    """Sensitivity and specificity of (n,) answers."""
    people = np.asarray(patients)
    found = proportion("sensitivity", said[truth], people[truth], level=level, n_positives=int(truth.sum()))
    return found, proportion("specificity", ~said[~truth], people[~truth], level=level, n_positives=0)


def operating_point(
    y: ArrayLike,
    score: ArrayLike,
    patients: Groups,
    *,
    threshold: float,
    prevalence: float,
    level: float = 0.95,
) -> OperatingPoint:
    """Sensitivity and specificity of "score >= threshold", and the predictive values at a stated prevalence.

    PPV and NPV from a study's own prevalence hold nowhere else (Mercaldo, Lau and Zhou, Stat. Med. 26:2170,
    2007). Their intervals are those of the log likelihood ratio with a half added to each count (Walter,
    Biometrika 62:371, 1975), counts being effective numbers of images.
    """
    if not 0 < prevalence < 1:
        raise UsageError(f"a prevalence lies between 0 and 1, got {prevalence}")
    truth, said = np.asarray(y) == 1, np.asarray(score, dtype=np.float64) >= threshold
    people = np.asarray(patients)
    same_length(y=truth, score=said, patients=people)
    sides = rates_at(truth, said, people, level=level)
    counts = (len(truth), len(np.unique(group_codes(people))), int(truth.sum()))
    sizes = tuple(
        _effective(right, group_codes(people[rows]), float(right.mean())) if rows.any() else 0.0
        for right, rows in ((said[truth], truth), (~said[~truth], ~truth))
    )
    rates = (sides[0].value, sides[1].value)
    return OperatingPoint(
        threshold=threshold,
        prevalence=prevalence,
        sensitivity=sides[0],
        specificity=sides[1],
        ppv=_predictive("ppv", rates, sizes, prevalence, level, counts),
        npv=_predictive("npv", rates[::-1], sizes[::-1], 1 - prevalence, level, counts),
    )


def _predictive(
    name: str,
    rates: tuple[float, ...],
    sizes: tuple[float, ...],
    share: float,
    level: float,
    counts: tuple[int, int, int],
) -> Estimate:
    """rates: sensitivity, specificity for the PPV; the other way round for the NPV."""
    found, wrong = rates[0] * share, (1 - rates[1]) * (1 - share)
    value = found / (found + wrong) if found + wrong > 0 else float("nan")
    low = high = float("nan")
    if min(sizes) > 0:
        z = normal_quantile(level)
        hits, alarms = rates[0] * sizes[0] + 0.5, (1 - rates[1]) * sizes[1] + 0.5
        ratio = np.log(hits / (sizes[0] + 0.5)) - np.log(alarms / (sizes[1] + 0.5))
        variance = 1 / hits - 1 / (sizes[0] + 0.5) + 1 / alarms - 1 / (sizes[1] + 0.5)
        centre = logit(share) + ratio
        # Everybody called alike: the ratio is 1 by definition, which is no certainty about it.
        reach = z * np.sqrt(variance) if variance > 1e-12 else np.nan
        low, high = (float(expit(centre + side * reach)) for side in (-1, 1))
        # The halves move the centre inward: at a rate of 0 or 1 the plain value may pass the interval's end.
        low, high = (float(end) for end in (np.minimum(low, value), np.maximum(high, value)))
    return _estimate(name, value, low, high, level, counts, PREDICTIVE)


def _effective(hit: np.ndarray[Any, np.dtype[np.bool_]], people: Any, value: float) -> float:
    """The number of independent images that would tell as much."""
    n, k = len(hit), len(np.unique(people))
    if not 0 < value < 1:
        return float(k)
    totals = np.bincount(people, hit - value)
    spread = float(totals @ totals)
    return min(float(n), n * n * value * (1 - value) / spread) if spread else float(n)


def _wilson(value: float, n: float, level: float) -> tuple[float, float]:
    z2 = normal_quantile(level) ** 2
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    reach = np.sqrt(z2 * (value * (1 - value) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return float(max(0.0, centre - reach)), float(min(1.0, centre + reach))


def _estimate(
    name: str,
    value: float,
    low: float,
    high: float,
    level: float,
    counts: tuple[int, int, int | None],
    method: str,
) -> Estimate:
    n_images, n_patients, n_positives = counts
    note = f"only {n_patients} patients: the interval is rough" if n_patients < FEW_PATIENTS else ""
    if n_patients > 1 and np.isfinite(value) and np.isnan(low) and method == SANDWICH:
        note = f"no interval: {ALIKE}"
    return Estimate(
        metric=name,
        value=value,
        low=low,
        high=high,
        level=level,
        n_images=n_images,
        n_patients=n_patients,
        n_positives=n_positives,
        method=method,
        note="no interval from fewer than 2 patients" if n_patients < 2 else note,
    )
