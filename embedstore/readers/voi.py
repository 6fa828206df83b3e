"""From stored values to display values: modality and VOI transforms of PS3.3 C.11.1 and C.11.2, on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32

VoiFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
_LOW, _HIGH = 0.5, 99.5


@dataclass(frozen=True, slots=True)
class Rescale:
    """output = slope * stored + intercept (C.11.1.1.2)."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Lut:
    """A lookup table. first: input value of entry 0; values below and above take the first and last entry.

    entries: (n,) unsigned. bits: bits per entry as declared.
    """

    first: int
    entries: NDArray[Any]
    bits: int


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window in units of modality values (C.11.2.1.2)."""

    centre: float
    width: float
    function: VoiFunction = "LINEAR"

    @property
    def usable(self) -> bool:
        """Width at least 1 for LINEAR and above 0 for the others, as the standard demands."""
        return self.width >= 1 if self.function == "LINEAR" else self.width > 0


def to_modality(stored: NDArray[Any], transform: Rescale | Lut | None) -> F32:
    """Stored values to modality values (Hounsfield units in CT), float32 of the same shape."""
    if isinstance(transform, Lut):
        return look_up(stored, transform).astype(np.float32)
    if transform is None:
        return stored.astype(np.float32)
    # In double first: float32 would lose the small values of 32-bit data to a large intercept.
    return (stored.astype(np.float64) * transform.slope + transform.intercept).astype(np.float32)


def look_up(values: NDArray[Any], lut: Lut) -> NDArray[Any]:
    """Entries of the table for the values, which are rounded to integers when they are not."""
    whole = np.rint(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
    found: NDArray[Any] = lut.entries[np.clip(whole - lut.first, 0, len(lut.entries) - 1)]
    return found


def to_display(values: F32, voi: Window | Lut) -> F32:
    """Modality values to 0..1 by a window or a VOI LUT. Raises ValueError for an unusable window."""
    if isinstance(voi, Lut):
        return (look_up(values, voi) / float(2**voi.bits - 1)).astype(np.float32)
    if not voi.usable:
        raise ValueError(f"a {voi.function} window of width {voi.width} is not defined")
    x = values.astype(np.float64)
    if voi.function == "SIGMOID":
        with np.errstate(over="ignore"):
            return (1.0 / (1.0 + np.exp(-4.0 * (x - voi.centre) / voi.width))).astype(np.float32)
    if voi.function == "LINEAR_EXACT":
        scaled = (x - voi.centre) / voi.width + 0.5
    elif voi.width == 1:
        scaled = (x > voi.centre - 0.5).astype(np.float64)
    else:
        scaled = (x - (voi.centre - 0.5)) / (voi.width - 1) + 0.5
    return np.clip(scaled, 0.0, 1.0).astype(np.float32)


def to_shown(stored: NDArray[Any], modality: Rescale | Lut | None, voi: Window | Lut) -> NDArray[np.uint8]:
    """Stored values to 0..255 by both transforms, which look at each value by itself.

    Where the integers between the smallest and the largest are fewer than the pixels, each is transformed
    once and the pixels are looked up: the same result in a quarter of the time.
    """
    low, high = (
        (int(stored.min()), int(stored.max())) if stored.size and stored.dtype.kind in "ui" else (0, 0)
    )
    if not 0 < high - low < stored.size:
        return to_uint8(to_display(to_modality(stored, modality), voi))
    table = to_uint8(to_display(to_modality(np.arange(low, high + 1), modality), voi))
    shown: NDArray[np.uint8] = table[stored.astype(np.intp) - low]
    return shown


def stretch(values: F32, counted: NDArray[np.bool_] | None = None) -> F32:
    """Modality values to 0..1 when the file says no window: percentiles 0.5 to 99.5 of the image.

    counted: pixels that take part (False for padding). Without spread between the percentiles the minimum
    and maximum are used; a constant image is 0 everywhere.
    """
    seen = values if counted is None else values[counted]
    seen = seen[np.isfinite(seen)]
    if seen.size == 0:
        return np.zeros(values.shape, np.float32)
    low, high = (float(v) for v in np.percentile(seen, (_LOW, _HIGH)))
    if low >= high:
        low, high = float(seen.min()), float(seen.max())
    if low >= high:
        return np.zeros(values.shape, np.float32)
    scaled = (np.nan_to_num(values, nan=low).astype(np.float64) - low) / (high - low)
    return np.clip(scaled, 0.0, 1.0).astype(np.float32)


def to_uint8(unit: F32) -> NDArray[np.uint8]:
    """0..1 to 0..255, rounded to the nearest."""
    return np.asarray(np.rint(unit * 255.0), dtype=np.uint8)
