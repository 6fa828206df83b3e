"""Fits to shuffled labels: the control of a linear head."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.image import F32
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import Groups
from embedstore.evaluation.control import SHUFFLES
from embedstore.evaluation.splits import shuffle_labels
from embedstore.learning.linear import LogisticHead
from embedstore.learning.refit import refit

_SEEDS_APART = 1009  # so that heads of neighbouring seeds do not share their shuffles


def shuffled_predictions(
    head: LogisticHead,
    vectors: NDArray[Any],
    y: ArrayLike,
    patients: Groups,
    asked: NDArray[Any],
    *,
    shuffles: int = SHUFFLES,
) -> F32:
    """(shuffles, n_asked, K) probabilities for `asked`, by fits to labels shuffled between patients.

    vectors (n, dim), y (n,), patients (n,): the rows the head was fitted to. Its C and its scaling are kept,
    nothing is chosen anew. A shuffle that loses a class (patients differ in their numbers of images) is
    drawn again. Raises UsageError when the draws keep losing one.
    """
    spec = head.spec
    found: list[F32] = []
    for draw in range(2 * shuffles):
        dealt = shuffle_labels(y, patients, seed=spec.seed * _SEEDS_APART + draw)
        if len(np.unique(dealt[dealt >= 0])) < len(spec.classes):
            continue
        control = refit(head, vectors, dealt, patients, "shuffled labels")
        found.append(control.predict(asked))
        if len(found) == shuffles:
            return np.stack(found)
    raise UsageError("a class of the training rows is too rare to shuffle labels for a control")
