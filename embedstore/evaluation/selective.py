"""Abstention: the error that is left when the least certain images are handed to a person.

El-Yaniv and Wiener, JMLR 11:1605, 2010; Geifman and El-Yaniv, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.evaluation.arrays import F64, I64, Groups, group_codes, same_length
from embedstore.evaluation.intervals import RESAMPLES, Estimate, bootstrap
from embedstore.evaluation.metrics import ratio, tied_rows
from embedstore.evaluation.proportions import proportion

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskPoint:
    """coverage: share that is answered; confidence: the least one among them; risk: share of them wrong."""

    coverage: float
    confidence: float
    risk: Estimate

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        return {"coverage": self.coverage, "confidence": self.confidence, "risk": self.risk.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCoverage:
    """area: mean risk over all coverages (AURC), 0 is perfect; that of a random order is the error rate."""

    points: tuple[RiskPoint, ...]
    area: Estimate

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        return {"points": [point.to_json() for point in self.points], "area": self.area.to_json()}


def risk_coverage(
    wrong: ArrayLike,
    confidence: ArrayLike,
    patients: Groups,
    *,
    coverages: Sequence[float] = COVERAGES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RiskCoverage:
    """The curve of (n,) wrong answers by (n,) confidence; of equal confidence all are answered or none.

    So the coverage of a point may be larger than the one asked for.
    """
    missed, sure, people = np.asarray(wrong, bool), np.asarray(confidence, np.float64), group_codes(patients)
    n = same_length(wrong=missed, confidence=sure, patients=people)
    ordered = np.sort(sure)[::-1]
    points = []
    for share in coverages if n else ():
        least = ordered[min(n, max(1, int(np.ceil(share * n - 1e-9)))) - 1]
        kept = sure >= least
        points.append(
            RiskPoint(
                coverage=float(kept.mean()),
                confidence=float(least),
                risk=proportion("risk", missed[kept], people[kept]),
            )
        )
    area = bootstrap("aurc", area_under_risk, missed, sure, people, resamples=resamples, seed=seed)
    return RiskCoverage(points=tuple(points), area=area)


def area_under_risk(wrong: ArrayLike, confidence: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Mean, over the answered, of the risk at each one's confidence. A Metric: see `evaluation.metrics`."""
    missed: I64 = (np.asarray(wrong) == 1).astype(np.int64)
    lost, drawn = tied_rows(missed, -np.asarray(confidence, dtype=np.float64), weights)
    kept = lost + drawn
    answered = np.cumsum(kept, axis=-1)
    risk = np.divide(np.cumsum(lost, axis=-1), answered, out=np.zeros_like(answered), where=answered > 0)
    return ratio(np.sum(risk * kept, axis=-1), kept.sum(axis=-1))
