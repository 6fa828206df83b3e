"""How far an image is from a healthy reference, in units of the reference's own spread.

The covariance is shrunk so that it can be inverted with few images (Ledoit and Wolf, Journal of Multivariate
Analysis 88:365, 2004). Class 0 of the rows is the reference; others teach nothing.
"""

from __future__ import annotations

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows, reference_of


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """Nothing is chosen; the shrinkage is a closed form."""
    from sklearn.covariance import LedoitWolf

    healthy = reference_of(rows)
    found = LedoitWolf(store_precision=True).fit(healthy.vectors.astype(np.float64))
    params = {
        "n_reference": len(healthy),
        "n_reference_patients": healthy.n_patients,
        "shrinkage": float(found.shrinkage_),
    }
    return Fitted(params, {"mean": found.location_, "precision": found.precision_})


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) to (n, 1) distances."""
    away = vectors.astype(np.float64) - head.arrays["mean"]
    squared = ((away @ head.arrays["precision"]) * away).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0))[:, None])


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return len(head.arrays["mean"])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    mean, precision = head.arrays["mean"], head.arrays["precision"]
    return bool(precision.shape == (len(mean), len(mean)))
