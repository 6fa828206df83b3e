"""Votes as counts: who named which class of which item, and who looked and stayed silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.labels import ABSTAIN, Votes
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64

UNSEEN = -2
"""In a matrix of votes: the voter never looked. Where silence counts, that is something else than -1."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """spoken: (n, m, K) how often each voter named each class. silent: (n, m), 1: looked and abstained."""

    spoken: F64
    silent: F64

    def at(self, rows: NDArray[np.bool_]) -> Said:
        """Some of the items."""
        return Said(self.spoken[rows], self.silent[rows])

    @property
    def weight(self) -> float:
        """How many votes there are."""
        return float(self.spoken.sum())

    def shares(self) -> F64:
        """(n, K) shares of each item's votes; those of all votes for an item that nobody spoke on."""
        counts = self.spoken.sum(axis=1)
        totals = counts.sum(axis=1, keepdims=True)
        overall = counts.sum(axis=0) / counts.sum()
        return np.asarray(np.where(totals > 0, counts / np.maximum(totals, 1e-12), overall))


def count_votes(votes: NDArray[Any], n_classes: int, n_voters: int | None = None) -> Said:
    """From (n, m) class indices, -1 abstains, -2 never looked; or (n, m, K) counts. Raises UsageError."""
    given = np.asarray(votes)
    if given.ndim not in (2, 3) or (n_voters is not None and given.shape[1] != n_voters):
        wanted = "voters" if n_voters is None else n_voters
        raise UsageError(f"votes must be of shape (items, {wanted}[, classes]), got {given.shape}")
    if given.ndim == 3:
        counts = given.astype(np.float64)
        if given.shape[2] != n_classes or not (np.isfinite(counts) & (counts >= 0)).all():
            raise UsageError(f"counted votes have {n_classes} numbers, 0 or more, for each item and voter")
        return Said(counts, np.asarray(~counts.any(axis=2), dtype=np.float64))
    matrix = given.astype(np.int64)
    if matrix.size and (matrix.min() < UNSEEN or matrix.max() >= n_classes):
        raise UsageError(f"votes must be class indices below {n_classes}, -1 to abstain, or -2 for unseen")
    spoken = np.asarray(matrix[:, :, None] == np.arange(n_classes), dtype=np.float64)
    return Said(spoken, np.asarray(matrix == ABSTAIN, dtype=np.float64))


def majority_vote(votes: NDArray[Any], n_classes: int) -> tuple[Votes, F64]:
    """(n,) classes most voters name, -1 for a tie or silence; and (n, K) shares of votes, 0 in silence."""
    said = count_votes(votes, n_classes).spoken.sum(axis=1)
    top = said.max(axis=1, keepdims=True)
    clear = ((said == top).sum(axis=1) == 1) & (top[:, 0] > 0)
    shares = said / np.maximum(said.sum(axis=1, keepdims=True), 1.0)
    return np.where(clear, said.argmax(axis=1), ABSTAIN).astype(np.int64), shares


def soft_counts(votes: NDArray[Any], probabilities: NDArray[Any], n_classes: int) -> F64:
    """(n, m, K) votes as counts, each worth as much as its probability lies above chance, 0 to 1.

    votes: (n, m) class indices, negative when silent. probabilities: (n, m), NaN for a hard vote, worth 1.
    (To spread the rest over the other classes would tell the model that voters say everything of everything.)
    """
    spoken = count_votes(votes, n_classes).spoken
    sure = np.nan_to_num(np.asarray(probabilities, dtype=np.float64), nan=1.0)
    worth = np.clip((sure - 1 / n_classes) / (1 - 1 / n_classes), 0.0, 1.0)
    return np.asarray(spoken * worth[:, :, None])
