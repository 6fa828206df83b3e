"""How vectors are scaled before a linear head: by direction, or each dimension by its spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedstore.contracts.image import F32
from embedstore.evaluation.arrays import F64
from embedstore.learning.vectors import TINY, unit_rows

WAYS = ("unit", "standardise")
_BLOCK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Vectors to length 1 where way is "unit", then (v - mean) / scale; mean, scale: (dim,)."""

    way: str
    mean: F64
    scale: F64

    @classmethod
    def of(cls, rows: F32, way: str) -> Scaler:
        """Learned from training rows."""
        used = unit_rows(rows) if way == "unit" else rows
        mean = used.mean(axis=0, dtype=np.float64)
        spread = np.sqrt(np.maximum(_mean_square(used, mean), 0.0))
        if way == "unit":
            # One common factor: directions stay as they are, and C means the same whatever the dimension.
            return cls(way, mean, np.full(len(mean), max(float(spread.mean()), 1e-12)))
        return cls(way, mean, np.where(spread > 1e-9 * max(float(spread.max()), 1e-300), spread, 1.0))

    def scores(self, rows: F32, weights: F64, bias: F64) -> F64:
        """(n, k) scaled rows times weights (k, dim), plus bias (k,), in double precision.

        Scaling is folded into the weights, and rows pass in blocks that stay in the processor's cache.
        """
        folded = (weights / self.scale).T
        shift = bias - folded.T @ self.mean
        found = np.empty((len(rows), len(bias)))
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK].astype(np.float64)
            one = block @ folded
            if self.way == "unit":
                one /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), TINY)
            found[start : start + _BLOCK] = one + shift
        return found

    def __call__(self, rows: F32, dtype: type = np.float64) -> F64:
        """(n, dim) scaled rows."""
        used = unit_rows(rows) if self.way == "unit" else rows
        found = used - self.mean.astype(dtype)
        found /= self.scale.astype(dtype)
        return np.asarray(found)


def _mean_square(rows: F32, mean: F64) -> F64:
    return np.asarray(np.square(rows - mean).mean(axis=0))
