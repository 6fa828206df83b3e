"""ROC and precision-recall curves with a band over patients, on a grid that a picture can take as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from embedstore.evaluation import metrics
from embedstore.evaluation.arrays import F64, Groups, finite_or_none
from embedstore.evaluation.clustered import clustered_auc
from embedstore.evaluation.intervals import BOOTSTRAP, Estimate, bootstrap, resampled
from embedstore.evaluation.metrics import tied_rows

GRID = 101
BAND_RESAMPLES = 500
Kind = Literal["roc", "precision_recall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """roc: y is sensitivity at x, 1 - specificity. precision_recall: y is precision at x, recall.

    x: 0 to 1 in equal steps. low, high: band at `level` of each y by itself. area: AUROC or average
    precision, which also carries the numbers of images, patients and positives. NaN where a class is missing.
    """

    kind: Kind
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    level: float
    method: str
    area: Estimate

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        plain = asdict(self) | {"area": self.area.to_json()}
        for name in ("x", "y", "low", "high"):
            plain[name] = [finite_or_none(one) for one in plain[name]]
        return plain


def roc_curve(
    y: ArrayLike, score: ArrayLike, patients: Groups, *, resamples: int = BAND_RESAMPLES, seed: int = 0
) -> Curve:
    """Sensitivity over 1 - specificity, joined by straight lines, so that its area is the AUROC."""
    area = clustered_auc(y, score, patients)
    return _curve("roc", _sensitivity, (y, score, patients), area, resamples, seed)


def precision_recall_curve(
    y: ArrayLike, score: ArrayLike, patients: Groups, *, resamples: int = BAND_RESAMPLES, seed: int = 0
) -> Curve:
    """Precision over recall in steps: that of the first threshold that reaches a recall (Davis and Goadrich,
    ICML 2006: straight lines between its points would flatter)."""
    area = bootstrap("average_precision", metrics.average_precision, y, score, patients, seed=seed)
    return _curve("precision_recall", _precision, (y, score, patients), area, resamples, seed)


def _curve(
    kind: Kind,
    heights: Callable[[F64, F64], F64],
    data: tuple[ArrayLike, ArrayLike, Groups],
    area: Estimate,
    resamples: int,
    seed: int,
) -> Curve:
    y, score, patients = data

    def drawn(truth: Any, found: F64, weights: F64 | None) -> F64:
        in_pos, in_neg = (np.atleast_2d(side)[:, ::-1] for side in tied_rows(truth, found, weights))
        return np.stack([heights(*one) for one in zip(in_pos, in_neg, strict=True)])

    found = drawn(y, np.asarray(score, dtype=np.float64), None)[0]
    band = resampled(drawn, y, score, patients, resamples, seed)
    band = band[np.isfinite(band).all(axis=1)] if len(band) else band
    low, high = np.full(GRID, np.nan), np.full(GRID, np.nan)
    if len(band):
        low, high = np.quantile(band, [(1 - area.level) / 2, (1 + area.level) / 2], axis=0)
    x = np.linspace(0, 1, GRID)
    columns = {"x": x, "y": found, "low": low, "high": high}
    plain = {name: tuple(float(one) for one in column) for name, column in columns.items()}
    return Curve(kind=kind, **plain, level=area.level, method=BOOTSTRAP, area=area)


def _sensitivity(in_pos: F64, in_neg: F64) -> F64:
    """(GRID,) by false-positive rate; in_pos, in_neg: weights at scores descending."""
    if min(in_pos.sum(), in_neg.sum()) == 0:
        return np.full(GRID, np.nan)
    rise, run = (np.r_[0.0, np.cumsum(side) / side.sum()] for side in (in_pos, in_neg))
    return np.asarray(np.interp(np.linspace(0, 1, GRID), run, rise))


def _precision(in_pos: F64, in_neg: F64) -> F64:
    """(GRID,) by recall."""
    if in_pos.sum() == 0:
        return np.full(GRID, np.nan)
    reached, called = np.cumsum(in_pos), np.cumsum(in_pos + in_neg)
    found = reached / reached[-1]
    first = np.searchsorted(found, np.linspace(0, 1, GRID) - 1e-12)
    first = np.maximum(first, np.flatnonzero(called)[0])
    return np.asarray(reached[first] / called[first])
