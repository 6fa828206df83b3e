"""Patient-clustered percentile bootstrap intervals.

Images of one patient are not independent, so whole patients are drawn with replacement (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13; Field and Welsh, JRSS B 69:369, 2007). A resample
in which the metric is undefined (a class is missing, or separated) is left out, counted, and mentioned.
Where all resamples agree (a perfect score) an interval of width 0 would claim certainty. Shares then have an
exact bound (`agreed_bound`), other metrics no interval.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Groups, finite_or_none, group_codes, same_length
from embedstore.evaluation.metrics import (
    Metric,
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    macro_auroc,
    weighted_mean,
)

RESAMPLES = 2000
BOOTSTRAP = "percentile bootstrap over patients"
FEW_PATIENTS = 20
AGREED = 1e-12
BOUND = "exact bound where all patients agree"
ALIKE = "all patients agree, which says nothing about the next ones"
_SHARES: tuple[Metric, ...] = (accuracy, auroc, average_precision, balanced_accuracy, macro_auroc)
_CHUNK_CELLS = 1_000_000  # resamples x rows held at once: a few arrays of 8 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric with its uncertainty.

    low, high: interval at `level` by `method`; NaN with fewer than two patients, and where the method would
    give a width of 0. resamples: 0 where a formula gave the interval. skipped: of `resamples`, those in which
    the metric was undefined. note: one sentence a reader of the number should see, or "".
    """

    metric: str
    value: float
    low: float
    high: float
    level: float
    n_images: int
    n_patients: int
    n_positives: int | None
    method: str = BOOTSTRAP
    resamples: int = 0
    skipped: int = 0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        plain = asdict(self)
        plain.update({key: finite_or_none(plain[key]) for key in ("value", "low", "high")})
        return plain

    def __str__(self) -> str:
        positive = "" if self.n_positives is None else f", {self.n_positives} positive"
        interval = f"[{self.low:.3f}, {self.high:.3f}]" if np.isfinite(self.low) else "[no interval]"
        return (
            f"{self.value:.3f} {interval} (n = {self.n_images} images, {self.n_patients} patients{positive})"
        )


def agreed_bound(value: float, n_patients: int, level: float) -> tuple[float, float]:
    """The interval of a mean of outcomes from 0 to 1 that came out at 1 (or 0) for all of n patients.

    All of them are 1 with a probability of at most mean ** n, so a mean below ((1 - level) / 2) ** (1 / n)
    would have shown itself; for outcomes of 0 and 1 that is the interval of Clopper and Pearson (Biometrika
    26:404, 1934). NaN, NaN for other values and fewer than two patients.
    """
    if n_patients < 2 or not min(abs(value), abs(value - 1)) <= AGREED:  # NaN is not
        return float("nan"), float("nan")
    least = ((1 - level) / 2) ** (1 / n_patients)
    return (least, 1.0) if value > 0.5 else (0.0, 1 - least)


def bootstrap(
    metric_name: str,
    metric: Metric,
    y: ArrayLike,
    prediction: ArrayLike,
    patients: Groups,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    paired: bool = False,
) -> Estimate:
    """The metric of (n,) labels and (n,) or (n, K) predictions, with its interval over patients.

    paired: of a difference, which may have an interval of width 0: all patients show it alike.
    """
    truth, said = np.asarray(y), np.asarray(prediction, dtype=np.float64)
    same_length(y=truth, prediction=said, patients=patients)
    positives = int(np.sum(truth == 1)) if said.ndim == 1 and np.isin(truth, (0, 1)).all() else None
    codes = group_codes(patients)
    value = float(metric(truth, said, None)) if len(truth) else float("nan")
    drawn = resampled(metric, truth, said, codes, resamples, seed)
    found = _estimate(metric_name, value, drawn, codes, positives, resamples, level, paired)
    return _bounded(found, truth, codes) if metric in _SHARES and not paired else found


def _bounded(found: Estimate, truth: NDArray[Any], codes: I64) -> Estimate:
    """With an exact bound in place of no interval; the rarest class has the fewest patients to count on."""
    if not np.isnan(found.low) or not len(truth):
        return found
    fewest = min(len(np.unique(codes[truth == one])) for one in np.unique(truth))
    low, high = agreed_bound(found.value, fewest, found.level)
    if np.isnan(low):
        return found
    note = f"all patients agree, {fewest} of the rarest class"
    return replace(found, low=low, high=high, method=BOUND, resamples=0, skipped=0, note=note)


def bootstrap_mean(
    metric_name: str,
    values: ArrayLike,
    patients: Groups,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
    paired: bool = False,
) -> Estimate:
    """Mean of one number per row (say, precision at 10 of each query); NaN rows are left out.

    paired: as for `bootstrap`.
    """
    found = np.asarray(values, dtype=np.float64)
    same_length(values=found, patients=patients)
    known = np.isfinite(found)
    codes = group_codes(np.asarray(patients)[known])

    def mean_of(_: I64, chosen: F64, weights: F64 | None) -> F64:
        return weighted_mean(chosen, weights)

    kept = found[known]
    value = float(weighted_mean(kept)) if len(kept) else float("nan")
    drawn = resampled(mean_of, np.zeros(len(kept), dtype=np.int64), kept, codes, resamples, seed)
    return _estimate(metric_name, value, drawn, codes, None, resamples, level, paired)


def resampled(
    metric: Metric, y: ArrayLike, prediction: ArrayLike, patients: Groups, resamples: int, seed: int
) -> F64:
    """(resamples,) values of the metric over draws of whole patients; () with fewer than two of them."""
    truth, said, codes = np.asarray(y), np.asarray(prediction), group_codes(patients)
    n_patients = int(codes.max()) + 1 if len(codes) else 0
    if n_patients < 2 or resamples < 1:
        return np.empty(0)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // len(codes))
    found: list[F64] = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        picks = rng.integers(n_patients, size=(count, n_patients))
        offsets = np.arange(count)[:, None] * n_patients
        times = np.bincount((picks + offsets).ravel(), minlength=count * n_patients)
        weights = times.reshape(count, n_patients).astype(np.float64)[:, codes]
        found.append(metric(truth, said, weights))
    return np.concatenate(found)


def _estimate(
    name: str,
    value: float,
    drawn: F64,
    codes: I64,
    positives: int | None,
    resamples: int,
    level: float,
    paired: bool,
) -> Estimate:
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval lies between 0 and 1, got {level}")
    usable = drawn[np.isfinite(drawn)]
    skipped = len(drawn) - len(usable)
    low = high = float("nan")
    agreed = not paired and len(usable) > 0 and float(np.ptp(usable)) <= AGREED
    if len(usable) and np.isfinite(value) and not agreed:
        low, high = (float(q) for q in np.quantile(usable, [(1 - level) / 2, (1 + level) / 2]))
    n_patients = int(codes.max()) + 1 if len(codes) else 0
    return Estimate(
        metric=name,
        value=value,
        low=low,
        high=high,
        level=level,
        n_images=len(codes),
        n_patients=n_patients,
        n_positives=positives,
        resamples=resamples,
        skipped=skipped,
        note=_note(value, n_patients, skipped, resamples, agreed),
    )


def _note(value: float, n_patients: int, skipped: int, resamples: int, agreed: bool) -> str:
    said: list[str] = []
    if not np.isfinite(value):
        said.append("undefined on these rows: a class is missing or, for a calibration line, separated")
    if n_patients < 2:
        said.append("no interval from fewer than 2 patients")
    elif n_patients < FEW_PATIENTS:
        said.append(f"only {n_patients} patients" + ("" if agreed else ": the interval is rough"))
    if agreed and n_patients > 1:
        said.append(f"no interval: {ALIKE}")
    if skipped:
        said.append(f"undefined in {skipped} of {resamples} resamples, which were left out")
    return "; ".join(said)
