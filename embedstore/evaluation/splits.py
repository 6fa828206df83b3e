"""Splits that keep every patient on one side, and the control that shows what chance looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import LeakageRefused, UsageError
from embedstore.evaluation.arrays import I64, NO_LABEL, Groups, group_codes, same_length, shared_groups


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Split:
    """train, test: ascending row numbers. kind "patient" (drawn) or "mask" (given, e.g. a site)."""

    train: I64
    test: I64
    kind: str
    n_train_patients: int
    n_test_patients: int
    seed: int | None = None

    def describe(self) -> dict[str, Any]:
        """What a head records of its split."""
        return {
            "kind": self.kind,
            "n_train": len(self.train),
            "n_test": len(self.test),
            "n_train_patients": self.n_train_patients,
            "n_test_patients": self.n_test_patients,
            "seed": self.seed,
        }


def refuse_leakage(train_patients: Groups, test_patients: Groups, *, what: str = "the split") -> None:
    """Raise LeakageRefused when a patient is on both sides. Says how many, never who."""
    shared = shared_groups(train_patients, test_patients)
    if shared:
        people = "1 patient stands" if shared == 1 else f"{shared} patients stand"
        raise LeakageRefused(
            f"{people} on both sides of {what}; choose rows so that each patient is on one side only"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disjointness:
    """Whether a split may be called patient-disjoint.

    An image without a patient identifier counts as a patient of its own; it may be of somebody who stands on
    the other side, and nobody can tell. So a split that has such images is patient-disjoint only when the
    user vouches for it (assumed). note: what a reader of the result should see, or "".
    """

    patient_disjoint: bool
    unknown_train_patients: int
    unknown_test_patients: int
    assumed: bool
    note: str


def disjointness(
    split: Split, patients: Groups, known: ArrayLike, *, assume_independent: bool = False
) -> Disjointness:
    """What can be said of a split of rows whose patients are `known` (n,) or stand for one image each."""
    people, named = group_codes(patients), np.asarray(known, dtype=bool)
    same_length(patients=people, known=named)
    train, test = (len(np.unique(people[side][~named[side]])) for side in (split.train, split.test))
    rests = train + test > 0
    note = ""
    if rests:
        note = f"{train} training and {test} test images came without a patient identifier; "
        note += (
            "they were assumed to be of independent patients"
            if assume_independent
            else "the split is not known to be patient-disjoint (--assume-independent vouches for it)"
        )
    return Disjointness(
        patient_disjoint=not rests or assume_independent,
        unknown_train_patients=train,
        unknown_test_patients=test,
        assumed=rests and assume_independent,
        note=note,
    )


def joined_groups(patients: Groups, first: ArrayLike, second: ArrayLike) -> I64:
    """(n,) codes of the patients, those of the rows first[i] and second[i] (near-duplicates) being one.

    A split drawn by these keeps both copies of a picture on one side.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    people = group_codes(patients)
    count = _count(people)
    one, two = (people[np.asarray(rows, dtype=np.int64)] for rows in (first, second))
    links = coo_array((np.ones(len(one)), (one, two)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1][people], dtype=np.int64)


def split_by_mask(patients: Groups, test_mask: ArrayLike) -> Split:
    """Rows where the mask is true are the test side (a site, a year, a scanner).

    Raises LeakageRefused when a patient has rows on both sides, UsageError when a side is empty.
    """
    mask = np.asarray(test_mask, dtype=bool)
    same_length(patients=patients, test_mask=mask)
    people = group_codes(patients)
    if not mask.any() or mask.all():
        side = "training" if mask.any() else "test"
        raise UsageError(f"the split leaves no {side} rows; check the condition for the test side")
    refuse_leakage(people[~mask], people[mask])
    return _split(people, mask, "mask", None)


def split_by_patient(
    patients: Groups, *, y: ArrayLike | None = None, test_fraction: float = 0.25, seed: int = 0
) -> Split:
    """Draw whole patients for the test side; with labels y (n,), keep the classes' shares alike.

    Raises UsageError with fewer than 2 patients.
    """
    if not 0 < test_fraction < 1:
        raise UsageError(f"the test fraction lies between 0 and 1, got {test_fraction}")
    people = group_codes(patients)
    n_people = _count(people)
    if n_people < 2:
        raise UsageError("a split by patient needs at least 2 patients")
    order = _patients_by_stratum(people, y, seed)
    wanted = min(max(1, round(test_fraction * n_people)), n_people - 1)
    # Test patients are spread evenly over an order in which patients of one class are neighbours.
    steps = np.floor(np.arange(n_people + 1) * (wanted / n_people) + 0.5)
    in_test = np.zeros(n_people, dtype=bool)
    in_test[order[np.diff(steps) > 0]] = True
    return _split(people, in_test[people], "patient", seed)


def patient_folds(patients: Groups, n_folds: int = 5, *, y: ArrayLike | None = None, seed: int = 0) -> I64:
    """(n,) fold number 0..n_folds-1 of each row; a patient's rows share one, classes spread evenly.

    Raises UsageError when there are fewer patients than folds.
    """
    people = group_codes(patients)
    n_people = _count(people)
    if n_folds < 2 or n_people < n_folds:
        raise UsageError(f"{n_folds} folds need at least 2 folds and as many patients; there are {n_people}")
    order = _patients_by_stratum(people, y, seed)
    fold = np.empty(n_people, dtype=np.int64)
    fold[order] = np.arange(n_people) % n_folds
    return fold[people]


def shuffle_labels(y: ArrayLike, patients: Groups, seed: int = 0) -> I64:
    """Labels under the null hypothesis: patients swap their labels as wholes.

    Rows of a patient get the labels of another patient's rows (repeated or cut to length), so that the
    likeness of one patient's images, which a plain shuffle would destroy, stays in the control.
    """
    truth, people = np.asarray(y, dtype=np.int64), group_codes(patients)
    same_length(y=truth, patients=people)
    rows = [np.flatnonzero(people == person) for person in range(_count(people))]
    donors = np.random.default_rng(seed).permutation(len(rows))
    shuffled = np.empty_like(truth)
    for receiver, donor in zip(rows, donors, strict=True):
        shuffled[receiver] = np.resize(truth[rows[donor]], len(receiver))
    return shuffled


def _count(people: I64) -> int:
    return int(people.max()) + 1 if len(people) else 0


def _patients_by_stratum(people: I64, y: ArrayLike | None, seed: int) -> I64:
    """Patients in random order, sorted by the rarest class each of them has."""
    n_people = _count(people)
    order = np.random.default_rng(seed).permutation(n_people)
    if y is None:
        return order
    truth = np.asarray(y, dtype=np.int64)
    same_length(patients=people, y=truth)
    pairs = np.unique(np.stack([people, truth], axis=1)[truth != NO_LABEL], axis=0)
    stratum = np.full(n_people, NO_LABEL)
    values, counts = np.unique(pairs[:, 1], return_counts=True)
    for value in values[np.argsort(-counts, kind="stable")]:
        stratum[pairs[pairs[:, 1] == value, 0]] = value
    return order[np.argsort(stratum[order], kind="stable")]


def _split(people: I64, in_test: np.ndarray[Any, np.dtype[np.bool_]], kind: str, seed: int | None) -> Split:
    return Split(
        train=np.flatnonzero(~in_test).astype(np.int64),
        test=np.flatnonzero(in_test).astype(np.int64),
        kind=kind,
        n_train_patients=len(np.unique(people[~in_test])),
        n_test_patients=len(np.unique(people[in_test])),
        seed=seed,
    )
