"""How sure a linear head may be: the normal approximation around its weights, or refits to other patients.

The last-layer Laplace approximation (MacKay, Neural Computation 4:720, 1992; Daxberger et al., NeurIPS 2021)
takes the penalty as a prior and the curvature at the minimum as the posterior's; answers average over it by
the probit approximation (Spiegelhalter and Lauritzen, Networks 20:579, 1990). The ensemble resamples whole
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads.record import Parts
from embedstore.learning.heads.rows import Rows, class_counts
from embedstore.learning.heads.solver import Linear

_NODES = np.linspace(-6, 6, 97)  # in standard deviations: for smooth functions the plain sum is all but exact
_NODE_SHARES = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()
_DRAWS = 256
_TINY = 1e-12


def laplace_covariance(x: F64, fit: Linear, c: float, weights: F64) -> F64:
    """(k, dim + 1, dim + 1) posterior covariance of each row of weights and its intercept (last).

    x: (n, dim) scaled rows. Two classes: exact curvature. More: that of each class by itself, the terms
    between classes left out. The intercept has no prior.
    """
    from scipy.linalg import inv
    from scipy.special import expit, softmax

    z = fit.scores(x)
    p = expit(z) if z.shape[1] == 1 else softmax(z, axis=1)
    rows = np.column_stack([x, np.ones(len(x))])
    prior = np.r_[np.full(x.shape[1], 1 / c), _TINY]
    found = []
    for column in (p * (1 - p)).T:
        curvature = (rows * (column * weights)[:, None]).T @ rows
        curvature[np.diag_indices_from(curvature)] += prior
        found.append(inv(curvature))
    return np.stack(found)


def variances(x: F64, covariance: F64) -> F64:
    """(n, k) variances of the scores of (n, dim) scaled rows."""
    rows = np.column_stack([x, np.ones(len(x))])
    return np.stack([np.maximum(((rows @ one) * rows).sum(axis=1), 0.0) for one in covariance], axis=1)


def moderated(z: F64, x: F64, covariance: F64) -> F64:
    """Scores drawn towards 0 by their variance, so that their sigmoid (softmax) is about the mean answer."""
    return z / np.sqrt(1 + np.pi / 8 * variances(x, covariance))


def parts_of_normal(z: F64, x: F64, covariance: F64, separate: bool) -> Parts:
    """Entropies under normal scores: by quadrature for sigmoids, by fixed draws for a softmax."""
    from scipy.special import expit, softmax

    spread = np.sqrt(variances(x, covariance))
    single = separate or z.shape[1] == 1
    points = _NODES[:, None] if single else _draws(z.shape[1])
    shares = _NODE_SHARES if single else np.full(len(points), 1 / len(points))
    within, mean = 0.0, np.zeros_like(z)
    for point, share in zip(points, shares, strict=True):
        score = z + spread * point
        p = np.asarray(expit(score) if single else softmax(score, axis=1))
        within = within + share * (_binary_entropy(p) if single else _entropy(p))
        mean += share * p
    whole = _binary_entropy(mean) if single else _entropy(mean)
    if single and not separate:
        return _parts(whole[:, 0], np.asarray(within)[:, 0])
    return _parts(whole, np.asarray(within))


def _draws(k: int) -> F64:
    """(_DRAWS, k) standard normal, each with its mirror image."""
    noise = np.random.default_rng(0).standard_normal((_DRAWS // 2, k))
    return np.concatenate([noise, -noise])


def fit_ensemble(rows: Rows, fit: Callable[[Rows], tuple[F64, F64]], members: int) -> dict[str, NDArray[Any]]:
    """Refits to draws of whole patients: weights (members, k, dim), bias (members, k).

    A draw that loses a class is drawn again. Raises UsageError when the draws keep losing one.
    """
    people = np.unique(rows.patients)
    of_patient = [np.flatnonzero(rows.patients == person) for person in people]
    rng = np.random.default_rng(rows.seed)
    found: list[tuple[F64, F64]] = []
    for _ in range(3 * members):
        picked = rng.integers(len(people), size=len(people))
        drawn = rows.at(np.concatenate([of_patient[one] for one in picked]))
        try:
            if rows.task != "value":
                class_counts(drawn)
        except UsageError:
            continue
        found.append(fit(drawn))
        if len(found) == members:
            return {
                "member_weights": np.stack([weights for weights, _ in found]),
                "member_bias": np.stack([bias for _, bias in found]),
            }
    raise UsageError("a class of the training rows is too rare for an ensemble over patients; use laplace")


def member_scores(arrays: Mapping[str, NDArray[Any]], x: F64) -> F64:
    """(members, n, k)."""
    return np.asarray(
        np.einsum("nd,mkd->mnk", x, arrays["member_weights"], optimize=True)
        + arrays["member_bias"][:, None, :]
    )


def averaged(arrays: Mapping[str, NDArray[Any]], x: F64, separate: bool) -> F64:
    """(n, outputs) mean answer of the members."""
    return np.asarray(_member_answers(arrays, x, separate).mean(axis=0))


def parts_of_members(arrays: Mapping[str, NDArray[Any]], x: F64, separate: bool) -> Parts:
    """The entropy of the mean answer, less the answers' mean entropy, is what the members disagree about."""
    p = _member_answers(arrays, x, separate)
    entropy = _binary_entropy if separate else _entropy
    return _parts(entropy(p.mean(axis=0)), entropy(p).mean(axis=0))


def _member_answers(arrays: Mapping[str, NDArray[Any]], x: F64, separate: bool) -> F64:
    from scipy.special import expit, softmax

    z = member_scores(arrays, x)
    if separate:
        return np.asarray(expit(z))
    wide = np.concatenate([np.zeros_like(z), z], axis=2) if z.shape[2] == 1 else z
    return np.asarray(softmax(wide, axis=2))


def _parts(whole: F64, within: F64) -> Parts:
    return Parts(aleatoric=within, epistemic=np.maximum(whole - within, 0.0))


def _entropy(p: F64) -> F64:
    return np.asarray(-(p * np.log(np.maximum(p, _TINY))).sum(axis=-1))


def _binary_entropy(p: F64) -> F64:
    other = 1 - p
    return np.asarray(-(p * np.log(np.maximum(p, _TINY)) + other * np.log(np.maximum(other, _TINY))))
