"""The account of heads that do not tell classes apart: findings, continuous values, anomaly scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from embedstore.evaluation import metrics
from embedstore.evaluation.arrays import NO_LABEL, Groups, same_length
from embedstore.evaluation.intervals import RESAMPLES, Estimate, bootstrap
from embedstore.evaluation.report import Evaluation, evaluate

SIDES = ("absent", "present")


def evaluate_findings(
    y: ArrayLike,
    probabilities: ArrayLike,
    patients: Groups,
    findings: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """(n, L) of 1, 0 and -1 (missing: left out) against (n, L) probabilities; metrics "FINDING METRIC"."""
    truth, prob, people = np.asarray(y, np.int64), np.asarray(probabilities, np.float64), np.asarray(patients)
    same_length(y=truth, probabilities=prob, patients=people)
    estimates: list[Estimate] = []
    notes: list[str] = []
    for column, name in enumerate(findings):
        two = np.column_stack([1 - prob[:, column], prob[:, column]])
        found = evaluate(truth[:, column], two, people, SIDES, resamples=resamples, seed=seed)
        estimates += [replace(one, metric=f"{name} {one.metric}") for one in found.estimates]
        notes += [f"{name}: {note}" for note in found.notes]
    return Evaluation(
        classes=tuple(findings),
        estimates=tuple(estimates),
        reliability=(),
        dropped=int((truth == NO_LABEL).all(axis=1).sum()),
        notes=tuple(notes),
    )


def evaluate_values(
    y: ArrayLike, values: ArrayLike, patients: Groups, name: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> Evaluation:
    """(n,) true numbers against (n,) told ones: R2 and the mean absolute error, in the numbers' unit."""
    truth, told = np.asarray(y, dtype=np.float64), np.asarray(values, dtype=np.float64)
    known = np.isfinite(truth)
    people = np.asarray(patients)[known]
    estimates = tuple(
        bootstrap(one, metric, truth[known], told[known], people, resamples=resamples, seed=seed)
        for one, metric in (("r2", metrics.r2), ("mean_absolute_error", metrics.mean_absolute_error))
    )
    return _plain((name,), estimates, int((~known).sum()))


def evaluate_scores(
    y: ArrayLike, scores: ArrayLike, patients: Groups, *, resamples: int = RESAMPLES, seed: int = 0
) -> Evaluation:
    """(n,) of 1 (not the norm) and 0 against (n,) scores that are no probabilities: how well they rank."""
    truth, told, people = np.asarray(y, np.int64), np.asarray(scores, np.float64), np.asarray(patients)
    estimates = tuple(
        bootstrap(one, metric, truth, told, people, resamples=resamples, seed=seed)
        for one, metric in (("auroc", metrics.auroc), ("average_precision", metrics.average_precision))
    )
    return _plain(("anomaly",), estimates, 0)


def _plain(classes: tuple[str, ...], estimates: tuple[Estimate, ...], dropped: int) -> Evaluation:
    notes = tuple(f"{one.metric}: {one.note}" for one in estimates if one.note)
    return Evaluation(classes=classes, estimates=estimates, reliability=(), dropped=dropped, notes=notes)
