"""The same fit on other rows: nothing is chosen anew, so that what differs is the rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.evaluation.arrays import F64, Groups, group_codes
from embedstore.evaluation.splits import patient_folds
from embedstore.learning.heads.fit import fit_kind
from embedstore.learning.heads.kinds import info_of
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Identity

FOLDS = 5


def refit(
    head: FittedHead,
    vectors: NDArray[Any],
    y: ArrayLike,
    patients: Groups,
    what: str,
    bags: Groups | None = None,
) -> FittedHead:
    """A head of the same kind and settings. what: stands behind its name. Raises UsageError like a fit."""
    spec = head.spec
    identity = Identity(
        name=f"{spec.name} ({what})",
        space=spec.space,
        target=spec.target,
        classes=spec.classes,
        seed=spec.seed,
    )
    return fit_kind(
        head.kind,
        vectors,
        y,
        patients,
        identity,
        task=head.task,
        bags=bags,
        texts=head.arrays.get("texts"),
        options=_fixed(head),
    )


def _fixed(head: FittedHead) -> FitOptions:
    """What the head chose, as the only candidate. Uncertainty is left out: it costs, and moves little."""
    params, setting = head.spec.params, info_of(head.kind).setting
    chosen = params.get(setting)
    return FitOptions(
        scaling=params.get("scaling", "auto"),
        long_tail=params.get("long_tail", "none"),
        grid=None if chosen is None else (chosen,),
    )


def predicted_out_of_fold(
    head: FittedHead,
    vectors: NDArray[Any],
    y: ArrayLike,
    patients: Groups,
    folds: int = FOLDS,
    bags: Groups | None = None,
) -> F64:
    """(n, outputs) answers for the head's rows, each by a refit that saw none of the row's patient.

    Raises UsageError where a fold takes a class away, or there are fewer than two patients.
    """
    rows, truth, people = np.asarray(vectors), np.asarray(y), group_codes(patients)
    wholes = None if bags is None else group_codes(bags)
    strata = truth if truth.ndim == 1 and truth.dtype.kind == "i" else None
    fold_of = patient_folds(people, min(folds, len(np.unique(people))), y=strata, seed=head.spec.seed)
    told: list[tuple[NDArray[np.bool_], Any]] = []
    for fold in np.unique(fold_of):
        train, held = fold_of != fold, fold_of == fold
        sides = [None if wholes is None else wholes[side] for side in (train, held)]
        model = refit(head, rows[train], truth[train], people[train], "out of fold", sides[0])
        told.append((held, model.predict(rows[held], sides[1])))
    found = np.empty((len(truth), told[0][1].shape[1]))
    for held, answer in told:
        found[held] = answer
    return found
