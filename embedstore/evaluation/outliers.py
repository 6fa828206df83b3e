"""Which new images are unlike those known: conformal p-values with a bound on false alarms.

Bates, Candès, Lei, Romano and Sesia, Testing for outliers with conformal p-values, Annals of Statistics
51:149, 2023: the p-values are valid whatever the score, and the step-up procedure of Benjamini and Hochberg
(JRSS B 57:289, 1995) bounds the share of false alarms on them, although they share one calibration set.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, Bools, Groups, group_codes

METHOD = "conformal p-values, Benjamini-Hochberg"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outliers:
    """p: (n,) p-values of new images; flagged: (n,) those called unlike the reference.

    fdr: bound on the expected share of false calls among them. smallest_p: the smallest p-value that
    `n_calibration` patients can give; when it is large nothing can ever be flagged.
    """

    p: F64
    flagged: Bools
    fdr: float
    n_calibration: int
    n_images: int
    n_patients: int
    method: str = METHOD

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        plain = asdict(self)
        plain["p"], plain["flagged"] = self.p.tolist(), self.flagged.tolist()
        return plain | {"n_flagged": int(self.flagged.sum()), "smallest_p": 1 / (self.n_calibration + 1)}


def conformal_p(calibration: ArrayLike, scores: ArrayLike, calibration_patients: Groups | None = None) -> F64:
    """(n,) p-values of scores (larger is stranger) against those of known images, which taught nothing.

    (1 + known at least as strange) / (1 + known). With patients each of them weighs one.
    """
    known, new = np.asarray(calibration, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not len(known) or not (np.isfinite(known).all() and np.isfinite(new).all()):
        raise UsageError("conformal p-values need finite scores and at least one known image")
    people = group_codes(np.arange(len(known)) if calibration_patients is None else calibration_patients)
    counts = np.bincount(people)
    order = np.argsort(known, kind="stable")
    below = np.r_[0.0, np.cumsum(1.0 / counts[people][order])]
    at_least = len(counts) - below[np.searchsorted(known[order], new, side="left")]
    return np.asarray((1 + np.maximum(at_least, 0)) / (1 + len(counts)))


def flag_outliers(
    calibration: ArrayLike,
    scores: ArrayLike,
    *,
    fdr: float = 0.1,
    patients: Groups | None = None,
    calibration_patients: Groups | None = None,
) -> Outliers:
    """Call new images unlike the known ones, false calls bounded by `fdr` among the calls."""
    p = conformal_p(calibration, scores, calibration_patients)
    adjusted = false_discovery_control(p, method="bh") if len(p) else p
    people = np.arange(len(p)) if patients is None else patients
    known = np.arange(len(np.asarray(calibration))) if calibration_patients is None else calibration_patients
    return Outliers(
        p=p,
        flagged=np.asarray(adjusted <= fdr),
        fdr=fdr,
        n_calibration=len(np.unique(group_codes(known))),
        n_images=len(p),
        n_patients=len(np.unique(group_codes(people))),
    )
