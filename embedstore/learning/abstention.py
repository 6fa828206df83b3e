"""What abstaining buys: the error among the cases that are kept, when only the surest are.

El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification, JMLR 11:1605, 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, Groups, same_length
from embedstore.evaluation.intervals import bootstrap_mean

COVERAGES = (1.0, 0.9, 0.75, 0.5, 0.25)


def risk_coverage(sure: ArrayLike, right: ArrayLike) -> tuple[F64, F64]:
    """(n,) coverages 1/n to 1 and the (n,) share of errors among the surest so many; ties share theirs.

    sure: (n,) confidence, larger is surer. right: (n,) whether the answer is right.
    """
    confidence, wrong = np.asarray(sure, dtype=np.float64), ~np.asarray(right, dtype=bool)
    n = same_length(sure=confidence, right=wrong)
    if n == 0:
        raise UsageError("a risk-coverage curve needs at least one case with a known truth")
    order = np.argsort(-confidence, kind="stable")
    _, tie = np.unique(-confidence[order], return_inverse=True)
    errors = np.bincount(tie, weights=wrong[order].astype(np.float64)) / np.bincount(tie)
    return np.arange(1, n + 1) / n, np.cumsum(errors[tie]) / np.arange(1, n + 1)


def abstention_table(
    sure: ArrayLike, right: ArrayLike, patients: Groups, coverages: Sequence[float] = COVERAGES
) -> dict[str, Any]:
    """Risk at several coverages, with patient-clustered intervals.

    Each point: coverage reached, threshold (keep what is at least so sure), risk as an estimate.
    """
    confidence, good = np.asarray(sure, dtype=np.float64), np.asarray(right, dtype=bool)
    people = np.asarray(patients)
    if not len(confidence):
        raise UsageError("what abstaining buys is told from cases with a known truth; there is none")
    ranked = np.sort(confidence)[::-1]
    points = []
    for coverage in coverages:
        threshold = ranked[max(0, round(coverage * len(ranked)) - 1)]
        kept = confidence >= threshold
        risk = bootstrap_mean("risk", (~good[kept]).astype(float), people[kept])
        points.append({"coverage": float(kept.mean()), "threshold": float(threshold), "risk": risk.to_json()})
    return {"n_images": len(good), "n_patients": len(np.unique(people)), "points": points}
