"""Scores that do not depend on where a vector stands: a fast float32 pass, then float64 on what may win.

BLAS sums a row in an order that depends on its place in a block, so two equal vectors can score differently
by a few units in the last place. Every exact answer therefore rescans its candidates row by row in float64
and rounds cosines to a multiple of 2^-24 (6e-8): vectors that are equal, or point the same way, tie exactly,
and ties go to the smaller id. What the float32 pass may
have lost is bounded by Higham's gamma_n (Accuracy and Stability of Numerical Algorithms, 2nd ed., 3.1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import PAD_ID, Metric, Neighbours
from embedstore.errors import StoreDamaged

F64 = NDArray[np.float64]
# Norms whose squares neither overflow nor vanish in float32; rows outside go through float64.
_PLAIN_NORMS = (1e-15, 1e15)
_WIDE_ROWS = 1024
_GRID = 2.0**-24


def query_rows(queries: F32, metric: Metric) -> F64:
    """(q, dim) float64 queries: unit length for "cosine", as they are for "dot"."""
    wide = queries.astype(np.float64)
    if metric == "cosine":
        wide /= np.sqrt((wide * wide).sum(axis=1))[:, None]
    return wide


def exact_scores(query: F64, rows: F32, metric: Metric) -> F32:
    """(n,) float32: scores of (n, dim) stored rows against one row of `query_rows`, summed in float64.

    Raises StoreDamaged when a stored row is zero or not finite.
    """
    found = np.empty(len(rows), np.float64)
    for first in range(0, len(rows), _WIDE_ROWS):
        wide = rows[first : first + _WIDE_ROWS].astype(np.float64)
        dots = (wide * query).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            if metric == "cosine":
                # adding zero makes a negative zero positive
                dots = np.rint(dots / np.sqrt((wide * wide).sum(axis=1)) / _GRID) * _GRID + 0.0
        found[first : first + _WIDE_ROWS] = dots
    if not np.isfinite(found).all():
        raise StoreDamaged("a stored vector is zero or not finite; run 'embedstore verify'")
    with np.errstate(over="ignore"):
        return found.astype(np.float32)


def norms(rows: F32) -> F64:
    """(n,) Euclidean lengths in float64."""
    found = np.empty(len(rows), np.float64)
    for first in range(0, len(rows), _WIDE_ROWS):
        wide = rows[first : first + _WIDE_ROWS].astype(np.float64)
        found[first : first + _WIDE_ROWS] = np.sqrt((wide * wide).sum(axis=1))
    return found


def coarse_scores(
    queries: F64, rows: F32, metric: Metric, lengths: NDArray[np.floating] | None = None
) -> tuple[F32, F64]:
    """(q, n) float32 scores by BLAS, and (q,) how far each may be from its exact score.

    lengths: (n,) norms of the rows when they are known; else they are computed.
    """
    if lengths is None:
        with np.errstate(over="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    low, high = _PLAIN_NORMS
    if not len(rows) or lengths.min() < low or lengths.max() > high:
        wide = np.stack([exact_scores(query, rows, metric) for query in queries])
        return wide, np.full(len(queries), _GRID)
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = queries.astype(np.float32)
        # one query is a matrix-vector product over the rows as they lie; many are a matrix product
        scores = (rows @ narrow[0])[None] if len(narrow) == 1 else narrow @ rows.T
    if metric == "cosine":
        scores /= lengths.astype(np.float32)
        scale = np.ones(len(queries))
    else:
        scale = np.sqrt((queries * queries).sum(axis=1)) * float(lengths.max())
        if not np.isfinite(scores).all() or scale.max() > high:
            scores = np.stack([exact_scores(query, rows, metric) for query in queries])
    return scores, slack_of(rows.shape[1]) * scale


def slack_of(dim: int) -> float:
    """Largest error of a float32 cosine of `dim` terms, in any order of summation."""
    return 2.0 * (dim + 8) * 2.0**-24


class Best:
    """The k best rows met so far for one query: exact scores, ties to the smaller id."""

    def __init__(self, query: F64, k: int, metric: Metric) -> None:
        self.query, self.k, self.metric = query, k, metric
        self.ids: I64 = np.empty(0, np.int64)
        self.scores: F32 = np.empty(0, np.float32)

    @property
    def floor(self) -> float:
        """The score a row must reach to matter."""
        return float(self.scores[-1]) if len(self.scores) == self.k else -np.inf

    def offer(self, ids: I64, rows: F32, coarse: F32, slack: float) -> None:
        """Take in a block: (n,) ids, (n, dim) rows, (n,) coarse scores within `slack` of the exact ones."""
        floor = self.floor - slack
        if len(coarse) > self.k:
            floor = max(floor, float(np.partition(coarse, -self.k)[-self.k]) - 2 * slack)
        picked = np.flatnonzero(coarse >= floor)
        if len(picked):
            self.take(ids[picked], exact_scores(self.query, rows[picked], self.metric))

    def take(self, ids: I64, scores: F32) -> None:
        """Take in rows whose exact scores are known."""
        ids, scores = np.concatenate([self.ids, ids]), np.concatenate([self.scores, scores])
        order = np.lexsort((ids, -scores))[: self.k]
        self.ids, self.scores = ids[order], scores[order]


def padded(found: list[Best], k: int) -> Neighbours:
    """(q, k) neighbours of q queries, padded."""
    ids = np.full((len(found), k), PAD_ID, np.int64)
    scores = np.full((len(found), k), -np.inf, np.float32)
    for row, best in enumerate(found):
        ids[row, : len(best.ids)], scores[row, : len(best.ids)] = best.ids, best.scores
    return Neighbours(ids, scores)
