"""AUROC with a variance in closed form when patients have several images, and the comparison of two scores.

Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53:567, 1997. With one image per
patient it is the variance of DeLong et al., Biometrics 44:837, 1988. Intervals are made on the logit scale
(Pepe, The Statistical Evaluation of Medical Tests, 2003, ch. 5.2), so that they stay inside 0 and 1;
differences are taken as normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from embedstore.errors import LeakageRefused
from embedstore.evaluation.arrays import (
    F64,
    Groups,
    group_codes,
    same_length,
    shared_groups,
)
from embedstore.evaluation.comparison import Comparison, judged, normal_quantile
from embedstore.evaluation.intervals import BOUND, FEW_PATIENTS, Estimate, agreed_bound

CLUSTERED = "Obuchowski 1997, clustered by patient"


def clustered_auc(
    y: ArrayLike, score: ArrayLike, patients: Groups, *, level: float = 0.95, name: str = "auroc"
) -> Estimate:
    """AUROC of (n,) 0/1 labels and (n,) scores with its interval over patients.

    Without both classes the value is NaN; where the score separates them the interval is `agreed_bound`, over
    the patients of the rarer class.
    """
    parts = _Components.of(y, score, patients)
    low = high = float("nan")
    se = parts.standard_error()
    if 0 < parts.auc < 1 and se > 0:
        centre = np.log(parts.auc / (1 - parts.auc))
        reach = normal_quantile(level) * se / (parts.auc * (1 - parts.auc))
        low, high = (float(1 / (1 + np.exp(-(centre + side * reach)))) for side in (-1, 1))
    elif np.isfinite(parts.auc):
        fewest = int(min((parts.positives > 0).sum(), (parts.negatives > 0).sum()))
        low, high = agreed_bound(parts.auc, fewest, level)
    return parts.estimate(name, parts.auc, low, high, level)


def compare_auc(
    y: ArrayLike, first: ArrayLike, second: ArrayLike, patients: Groups, *, level: float = 0.95
) -> Comparison:
    """AUROC of one score minus that of another on the same (n,) rows."""
    one, two = _Components.of(y, first, patients), _Components.of(y, second, patients)
    # A quadratic form of the components: for a difference of scores, of the components' differences.
    return _compared(one, one.auc, two.auc, one.minus(two).standard_error(), level)


def compare_auc_between(
    first: tuple[ArrayLike, ArrayLike, Groups],
    second: tuple[ArrayLike, ArrayLike, Groups],
    *,
    level: float = 0.95,
) -> Comparison:
    """AUROC on one set of patients minus that on another (external, internal): (y, score, patients) each.

    Raises LeakageRefused when a patient is in both: the two would not be independent.
    """
    shared = shared_groups(first[2], second[2])
    if shared:
        raise LeakageRefused(f"{shared} of the patients are in both sets; compare sets of different patients")
    one, two = _Components.of(*first), _Components.of(*second)
    se = float(np.hypot(one.standard_error(), two.standard_error()))
    return _compared(one.beside(two), one.auc, two.auc, se, level)


def _compared(parts: _Components, first: float, second: float, se: float, level: float) -> Comparison:
    value, reach = first - second, normal_quantile(level) * se
    found = parts.estimate("difference of auroc", value, value - reach, value + reach, level)
    return judged(found, first, second, se)


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """Per patient: sums of the placements of their positive and negative rows, and how many they have."""

    auc: float
    positive_sum: F64
    negative_sum: F64
    positives: F64
    negatives: F64

    @classmethod
    def of(cls, y: ArrayLike, score: ArrayLike, patients: Groups) -> _Components:
        truth, found, people = np.asarray(y) == 1, np.asarray(score, dtype=np.float64), group_codes(patients)
        same_length(y=truth, score=found, patients=people)
        n_people = int(people.max()) + 1 if len(people) else 0
        positives, negatives = (
            np.bincount(people[side], minlength=n_people).astype(np.float64) for side in (truth, ~truth)
        )
        placed = _placements(truth, found)
        auc = float(placed[truth].mean()) if truth.any() and not truth.all() else float("nan")
        sums = [
            np.bincount(people[side], placed[side], minlength=n_people).astype(np.float64)
            for side in (truth, ~truth)
        ]
        return cls(auc, sums[0], sums[1], positives, negatives)

    def minus(self, other: _Components) -> _Components:
        return _Components(
            self.auc - other.auc,
            self.positive_sum - other.positive_sum,
            self.negative_sum - other.negative_sum,
            self.positives,
            self.negatives,
        )

    def beside(self, other: _Components) -> _Components:
        """For its counts only."""
        return _Components(
            float("nan"),
            np.r_[self.positive_sum, other.positive_sum],
            np.r_[self.negative_sum, other.negative_sum],
            np.r_[self.positives, other.positives],
            np.r_[self.negatives, other.negatives],
        )

    def standard_error(self) -> float:
        """NaN with fewer than two patients of either class."""
        m, n = int(self.positives.sum()), int(self.negatives.sum())
        with_positive, with_negative = int((self.positives > 0).sum()), int((self.negatives > 0).sum())
        if min(with_positive, with_negative) < 2:
            return float("nan")
        over = (self.positive_sum - self.positives * self.auc) / m
        under = (self.negative_sum - self.negatives * self.auc) / n
        variance = (
            _unbiased(with_positive) * (over @ over)
            + _unbiased(with_negative) * (under @ under)
            + 2 * _unbiased(len(self.positives)) * (over @ under)
        )
        return float(np.sqrt(max(float(variance), 0.0)))

    def estimate(self, name: str, value: float, low: float, high: float, level: float) -> Estimate:
        n_patients = len(self.positives)
        said = []
        if not np.isfinite(value):
            said.append("undefined on these rows (one class only, or none)")
        elif not np.isfinite(low):
            said.append("no interval: a class has fewer than 2 patients, or all scores are alike")
        if n_patients < FEW_PATIENTS:
            said.append(f"only {n_patients} patients: the interval is rough")
        return Estimate(
            metric=name,
            value=value,
            low=low,
            high=high,
            level=level,
            n_images=int(self.positives.sum() + self.negatives.sum()),
            n_patients=n_patients,
            n_positives=int(self.positives.sum()),
            method=BOUND if value in (0, 1) and np.isfinite(low) else CLUSTERED,
            note="; ".join(said),
        )


def _placements(truth: np.ndarray[Any, np.dtype[np.bool_]], score: F64) -> F64:
    """(n,) share of the other class that each row is rightly ordered with, ties counting one half.

    By ranks, as Sun and Xu, IEEE Signal Processing Letters 21:1389, 2014.
    """
    placed = np.full(len(score), np.nan)
    m, n = int(truth.sum()), int((~truth).sum())
    if min(m, n) == 0:
        return placed
    overall = rankdata(score)
    placed[truth] = (overall[truth] - rankdata(score[truth])) / n
    placed[~truth] = 1 - (overall[~truth] - rankdata(score[~truth])) / m
    return placed


def _unbiased(count: int) -> float:
    return count / (count - 1)
