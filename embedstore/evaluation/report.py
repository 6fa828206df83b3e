"""The account of a classifier's probabilities: every metric with its interval, and the reliability table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.arrays import F64, I64, NO_LABEL, Groups, same_length
from embedstore.evaluation.calibration import ReliabilityBin, calibration_line, reliability
from embedstore.evaluation.intervals import RESAMPLES, Estimate, bootstrap
from embedstore.evaluation.metrics import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """estimates: one per metric. reliability: of class 1 (two classes only). dropped: unlabelled rows."""

    classes: tuple[str, ...]
    estimates: tuple[Estimate, ...]
    reliability: tuple[ReliabilityBin, ...]
    dropped: int
    notes: tuple[str, ...]

    def get(self, metric: str) -> Estimate:
        """The estimate of that metric; UsageError when it was not computed."""
        for estimate in self.estimates:
            if estimate.metric == metric:
                return estimate
        known = ", ".join(estimate.metric for estimate in self.estimates)
        raise UsageError(f"no metric '{metric}' in this evaluation; there are: {known}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object with all of it."""
        return {
            "classes": list(self.classes),
            "metrics": {estimate.metric: estimate.to_json() for estimate in self.estimates},
            "reliability": [row.to_json() for row in self.reliability],
            "dropped": self.dropped,
            "notes": list(self.notes),
        }


def _slope(y: I64, p: F64, weights: F64 | None) -> F64:
    return calibration_line(y, p, weights)[1]


def _intercept(y: I64, p: F64, weights: F64 | None) -> F64:
    return calibration_line(y, p, weights)[0]


def _balanced(n_classes: int) -> Metric:
    """Undefined where a class has no row: of one class alone it would be that one's recall."""

    def metric(y: I64, said: F64, weights: F64 | None) -> F64:
        found = metrics.balanced_accuracy(y, said, weights)
        return found if len(np.unique(y)) == n_classes else np.full_like(found, np.nan)

    return metric


_BINARY: dict[str, Metric] = {
    "auroc": metrics.auroc,
    "average_precision": metrics.average_precision,
    "brier": metrics.brier,
    "log_loss": metrics.log_loss,
    "ece": metrics.calibration_error,
    "calibration_slope": _slope,
    "calibration_intercept": _intercept,
}
_MULTI: dict[str, Metric] = {
    "macro_auroc": metrics.macro_auroc,
    "brier": metrics.brier,
    "log_loss": metrics.log_loss,
    "ece": metrics.calibration_error,
}


def evaluate(
    y: ArrayLike,
    probabilities: ArrayLike,
    patients: Groups,
    classes: Sequence[str],
    *,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Compare (n,) class indices (-1: no label, dropped) with (n, K) probabilities.

    With two classes, class 1 is the positive one and `threshold` on its probability decides the balanced
    accuracy; with more, the most probable class does. All metrics see the same resamples of patients.
    """
    truth, prob = np.asarray(y, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    same_length(y=truth, probabilities=prob, patients=patients)
    if prob.ndim != 2 or prob.shape[1] != len(classes) or len(classes) < 2:
        raise UsageError(f"{len(classes)} classes need probabilities of shape (n, classes), got {prob.shape}")
    kept = truth != NO_LABEL
    truth, prob, people = truth[kept], prob[kept], np.asarray(patients)[kept]
    binary = len(classes) == 2
    said = (prob[:, 1] >= threshold).astype(np.int64) if binary else prob.argmax(axis=1)
    scores = prob[:, 1] if binary else prob

    def estimate(name: str, metric: Metric, prediction: F64 | I64) -> Estimate:
        return bootstrap(name, metric, truth, prediction, people, resamples=resamples, seed=seed)

    estimates = [estimate(name, metric, scores) for name, metric in (_BINARY if binary else _MULTI).items()]
    estimates.insert(1, estimate("balanced_accuracy", _balanced(len(classes)), said))
    if not binary:
        estimates.insert(2, estimate("accuracy", metrics.accuracy, said))
    dropped = int(np.sum(~kept))
    unseen = [name for number, name in enumerate(classes) if not (truth == number).any()]
    return Evaluation(
        classes=tuple(classes),
        estimates=tuple(estimates),
        reliability=reliability(truth, scores, people) if binary else (),
        dropped=dropped,
        notes=(
            *(f"no row is of class '{name}': nothing is measured of it" for name in unseen),
            *_notes(estimates, dropped),
        ),
    )


def _notes(estimates: Sequence[Estimate], dropped: int) -> tuple[str, ...]:
    said = [f"{dropped} rows without a label were dropped"] if dropped else []
    said += [f"{estimate.metric}: {estimate.note}" for estimate in estimates if estimate.note]
    return tuple(said)
