"""Pixels as a reader hands them over, and what is given to an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Intensity = Literal["display", "draft", "raw", "hu", "suv"]

#: Version of the rules by which readers make "display" pixels (docs/concepts/intensity.md). It is part of the
#: space of every tower that reads them, since the same file under other rules is another input.
DISPLAY_POLICY = 3

#: A "draft" of a JPEG keeps at least so many pixels along its shorter side.
DRAFT_SIDE = 448


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """Decoded pixels with their meaning.

    pixels: (H, W, C) for a 2D image, (D, H, W, C) for a volume; C is 1 (grey) or 3 (RGB).
      intensity "display": uint8 as a radiologist's screen shows it (VOI applied, MONOCHROME1 inverted);
      "draft": the same, but a JPEG picture is decoded to a half, a quarter or an eighth of its size, as long
      as `DRAFT_SIDE` pixels are left: twice as fast, a few grey levels off, and never the same space;
      "raw": stored values after the modality transform, float32; "hu": the same, known
      to be Hounsfield units; "suv": standardised uptake values by body weight, in g/ml, float32.
    spacing_mm: (row, column) or (slice, row, column) distance of pixel centres in mm, None when unknown.
    affine: (4, 4) from (slice, row, column, 1), slice 0 for a 2D image, to patient coordinates in mm as DICOM
      has them (LPS: +x to the patient's left, +y to the back, +z to the head; PS3.3 C.7.6.2.1.1), pixel
      centres at whole numbers; None when unknown.
    offset: (row, column) in the frame as stored of the first pixel here; other than (0, 0) when "display"
      shows a part of the frame (regions of an ultrasound image): masks and boxes of the frame shift by it.
    """

    pixels: NDArray[Any]
    intensity: Intensity
    spacing_mm: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    offset: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class ImageInput:
    """One image for an encoder.

    roi: (H, W) bool mask over `image`, or None for the whole image.
    parent_range: (low, high) intensity statistics of the parent volume, or None.
    """

    image: Image
    roi: NDArray[np.bool_] | None = None
    parent_range: tuple[float, float] | None = None
