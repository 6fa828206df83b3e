"""The nearest rows of other patients: what neighbours vote by, and what a label audit compares with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64

_CHUNK = 2048


def nearest_rows(
    asked: F32, near: F32, k: int, apart: tuple[NDArray[Any], NDArray[Any]] | None = None
) -> tuple[I64, F32]:
    """(n, k) rows of `near`, in no order, and their cosines; -1 where there are not so many.

    asked: (n, dim), near: (m, dim) unit rows. apart: (n,) and (m,) patients; equal ones are not neighbours.
    """
    rows = np.full((len(asked), k), -1, np.int64)
    cosines = np.full((len(asked), k), -np.inf, np.float32)
    wide = min(k, len(near))
    if wide == 0:
        return rows, cosines
    for start in range(0, len(asked), _CHUNK):
        block = slice(start, start + _CHUNK)
        likeness = asked[block] @ near.T
        if apart is not None:
            likeness[apart[0][block, None] == apart[1]] = -np.inf
        best = np.argpartition(-likeness, wide - 1, axis=1)[:, :wide]
        found = np.take_along_axis(likeness, best, axis=1)
        rows[block, :wide] = np.where(np.isfinite(found), best, -1)
        cosines[block, :wide] = found
    return rows, cosines
