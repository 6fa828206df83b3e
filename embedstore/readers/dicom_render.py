"""Stored values to what was asked for, by the rules of PS3.3 C.7.6.3, C.11.1, C.11.2 and C.11.6.

Display rules for monochrome frames, in this order:

1. Modality LUT, else rescale slope and intercept (per frame where the object says so).
2. The first VOI LUT, else the first window with its function. Without either: 8-bit unsigned images without
   rescale are shown as they are; all others are stretched from the 0.5th to the 99.5th percentile of
   the frame's modality values, pixel padding left out.
3. Inverted for MONOCHROME1 or Presentation LUT Shape INVERSE (the two say the same and count once).

Colour frames are shown as they are (palettes expanded, YBR converted, more than 8 bits scaled to 8); VOI
attributes do not apply to them. Overlays, supplemental palettes and presentation states are not applied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from embedstore.contracts.image import Intensity
from embedstore.errors import ReadFailure
from embedstore.readers.dicom_pixels import Stored
from embedstore.readers.dicom_transforms import Transforms, transforms_of
from embedstore.readers.voi import stretch, to_display, to_modality, to_uint8


def render(ds: Dataset, stored: Stored, index: int, want: Intensity) -> NDArray[Any]:
    """(H, W, 1) or (H, W, 3): uint8 for "display", float32 for "raw" and "hu".

    Raises ReadFailure for "hu" when values are not known to be Hounsfield units, and for a damaged palette.
    """
    if stored.photometric == "PALETTE COLOR":
        stored = _expand_palette(ds, stored)
    if stored.values.ndim == 3:
        return _colour(stored, want)
    transforms = transforms_of(ds, index)
    if want == "hu" and not transforms.hounsfield:
        raise ReadFailure("its values are not known to be Hounsfield units")
    if want == "display":
        return _display(ds, stored, transforms)[..., None]
    return np.ascontiguousarray(to_modality(stored.values, transforms.modality)[..., None])


def _display(ds: Dataset, stored: Stored, transforms: Transforms) -> NDArray[np.uint8]:
    values = stored.values
    if transforms.voi is not None:
        shown = to_uint8(to_display(to_modality(values, transforms.modality), transforms.voi))
    elif _is_plain(stored, transforms):
        shown = (values.astype(np.uint16) * 255 // (2**stored.bits - 1)).astype(np.uint8)
    else:
        shown = to_uint8(stretch(to_modality(values, transforms.modality), _counted(values, transforms)))
    return np.ascontiguousarray(255 - shown if transforms.inverted else shown)


def _is_plain(stored: Stored, transforms: Transforms) -> bool:
    """Unsigned values of at most 8 bits that nothing rescales are display values already."""
    return stored.values.dtype.kind == "u" and stored.bits <= 8 and transforms.modality is None


def _counted(values: NDArray[Any], transforms: Transforms) -> NDArray[np.bool_] | None:
    if transforms.padding is None:
        return None
    low, high = transforms.padding
    return np.asarray((values < low) | (values > high))


def _colour(stored: Stored, want: Intensity) -> NDArray[Any]:
    if want == "hu":
        raise ReadFailure("a colour image has no Hounsfield units")
    if want == "raw":
        return np.ascontiguousarray(stored.values, dtype=np.float32)
    if stored.bits <= 8:
        return np.ascontiguousarray(stored.values.astype(np.uint8))
    eight = stored.values.astype(np.uint64) >> np.uint64(stored.bits - 8)
    return np.ascontiguousarray(eight.astype(np.uint8))


def _expand_palette(ds: Dataset, stored: Stored) -> Stored:
    """Palette indices to RGB (C.7.6.3.1.5), segmented palettes included."""
    try:
        values = apply_color_lut(stored.values, ds)[..., :3]
    except Exception:  # a palette that is missing or damaged; pydicom's message may quote the header
        raise ReadFailure("the colour palette is missing or damaged") from None
    return Stored(values, "RGB", 8 * values.dtype.itemsize)
