"""Choosing a setting on patients left out: the candidate with the least loss over grouped folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64
from embedstore.evaluation.intervals import RESAMPLES, Estimate, bootstrap_mean
from embedstore.evaluation.splits import patient_folds
from embedstore.learning.heads.rows import Rows

FoldLosses = Callable[[Rows, Rows], F64]
"""(training rows, rows left out) to (candidates, rows left out) losses; infinite where not tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """value: the candidate; loss: its mean; losses: (candidates,) means, infinite where a fold gave up.

    by_row: (n,) losses of the chosen candidate, NaN in folds that could not be judged.
    """

    value: Any
    loss: float
    losses: F64
    by_row: F64

    def estimate(self, metric: str, rows: Rows) -> dict[str, Any]:
        """The loss with its interval, as JSON: of rows that helped to choose, so a little flattering."""
        found: Estimate = bootstrap_mean(
            f"inner_{metric}", self.by_row, rows.patients, resamples=RESAMPLES // 4, seed=rows.seed
        )
        return found.to_json()


def choose(
    rows: Rows,
    candidates: Sequence[Any],
    losses_of: FoldLosses,
    folds: int,
    judgeable: Callable[[Rows], bool] = lambda _: True,
    weights: NDArray[Any] | None = None,
) -> Choice:
    """The candidate with the least mean loss on patients left out; the only one is taken without a look.

    judgeable: whether the training rows of a fold can teach anything. weights: (n,) of the rows in the mean.
    """
    if len(candidates) == 1:
        nothing = np.full(len(rows), np.nan)
        return Choice(candidates[0], float("nan"), np.empty(0), nothing)
    table = np.full((len(candidates), len(rows)), np.nan)
    fold_of = patient_folds(rows.patients, min(folds, rows.n_patients), y=rows.strata(), seed=rows.seed)
    for fold in np.unique(fold_of):
        train, held = rows.at(fold_of != fold), fold_of == fold
        if judgeable(train):
            table[:, held] = losses_of(train, rows.at(held))
    judged = np.isfinite(table).any(axis=0)
    if not judged.any():
        raise UsageError("every class needs labelled rows of at least 2 patients")
    share = np.ones(int(judged.sum())) if weights is None else np.asarray(weights)[judged]
    losses = table[:, judged] @ share / share.sum()
    best = int(np.argmin(losses))
    return Choice(candidates[best], float(losses[best]), losses, table[best])


def settled(number: int, losses: Sequence[float], candidates: Sequence[float], factor: float = 10.0) -> bool:
    """Whether a loss over an ascending grid has turned for good: it is `factor` past its best candidate."""
    return candidates[number] >= factor * candidates[int(np.argmin(losses))]
