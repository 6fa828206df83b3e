"""Splits that keep every patient on one side, and the control that shows what chance looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """Draw whole patients for the test side; with labels y, keep the classes' shares alike.

    y: (n,) classes, or (n, k) findings of 1 and else. A class of two patients or more stands on both sides
    where the draw has room for it, one of a single patient on the training side; see `one_sided`.
    Raises UsageError with fewer than 2 patients.
    """
    if not 0 < test_fraction < 1:
        raise UsageError(f"the test fraction lies between 0 and 1, got {test_fraction}")
    people = group_codes(patients)
    n_people = _count(people)
    if n_people < 2:
        raise UsageError("a split by patient needs at least 2 patients")
    pairs = _classes_of(people, y)
    order = _patients_by_stratum(n_people, pairs, seed)
    wanted = min(max(1, round(test_fraction * n_people)), n_people - 1)
    # Test patients are spread evenly over an order in which patients of one class are neighbours.
    steps = np.floor(np.arange(n_people + 1) * (wanted / n_people) + 0.5)
    in_test = np.zeros(n_people, dtype=bool)
    in_test[order[np.diff(steps) > 0]] = True
    in_test = _on_both_sides(in_test, pairs, order)
    return _split(people, in_test[people], "patient", seed)


def one_sided(split: Split, patients: Groups, y: ArrayLike) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Classes (findings) that have labelled rows on the training side only, and on the test side only."""
    people = group_codes(patients)
    in_test = np.zeros(_count(people), dtype=bool)
    in_test[people[split.test]] = True
    counts = _side_counts(in_test, _classes_of(people, y))
    there = counts.sum(axis=0) > 0
    only_train, only_test = (np.flatnonzero(there & (counts[side] == 0)).tolist() for side in (1, 0))
    return tuple(only_train), tuple(only_test)


def patient_folds(patients: Groups, n_folds: int = 5, *, y: ArrayLike | None = None, seed: int = 0) -> I64:
    """(n,) fold number 0..n_folds-1 of each row; a patient's rows share one, classes spread evenly.

    Raises UsageError when there are fewer patients than folds.
    """
    people = group_codes(patients)
    n_people = _count(people)
    if n_folds < 2 or n_people < n_folds:
        raise UsageError(f"{n_folds} folds need at least 2 folds and as many patients; there are {n_people}")
    order = _patients_by_stratum(n_people, _classes_of(people, y), seed)
    fold = np.empty(n_people, dtype=np.int64)
    fold[order] = np.arange(n_people) % n_folds
    return fold[people]


def shuffle_labels(y: ArrayLike, patients: Groups, seed: int = 0) -> NDArray[Any]:
    """Labels (n, ...) under the null hypothesis: patients swap their labels as wholes.

    Rows of a patient get the labels of another patient's rows (repeated or cut to length), so that the
    likeness of one patient's images, which a plain shuffle would destroy, stays in the control.
    """
    truth, people = np.asarray(y), group_codes(patients)
    same_length(y=truth, patients=people)
    rows = [np.flatnonzero(people == person) for person in range(_count(people))]
    donors = np.random.default_rng(seed).permutation(len(rows))
    shuffled = np.empty_like(truth)
    for receiver, donor in zip(rows, donors, strict=True):
        shuffled[receiver] = truth[np.resize(rows[donor], len(receiver))]
    return shuffled


def _count(people: I64) -> int:
    return int(people.max()) + 1 if len(people) else 0


def _classes_of(people: I64, y: ArrayLike | None) -> I64:
    """(m, 2) distinct pairs of a patient and a class that some row of theirs has."""
    if y is None:
        return np.empty((0, 2), dtype=np.int64)
    truth = np.asarray(y, dtype=np.int64)
    same_length(patients=people, y=truth)
    if truth.ndim == 2:
        rows, classes = np.nonzero(truth == 1)
        return np.unique(np.stack([people[rows], classes], axis=1), axis=0)
    return np.unique(np.stack([people, truth], axis=1)[truth != NO_LABEL], axis=0)


def _patients_by_stratum(n_people: int, pairs: I64, seed: int) -> I64:
    """Patients in random order, sorted by the rarest class each of them has."""
    order = np.random.default_rng(seed).permutation(n_people)
    stratum = np.full(n_people, NO_LABEL)
    values, counts = np.unique(pairs[:, 1], return_counts=True)
    for value in values[np.argsort(-counts, kind="stable")]:
        stratum[pairs[pairs[:, 1] == value, 0]] = value
    return order[np.argsort(stratum[order], kind="stable")]


def _side_counts(in_test: NDArray[np.bool_], pairs: I64) -> I64:
    """(2, classes) patients of each class on the training side and on the test side."""
    counts = np.zeros((2, int(pairs[:, 1].max()) + 1 if len(pairs) else 0), dtype=np.int64)
    np.add.at(counts, (in_test[pairs[:, 0]].astype(np.int64), pairs[:, 1]), 1)
    return counts


def _on_both_sides(in_test: NDArray[np.bool_], pairs: I64, order: I64) -> NDArray[np.bool_]:
    """Swap patients until no class is missing on a side that a swap could bring it to.

    An even spread over the order leaves out a class of fewer patients than stand between two that are drawn.
    Swaps keep the size of the test side, and take no other class away from a side.
    """
    found = in_test.copy()
    counts = _side_counts(found, pairs)
    total = counts.sum(axis=0)
    for value in np.argsort(total, kind="stable"):
        lacking = int(total[value] > 1 and counts[1, value] == 0)
        if counts[lacking, value] or not total[value]:
            continue
        own = np.isin(order, pairs[pairs[:, 1] == value, 0])
        givers, takers = order[own & (found[order] != lacking)], order[found[order] == lacking]
        giver, taker = (
            _sparable(some, side, counts, pairs) for some, side in ((givers, 1 - lacking), (takers, lacking))
        )
        if giver is not None and taker is not None:
            found[giver], found[taker] = lacking, 1 - lacking
            counts = _side_counts(found, pairs)
    return found


def _sparable(some: I64, side: int, counts: I64, pairs: I64) -> int | None:
    """Of some patients of a side the one whose rarest class there has most others, None when one is its
    last."""
    others = counts[side] - 1
    if side == 1:  # the only patient of a class belongs to the training side
        others = np.where(counts.sum(axis=0) == 1, counts.sum(), others)
    room = np.full(max(int(some.max(initial=-1)), int(pairs[:, 0].max())) + 1, counts.sum())
    np.minimum.at(room, pairs[:, 0], others[pairs[:, 1]])
    best = int(np.argmax(room[some])) if len(some) else 0
    return int(some[best]) if len(some) and room[some[best]] > 0 else None


def _split(people: I64, in_test: np.ndarray[Any, np.dtype[np.bool_]], kind: str, seed: int | None) -> Split:
    return Split(
        train=np.flatnonzero(~in_test).astype(np.int64),
        test=np.flatnonzero(in_test).astype(np.int64),
        kind=kind,
        n_train_patients=len(np.unique(people[~in_test])),
        n_test_patients=len(np.unique(people[in_test])),
        seed=seed,
    )
