"""The same fit on other rows: nothing is chosen anew, so that what differs is the rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.evaluation.arrays import F64, Groups, group_codes
from embedstore.evaluation.splits import patient_folds
from embedstore.learning.linear import LogisticHead, fit_logistic

FOLDS = 5


def refit(
    head: LogisticHead, vectors: NDArray[Any], y: ArrayLike, patients: Groups, what: str
) -> LogisticHead:
    """A head of the same C and scaling. what: stands behind its name. Raises UsageError as `fit_logistic`."""
    spec = head.spec
    return fit_logistic(
        vectors,
        y,
        patients,
        name=f"{spec.name} ({what})",
        space=spec.space,
        target=spec.target,
        classes=spec.classes,
        seed=spec.seed,
        scaling=spec.params["scaling"],
        grid=(float(spec.params["C"]),),
    )


def predicted_out_of_fold(
    head: LogisticHead, vectors: NDArray[Any], y: ArrayLike, patients: Groups, folds: int = FOLDS
) -> F64:
    """(n, K) probabilities of the head's rows, each by a refit that saw none of the row's patient.

    Raises UsageError where a fold takes a class away, or there are fewer than two patients.
    """
    rows, truth, people = np.asarray(vectors), np.asarray(y, dtype=np.int64), group_codes(patients)
    fold_of = patient_folds(people, min(folds, len(np.unique(people))), y=truth, seed=head.spec.seed)
    told = np.empty((len(truth), len(head.spec.classes)))
    for fold in np.unique(fold_of):
        train, held = fold_of != fold, fold_of == fold
        model = refit(head, rows[train], truth[train], people[train], "out of fold")
        told[held] = model.predict(rows[held])
    return told
