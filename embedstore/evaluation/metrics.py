"""Metrics that take weights, so that a bootstrap is one call.

Every metric has the form `metric(y, prediction, weights=None)`. `weights` is (n,) or (b, n), one row per
resample (how often each row was drawn); the result has the shape of `weights` without its last axis, and
is NaN where the metric is undefined (AUROC without both classes). y holds class indices without gaps for
missing labels: drop those first. Equal to scikit-learn's functions of the same name when weights are whole
numbers or absent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from embedstore.evaluation.arrays import F64, I64, same_length

Metric = Callable[[I64, F64, F64 | None], F64]
PROBABILITY_FLOOR = 1e-7  # float32 probabilities cannot be told from 0 or 1 beyond this


def _weights(weights: ArrayLike | None, n: int) -> F64:
    return np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)


def ratio(above: F64, below: F64) -> F64:
    """above / below, NaN where below is 0."""
    out = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _mean_of(parts: list[F64]) -> F64:
    return np.asarray(np.mean(parts, axis=0), dtype=np.float64)


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Mean of (n,) values."""
    found = np.asarray(values, dtype=np.float64)
    w = _weights(weights, len(found))
    return ratio(np.asarray(w @ found), np.asarray(w.sum(axis=-1)))


def tied_rows(y: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> tuple[F64, F64]:
    """Weight of the positive and of the other rows at each distinct score, ascending: (..., d) each."""
    truth, found = np.asarray(y), np.asarray(score, dtype=np.float64)
    w = _weights(weights, same_length(y=truth, score=found))
    if len(found) == 0:
        return np.zeros((*w.shape[:-1], 0)), np.zeros((*w.shape[:-1], 0))
    order = np.argsort(found, kind="stable")
    ordered = found[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sorted_w, positive = w[..., order], truth[order] == 1
    return (
        np.add.reduceat(sorted_w * positive, starts, axis=-1),
        np.add.reduceat(sorted_w * ~positive, starts, axis=-1),
    )


def auroc(y: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Area under the ROC curve: chance that a positive outscores a negative, ties counting one half.

    The Mann-Whitney statistic (Hanley and McNeil, Radiology 143:29, 1982). y: (n,) 0 or 1; score: (n,).
    """
    in_pos, in_neg = tied_rows(y, score, weights)
    below = np.cumsum(in_neg, axis=-1) - in_neg
    won = np.sum(in_pos * (below + 0.5 * in_neg), axis=-1)
    return ratio(won, in_pos.sum(axis=-1) * in_neg.sum(axis=-1))


def macro_auroc(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Mean of the one-against-the-rest AUROCs of K classes. p: (n, K).

    NaN when one of the classes is absent, so that all resamples speak of the same K.
    """
    truth, prob = np.asarray(y), np.asarray(p, dtype=np.float64)
    return _mean_of([auroc(truth == c, prob[:, c], weights) for c in range(prob.shape[1])])


def average_precision(y: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Sum over thresholds of precision times gain in recall, not interpolated; ties are one threshold."""
    gained, missed = (side[..., ::-1] for side in tied_rows(y, score, weights))
    called = np.cumsum(gained + missed, axis=-1)
    precision = np.nan_to_num(ratio(np.cumsum(gained, axis=-1), called))
    return ratio(np.sum(precision * gained, axis=-1), gained.sum(axis=-1))


def accuracy(y: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Share of rows whose predicted class index is right."""
    return weighted_mean(np.asarray(y) == np.asarray(predicted), weights)


def balanced_accuracy(y: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Mean of the per-class recalls over the classes in y; NaN for a resample that lacks one of them."""
    truth, said = np.asarray(y), np.asarray(predicted)
    w = _weights(weights, same_length(y=truth, predicted=said))
    if len(truth) == 0:
        return np.full(w.shape[:-1], np.nan)
    right = (truth == said).astype(np.float64)
    recalls = [weighted_mean(right[truth == c], w[..., truth == c]) for c in np.unique(truth)]
    return _mean_of(recalls)


def brier(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Mean squared error of probabilities. p (n,): of class 1 (0-1); p (n, K): summed over classes (0-2)."""
    truth, prob = np.asarray(y), np.asarray(p, dtype=np.float64)
    if prob.ndim == 1:
        return weighted_mean((prob - (truth == 1)) ** 2, weights)
    target = truth[:, None] == np.arange(prob.shape[1])
    return weighted_mean(((prob - target) ** 2).sum(axis=1), weights)


def log_loss(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """Mean negative log probability of what was true, in nats. p: (n,) of class 1, or (n, K)."""
    truth, prob = np.asarray(y), np.asarray(p, dtype=np.float64)
    of_truth = np.where(truth == 1, prob, 1 - prob) if prob.ndim == 1 else prob[np.arange(len(truth)), truth]
    return weighted_mean(-np.log(np.clip(of_truth, PROBABILITY_FLOOR, 1.0)), weights)


def bin_of(p: F64, bins: int) -> I64:
    """Number of the equal-width bin of [0, 1] that each probability falls in; 1.0 is in the last."""
    return np.minimum((p * bins).astype(np.int64), bins - 1)


def calibration_error(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None, bins: int = 10) -> F64:
    """Expected calibration error over equal-width bins (Naeini et al., AAAI 2015; Guo et al., ICML 2017).

    p (n,): probability of class 1 against its frequency; p (n, K): of the top class against its accuracy.
    """
    truth, prob = np.asarray(y), np.asarray(p, dtype=np.float64)
    if prob.ndim == 1:
        sure, right = prob, (truth == 1).astype(np.float64)
    else:
        sure, right = prob.max(axis=1), (truth == prob.argmax(axis=1)).astype(np.float64)
    w = _weights(weights, len(sure))
    member = bin_of(sure, bins)[:, None] == np.arange(bins)
    gaps = np.abs(w @ (member * (sure - right)[:, None])).sum(axis=-1)
    return ratio(np.asarray(gaps), np.asarray(w.sum(axis=-1)))


def precision_at_k(relevant: ArrayLike, k: int) -> F64:
    """(q,) share of the first k answers that are relevant. relevant: (q, >=k) bool in rank order."""
    hits = np.asarray(relevant, dtype=bool)[:, :k]
    return np.asarray(hits.sum(axis=1) / float(k))


def recall_at_k(relevant: ArrayLike, n_relevant: ArrayLike, k: int) -> F64:
    """(q,) share of each query's relevant items that are in its first k answers; NaN when it has none."""
    hits = np.asarray(relevant, dtype=bool)[:, :k].sum(axis=1).astype(np.float64)
    return ratio(hits, np.asarray(n_relevant, dtype=np.float64))
