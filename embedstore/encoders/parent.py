"""Statistics of a whole volume, gathered slice by slice, for recipes that scale its slices alike."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]


class Statistic(Protocol):
    """Something that is known of a volume once every slice was counted in; order does not matter."""

    def add(self, pixels: NDArray[Any]) -> None:
        """Count the values of one slice in."""

    def merge(self, other: Self) -> None:
        """Count in what another statistic of the same kind has counted."""

    def range(self) -> Range | None:
        """`ImageInput.parent_range`, None when nothing was counted."""


class Extremes:
    """The least and the largest value."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def add(self, pixels: NDArray[Any]) -> None:
        """See `Statistic`."""
        self._low, self._high = min(self._low, float(pixels.min())), max(self._high, float(pixels.max()))

    def merge(self, other: Extremes) -> None:
        """See `Statistic`."""
        self._low, self._high = min(self._low, other._low), max(self._high, other._high)

    def range(self) -> Range | None:
        """See `Statistic`."""
        return None if self._low > self._high else (self._low, self._high)


class Percentiles:
    """Two percentiles, exactly as numpy's (linear between ranks) of all values together.

    Different values are kept with how often they came, so that a volume of 16-bit values costs little however
    many slices it has. nonzero: zeros do not count.
    """

    def __init__(self, low: float, high: float, nonzero: bool) -> None:
        self._quantiles = low / 100, high / 100
        self._nonzero = nonzero
        self._values = np.empty(0, np.float64)
        self._counts = np.empty(0, np.int64)

    def add(self, pixels: NDArray[Any]) -> None:
        """See `Statistic`."""
        values, counts = np.unique(pixels, return_counts=True)
        kept = values != 0 if self._nonzero else np.ones(len(values), bool)
        self._join(values[kept].astype(np.float64), counts[kept])

    def merge(self, other: Percentiles) -> None:
        """See `Statistic`."""
        self._join(other._values, other._counts)

    def _join(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        both = np.concatenate([self._values, values])
        self._values, place = np.unique(both, return_inverse=True)
        joined = np.zeros(len(self._values), np.int64)
        np.add.at(joined, place, np.concatenate([self._counts, counts]))
        self._counts = joined

    def range(self) -> Range | None:
        """See `Statistic`."""
        if not len(self._values):
            return None
        last = np.cumsum(self._counts) - 1  # rank, from 0, of the last of each value
        low, high = (self._at(last, quantile * int(last[-1])) for quantile in self._quantiles)
        return low, high

    def _at(self, last: NDArray[np.int64], rank: float) -> float:
        below, above = (
            float(self._values[np.searchsorted(last, at)]) for at in (np.floor(rank), np.ceil(rank))
        )
        return below + (above - below) * (rank - float(np.floor(rank)))
