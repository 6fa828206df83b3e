"""Maximum mean discrepancy between two sets of patients, and its test by permuting patients.

Gretton, Borgwardt, Rasch, Schölkopf and Smola, A kernel two-sample test, JMLR 13:723, 2012. The images of one
patient resemble each other, so a permutation of images finds differences between any two sets of patients;
here patients change sides as wholes, and each weighs one however many images there are of it.
"""

from __future__ import annotations

import numpy as np

from embedstore.evaluation.arrays import F64, I64, Bools

_CHUNK_CELLS = 4_000_000
_WIDTH_ROWS = 1000


def gaussian_width(x: F64, seed: int = 0) -> float:
    """The median distance between rows of (n, d): a width at which a Gaussian kernel sees their spread."""
    from scipy.spatial.distance import pdist

    chosen = x
    if len(x) > _WIDTH_ROWS:
        chosen = x[np.random.default_rng(seed).choice(len(x), _WIDTH_ROWS, replace=False)]
    distances = pdist(chosen)
    positive = distances[distances > 0]
    return float(np.median(positive)) if len(positive) else 1.0


def patient_kernel(x: F64, people: I64, width: float, *, along: F64 | None = None, shift: float = 0.0) -> F64:
    """(p, p) mean over pairs of images of exp(-|a - b|^2 / (2 width^2)), by their patients' codes 0..p-1.

    along: unit vector (d,); with `shift` the images b are moved by that much along it. What is within a
    patient stands on the diagonal, and no estimate uses it.
    """
    n_people = int(people.max()) + 1
    order = np.argsort(people, kind="stable")
    rows, starts = x[order], np.searchsorted(people[order], np.arange(n_people))
    other = rows if along is None else rows + shift * along
    own, squares = (rows * rows).sum(axis=1), (other * other).sum(axis=1)
    by_column = np.empty((len(rows), n_people))
    step = max(1, _CHUNK_CELLS // len(rows))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        apart = own[some, None] + squares - 2 * rows[some] @ other.T
        near = np.exp(np.maximum(apart, 0) / (-2 * width * width))
        by_column[some] = np.add.reduceat(near, starts, axis=1)
    counts = np.bincount(people).astype(np.float64)
    return np.asarray(np.add.reduceat(by_column, starts, axis=0) / np.outer(counts, counts))


def mmd2(kernel: F64, in_new: Bools, cross: F64 | None = None) -> F64:
    """(...) unbiased MMD^2 for (..., p) masks of the patients on the new side.

    cross: kernel (reference, new) between the sides where it differs, as for a shift that was added.
    """
    new = np.atleast_2d(in_new).astype(np.float64)
    old = 1 - new
    apart = kernel - np.diag(np.diag(kernel))
    m, n = new.sum(axis=1), old.sum(axis=1)
    within_new = ((new @ apart) * new).sum(axis=1) / (m * (m - 1))
    within_old = ((old @ apart) * old).sum(axis=1) / (n * (n - 1))
    between = ((old @ (apart if cross is None else cross)) * new).sum(axis=1) / (m * n)
    found = within_new + within_old - 2 * between
    return np.asarray(found.reshape(np.shape(in_new)[:-1]))


def mmd2_error(kernel: F64, in_new: Bools) -> float:
    """Standard error of `mmd2` over patients, from what each adds to it (first order: too small at MMD 0)."""
    apart = kernel - np.diag(np.diag(kernel))
    variance = 0.0
    for side in (in_new, ~in_new):
        count = int(side.sum())
        own = apart[np.ix_(side, side)].sum(axis=1) / (count - 1)
        variance += 4 * float(np.var(own - apart[np.ix_(side, ~side)].mean(axis=1), ddof=1)) / count
    return float(np.sqrt(variance))


def patient_permutations(n_patients: int, n_new: int, permutations: int, seed: int) -> Bools:
    """(permutations, n_patients) masks, each with `n_new` patients drawn for the new side."""
    rng = np.random.default_rng(seed)
    keys = rng.random((permutations, n_patients))
    return np.asarray(np.argsort(np.argsort(keys, axis=1), axis=1) < n_new)


def permutation_p(observed: float, drawn: F64) -> float:
    """(1 + draws at least as large) / (1 + draws)."""
    return float((1 + np.sum(drawn >= observed - 1e-15)) / (1 + len(drawn)))
