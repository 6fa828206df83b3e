"""Decoded raster arrays to what was asked for. The rules of "display" for everything that is not DICOM.

- 8 bits: as they are; 1 bit: black and white; palettes, CMYK, YCbCr and Lab become RGB.
- Grey of more than 8 bits, signed or floating: stretched from the 0.5th to the 99.5th percentile of the
  image, as for DICOM without a window (a 16-bit PNG may hold 10, 12 or 16 bits and does not say which).
- Colour of 16 bits: the upper 8 bits; of floating point: 0..1 is the full range, otherwise stretched.
- Transparency: composited on black, the background of most medical images.
- EXIF orientation is applied, and the ICC profile of colour images of 8 bits (`icc`); that of greys is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import Image, Intensity
from embedstore.errors import ReadFailure
from embedstore.readers.voi import stretch, to_uint8


def as_image(values: NDArray[Any], want: Intensity) -> Image:
    """(H, W), (H, W, 1..4) stored values to an Image.

    Raises ReadFailure for "hu" and "suv", and for other shapes.
    """
    if want in ("hu", "suv"):
        raise ReadFailure("its values are not " + ("Hounsfield units" if want == "hu" else "uptake values"))
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4) or 0 in values.shape:
        raise ReadFailure("not a grey or colour image")
    if values.shape[2] in (2, 4):
        values = on_black(values)
    if want == "raw":
        return Image(pixels=np.ascontiguousarray(values, np.float32), intensity="raw")
    # Decoders hand out their own memory, which may not be written to.
    return Image(pixels=np.require(_display(values), requirements=["C", "W"]), intensity=want)


def on_black(values: NDArray[Any]) -> NDArray[Any]:
    """Grey with alpha or RGBA, of any type, composited on black in its own range."""
    full = float(np.iinfo(values.dtype).max) if values.dtype.kind in "ui" else 1.0
    opaque = values[..., :-1].astype(np.float64) * (values[..., -1:].astype(np.float64) / full)
    return (np.rint(opaque) if values.dtype.kind in "ui" else opaque).astype(values.dtype)


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Rows and columns as EXIF orientation 1 to 8 asks for them (Exif 2.32, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def _display(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.shape[2] == 3:
        if values.dtype.kind == "u":
            return (values >> (8 * values.dtype.itemsize - 8)).astype(np.uint8)
        finite = values[np.isfinite(values)]
        if finite.size and finite.min() >= 0 and finite.max() <= 1:
            return to_uint8(np.nan_to_num(values).astype(np.float32))
    return to_uint8(stretch(values.astype(np.float32)))
