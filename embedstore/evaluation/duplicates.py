"""Is it the same picture: saved again, made smaller, cropped or mirrored?

Two small grey pictures are laid on one another by shift and scale (Lucas and Kanade, IJCAI 1981; with gain
and offset as Baker and Matthews, IJCV 56:221, 2004; from blurred to sharp), as they are and mirrored. Then
they must correlate, as a whole and in their fine detail: two films of one patient agree on the whole only.
Pictures turned or inverted are not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64

SIDE = 64  # pixels of the small pictures
NEIGHBOURS = 5  # candidates by vectors for each picture
LEAST_COSINE = 0.75
WHOLE, DETAIL = 0.99, 0.85
SAME_PIXELS = 1 - 1e-5  # cosine of vectors: equal pixels give equal vectors but for the order of sums

# Blur in pixels (also how far apart the places are that are compared: blurred pictures need few), steps at
# most, and the correlation below which two pictures are given up.
_ROUNDS = ((4, 4, 0.7), (4, 8, 0.9), (2, 12, -1.0), (1, 12, -1.0))
_FURTHEST = 0.3  # of the side: shift or growth beyond it is no crop but another picture
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Likeness:
    """Correlations of two pictures laid on one another: of the whole and of the fine detail, -1 to 1."""

    whole: float
    detail: float

    @property
    def same(self) -> bool:
        """Whether they are one picture."""
        return self.whole >= WHOLE and self.detail >= DETAIL


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
    """The better of two fits of (SIDE, SIDE) grey pictures: as they are, and one of them mirrored."""
    one, two = (np.asarray(picture, dtype=np.float64) for picture in (first, second))
    plain = _laid(one, two)
    return plain if plain.same else max(plain, _laid(one, two[:, ::-1]), key=lambda found: found.whole)


def _laid(first: F64, second: F64) -> Likeness:
    from scipy.ndimage import gaussian_filter

    warp = np.zeros(4)  # shift and growth at the edge, pixels: rows, rows, columns, columns
    for blur, steps, least in _ROUNDS:
        moving, still = gaussian_filter(first, blur), gaussian_filter(second, blur)
        warp = _fitted(moving, still, warp, (blur, steps))
        if np.abs(warp).max() > _FURTHEST * SIDE:
            return Likeness(-1.0, -1.0)
        found = _correlation(moving, still, warp, blur)
        if found < least:
            return Likeness(found, -1.0)
    fine = [picture - gaussian_filter(picture, 3.0) for picture in (first, second)]
    return Likeness(_correlation(first, second, warp), _correlation(fine[0], fine[1], warp))


def _fitted(moving: F64, still: F64, warp: F64, effort: tuple[int, int]) -> F64:
    stride, steps = effort
    pictures = np.stack([moving, *np.gradient(moving)])
    for _ in range(steps):
        rows, columns = _Sampling.of(warp[:2], stride), _Sampling.of(warp[2:], stride)
        seen, down, across = rows.matrix @ pictures @ columns.matrix.T
        terms = np.stack(
            [down, down * rows.place[:, None], across, across * columns.place, seen, np.ones_like(seen)]
        ).reshape(6, -1)
        normal = terms @ terms.T
        normal[np.diag_indices(6)] += 1e-7 * np.trace(normal)
        found = np.linalg.solve(normal, terms @ still[np.ix_(rows.index, columns.index)].ravel())
        gain = found[4] if abs(found[4]) > 0.2 else 1.0
        step = np.clip(found[:4] / gain, -3, 3)
        warp = warp + step
        if np.abs(step).max() < 0.02 or np.abs(warp).max() > _FURTHEST * SIDE:
            break
    return warp


@dataclass(frozen=True, slots=True, eq=False)
class _Sampling:
    """Linear interpolation along one axis, at the places that lie inside the picture.

    index: (n,) rows of the picture laid upon; place: (n,) the same from -1 to 1; matrix: (n, SIDE).
    """

    index: I64
    place: F64
    matrix: F64

    @classmethod
    def of(cls, warp: F64, stride: int = 1) -> _Sampling:
        index, place = np.arange(0, SIDE, stride), np.linspace(-1, 1, SIDE)[::stride]
        at = index + warp[0] + warp[1] * place
        inside = (at >= 0) & (at <= SIDE - 1)
        index, place, at = index[inside], place[inside], at[inside]
        low = np.minimum(at.astype(np.int64), SIDE - 2)
        matrix, each = np.zeros((len(at), SIDE)), np.arange(len(at))
        matrix[each, low] = 1 - (at - low)
        matrix[each, low + 1] = at - low
        return cls(index, place, matrix)


def _correlation(first: F64, second: F64, warp: F64, stride: int = 1) -> float:
    rows, columns = _Sampling.of(warp[:2], stride), _Sampling.of(warp[2:], stride)
    laid, under = rows.matrix @ first @ columns.matrix.T, second[np.ix_(rows.index, columns.index)]
    one, two = ((picture - picture.mean()).ravel() for picture in (laid, under))
    size = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two / size) if size > 1e-6 else 0.0  # a plain area shows nothing to compare
