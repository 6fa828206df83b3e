"""Three two-sample tests on vectors; patients are permuted, never images."""

from __future__ import annotations

import numpy as np

from embedstore.evaluation.arrays import F64, I64, Bools
from embedstore.evaluation.clustered import clustered_auc
from embedstore.evaluation.mmd import gaussian_width, mmd2, mmd2_error, patient_kernel, permutation_p
from embedstore.evaluation.shift_sides import LEVEL, ShiftTest, Sides, result_of
from embedstore.evaluation.splits import patient_folds

_RIDGE = 0.1  # of the components' variance, which is 1


def mmd_test(sides: Sides, drawn: Bools, *, width: float | None = None, seed: int = 0) -> ShiftTest:
    """MMD^2 with a Gaussian kernel, of median width unless told otherwise."""
    used = gaussian_width(sides.x, seed) if width is None else width
    kernel = patient_kernel(sides.x, sides.people, used)
    observed, null = float(mmd2(kernel, sides.in_new)), mmd2(kernel, drawn)
    detail = {"width": used, "null_95": float(np.quantile(null, 1 - LEVEL))}
    reach = 1.96 * mmd2_error(kernel, sides.in_new)
    interval = (observed - reach, observed + reach)
    p = permutation_p(observed, null)
    return result_of("mmd2", observed, p, sides, drawn, "unbiased MMD^2, patients permuted", detail, interval)


def classifier_test(sides: Sides, drawn: Bools, *, scores: F64, folds: int = 5, seed: int = 0) -> ShiftTest:
    """How well a classifier tells the sides apart on patients it has not seen (Lopez-Paz and Oquab, ICLR
    2017): 0.5 is not at all. Fisher's linear discriminant on the components, out of fold, fitted anew for
    every permutation: scores that were fitted once are not exchangeable, and their test claims too much."""
    told = _discriminant(sides, np.vstack([sides.in_new, drawn]), scores, folds, seed)
    found = clustered_auc(sides.is_new, told[:, 0], sides.people)
    null = _aucs(told[:, 1:], sides.people, drawn)
    return result_of(
        "classifier_auroc",
        found.value,
        permutation_p(found.value, null),
        sides,
        drawn,
        "out-of-fold linear discriminant, patients permuted",
        {"components": scores.shape[1], "interval": found.method},
        (found.low, found.high),
    )


def _discriminant(sides: Sides, masks: Bools, scores: F64, folds: int, seed: int) -> F64:
    """(n, b) out-of-fold scores for b ways to part the patients; folds do not depend on the way."""
    fold_of = patient_folds(sides.people, folds, seed=seed)
    told = np.empty((len(scores), len(masks)))
    for fold in np.unique(fold_of):
        held = fold_of == fold
        x, new = scores[~held], masks[:, sides.people[~held]].T.astype(np.float64)
        n_new = np.maximum(new.sum(axis=0), 1)
        n_old = np.maximum(len(x) - new.sum(axis=0), 1)
        means = x.T @ new / n_new - x.T @ (1 - new) / n_old
        covariance = np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1])
        told[held] = scores[held] @ np.linalg.solve(covariance + _RIDGE * np.eye(len(covariance)), means)
    return told


def ks_test(sides: Sides, drawn: Bools, *, scores: F64) -> ShiftTest:
    """Kolmogorov-Smirnov on each component, with Holm's correction for their number (Rabanser, Günnemann and
    Lipton, Failing loudly, NeurIPS 2019)."""
    masks = np.vstack([sides.in_new, drawn])
    n_new = sides.in_new.sum()
    weights = np.where(masks, 1 / n_new, -1 / (len(sides.in_new) - n_new))
    distances = np.stack([_ks(column, sides.people, weights) for column in scores.T], axis=1)
    p = np.array([permutation_p(d[0], d[1:]) for d in distances.T])
    adjusted = holm(p)
    detail = {
        "components": scores.shape[1],
        "moved_components": (np.flatnonzero(adjusted <= LEVEL) + 1).tolist(),
        "distances": distances[0].tolist(),
        "holm_p": adjusted.tolist(),
    }
    furthest = int(distances[0].argmax())
    again = _ks(scores[:, furthest], sides.people, _resampled_weights(sides.in_new, len(drawn)))
    low, high = (float(q) for q in np.quantile(again, (0.025, 0.975)))
    method = "largest of the components, patients permuted, Holm"
    return result_of(
        "ks", float(distances[0, furthest]), float(adjusted.min()), sides, drawn, method, detail, (low, high)
    )


def holm(p: F64) -> F64:
    """(m,) p-values for m tests at once (Holm, Scandinavian Journal of Statistics 6:65, 1979)."""
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(raised, 1.0)
    return out


def _resampled_weights(in_new: Bools, count: int) -> F64:
    """(count, p) weights of patients drawn anew on each side; those of the reference are negative."""
    rng = np.random.default_rng(0)
    found = np.zeros((count, len(in_new)))
    for side, sign in ((in_new, 1.0), (~in_new, -1.0)):
        n = int(side.sum())
        found[:, side] = sign * rng.multinomial(n, np.full(n, 1 / n), size=count) / n
    return found


def _ks(column: F64, people: I64, weights: F64) -> F64:
    """(b,) KS distances for (b, p) weights of patients, 1 in sum on the new side and -1 on the reference."""
    order = np.argsort(column, kind="stable")
    each = 1.0 / np.bincount(people)[people[order]]
    last_of_tie = np.r_[column[order][1:] != column[order][:-1], True]
    found = np.empty(len(weights))
    step = max(1, 2_000_000 // len(column))
    for start in range(0, len(weights), step):
        signed = weights[start : start + step][:, people[order]] * each
        found[start : start + step] = np.abs(np.cumsum(signed, axis=1)[:, last_of_tie]).max(axis=1)
    return found


def _aucs(scores: F64, people: I64, masks: Bools) -> F64:
    """(b,) AUROCs of (n, b) scores for (b, p) sides (Mann-Whitney by ranks)."""
    from scipy.stats import rankdata

    found = np.empty(len(masks))
    step = max(1, 2_000_000 // len(scores))
    for start in range(0, len(masks), step):
        some = slice(start, start + step)
        new = masks[some][:, people].T
        n_new = new.sum(axis=0).astype(np.float64)
        won = (rankdata(scores[:, some], axis=0) * new).sum(axis=0) - n_new * (n_new + 1) / 2
        found[some] = won / (n_new * (len(scores) - n_new))
    return found
