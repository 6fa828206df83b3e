"""Decision curves: what acting on a probability is worth against acting on everybody or nobody.

Vickers and Elkin, Decision curve analysis, Medical Decision Making 26:565, 2006: at threshold t a false alarm
costs t / (1 - t) of what a found case is worth. One net benefit is one true positive per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, Groups, group_codes, same_length
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.proportions import clustered_mean

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetBenefit:
    """At one threshold. model, treat_all: net benefit; treating nobody has 0. gain: over the better."""

    threshold: float
    model: Estimate
    treat_all: Estimate
    gain: Estimate

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        return {
            "threshold": self.threshold,
            "model": self.model.to_json(),
            "treat_all": self.treat_all.to_json(),
            "gain": self.gain.to_json(),
        }


def decision_curve(
    y: ArrayLike,
    p: ArrayLike,
    patients: Groups,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    prevalence: float | None = None,
    level: float = 0.95,
) -> tuple[NetBenefit, ...]:
    """Net benefit of (n,) probabilities for (n,) 0/1 labels at each threshold.

    prevalence: where the probabilities will be used, in place of the rows' own; rows are weighed to it.
    """
    truth, prob = np.asarray(y) == 1, np.asarray(p, dtype=np.float64)
    same_length(y=truth, probabilities=prob, patients=patients)
    if any(not 0 < t < 1 for t in thresholds):
        raise UsageError("the thresholds of a decision curve lie between 0 and 1")
    weights, people, positives = _to_prevalence(truth, prevalence), group_codes(patients), int(truth.sum())

    def mean(name: str, values: F64) -> Estimate:
        return clustered_mean(name, values, people, level=level, n_positives=positives)

    curve = []
    for t in thresholds:
        worth = weights * np.where(truth, 1.0, -t / (1 - t))
        model, everybody = worth * (prob >= t), worth
        rival = everybody if everybody.mean() > 0 else np.zeros_like(worth)
        curve.append(
            NetBenefit(
                threshold=float(t),
                model=mean("net_benefit", model),
                treat_all=mean("net_benefit_treat_all", everybody),
                gain=mean("net_benefit_gain", model - rival),
            )
        )
    return tuple(curve)


def _to_prevalence(truth: np.ndarray[Any, np.dtype[np.bool_]], prevalence: float | None) -> F64:
    own = float(truth.mean()) if len(truth) else float("nan")
    if prevalence is None:
        return np.ones(len(truth))
    if not 0 < own < 1:
        raise UsageError("a decision curve at another prevalence needs rows of both classes")
    return np.where(truth, prevalence / own, (1 - prevalence) / (1 - own))
