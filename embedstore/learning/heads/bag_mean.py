"""Logistic regression on the mean vector of each bag: what attention over parts must beat."""

from __future__ import annotations

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads import logistic
from embedstore.learning.heads.bags import bag_rows, mean_vectors
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """See `logistic.fit`; each bag weighs one, however many parts it has."""
    bags, _ = bag_rows(rows)
    found = logistic.fit(bags, options)
    return Fitted({**found.params, "n_bags": len(bags)}, found.arrays)


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) parts to (n, K): each part gets the answer for its bag."""
    codes = np.arange(len(vectors)) if bags is None else bags
    names, member = np.unique(codes, return_inverse=True)
    return logistic.apply(head, mean_vectors(vectors, member.reshape(-1), len(names)))[member]


dim, fits = logistic.dim, logistic.fits
