"""Stored voxels to what was asked for.

- "raw": slope and intercept applied, float32. Values that are not finite (statistical maps have NaN outside
  the brain) become 0.
- "hu": the same, for volumes that say they are CT and whose type can hold negative numbers; NIfTI, Analyze
  and most NRRD files do not say what they are.
- "display": stretched from the 0.5th to the 99.5th percentile of the finite values other than zero of the
  whole file (all slices, all time points), so that slices of a volume can be compared; taken from at most a
  million voxels spread evenly over it. NaN is black. Without spread, from the least to the largest value, and
  a constant volume is black. Colours of 8 bits are shown as they are, on black where transparent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, Intensity
from embedstore.errors import ReadFailure
from embedstore.readers.raster_pixels import on_black
from embedstore.readers.voi import to_uint8
from embedstore.readers.volume_header import Layout, VolumeHeader

Range = tuple[float, float]
_LOW, _HIGH = 0.5, 99.5


def refuse_unknown(header: VolumeHeader, want: Intensity) -> None:
    """Raise ReadFailure for a unit that the header does not vouch for."""
    layout = header.layout
    negative = layout.dtype.kind != "u" or layout.intercept < 0
    if want == "hu" and not (header.modality == "CT" and layout.channels == 1 and negative):
        raise ReadFailure("its values are not known to be Hounsfield units")
    if want == "suv":
        raise ReadFailure("its values are not known to be standardised uptake values")


def rule(layout: Layout) -> str:
    """Which rule makes its display values, in words."""
    return "as stored" if layout.channels > 1 else "percentiles 0.5 to 99.5 of the whole file, zeros left out"


def range_of(sample: NDArray[Any], layout: Layout) -> Range:
    """What is shown as black and as white, from a sample of stored values."""
    values = _real(sample, layout)
    values = values[np.isfinite(values)]
    seen = values[values != 0]
    if seen.size == 0:
        return 0.0, 0.0
    low, high = (float(v) for v in np.percentile(seen, (_LOW, _HIGH)))
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def raw(stored: NDArray[Any], layout: Layout) -> F32:
    """(..., 1 | 3) real values, finite, in memory of their own."""
    if layout.channels == 4:
        stored = on_black(stored)
    with np.errstate(all="ignore"):
        values = np.ascontiguousarray(_real(stored, layout).astype(np.float32))
    values[~np.isfinite(values)] = 0
    return values


def display(stored: NDArray[Any], layout: Layout, shown: Range) -> NDArray[np.uint8]:
    """(..., 1 | 3) as on a screen, in memory of their own."""
    if layout.channels > 1:
        return np.array(on_black(stored) if layout.channels == 4 else stored, dtype=np.uint8, order="C")
    low, high = shown
    if not low < high:
        return np.zeros(stored.shape, np.uint8)
    with np.errstate(all="ignore"):
        unit = (_real(stored, layout) - low) / (high - low)
        unit = np.clip(np.nan_to_num(unit, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    return np.ascontiguousarray(to_uint8(unit.astype(np.float32)))


def _real(stored: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """In double precision where that matters: 32-bit integers with a large intercept lose small values."""
    if layout.channels > 1:
        return stored
    with np.errstate(all="ignore"):
        return stored.astype(np.float64) * layout.slope + layout.intercept
