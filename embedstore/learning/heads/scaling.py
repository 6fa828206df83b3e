"""How vectors are scaled before a linear head: by direction, or each dimension by its spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedstore.contracts.image import F32
from embedstore.evaluation.arrays import F64
from embedstore.learning.vectors import unit_rows

WAYS = ("unit", "standardise")


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

    def __call__(self, rows: F32, dtype: type = np.float64) -> F64:
        """(n, dim) scaled rows."""
        used = unit_rows(rows) if self.way == "unit" else rows
        found = used - self.mean.astype(dtype)
        found /= self.scale.astype(dtype)
        return np.asarray(found)


def _mean_square(rows: F32, mean: F64) -> F64:
    return np.asarray(np.square(rows - mean).mean(axis=0))
