"""Is it the same picture: saved again, made smaller, cropped or mirrored?

Two small grey pictures are laid on one another by shift and scale (Lucas and Kanade, IJCAI 1981; with gain
and offset as Baker and Matthews, IJCV 56:221, 2004; from blurred to sharp), as they are and mirrored. Then
they must correlate, as a whole and in their fine detail: two films of one patient agree on the whole only.
Pictures turned or inverted are not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64, Bools

SIDE = 64  # pixels of the small pictures
NEIGHBOURS = 5  # candidates by vectors for each picture
LEAST_COSINE = 0.75
WHOLE, DETAIL = 0.99, 0.85
SAME_PIXELS = 1 - 1e-5  # cosine of vectors: equal pixels give equal vectors but for the order of sums

# Blur in pixels, the stride between the places compared (blurred pictures need few), steps at most, and the
# correlation below which two pictures are given up.
_ROUNDS = ((4, 4, 4, 0.7), (4, 4, 8, 0.9), (2, 2, 12, 0.95), (1, 2, 12, 0.95))
_FINE = 3  # pixels: what this blur takes away is fine detail
_CLOSE = 0.02  # pixels: a smaller step ends a round
_FURTHEST = 0.3  # of the side: shift or growth beyond it is no crop but another picture
_CHUNK = 1024
_AT_ONCE = 64  # pairs laid on one another together: many share the cost of a call, few stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """Correlations (n,) of pairs of pictures laid on one another, -1 to 1: of the whole, of fine detail."""

    whole: F64
    detail: F64

    @property
    def same(self) -> Bools:
        """(n,) whether they are one picture."""
        return (self.whole >= WHOLE) & (self.detail >= DETAIL)


def candidates(known: F32, asked: F32) -> tuple[I64, I64, F64]:
    """Pairs worth a look by their vectors (rows of length 1): each of `asked` with its nearest `known`.

    Returns rows of known, rows of asked, and cosines, each (pairs,).
    """
    if not len(known) or not len(asked):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    count = min(NEIGHBOURS, len(known))
    rows, cosines = [], []
    for start in range(0, len(asked), _CHUNK):
        likeness = asked[start : start + _CHUNK] @ known.T
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        rows.append(nearest)
        cosines.append(np.take_along_axis(likeness, nearest, axis=1))
    of_known, cosine = np.concatenate(rows).ravel(), np.concatenate(cosines).ravel().astype(np.float64)
    of_asked = np.repeat(np.arange(len(asked)), count)
    kept = cosine >= LEAST_COSINE
    return of_known[kept].astype(np.int64), of_asked[kept].astype(np.int64), cosine[kept]


def likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Likeness:
    """The better of two fits of each pair of grey pictures (n, SIDE, SIDE): as they are, and one mirrored."""
    whole, detail = np.empty(len(first)), np.empty(len(first))
    for start in range(0, len(first), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        one, two = (pictures[block].astype(np.float64) for pictures in (first, second))
        found = _laid(one, two)
        rest = np.flatnonzero(~found.same)
        mirrored = _laid(one[rest], two[rest, :, ::-1])
        better = mirrored.whole > found.whole[rest]
        found.whole[rest[better]] = mirrored.whole[better]
        found.detail[rest[better]] = mirrored.detail[better]
        whole[block], detail[block] = found.whole, found.detail
    return Likeness(whole, detail)


def _laid(first: F64, second: F64) -> Likeness:
    whole, detail = np.full(len(first), -1.0), np.full(len(first), -1.0)
    warp = np.zeros((len(first), 4))  # shift and growth at the edge, pixels: rows, rows, columns, columns
    left = np.arange(len(first))
    for blur, stride, steps, least in _ROUNDS:
        moving, still = _blurred(first[left], blur), _blurred(second[left], blur)
        warp[left] = _fitted(moving, still, warp[left], stride, steps)
        near = np.abs(warp[left]).max(axis=1, initial=0) <= _FURTHEST * SIDE
        whole[left] = np.where(near, _correlation(moving, still, warp[left], stride), -1.0)
        left = left[near & (whole[left] >= least)]
        if not len(left):
            return Likeness(whole, detail)
    one, two = first[left], second[left]
    whole[left] = _correlation(one, two, warp[left])
    fine = [picture - _blurred(picture, _FINE) for picture in (one, two)]
    detail[left] = _correlation(fine[0], fine[1], warp[left])
    return Likeness(whole, detail)


def _fitted(moving: F64, still: F64, warp: F64, stride: int, steps: int) -> F64:
    """Warps (n, 4) that lay `moving` on `still`, each (n, SIDE, SIDE), at every stride-th place."""
    warp = warp.copy()
    pictures = np.stack([moving, *np.gradient(moving, axis=(1, 2))], axis=1)
    under = still[:, ::stride, ::stride].reshape(len(still), (SIDE // stride) ** 2, 1)
    left = np.arange(len(warp))
    for _ in range(steps):
        if not len(left):
            break
        rows, columns = _Sampling.of(warp[left, :2], stride), _Sampling.of(warp[left, 2:], stride)
        seen, down, across = np.moveaxis(
            rows.matrix[:, None] @ pictures[left] @ columns.matrix[:, None].swapaxes(2, 3), 1, 0
        )
        inside = rows.inside[:, :, None] * columns.inside[:, None, :]
        place = rows.place
        terms = np.stack([down, down * place[:, None], across, across * place, seen, inside], axis=1)
        terms = terms.reshape(len(left), 6, -1)
        normal = terms @ terms.swapaxes(1, 2)
        normal[:, range(6), range(6)] += (
            1e-7 * np.trace(normal, axis1=1, axis2=2)[:, None] + np.finfo(float).tiny
        )
        found = np.linalg.solve(normal, terms @ under[left])[..., 0]
        gain = np.where(np.abs(found[:, 4:5]) > 0.2, found[:, 4:5], 1.0)
        step = np.clip(found[:, :4] / gain, -3, 3)
        warp[left] += step
        done = (np.abs(step).max(axis=1) < _CLOSE) | (np.abs(warp[left]).max(axis=1) > _FURTHEST * SIDE)
        left = left[~done]
    return warp


@dataclass(frozen=True, slots=True, eq=False)
class _Sampling:
    """Linear interpolation along one axis at every stride-th place, for each of n pictures.

    place: (m,) -1 to 1; inside: (n, m) 1 where the place lies in the other picture, else 0; matrix:
    (n, m, SIDE), zero outside.
    """

    place: F64
    inside: F64
    matrix: F64

    @classmethod
    def of(cls, warp: F64, stride: int = 1) -> _Sampling:
        index, place = np.arange(0, SIDE, stride), np.linspace(-1, 1, SIDE)[::stride]
        at = index + warp[:, :1] + warp[:, 1:] * place
        inside = ((at >= 0) & (at <= SIDE - 1)).astype(np.float64)
        # A hat around each place is what linear interpolation weighs the pixels by.
        hat = 1 - np.abs(at[:, :, None] - np.arange(SIDE))
        return cls(place, inside, np.maximum(hat, 0) * inside[:, :, None])


def _correlation(first: F64, second: F64, warp: F64, stride: int = 1) -> F64:
    """(n,) where they lie on one another."""
    rows, columns = _Sampling.of(warp[:, :2], stride), _Sampling.of(warp[:, 2:], stride)
    inside = rows.inside[:, :, None] * columns.inside[:, None, :]
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    laid = rows.matrix @ first @ columns.matrix.swapaxes(1, 2)
    one, two = (
        (picture - (picture * inside).sum(axis=(1, 2), keepdims=True) / count) * inside
        for picture in (laid, second[:, ::stride, ::stride])
    )
    size = np.sqrt((one * one).sum(axis=(1, 2)) * (two * two).sum(axis=(1, 2)))
    # A plain area shows nothing to compare.
    return np.where(size > 1e-6, (one * two).sum(axis=(1, 2)) / np.maximum(size, 1e-6), 0.0)


def _blurred(pictures: F64, blur: float) -> F64:
    matrix = _blur_matrix(blur)
    return np.asarray(matrix @ pictures @ matrix.T)


@cache
def _blur_matrix(blur: float) -> F64:
    """(SIDE, SIDE) a Gaussian along one axis."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(SIDE), blur, axis=0))
