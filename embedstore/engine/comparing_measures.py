"""What an encoder's vectors tell of held-out images: precision at k, a vote of neighbours, a linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.engine.comparison_records import EncoderComparisonRequest, Measure
from embedstore.engine.evaluating_views import asked_scores, first_metric
from embedstore.evaluation.arrays import F64, I64
from embedstore.evaluation.clustered import compare_auc
from embedstore.evaluation.comparison import Comparison, compare_by_bootstrap, judged, standard_error_of
from embedstore.evaluation.intervals import Estimate, bootstrap, bootstrap_mean
from embedstore.evaluation.splits import Split
from embedstore.learning.heads.fit import fit_kind
from embedstore.learning.heads.rows import Identity
from embedstore.learning.neighbours import nearest_rows
from embedstore.learning.noise import neighbour_shares
from embedstore.learning.vectors import unit_rows

Measured = tuple[F64, F64, F64]


@dataclass(frozen=True, slots=True, eq=False)
class Common:
    """Images that every space holds. y: (n,) classes; vectors: (n, dim) by space, in one order."""

    items: I64
    y: I64
    patients: NDArray[Any]
    vectors: Sequence[NDArray[np.float32]]
    classes: tuple[str, ...]
    split: Split


def measured(common: Common, vectors: NDArray[np.float32], request: EncoderComparisonRequest) -> Measured:
    """(t,) precision at k of the test images, (t, K) neighbours' shares, (t, K) the probe's probabilities."""
    train, test, y = common.split.train, common.split.test, common.y
    units = unit_rows(vectors)
    near, _ = nearest_rows(units[test], units[train], request.k)
    known = near >= 0
    same = (y[train][np.maximum(near, 0)] == y[test][:, None]) & known
    precision = same.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    probe = Identity(name="probe", space="", target=request.target, classes=common.classes, seed=request.seed)
    head = fit_kind("logistic", vectors[train], y[train], common.patients[train], probe)
    shares = neighbour_shares(y[train], near, len(common.classes))
    return precision, shares, head.predict(vectors[test]).astype(np.float64)


def ranking(common: Common, told: Sequence[Measured]) -> list[int]:
    """Places of the encoders by the first metric of their probes, best first."""
    _, metric = first_metric(common.classes)
    truth = common.y[common.split.test]
    values = [float(metric(truth, asked_scores(common.classes, probe), None)) for _, _, probe in told]
    return sorted(range(len(told)), key=lambda place: -values[place])


def measures(
    common: Common, own: Measured, best: Measured, rank: int, k: int, level: float
) -> tuple[Measure, Measure, Measure]:
    """Precision at k, the vote of neighbours and the probe of an encoder, each against the best one's."""
    test = common.split.test
    y, people, classes = common.y[test], common.patients[test], common.classes
    name, metric = first_metric(classes)

    def scored(what: str, said: F64, rival: F64) -> Measure:
        one, two = asked_scores(classes, said), asked_scores(classes, rival)
        found = bootstrap(f"{name} of {what}", metric, y, one, people)
        if rank == 1:
            return Measure(estimate=found, against_first=None)
        if len(classes) == 2:
            return Measure(estimate=found, against_first=compare_auc(y, one, two, people, level=level))
        against = compare_by_bootstrap(name, metric, y, one, two, people, level=level)
        return Measure(estimate=found, against_first=against)

    precision = bootstrap_mean(f"precision at {k}", own[0], people)
    against = None if rank == 1 else _mean_difference(f"precision at {k}", own[0], best[0], people, level)
    return (
        Measure(estimate=_with_positives(precision, y, classes), against_first=against),
        scored(f"a vote of {k} neighbours", own[1], best[1]),
        scored("a linear probe", own[2], best[2]),
    )


def _mean_difference(name: str, own: F64, best: F64, people: NDArray[Any], level: float) -> Comparison:
    found = bootstrap_mean(f"difference of {name}", own - best, people, level=level, paired=True)
    return judged(found, float(own.mean()), float(best.mean()), standard_error_of(found))


def _with_positives(found: Estimate, y: I64, classes: Sequence[str]) -> Estimate:
    return replace(found, n_positives=int((y == 1).sum())) if len(classes) == 2 else found
