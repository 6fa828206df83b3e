"""LP++: a linear probe whose weights are a visual prototype plus a learned share of the class's text.

Huang et al., LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP, CVPR 2024: logits are
f . (w_k + alpha_k t_k); the prototypes and shares start from closed forms and follow the gradient of the
cross entropy with steps given by its Lipschitz constants, shares every tenth time. With momentum, as the
authors' code has it; without an intercept, as the paper has it. Meant for a few images per class.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64
from embedstore.evaluation.metrics import PROBABILITY_FLOOR
from embedstore.learning.heads.choose import choose
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows, shares, texts_of
from embedstore.learning.vectors import unit_rows

STEPS: tuple[int, ...] = (0, 10, 30, 100, 300)
_MOMENTUM = 0.9
_SHARES_EVERY = 10
_FIRST_SHARE = 250.0  # the paper's constant for the closed form of alpha


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """The number of steps has the least log loss on patients left out: stopping early is the only penalty."""
    texts = texts_of(rows)
    grid = sorted(STEPS if options.grid is None else [int(one) for one in options.grid])

    def losses(train: Rows, held: Rows) -> F64:
        asked, truth = unit_rows(held.vectors).astype(np.float64), shares(held)
        found = [_softmax(asked @ weights.T) for weights in _path(train, texts, grid)]
        return np.stack([-(truth * np.log(np.maximum(p, PROBABILITY_FLOOR))).sum(axis=1) for p in found])

    choice = choose(rows, grid, losses, options.folds)
    (weights,) = _path(rows, texts, [choice.value])
    params = {
        "steps": choice.value,
        "inner": choice.estimate("log_loss", rows) if np.isfinite(choice.loss) else None,
    }
    return Fitted(params, {"weights": weights, "texts": texts})


def _path(rows: Rows, texts: F32, steps: list[int]) -> Iterator[F64]:
    """(K, dim) weights after each of the ascending numbers of steps."""
    f, t, told = unit_rows(rows.vectors).astype(np.float64), texts.astype(np.float64), shares(rows)
    n = len(f)
    by_text = f @ t.T
    prototypes = told.T @ f
    share = np.full(len(t), _FIRST_SHARE * float(((told * by_text).sum(axis=0) / told.sum(axis=0)).mean()))
    step = 4 * n / float(np.linalg.eigvalsh(f.T @ f if f.shape[1] <= n else f @ f.T)[-1])
    share_step = n / (4 * float((by_text**2).sum(axis=0).max()))
    pace = np.zeros_like(prototypes)
    for number in range(steps[-1] + 1):
        if number in steps:
            yield prototypes + share[:, None] * t
        miss = (_softmax(f @ prototypes.T + by_text * share) - told) / n
        pace = _MOMENTUM * pace + miss.T @ f
        prototypes = prototypes - step * pace
        if (number + 1) % _SHARES_EVERY == 0:
            share = share - share_step * (miss * by_text).sum(axis=0)


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) to (n, K) probabilities."""
    return _softmax(unit_rows(vectors).astype(np.float64) @ head.arrays["weights"].T)


def _softmax(z: F64) -> F64:
    from scipy.special import softmax

    return np.asarray(softmax(z, axis=1))


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return int(head.arrays["weights"].shape[1])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    weights, texts = head.arrays["weights"], head.arrays["texts"]
    return weights.shape == texts.shape and len(weights) == len(head.spec.classes)
