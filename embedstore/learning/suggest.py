"""Which items a person should label next: those the model doubts, and always as many drawn at random.

Only the random half says how good the labels are; items chosen for their doubt are harder than the rest
(Settles, Active Learning Literature Survey, 2009, section 7.1, on what such a sample is not).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Groups, group_codes, same_length


def entropy(probabilities: NDArray[Any]) -> F64:
    """(n,) in nats, of (n, K) probabilities."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, 1.0)
    return np.asarray(-(p * np.log(p)).sum(axis=1))


def draw_for_labelling(
    probabilities: NDArray[Any], patients: Groups, n: int, seed: int = 0
) -> tuple[I64, I64]:
    """(rows drawn at random, rows chosen for their doubt), together at most n; each patient at most once.

    The random half is a simple random sample of patients and of one image of each; the other half has the
    largest entropy among the patients that are left. Raises UsageError when n is below 2.
    """
    if n < 2:
        raise UsageError("suggest at least 2 items: one at random, one for its doubt")
    doubt, people = entropy(probabilities), group_codes(patients)
    same_length(probabilities=doubt, patients=people)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(people))
    one_each = shuffled[np.unique(people[shuffled], return_index=True)[1]]
    drawn = rng.permutation(one_each)[: (n + 1) // 2]
    by_doubt = np.argsort(-doubt, kind="stable")
    by_doubt = by_doubt[np.sort(np.unique(people[by_doubt], return_index=True)[1])]
    left = by_doubt[~np.isin(people[by_doubt], people[drawn])]
    return drawn.astype(np.int64), left[: n - len(drawn)].astype(np.int64)
