"""The step that finds the lit disc of a fundus photograph (or an endoscope's) and crops to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import ImageInput
from embedstore.encoders.geometry import Pad
from embedstore.errors import UsageError

Pixels = NDArray[Any]
_SMALLEST = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class CropFieldOfView:
    """Crop a photograph to its lit field: the black surround and marks in its corners go.

    The brightest channel of a pixel is compared with `threshold` times the image's own bright end (99th
    percentile), so that dark exposures crop alike. Rows and then columns count as lit from `least` of
    their length; the longest run of lit ones is taken, which leaves letters beside the disc out. square:
    pad the shorter side with black, as when the camera cuts the disc off at top and bottom: the whole
    disc then keeps its shape under a later resize. A field smaller than a tenth of either side is not
    believed, and the image left as it is.
    """

    name: ClassVar[str] = "crop_field_of_view"
    threshold: float = 0.1
    least: float = 0.02
    square: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or not 0 < self.least < 1:
            raise UsageError("crop_field_of_view: threshold and least must lie between 0 and 1")

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) numbers not below 0 to (h, w, C) of the same type."""
        field = self.box(pixels)
        if field is not None:
            top, bottom, left, right = field
            pixels = pixels[top:bottom, left:right]
        if not self.square:
            return pixels
        side = max(pixels.shape[:2])
        return Pad(size=(side, side)).apply(pixels, context)

    def box(self, pixels: Pixels) -> tuple[int, int, int, int] | None:
        """(top, bottom, left, right) of the lit field, bottom and right excluded; None when there is none."""
        brightest = pixels.max(axis=2)
        lit = brightest > self.threshold * float(np.percentile(brightest, 99))
        rows = _longest_run(lit.mean(axis=1) >= self.least)
        if rows is None:
            return None
        columns = _longest_run(lit[slice(*rows)].mean(axis=0) >= self.least)
        if columns is None:
            return None
        high, wide = rows[1] - rows[0], columns[1] - columns[0]
        if high < _SMALLEST * pixels.shape[0] or wide < _SMALLEST * pixels.shape[1]:
            return None
        return (*rows, *columns)

    def describe(self) -> str:
        """In words."""
        shape = "as a square" if self.square else "as it lies"
        return f"crop to the lit field of view (above {self.threshold:g} of the bright end), {shape}"


def _longest_run(flags: NDArray[np.bool_]) -> tuple[int, int] | None:
    """(start, stop) of the longest run of True, the first of equals; None without any."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    if not starts.size:
        return None
    best = int(np.argmax(stops - starts))
    return int(starts[best]), int(stops[best])
