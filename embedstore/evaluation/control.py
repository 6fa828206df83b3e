"""The control beside a classifier: what the same fit reaches on labels dealt out among the patients.

One shuffle proves little: its labels may by luck agree or disagree with the true ones, and an interval over
test patients knows nothing of that luck. So there are several, and the interval is over shuffles. A
classifier that is not better than them has learned nothing (a permutation test: Ojala and Garriga,
Permutation Tests for Studying Classifier Performance, JMLR 11:1833, 2010).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, Groups, finite_or_none, group_codes, same_length
from embedstore.evaluation.metrics import Metric

SHUFFLES = 20
OVER_SHUFFLES = "percentiles over fits to labels shuffled between patients"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleControl:
    """value: mean of the metric over shuffles. low, high: between which `level` of the shuffles lie.

    p_value: (1 + shuffles at least as good as the classifier) / (1 + shuffles); its smallest possible value
    is 1 / (1 + shuffles). n_images, n_patients: of the test rows.
    """

    metric: str
    value: float
    low: float
    high: float
    level: float
    shuffles: int
    p_value: float
    n_images: int
    n_patients: int
    n_positives: int | None
    method: str = OVER_SHUFFLES

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        plain = asdict(self)
        for name in ("value", "low", "high", "p_value"):
            plain[name] = finite_or_none(plain[name])
        return plain


def shuffle_control(
    metric_name: str,
    metric: Metric,
    y: ArrayLike,
    observed: float,
    shuffled: ArrayLike,
    patients: Groups,
    *,
    level: float = 0.95,
) -> ShuffleControl:
    """The control for a metric of (n,) true labels.

    observed: the classifier's own value. shuffled: (shuffles, n) or (shuffles, n, K) predictions for the same
    rows by fits to shuffled labels. Raises UsageError with fewer than two shuffles.
    """
    truth, told = np.asarray(y, dtype=np.int64), np.asarray(shuffled, dtype=np.float64)
    if told.ndim < 2 or len(told) < 2:
        raise UsageError("a control needs the predictions of at least two shuffles")
    same_length(y=truth, predictions=told[0], patients=patients)
    values: F64 = np.array([float(metric(truth, one, None)) for one in told])
    known = values[np.isfinite(values)]
    low = high = value = p_value = float("nan")
    if len(known):
        value = float(known.mean())
        low, high = (float(q) for q in np.quantile(known, [(1 - level) / 2, (1 + level) / 2]))
        if np.isfinite(observed):
            p_value = float((1 + np.sum(known >= observed)) / (1 + len(known)))
    return ShuffleControl(
        metric=metric_name,
        value=value,
        low=low,
        high=high,
        level=level,
        shuffles=len(known),
        p_value=p_value,
        n_images=len(truth),
        n_patients=len(np.unique(group_codes(patients))),
        n_positives=int(np.sum(truth == 1)) if told.ndim == 2 else None,
    )
