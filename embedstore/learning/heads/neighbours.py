"""The k nearest labelled images vote, each by exp(cosine / .07), as Caron et al. judge DINO (ICCV 2021).

Nothing is fitted but k. The head carries the training vectors: it is as large as they are, and as private.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads.choose import choose
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows, shares
from embedstore.learning.vectors import unit_rows

NEIGHBOURS: tuple[int, ...] = (1, 3, 5, 10, 20, 50, 100)
TEMPERATURE = 0.07
_CHUNK = 1024


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """k has the least Brier score on patients left out."""
    grid = [int(k) for k in (NEIGHBOURS if options.grid is None else options.grid)]

    def losses(train: Rows, held: Rows) -> F64:
        known, truth = unit_rows(train.vectors), shares(held)
        order, likeness = _nearest(known, unit_rows(held.vectors), max(grid))
        found = [_vote(order, likeness, shares(train), k) for k in grid]
        return np.stack([((p - truth) ** 2).sum(axis=1) for p in found])

    choice = choose(rows, grid, losses, options.folds)
    params = {
        "k": choice.value,
        "temperature": TEMPERATURE,
        "inner": choice.estimate("brier", rows) if np.isfinite(choice.loss) else None,
    }
    return Fitted(params, {"known": unit_rows(rows.vectors), "shares": shares(rows)})


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) to (n, K) shares of the neighbours' votes."""
    k = int(head.spec.params["k"])
    order, likeness = _nearest(head.arrays["known"], unit_rows(vectors), k)
    return _vote(order, likeness, head.arrays["shares"], k)


def _nearest(known: F32, asked: F32, k: int) -> tuple[I64, F64]:
    """(n, k) rows of `known` by falling cosine, equal ones by their order, and the cosines."""
    k = min(k, len(known))
    orders, cosines = [], []
    for start in range(0, len(asked), _CHUNK):
        likeness = asked[start : start + _CHUNK] @ known.T
        some = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        of_some = np.take_along_axis(likeness, some, axis=1)
        order = np.lexsort((some, -of_some), axis=1)
        orders.append(np.take_along_axis(some, order, axis=1))
        cosines.append(np.take_along_axis(of_some, order, axis=1))
    if not orders:
        return np.empty((0, k), np.int64), np.empty((0, k))
    return np.concatenate(orders), np.concatenate(cosines).astype(np.float64)


def _vote(order: I64, likeness: F64, known: Any, k: int) -> F64:
    weight = np.exp((likeness[:, :k] - likeness[:, :1]) / TEMPERATURE)
    told = np.einsum("nk,nkc->nc", weight, np.asarray(known)[order[:, :k]])
    return np.asarray(told / told.sum(axis=1, keepdims=True))


def mean_distance(known: F32, asked: F32, k: int) -> F64:
    """(n,) mean of one minus the cosine to the k nearest of `known`; unit rows."""
    return np.asarray(1 - _nearest(known, asked, k)[1].mean(axis=1))


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return int(head.arrays["known"].shape[1])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    known, told = head.arrays["known"], head.arrays["shares"]
    return known.ndim == 2 and told.shape == (len(known), len(head.spec.classes))
