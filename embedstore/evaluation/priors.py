"""Probabilities for another mix of classes, how that mix is found without labels, and temperature."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Groups, group_codes, same_length
from embedstore.evaluation.intervals import BOOTSTRAP, Estimate, bootstrap_mean, resampled

_STEPS = 2000
_CLOSE = 1e-7
_EDGE = 1e-4  # an estimate this near to 0 or 1 is an edge that EM ran to; its resamples run there too
SHIFT_RESAMPLES = 200
EM = f"expectation maximisation (Saerens et al. 2002), {BOOTSTRAP}"


def to_prior(probabilities: ArrayLike, old: ArrayLike, new: ArrayLike) -> F64:
    """(n, K) probabilities as they are where the classes' shares are `new` (K,) and no longer `old` (K,).

    Bayes' rule; with equal shares in `new` it is the logit adjustment for long tails, whose most probable
    class maximises the balanced accuracy (Menon et al., ICLR 2021).
    """
    prob = np.asarray(probabilities, dtype=np.float64)
    before, after = _shares(old, prob), _shares(new, prob)
    moved = prob * (after / before)
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))


def em_prior(probabilities: ArrayLike, old: ArrayLike, weights: ArrayLike | None = None) -> F64:
    """(..., K) shares of the classes among rows whose probabilities were learned at the shares `old`.

    The maximum-likelihood shares when images of a class look as they did (Saerens, Latinne and Decaestecker,
    Neural Computation 14:21, 2002). weights: (n,) or (b, n), as for a metric.
    """
    prob = np.asarray(probabilities, dtype=np.float64)
    before = _shares(old, prob)
    w = np.atleast_2d(np.ones(len(prob)) if weights is None else np.asarray(weights, dtype=np.float64))
    likelihood = prob / before
    shares = np.tile(before, (len(w), 1))
    for _ in range(_STEPS):
        denominator = likelihood @ shares.T
        moved = shares * ((w / denominator.T) @ likelihood) / w.sum(axis=1, keepdims=True)
        step = float(np.abs(moved - shares).max())
        shares = moved
        if step < _CLOSE:
            break
    return np.asarray(shares if weights is not None and np.ndim(weights) > 1 else shares[0])


def estimate_shift(
    probabilities: ArrayLike,
    old: ArrayLike,
    patients: Groups,
    *,
    resamples: int = SHIFT_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Estimate, ...]:
    """The share of each of K classes among new rows, with intervals over patients; no label is needed.

    n_positives is None: nobody knows them. Only as good as the probabilities' calibration, and without an
    interval where it ran to 0 or 1: there the resamples agree whatever the truth.
    """
    prob, people = np.asarray(probabilities, dtype=np.float64), group_codes(patients)
    same_length(probabilities=prob, patients=people)

    def shares(_: I64, chosen: F64, weights: F64 | None) -> F64:
        return em_prior(chosen, old, weights)

    found = em_prior(prob, old)
    drawn = resampled(shares, np.zeros(len(prob)), prob, people, resamples, seed)
    low, high = np.full((2, prob.shape[1]), np.nan)
    if len(drawn):
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    edge = np.minimum(found, 1 - found) < _EDGE
    low, high = np.where(edge, np.nan, low), np.where(edge, np.nan, high)
    return tuple(
        Estimate(
            metric="share",
            value=float(found[c]),
            low=float(low[c]),
            high=float(high[c]),
            level=level,
            n_images=len(prob),
            n_patients=int(people.max()) + 1 if len(people) else 0,
            n_positives=None,
            method=EM,
            resamples=resamples,
            note="at the edge, where it says little" if edge[c] else "",
        )
        for c in range(prob.shape[1])
    )


def likelihood_gain(probabilities: ArrayLike, y: ArrayLike, patients: Groups, *, seed: int = 0) -> Estimate:
    """How much more likely (mean log, nats) held-out probabilities make the classes than their shares do.

    Where the interval does not lie above 0 the probabilities know nothing of the classes, and shares found
    with them are made of noise.
    """
    prob, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(y, dtype=np.int64)
    shares = np.bincount(truth, minlength=prob.shape[1]) / len(truth)
    told = np.maximum(prob[np.arange(len(truth)), truth], 1e-12)
    return bootstrap_mean("likelihood_gain", np.log(told / shares[truth]), patients, seed=seed)


def fit_temperature(logits: ArrayLike, y: ArrayLike) -> float:
    """The T for which softmax(logits / T) is calibrated: 2.5 for logits that are 2.5 times too large.

    By maximum likelihood on (n, K) logits and (n,) classes that fitted nothing (Guo et al., ICML 2017).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    z, truth = np.asarray(logits, dtype=np.float64), np.asarray(y, dtype=np.int64)
    if z.ndim != 2 or len(z) == 0:
        raise UsageError(f"a temperature is fitted to logits of shape (n, K), got {z.shape}")
    rows = np.arange(same_length(logits=z, y=truth))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(z * np.exp(-log_temperature), axis=1)[rows, truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-6}).x))


def _shares(shares: ArrayLike, prob: F64) -> F64:
    found = np.asarray(shares, dtype=np.float64)
    if prob.ndim != 2 or found.shape != prob.shape[1:] or not (found > 0).all():
        raise UsageError("class shares are one positive number for each column of the probabilities")
    return np.asarray(found / found.sum())
