"""Where the right answer stands in a ranking, with ties counted by their expectation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.evaluation.arrays import F64, Bools


def chance_of_a_hit(n_items: int, n_relevant: NDArray[np.float64], k: int) -> F64:
    """Chance that k items drawn from n_items hold at least one of n_relevant (hypergeometric)."""
    missed = np.ones_like(n_relevant, dtype=np.float64)
    for drawn in range(min(k, n_items)):
        missed *= np.clip((n_items - n_relevant - drawn) / (n_items - drawn), 0.0, 1.0)
    return 1.0 - missed


def hits_at_k(scores: NDArray[np.float32], relevant: Bools, k: int) -> F64:
    """(q,) 1 when a relevant item is among the k best of a row, else 0; a fraction when a tie decides.

    scores, relevant: (q, n). Items that tie with the best relevant one are thought to be in random order.
    """
    above, tied, tied_relevant = _standing(scores, relevant)
    out = np.zeros(len(scores))
    for row in range(len(scores)):
        places = k - int(above[row])
        if places > 0:
            out[row] = chance_of_a_hit(int(tied[row]), tied_relevant[row : row + 1], places)[0]
    return out


def first_ranks(scores: NDArray[np.float32], relevant: Bools) -> F64:
    """(q,) expected rank, from 1, of the best relevant item of each row."""
    above, tied, tied_relevant = _standing(scores, relevant)
    return np.asarray(above + (tied + 1) / (tied_relevant + 1))


def _standing(scores: NDArray[np.float32], relevant: Bools) -> tuple[F64, F64, F64]:
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    tie = scores == best
    above = (scores > best).sum(axis=1).astype(np.float64)
    return above, tie.sum(axis=1).astype(np.float64), (tie & relevant).sum(axis=1).astype(np.float64)
