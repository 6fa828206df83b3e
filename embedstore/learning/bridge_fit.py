"""How a bridge's parameters are chosen and its map solved, always with whole patients held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedstore.contracts.image import F32
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, I64, Groups, group_codes, same_length
from embedstore.evaluation.splits import patient_folds
from embedstore.learning.retrieval import first_ranks
from embedstore.learning.vectors import same_directions, unit_rows

_K_GRID = (5, 10, 25, 50, 100, 200, 400, 800)
_EXPONENTS = (1.0, 2.0, 4.0, 8.0)
_MOST_QUERIES = 300
_NO_EXTENT = 1e-12  # mean square of unit rows about their mean, below which there is rounding only
_ALPHA_GRID = np.logspace(-4, 3, 15)


def relative(likeness: F32, k: int, exponent: float) -> F32:
    """ASIF's sparse relative representation: the k largest positive entries of each row, to a power, unit."""
    kept = np.maximum(likeness, 0.0)
    if k < kept.shape[1]:
        place = kept.shape[1] - k
        floor = np.partition(kept, place, axis=1)[:, place : place + 1]
        kept = np.where(kept >= floor, kept, np.float32(0.0))
    return unit_rows(kept**exponent)


def choose_asif(
    images: F32,
    texts: F32,
    patients: Groups | None,
    seed: int,
    *,
    k: int | None = None,
    exponent: float | None = None,
) -> tuple[int, float]:
    """The k and exponent under which texts of held-out patients rank their images best (mean log rank).

    images, texts: centred unit rows of n pairs. A given k or exponent is kept.
    """
    n_pairs = len(images)
    people = np.arange(n_pairs) if patients is None else group_codes(patients)
    same_length(images=images, patients=people)
    ks: Sequence[int] = (k,) if k is not None else [*(g for g in _K_GRID if g < n_pairs), n_pairs]
    exponents = (exponent,) if exponent is not None else _EXPONENTS
    n_people = len(np.unique(people))
    if n_people < 2:
        raise UsageError(
            "choosing k and exponent needs pairs of at least 2 patients; give both, or more pairs"
        )
    folds = patient_folds(people, min(3, n_people), seed=seed)
    loss = np.zeros((len(ks), len(exponents)))
    for fold in np.unique(folds):
        held = np.flatnonzero(folds == fold)
        held = held[:: -(-len(held) // _MOST_QUERIES)]
        anchors = folds != fold
        by_image, by_text = images[held] @ images[anchors].T, texts[held] @ texts[anchors].T
        relevant = np.equal.outer(*(same_directions(texts[held]),) * 2)
        for i, one_k in enumerate(ks):
            for j, power in enumerate(exponents):
                scores = relative(by_text, one_k, power) @ relative(by_image, one_k, power).T
                loss[i, j] += np.log(first_ranks(scores, relevant)).sum()
    row, column = divmod(int(loss.argmin()), len(exponents))
    return int(ks[row]), float(exponents[column])


@dataclass(frozen=True, slots=True, eq=False)
class _Spectrum:
    """x = u diag(s) vt, without the directions in which x has no extent."""

    u: F64
    s: F64
    vt: F64

    @classmethod
    def of(cls, x: F64) -> _Spectrum:
        """By the smaller Gram matrix, which is many times faster than a singular value decomposition."""
        tall = x.shape[0] >= x.shape[1]
        values, vectors = np.linalg.eigh(x.T @ x if tall else x @ x.T)
        keep = values > max(values[-1], 0.0) * 1e-10
        if values[-1] < len(x) * _NO_EXTENT:
            raise UsageError(
                "all images of the pairs have one and the same vector; a bridge needs differences"
            )
        s, vectors = np.sqrt(values[keep]), vectors[:, keep]
        return cls(x @ vectors / s, s, vectors.T) if tall else cls(vectors, s, (x.T @ vectors / s).T)


def solve_ridge(
    images: F32, texts: F32, patients: Groups | None, alpha: float | None = None
) -> tuple[F32, float]:
    """The (image_dim, text_dim) ridge map from centred images to centred texts, and the alpha used.

    alpha None: the grid value with the least squared error over patients left out. With the hat matrix H of
    the fit (intercept included), the residuals of the rows g of a patient who was left out are
    (I - H_gg)^-1 r_g: the block form of Allen's PRESS (Technometrics 16:125, 1974).
    """
    x, y = images.astype(np.float64), texts.astype(np.float64)
    if alpha is not None and not alpha > 0:
        raise UsageError("a ridge bridge needs an alpha above 0")
    spectrum = _Spectrum.of(x)
    projected = spectrum.u.T @ y
    if alpha is None:
        people = np.arange(len(x)) if patients is None else group_codes(patients)
        same_length(images=x, patients=people)
        if len(np.unique(people)) < 2:
            raise UsageError("choosing alpha needs pairs of at least 2 patients; give alpha, or more pairs")
        grid = _ALPHA_GRID * float(np.mean(spectrum.s**2))
        errors = [_left_out_error(spectrum, projected, y, people, float(a)) for a in grid]
        alpha = float(grid[int(np.argmin(errors))])
    weights = spectrum.vt.T @ ((spectrum.s / (spectrum.s**2 + alpha))[:, None] * projected)
    return weights.astype(np.float32), alpha


def _left_out_error(spectrum: _Spectrum, projected: F64, y: F64, people: I64, alpha: float) -> float:
    """Squared error, summed over rows, when each patient's rows are predicted without that patient."""
    shrink = spectrum.s**2 / (spectrum.s**2 + alpha)
    scaled = spectrum.u * shrink
    residual = y - scaled @ projected
    own = (scaled * spectrum.u).sum(axis=1) + 1.0 / len(y)
    counts = np.bincount(people)
    alone = counts[people] == 1
    error = float(np.sum((residual[alone] / np.maximum(1.0 - own[alone], 1e-12)[:, None]) ** 2))
    for person in np.flatnonzero(counts > 1):
        rows = np.flatnonzero(people == person)
        hat = scaled[rows] @ spectrum.u[rows].T + 1.0 / len(y)
        error += float(np.sum(np.linalg.solve(np.eye(len(rows)) - hat, residual[rows]) ** 2))
    return error
