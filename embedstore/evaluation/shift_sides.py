"""The two sides of a comparison, and what a test of them says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Bools, Groups, finite_or_none, group_codes
from embedstore.evaluation.mmd import patient_permutations

COMPONENTS = 32
FEWEST_PATIENTS = 5
LEVEL = 0.05


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


def result_of(
    name: str,
    value: float,
    p_value: float,
    sides: Sides,
    drawn: Bools,
    method: str,
    detail: dict[str, Any],
    interval: tuple[float, float],
) -> ShiftTest:
    """A result with the counts of both sides. drawn: the permutations behind the p-value."""
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
