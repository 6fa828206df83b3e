"""Tip-Adapter: a cache of few labelled images added to zero-shot scores; nothing is trained.

Zhang et al., Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, ECCV 2022, equations 3
to 6: logits = scale * f . text + alpha * exp(-beta * (1 - f . cached)) . labels.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64
from embedstore.evaluation.metrics import PROBABILITY_FLOOR
from embedstore.learning.heads.choose import choose
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows, shares, texts_of
from embedstore.learning.vectors import unit_rows

SCALES = (10.0, 30.0, 100.0)  # the paper's is CLIP's 100; cosines of other encoders spread differently
ALPHAS = (0.3, 1.0, 3.0, 10.0, 30.0)
BETAS = (1.0, 3.0, 5.5, 10.0, 30.0)


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """(scale, alpha, beta) have the least log loss on patients left out."""
    texts = texts_of(rows)
    grid = [tuple(one) for one in options.grid or product(SCALES, ALPHAS, BETAS)]

    def losses(train: Rows, held: Rows) -> F64:
        asked, truth = unit_rows(held.vectors), shares(held)
        found = []
        for setting in grid:
            p = _softmax(logits(asked, texts, unit_rows(train.vectors), shares(train), setting))
            found.append(-(truth * np.log(np.maximum(p, PROBABILITY_FLOOR))).sum(axis=1))
        return np.stack(found)

    choice = choose(rows, grid, losses, options.folds)
    params = {
        "scale_alpha_beta": list(choice.value),
        "inner": choice.estimate("log_loss", rows) if np.isfinite(choice.loss) else None,
    }
    arrays: dict[str, NDArray[Any]] = {
        "texts": texts,
        "known": unit_rows(rows.vectors),
        "shares": shares(rows),
    }
    return Fitted(params, arrays)


def logits(asked: F32, texts: F32, known: F32, told: F64, setting: tuple[float, ...]) -> F64:
    """(n, K) of unit rows asked (n, dim), texts (K, dim), known (m, dim) with labels told (m, K)."""
    scale, alpha, beta = setting
    cached = np.exp(-beta * (1 - (asked @ known.T).astype(np.float64))) @ told
    return np.asarray(scale * (asked @ texts.T).astype(np.float64) + alpha * cached)


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) to (n, K) probabilities."""
    arrays = head.arrays
    setting = tuple(head.spec.params["scale_alpha_beta"])
    return _softmax(logits(unit_rows(vectors), arrays["texts"], arrays["known"], arrays["shares"], setting))


def _softmax(z: F64) -> F64:
    from scipy.special import softmax

    return np.asarray(softmax(z, axis=1))


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return int(head.arrays["texts"].shape[1])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    known, told, texts = (np.asarray(head.arrays[name]) for name in ("known", "shares", "texts"))
    n: Any = len(head.spec.classes)
    return known.shape[1] == texts.shape[1] and told.shape == (len(known), n) and len(texts) == n
