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
from embedstore.evaluation.arrays import F64, Bools

SIDE = 64  # pixels of the small pictures
NEIGHBOURS = 5  # candidates by vectors for each picture
LEAST_COSINE = 0.75
WHOLE, DETAIL = 0.99, 0.85
SAME_PIXELS = 1 - 1e-5  # cosine of vectors: equal pixels give equal vectors but for the order of sums

_BLURS = (4.0, 2.0, 1.0)
_STEPS = 12
_HOPELESS = 0.9  # correlation after the first, most blurred fit
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
    for level, blur in enumerate(_BLURS):
        moving, still = gaussian_filter(first, blur), gaussian_filter(second, blur)
        warp = _fitted(moving, still, warp)
        if np.abs(warp).max() > _FURTHEST * SIDE:
            return Likeness(-1.0, -1.0)
        found = _correlation(moving, still, warp)
        if level == 0 and found < _HOPELESS:
            return Likeness(found, -1.0)
    fine = [picture - gaussian_filter(picture, 3.0) for picture in (first, second)]
    return Likeness(_correlation(first, second, warp), _correlation(fine[0], fine[1], warp))


def _fitted(moving: F64, still: F64, warp: F64) -> F64:
    slopes = np.gradient(moving)
    place = np.linspace(-1, 1, SIDE)
    for _ in range(_STEPS):
        rows, columns = _sampling(warp[:2]), _sampling(warp[2:])
        inside = np.ix_(rows[1], columns[1])
        seen, down, across = (
            (rows[0] @ picture @ columns[0].T)[inside].ravel() for picture in (moving, *slopes)
        )
        u, v = (grid[inside].ravel() for grid in np.meshgrid(place, place, indexing="ij"))
        terms = np.stack([down, down * u, across, across * v, seen, np.ones_like(seen)], axis=1)
        normal = terms.T @ terms
        normal[np.diag_indices(6)] += 1e-7 * np.trace(normal)
        found = np.linalg.solve(normal, terms.T @ still[inside].ravel())
        gain = found[4] if abs(found[4]) > 0.2 else 1.0
        step = np.clip(found[:4] / gain, -3, 3)
        warp = warp + step
        if np.abs(step).max() < 0.02 or np.abs(warp).max() > _FURTHEST * SIDE:
            break
    return warp


def _sampling(warp: F64) -> tuple[F64, Bools]:
    """(SIDE, SIDE) linear interpolation along one axis, and which of its places lie inside the picture."""
    middle = (SIDE - 1) / 2
    at = np.arange(SIDE) + warp[0] + warp[1] * np.linspace(-1, 1, SIDE)
    inside = (at >= 0) & (at <= 2 * middle)
    low = np.clip(np.floor(at).astype(np.int64), 0, SIDE - 2)
    share = np.clip(at - low, 0, 1)
    matrix = np.zeros((SIDE, SIDE))
    matrix[np.arange(SIDE), low] = 1 - share
    matrix[np.arange(SIDE), low + 1] = share
    return matrix, inside


def _correlation(first: F64, second: F64, warp: F64) -> float:
    rows, columns = _sampling(warp[:2]), _sampling(warp[2:])
    inside = np.ix_(rows[1], columns[1])
    one, two = (
        (picture - picture.mean()).ravel()
        for picture in ((rows[0] @ first @ columns[0].T)[inside], second[inside])
    )
    size = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two / size) if size > 1e-6 else 0.0  # a plain area shows nothing to compare
