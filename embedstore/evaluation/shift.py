"""Do two sets of images look alike? Three tests on their vectors; patients are permuted, never images.

Covariate shift only: whether the same picture now means something else is `evaluation.concept`'s question.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Bools, Groups, finite_or_none, group_codes
from embedstore.evaluation.clustered import clustered_auc
from embedstore.evaluation.mmd import (
    gaussian_width,
    mmd2,
    mmd2_error,
    patient_kernel,
    patient_permutations,
    permutation_p,
)
from embedstore.evaluation.splits import patient_folds

COMPONENTS = 32
PERMUTATIONS = 1999
FEWEST_PATIENTS = 5
LEVEL = 0.05
POWER = 0.8
_POWER_DRAWS = 200
_FURTHEST = 8.0  # standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftTest:
    """p_value: for "the patients of both sides come from one population". shifted: it is at most `level`.

    value: MMD^2, the classifier's AUROC, or the largest KS distance; low, high: its 95 % interval,
    normal (MMD), clustered by patient (AUROC), percentile bootstrap over patients (KS). detail: what else
    the test found.
    """

    name: str
    value: float
    p_value: float
    shifted: bool
    level: float
    n_images: int
    n_patients: int
    n_new_images: int
    n_new_patients: int
    permutations: int
    method: str
    low: float = float("nan")
    high: float = float("nan")
    detail: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        plain = asdict(self)
        plain |= {name: finite_or_none(plain[name]) for name in ("value", "p_value", "low", "high")}
        return plain | {"n_positives": None}  # of a test there are none


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Rows of both sides. people: (n,) codes of patients; in_new: (p,) those on the new side."""

    x: F64
    people: I64
    in_new: Bools

    @classmethod
    def of(cls, reference: ArrayLike, new: ArrayLike, old_patients: Groups, new_patients: Groups) -> Sides:
        """Vectors (n, d) and (m, d) with their patients.

        Raises UsageError when a side has fewer than FEWEST_PATIENTS, or one patient stands on both.
        """
        x = np.vstack([reference, new]).astype(np.float64)
        names = np.array([str(one) for one in (*old_patients, *new_patients)])
        people = group_codes(names)
        is_new = np.arange(len(x)) >= len(np.asarray(reference))
        in_new = np.zeros(int(people.max()) + 1, dtype=bool)
        in_new[people[is_new]] = True
        if in_new[people[~is_new]].any():
            raise UsageError("a patient stands on both sides of the comparison; leave such patients out")
        for side, count in (("reference", int((~in_new).sum())), ("new", int(in_new.sum()))):
            if count < FEWEST_PATIENTS:
                raise UsageError(
                    f"{count} patients on the {side} side; a comparison takes {FEWEST_PATIENTS} on each"
                )
        return cls(x, people, in_new)

    @property
    def is_new(self) -> Bools:
        """(n,) rows of the new side."""
        return np.asarray(self.in_new[self.people])

    def at(self, kept: Bools) -> Sides:
        """Some rows; patients without any are gone."""
        codes, people = np.unique(self.people[kept], return_inverse=True)
        return Sides(self.x[kept], people.astype(np.int64), self.in_new[codes])

    def permuted(self, permutations: int, seed: int) -> Bools:
        """(permutations, p) other sides of as many patients."""
        return patient_permutations(len(self.in_new), int(self.in_new.sum()), permutations, seed)

    def components(self, count: int = COMPONENTS) -> F64:
        """(n, count) scores on the first principal components of both sides together, deviation 1 each.

        Of both: components of the reference alone would fit it better than the new side where no shift is.
        """
        centred = self.x - self.x.mean(axis=0)
        variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
        kept = np.flatnonzero(variances > 1e-12 * max(float(variances[-1]), 1e-300))[::-1][:count]
        return np.asarray(centred @ axes[:, kept] / np.sqrt(variances[kept]))


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


def mmd_test(sides: Sides, drawn: Bools, *, width: float | None = None, seed: int = 0) -> ShiftTest:
    """MMD^2 with a Gaussian kernel, of median width unless told otherwise."""
    used = gaussian_width(sides.x, seed) if width is None else width
    kernel = patient_kernel(sides.x, sides.people, used)
    observed, null = float(mmd2(kernel, sides.in_new)), mmd2(kernel, drawn)
    detail = {"width": used, "null_95": float(np.quantile(null, 1 - LEVEL))}
    reach = 1.96 * mmd2_error(kernel, sides.in_new)
    interval = (observed - reach, observed + reach)
    p = permutation_p(observed, null)
    return _test("mmd2", observed, p, sides, drawn, "unbiased MMD^2, patients permuted", detail, interval)


def classifier_test(sides: Sides, drawn: Bools, *, scores: F64, folds: int = 5, seed: int = 0) -> ShiftTest:
    """How well a classifier tells the sides apart on patients it has not seen (Lopez-Paz and Oquab, ICLR
    2017): 0.5 is not at all. Logistic regression on the components, out of fold."""
    told = domain_scores(sides, scores, folds=folds, seed=seed)
    found = clustered_auc(sides.is_new, told, sides.people)
    null = _aucs(told, sides.people, drawn)
    return _test(
        "classifier_auroc",
        found.value,
        permutation_p(found.value, null),
        sides,
        drawn,
        "out-of-fold logistic regression, patients permuted",
        {"components": scores.shape[1], "interval": found.method},
        (found.low, found.high),
    )


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


def ks_test(sides: Sides, drawn: Bools, *, scores: F64) -> ShiftTest:
    """Kolmogorov-Smirnov on each component, with Holm's correction for their number (Rabanser, Günnemann and
    Lipton, Failing loudly, NeurIPS 2019)."""
    masks = np.vstack([sides.in_new, drawn])
    n_new = sides.in_new.sum()
    weights = np.where(masks, 1 / n_new, -1 / (len(sides.in_new) - n_new))
    distances = np.stack([_ks(column, sides.people, weights) for column in scores.T], axis=1)
    p = np.array([permutation_p(d[0], d[1:]) for d in distances.T])
    adjusted = holm(p)
    detail = {
        "components": scores.shape[1],
        "moved_components": (np.flatnonzero(adjusted <= LEVEL) + 1).tolist(),
        "distances": distances[0].tolist(),
        "holm_p": adjusted.tolist(),
    }
    furthest = int(distances[0].argmax())
    again = _ks(scores[:, furthest], sides.people, _resampled_weights(sides.in_new, len(drawn)))
    low, high = (float(q) for q in np.quantile(again, (0.025, 0.975)))
    method = "largest of the components, patients permuted, Holm"
    return _test(
        "ks", float(distances[0, furthest]), float(adjusted.min()), sides, drawn, method, detail, (low, high)
    )


def holm(p: F64) -> F64:
    """(m,) p-values for m tests at once (Holm, Scandinavian Journal of Statistics 6:65, 1979)."""
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(raised, 1.0)
    return out


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


def _resampled_weights(in_new: Bools, count: int) -> F64:
    """(count, p) weights of patients drawn anew on each side; those of the reference are negative."""
    rng = np.random.default_rng(0)
    found = np.zeros((count, len(in_new)))
    for side, sign in ((in_new, 1.0), (~in_new, -1.0)):
        n = int(side.sum())
        found[:, side] = sign * rng.multinomial(n, np.full(n, 1 / n), size=count) / n
    return found


def _ks(column: F64, people: I64, weights: F64) -> F64:
    """(b,) KS distances for (b, p) weights of patients, 1 in sum on the new side and -1 on the reference."""
    order = np.argsort(column, kind="stable")
    each = 1.0 / np.bincount(people)[people[order]]
    last_of_tie = np.r_[column[order][1:] != column[order][:-1], True]
    found = np.empty(len(weights))
    step = max(1, 2_000_000 // len(column))
    for start in range(0, len(weights), step):
        signed = weights[start : start + step][:, people[order]] * each
        found[start : start + step] = np.abs(np.cumsum(signed, axis=1)[:, last_of_tie]).max(axis=1)
    return found


def _aucs(scores: F64, people: I64, masks: Bools) -> F64:
    """(b,) AUROCs of fixed scores for other sides (Mann-Whitney by ranks)."""
    from scipy.stats import rankdata

    ranks, counts = np.bincount(people, rankdata(scores)), np.bincount(people)
    n_new = (masks @ counts).astype(np.float64)
    n_old = len(scores) - n_new
    return np.asarray((masks @ ranks - n_new * (n_new + 1) / 2) / (n_new * n_old))


def _test(
    name: str,
    value: float,
    p_value: float,
    sides: Sides,
    drawn: Bools,
    method: str,
    detail: dict[str, Any],
    interval: tuple[float, float] = (float("nan"), float("nan")),
) -> ShiftTest:
    is_new = sides.is_new
    return ShiftTest(
        name=name,
        value=value,
        p_value=p_value,
        shifted=p_value <= LEVEL,
        level=LEVEL,
        n_images=int((~is_new).sum()),
        n_patients=int((~sides.in_new).sum()),
        n_new_images=int(is_new.sum()),
        n_new_patients=int(sides.in_new.sum()),
        permutations=len(drawn),
        method=method,
        low=interval[0],
        high=interval[1],
        detail=detail,
    )
