"""Conformal sets: for each image the classes it may be, with a coverage that holds for any classifier.

Split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005) with the
scores LAC (Sadinle, Lei and Wasserman, JASA 114:223, 2019), APS (Romano, Sesia and Candès, NeurIPS 2020) and
RAPS (Angelopoulos et al., ICLR 2021). Several images of a patient are not exchangeable: with `patients`, each
patient weighs one and the promise is for one image of a new patient (Lee, Barber and Willett, Distribution-
free inference with hierarchical data, JRSS B, 2025).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Bools, Groups, group_codes, same_length

Method = Literal["lac", "aps", "raps"]
Condition = Literal["none", "class", "group"]
EVERYBODY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RapsPenalty:
    """weight: added for each class in the set beyond the first `free` (the paper's lambda and k_reg)."""

    weight: float = 0.01
    free: int = 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ConformalRule:
    """Which classes belong to an image's set: those whose score is at most the threshold.

    groups: (g,) names, `EVERYBODY` alone when sets don't depend on a group. thresholds, counts: (g, K) with
    the number of calibration patients behind each (images, when patients were not told); infinite where they
    are too few: then every class belongs.
    """

    method: Method
    alpha: float
    condition: Condition
    groups: tuple[str, ...]
    thresholds: F64
    counts: I64
    penalty: RapsPenalty
    seed: int

    def sets(self, probabilities: ArrayLike, groups: Groups | None = None) -> Bools:
        """(n, K) membership for (n, K) probabilities; a group without calibration gets every class.

        The randomisation of APS and RAPS goes by seed and row: the same rows get the same sets.
        """
        prob = _checked(probabilities, self.thresholds.shape[1])
        scores = conformity_scores(prob, self.method, _uniform(prob, self.seed + 1), self.penalty)
        limits = np.vstack([self.thresholds, np.full(prob.shape[1], np.inf)])
        return np.asarray(scores <= limits[self._rows(groups, len(prob))])

    def guarantees(self) -> tuple[Guarantee, ...]:
        """What is promised in each stratum, and the chance that this calibration missed it."""
        found = []
        for row, group in enumerate(self.groups):
            for column in range(self.counts.shape[1]) if self.condition == "class" else (None,):
                n = int(self.counts[row, column or 0])
                found.append(guarantee(n, self.alpha, group=group or None, class_index=column))
        return tuple(found)

    def _rows(self, groups: Groups | None, n: int) -> I64:
        if self.condition != "group":
            return np.zeros(n, dtype=np.int64)
        if groups is None:
            raise UsageError("these conformal sets depend on a group; say which group each image is of")
        same_length(probabilities=range(n), groups=groups)
        known = {name: row for row, name in enumerate(self.groups)}
        return np.array([known.get(str(name), len(known)) for name in groups], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """promised: 1 - alpha. n: calibration size. Over calibrations of that size the coverage has the Beta
    distribution with mean `expected` and standard deviation `sd`; miss: chance that it lies under `promised`.

    Vovk, Conditional validity of inductive conformal predictors, ACML 2012; exact for continuous scores and
    one image per patient, a guide otherwise.
    """

    promised: float
    n: int
    expected: float
    sd: float
    miss: float
    group: str | None = None
    class_index: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def guarantee(
    n: int, alpha: float, *, group: str | None = None, class_index: int | None = None, slack: float = 0.0
) -> Guarantee:
    """The closed form for n calibration rows. slack: how far under 1 - alpha is not yet a miss."""
    rank = int(np.ceil((n + 1) * (1 - alpha) - 1e-9))
    if rank > n:  # every class belongs to every set
        expected, sd, miss = 1.0, 0.0, 0.0
    else:
        law = beta(rank, n + 1 - rank)
        expected, sd, miss = (float(one) for one in (law.mean(), law.std(), law.cdf(1 - alpha - slack)))
    return Guarantee(
        promised=1 - alpha, n=n, expected=expected, sd=sd, miss=miss, group=group, class_index=class_index
    )


def fit_conformal(
    probabilities: ArrayLike,
    y: ArrayLike,
    *,
    alpha: float = 0.1,
    method: Method = "lac",
    condition: Condition = "none",
    groups: Groups | None = None,
    patients: Groups | None = None,
    penalty: RapsPenalty | None = None,
    seed: int = 0,
) -> ConformalRule:
    """Calibrate on (n, K) probabilities and (n,) true classes of patients that fitted nothing.

    condition "class" promises coverage for each class, "group" for each of `groups` (a site). The seed draws
    the randomisation of APS and RAPS. Raises UsageError for bad shapes, alpha or a missing group.
    """
    truth = np.asarray(y, dtype=np.int64)
    prob = _checked(probabilities, None)
    if not 0 < alpha < 1:
        raise UsageError(f"alpha lies between 0 and 1, got {alpha}")
    if condition == "group" and groups is None:
        raise UsageError("coverage by group needs the group of each calibration image")
    same_length(probabilities=prob, y=truth, **({"patients": patients} if patients is not None else {}))
    shape = penalty or RapsPenalty()
    scores = conformity_scores(prob, method, _uniform(prob, seed), shape)
    own = scores[np.arange(len(truth)), truth]
    people = group_codes(np.arange(len(truth)) if patients is None else patients)
    strata = np.array([str(one) for one in groups]) if condition == "group" and groups is not None else None
    names = tuple(np.unique(strata).tolist()) if strata is not None else (EVERYBODY,)
    n_classes = prob.shape[1]
    thresholds, counts = np.empty((len(names), n_classes)), np.empty((len(names), n_classes), dtype=np.int64)
    for row, name in enumerate(names):
        inside = np.ones(len(truth), bool) if strata is None else strata == name
        for column in range(n_classes):
            chosen = inside & (truth == column) if condition == "class" else inside
            thresholds[row, column] = patient_quantile(own[chosen], people[chosen], alpha)
            counts[row, column] = len(np.unique(people[chosen]))
    return ConformalRule(
        method=method,
        alpha=alpha,
        condition=condition,
        groups=names,
        thresholds=thresholds,
        counts=counts,
        penalty=shape,
        seed=seed,
    )


def conformity_scores(prob: F64, method: Method, u: F64, penalty: RapsPenalty | None = None) -> F64:
    """(n, K) how ill each class fits; smaller belongs sooner. u: (n,) uniform draws for APS and RAPS."""
    if method == "lac":
        return 1 - prob
    order = np.argsort(-prob, axis=1, kind="stable")
    ordered = np.take_along_axis(prob, order, axis=1)
    found = np.cumsum(ordered, axis=1) - u[:, None] * ordered
    if method == "raps":
        shape = penalty or RapsPenalty()
        found += shape.weight * np.maximum(0, np.arange(1, prob.shape[1] + 1) - shape.free)
    out = np.empty_like(found)
    np.put_along_axis(out, order, found, axis=1)
    return out


def patient_quantile(scores: F64, people: I64, alpha: float) -> float:
    """The (1 - alpha) quantile of scores in which each patient weighs one, and one more stands at infinity.

    With one image per patient it is the ceil((n + 1)(1 - alpha))-th smallest score.
    """
    if not len(scores):
        return float("inf")
    codes, counts = np.unique(people, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(1.0 / counts[codes][order])
    wanted = (len(counts) + 1) * (1 - alpha)
    place = int(np.searchsorted(reached, wanted - 1e-9))
    return float(scores[order][place]) if place < len(scores) else float("inf")


def _checked(probabilities: ArrayLike, n_classes: int | None) -> F64:
    prob = np.asarray(probabilities, dtype=np.float64)
    if prob.ndim != 2 or prob.shape[1] < 2 or (n_classes is not None and prob.shape[1] != n_classes):
        wanted = f"(n, {n_classes})" if n_classes is not None else "(n, K) with K of at least 2"
        raise UsageError(f"conformal sets need probabilities of shape {wanted}, got {prob.shape}")
    return prob


def _uniform(prob: F64, seed: int) -> F64:
    return np.random.default_rng(seed).random(len(prob))
