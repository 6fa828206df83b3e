"""The same measures by sex, age, vendor, site and view: a mean over everybody hides who is failed.

A subgroup with few positives gets no number: an interval from a handful of them would invite reading anything
into it (Larrazabal et al., PNAS 117:12592, 2020; Seyyed-Kalantari et al., Nature Medicine 27:2176, 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.evaluation.arrays import Groups, same_length
from embedstore.evaluation.clustered import clustered_auc
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.proportions import rates_at

FEWEST_POSITIVES = 20
NOT_RECORDED = "not recorded"
_BANDS = (18, 40, 60, 80)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """One value of one attribute. estimates: AUROC, sensitivity and specificity at the threshold; () and
    `insufficient` says why, where there are fewer than 20 positives or other images."""

    attribute: str
    value: str
    n_images: int
    n_patients: int
    n_positives: int
    estimates: tuple[Estimate, ...]
    insufficient: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        names = ("attribute", "value", "n_images", "n_patients", "n_positives", "insufficient")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "metrics": {one.metric: one.to_json() for one in self.estimates}}


def age_band(age: Any) -> str:
    """ "40 to 59" for 47 years; NOT_RECORDED for None."""
    if age is None or not np.isfinite(float(age)):
        return NOT_RECORDED
    number = int(np.searchsorted(_BANDS, float(age), side="right"))
    if number == 0:
        return f"under {_BANDS[0]}"
    return (
        f"{_BANDS[number - 1]} and over"
        if number == len(_BANDS)
        else (f"{_BANDS[number - 1]} to {_BANDS[number] - 1}")
    )


def subgroup_table(
    y: ArrayLike,
    score: ArrayLike,
    patients: Groups,
    attributes: Mapping[str, Sequence[str]],
    *,
    threshold: float = 0.5,
) -> tuple[Subgroup, ...]:
    """A row per attribute and value, of (n,) 0/1 labels and (n,) scores. attributes: name to (n,) values."""
    truth, found, people = np.asarray(y) == 1, np.asarray(score, dtype=np.float64), np.asarray(patients)
    rows = []
    for attribute, values in attributes.items():
        same_length(y=truth, score=found, patients=people, values=values)
        told = np.asarray(values, dtype=object)
        for value in sorted(set(values)):
            chosen = told == value
            parts = truth[chosen], found[chosen], people[chosen]
            rows.append(_subgroup(attribute, value, *parts, threshold))
    return tuple(rows)


def _subgroup(attribute: str, value: str, truth: Any, score: Any, people: Any, threshold: float) -> Subgroup:
    positives, others = int(truth.sum()), int((~truth).sum())
    short = f"{positives} positives" if positives < FEWEST_POSITIVES else f"{others} without the finding"
    insufficient = f"insufficient: {short}" if min(positives, others) < FEWEST_POSITIVES else ""
    estimates: tuple[Estimate, ...] = ()
    if not insufficient:
        estimates = (clustered_auc(truth, score, people), *rates_at(truth, score >= threshold, people))
    return Subgroup(
        attribute=attribute,
        value=value,
        n_images=len(truth),
        n_patients=len(np.unique(people)),
        n_positives=positives,
        estimates=estimates,
        insufficient=insufficient,
    )
