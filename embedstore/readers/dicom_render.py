"""Stored values to what was asked for, by the rules of PS3.3 C.7.6.3, C.11.1, C.11.2 and C.11.6.

Display rules for monochrome frames, in this order (in full: docs/concepts/intensity.md):

1. Modality LUT, else rescale slope and intercept (per frame where the object says so).
2. The first VOI LUT, else the first window with its function. Without either: unsigned values of at most
   8 bits that nothing rescales are shown as they are; CT in Hounsfield units by a named window (brain for a
   head, else soft tissue; not localizers); all others are stretched from the 0.5th to the 99.5th percentile
   of the frame's modality values, pixel padding left out.
3. Inverted for MONOCHROME1 or Presentation LUT Shape INVERSE (the two say the same and count once).
4. Pixel padding is black, also after an inversion, when it lies outside the frame's own values.

Colour frames are shown as they are (palettes expanded, YBR converted, more than 8 bits scaled to 8, ICC
profiles applied); VOI attributes do not apply to them. Frames with calibrated ultrasound regions are cropped
to the smallest rectangle that holds the 2D ones. Overlays, supplemental palettes and presentation states are
not applied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.contracts.image import Intensity
from embedstore.contracts.windows import CT_WINDOWS
from embedstore.errors import ReadFailure
from embedstore.readers.dicom_pixels import Stored
from embedstore.readers.dicom_transforms import Transforms, transforms_of
from embedstore.readers.dicom_values import code, element, integer, item_at
from embedstore.readers.icc import icc_status, to_srgb
from embedstore.readers.palette import expand_palette
from embedstore.readers.suv import suv_scale, suv_status
from embedstore.readers.ultrasound import Region, picture_region
from embedstore.readers.voi import Lut, Window, stretch, to_modality, to_shown, to_uint8


def render(ds: Dataset, stored: Stored, index: int, want: Intensity) -> NDArray[Any]:
    """(H, W, 1) or (H, W, 3): uint8 for "display", float32 for "raw", "hu" and "suv".

    Raises ReadFailure for "hu" when values are not known to be Hounsfield units, for "suv" when the header
    does not allow it, and for a damaged palette.
    """
    if want == "display":
        return _cropped(ds, _shown(ds, stored, index))
    if want == "suv":
        return _suv(ds, stored, index)
    if stored.photometric == "PALETTE COLOR" or stored.values.ndim == 3:
        if want == "hu":
            raise ReadFailure("a colour image has no Hounsfield units")
        return np.ascontiguousarray(_colours(ds, stored).values, dtype=np.float32)
    transforms = transforms_of(ds, index)
    if want == "hu" and not transforms.hounsfield:
        raise ReadFailure("its values are not known to be Hounsfield units")
    return np.ascontiguousarray(to_modality(stored.values, transforms.modality)[..., None])


def offset_of(ds: Dataset, want: Intensity) -> tuple[int, int]:
    """(row, column) in the frame as stored of the first pixel that `render` gives."""
    region = _region(ds) if want == "display" else None
    return (0, 0) if region is None else (region.top, region.left)


def rules_of(ds: Dataset, index: int = 0) -> dict[str, str]:
    """What a person should know of frame `index` (from 0), from the header alone, as attributes by name.

    display: which of the rules above makes its "display" pixels. icc: what becomes of its colour profile.
    suv: "bw" when uptake values can be had, else why not. Only what applies to the image is there.
    """
    found = {"display": _display_rule(ds, index), "icc": icc_status(_profile(ds)), "suv": suv_status(ds)}
    return {name: words for name, words in found.items() if words is not None}


def _display_rule(ds: Dataset, index: int) -> str:
    photometric = code(ds, "PhotometricInterpretation") or "MONOCHROME2"
    bits = integer(ds, "BitsStored") or integer(ds, "BitsAllocated") or 16
    if photometric == "PALETTE COLOR":
        words = "palette"
    elif not photometric.startswith("MONOCHROME"):
        words = "colour as stored" if bits <= 8 else f"colour, upper 8 of {bits} bits"
    else:
        words = _grey_rule(ds, index, bits)
    return words if _region(ds) is None else f"{words}, cropped to its 2D regions"


def _region(ds: Dataset) -> Region | None:
    return picture_region(ds, integer(ds, "Rows") or 0, integer(ds, "Columns") or 0)


def _grey_rule(ds: Dataset, index: int, bits: int) -> str:
    transforms = transforms_of(ds, index)
    voi, end = transforms.voi, ", inverted" if transforms.inverted else ""
    if isinstance(voi, Lut):
        return f"VOI LUT{end}"
    if isinstance(voi, Window):
        return f"window {voi.centre:g}/{voi.width:g} {voi.function}{end}"
    if bits <= 8 and transforms.plain and integer(ds, "PixelRepresentation") != 1:
        return f"{bits} bits as stored{end}"
    if transforms.named is not None:
        centre, width = CT_WINDOWS[transforms.named]
        return f"window {centre:g}/{width:g} ({transforms.named.replace('_', ' ')}, none in the header){end}"
    return f"percentiles 0.5 to 99.5{end}"


def _shown(ds: Dataset, stored: Stored, index: int) -> NDArray[np.uint8]:
    if stored.photometric == "PALETTE COLOR" or stored.values.ndim == 3:
        colours = _colours(ds, stored)
        return np.ascontiguousarray(to_srgb(_eight(colours), _profile(ds)))
    return _grey(stored, transforms_of(ds, index))[..., None]


def _grey(stored: Stored, transforms: Transforms) -> NDArray[np.uint8]:
    values = stored.values
    voi = transforms.voi or _stand_in(stored, transforms)
    padded = None if transforms.padding is None else _padded(values, transforms.padding)
    if voi is not None:
        shown = to_shown(values, transforms.modality, voi)
    elif _is_plain(stored, transforms):
        shown = (values.astype(np.uint16) * 255 // (2**stored.bits - 1)).astype(np.uint8)
    else:
        counted = None if padded is None else ~padded
        shown = to_uint8(stretch(to_modality(values, transforms.modality), counted))
    if transforms.inverted:
        shown = 255 - shown
    if padded is not None and _outside(values, padded):
        shown = np.where(padded, np.uint8(0), shown)
    return np.ascontiguousarray(shown)


def _stand_in(stored: Stored, transforms: Transforms) -> Window | None:
    if transforms.named is None or _is_plain(stored, transforms):
        return None
    return Window(*CT_WINDOWS[transforms.named])


def _is_plain(stored: Stored, transforms: Transforms) -> bool:
    """Unsigned values of at most 8 bits that nothing rescales are display values already."""
    return stored.values.dtype.kind == "u" and stored.bits <= 8 and transforms.plain


def _padded(values: NDArray[Any], padding: tuple[float, float]) -> NDArray[np.bool_]:
    low, high = padding
    return np.asarray((values >= low) & (values <= high))


def _outside(values: NDArray[Any], padded: NDArray[np.bool_]) -> bool:
    """Whether padding lies below or above all other values; amid them it may be a value like any other."""
    rest = values[~padded]
    if not padded.any() or not rest.size:
        return False
    filling = values[padded]
    return bool(filling.max() < rest.min() or filling.min() > rest.max())


def _suv(ds: Dataset, stored: Stored, index: int) -> NDArray[np.float32]:
    scale = suv_scale(ds, index)
    if isinstance(scale, str):
        raise ReadFailure(f"there are no standardised uptake values: {scale}")
    if stored.values.ndim == 3 or stored.photometric == "PALETTE COLOR":
        raise ReadFailure("a colour image has no standardised uptake values")
    values = stored.values.astype(np.float64)
    if not scale.stored:
        values = to_modality(stored.values, transforms_of(ds, index).modality).astype(np.float64)
    return np.ascontiguousarray((values * scale.factor + scale.offset).astype(np.float32)[..., None])


def _colours(ds: Dataset, stored: Stored) -> Stored:
    """Palette indices to RGB of 8 bits (C.7.6.3.1.5), segmented palettes included; RGB as it is."""
    if stored.photometric != "PALETTE COLOR":
        return stored
    signed = integer(ds, "PixelRepresentation") == 1
    return Stored(expand_palette(ds, stored.values, signed), "RGB", 8)


def _eight(stored: Stored) -> NDArray[np.uint8]:
    if stored.bits <= 8:
        return stored.values.astype(np.uint8)
    return (stored.values.astype(np.uint64) >> np.uint64(stored.bits - 8)).astype(np.uint8)


def _profile(ds: Dataset) -> bytes | None:
    """The ICC profile (C.11.15) of the image, or of a slide's first optical path (C.8.12.5)."""
    for place in (ds, item_at(ds, "OpticalPathSequence", 0)):
        profile = element(place, "ICCProfile") if place is not None else None
        if isinstance(profile, bytes):
            return profile
    return None


def _cropped(ds: Dataset, shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    region = picture_region(ds, *shown.shape[:2])
    if region is None:
        return shown
    return np.ascontiguousarray(shown[region.top : region.bottom, region.left : region.right])
