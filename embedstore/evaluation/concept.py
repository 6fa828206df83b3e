"""A model does worse on new images: because other images come, or because the same image now means another?

The change of a loss is taken apart on the images both sides share (Cai, Namkoong and Yadlowsky, Diagnosing
model performance under distribution shift, Operations Research, 2025): rows are weighed by how much they
could come from the other side; what still differs there is concept shift, the rest covariate shift. Weights
lie in 0-1, so that no single image carries the answer. A change in how common the classes are (label shift)
also changes what an image means, and shows as concept shift here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import t as student

from embedstore.evaluation.arrays import F64, I64, Bools, same_length
from embedstore.evaluation.comparison import smallest_detectable
from embedstore.evaluation.intervals import FEW_PATIENTS, Estimate
from embedstore.evaluation.shift_sides import Sides
from embedstore.evaluation.splits import patient_folds

METHOD = "shared-distribution weights (Cai et al. 2025), jackknife over groups of patients"
_GROUPS = 20
FEWEST_SHARED = 10
Verdict = Literal["changed", "no change shown", "cannot be told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """total = covariate + concept: new minus reference of `measure`, each with its interval.

    shared_patients: effective number of patients of the smaller side on which the two are compared; under
    FEWEST_SHARED the two kinds cannot be told apart. smallest_detectable: concept shift that would be found
    with a chance of 80 %.
    """

    measure: str
    total: Estimate
    covariate: Estimate
    concept: Estimate
    concept_verdict: Verdict
    covariate_verdict: Verdict
    shared_patients: float
    smallest_detectable: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: one.to_json() if isinstance(one, Estimate) else one for name, one in plain.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """How new each image looks. log_odds: (n,) out of fold, both sides counting alike.

    left_out: the same with a twentieth of the patients left out in turn, (rows kept, their log odds):
    the weights are estimates themselves, and a jackknife has to make them anew.
    """

    sides: Sides
    log_odds: F64
    left_out: tuple[tuple[Bools, F64], ...]

    @classmethod
    def of(cls, sides: Sides, *, seed: int = 0) -> Domain:
        """On the components of both sides. One logistic fit per fold and group left out: 105 in all."""
        scores = sides.components()
        fewest = int(min(sides.in_new.sum(), (~sides.in_new).sum()))
        group_of = patient_folds(sides.people, min(_GROUPS, fewest), y=sides.is_new.astype(int), seed=seed)
        left_out = []
        for group in np.unique(group_of):
            kept = group_of != group
            left_out.append((kept, domain_scores(sides.at(kept), scores[kept], seed=seed)))
        return cls(sides, domain_scores(sides, scores, seed=seed), tuple(left_out))


def domain_scores(sides: Sides, scores: F64, *, folds: int = 5, seed: int = 0) -> F64:
    """(n,) log odds of the new side for each row, by fits that have not seen its patient; both sides count
    alike, whatever their sizes."""
    from sklearn.linear_model import LogisticRegression

    is_new = sides.is_new.astype(np.int64)
    fewest = int(min(sides.in_new.sum(), (~sides.in_new).sum()))
    fold_of = patient_folds(sides.people, min(folds, fewest), y=is_new, seed=seed)
    told = np.empty(len(is_new))
    for fold in np.unique(fold_of):
        held = fold_of == fold
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
        told[held] = model.fit(scores[~held], is_new[~held]).decision_function(scores[held])
    return told


def change_of(
    measure: str,
    values: ArrayLike,
    domain: Domain,
    *,
    n_positives: int | None = None,
    level: float = 0.95,
) -> Change:
    """Take the difference of the mean of (n,) values (a loss, a residual) between the sides apart."""
    value, is_new = np.asarray(values, dtype=np.float64), domain.sides.is_new
    same_length(values=value, rows=is_new)
    parts = _parts(value, domain.log_odds, is_new)
    drawn = np.stack([_parts(value[kept], odds, is_new[kept]) for kept, odds in domain.left_out])
    groups = len(drawn)
    errors = np.sqrt((groups - 1) / groups * ((drawn - drawn.mean(axis=0)) ** 2).sum(axis=0))
    reach = float(student.ppf((1 + level) / 2, groups - 1))
    counts = (len(value), len(domain.sides.in_new), n_positives)
    estimates = {
        name: _estimate(f"{measure}: {name}", part, reach * error, counts, level)
        for name, part, error in zip(("total", "covariate", "concept"), parts, errors, strict=True)
    }
    shared = _shared_patients(domain.log_odds, is_new, domain.sides.people)
    told = shared >= FEWEST_SHARED
    return Change(
        measure=measure,
        **estimates,
        concept_verdict=_verdict(estimates["concept"], told),
        covariate_verdict=_verdict(estimates["covariate"], told),
        shared_patients=shared,
        smallest_detectable=smallest_detectable(float(errors[2]), level),
    )


def _parts(value: F64, log_odds: F64, is_new: Bools) -> F64:
    """(3,): total, covariate, concept."""
    total = value[is_new].mean() - value[~is_new].mean()
    old, new = (side @ value / side.sum() for side in _shared_weights(log_odds, is_new))
    return np.array([total, total - (new - old), new - old])


def _shared_weights(log_odds: F64, is_new: Bools) -> tuple[F64, F64]:
    """(n,) weights of the reference rows and of the new rows; 0 for the other side's."""
    chance = expit(log_odds)
    return chance * ~is_new, (1 - chance) * is_new


def _shared_patients(log_odds: F64, is_new: Bools, people: I64) -> float:
    """Kish's effective number of patients, times the share of the side that the other one could have given.

    That share is twice the mean weight: 1 for sides that are alike, 0 for sides without a like image.
    """
    found = []
    for side, weights in zip((~is_new, is_new), _shared_weights(log_odds, is_new), strict=True):
        totals = np.bincount(people[side], weights[side])
        effective = totals.sum() ** 2 / max(float(totals @ totals), 1e-300)
        found.append(effective * min(1.0, 2 * float(weights[side].mean())))
    return float(min(found))


def _verdict(found: Estimate, told: bool) -> Verdict:
    if not told:
        return "cannot be told"
    return "changed" if found.low > 0 or found.high < 0 else "no change shown"


def _estimate(
    name: str, value: float, reach: float, counts: tuple[int, int, int | None], level: float
) -> Estimate:
    note = f"only {counts[1]} patients: the interval is rough" if counts[1] < FEW_PATIENTS else ""
    return Estimate(
        metric=name,
        value=float(value),
        low=float(value - reach),
        high=float(value + reach),
        level=level,
        n_images=counts[0],
        n_patients=counts[1],
        n_positives=counts[2],
        method=METHOD,
        note=note,
    )
