"""Made votes whose truth is known, for whoever tests a label model or a labelling function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.labels import ABSTAIN, Votes


def made_votes(
    n_items: int, n_voters: int, n_classes: int = 2, *, abstain: float = 1.0, seed: int
) -> tuple[NDArray[np.int64], Votes]:
    """(n,) true classes, all equally common, and (n, m) votes on them.

    The generator that Snorkel describes: each voter has a random table of what it says (a class, or nothing)
    given the truth, in which saying the truth got a head start of n_classes - 1; `abstain` multiplies the
    weight of silence, so that a large one makes votes sparse.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(n_classes, size=n_items)
    columns = []
    for _ in range(n_voters):
        weights = rng.random((n_classes, n_classes + 1))
        weights[:, :n_classes] += (n_classes - 1) * np.eye(n_classes)
        weights[:, n_classes] *= abstain
        steps = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)[truth]
        said = np.minimum((rng.random(n_items)[:, None] >= steps).sum(axis=1), n_classes)
        columns.append(np.where(said == n_classes, ABSTAIN, said))
    return truth, np.stack(columns, axis=1)
