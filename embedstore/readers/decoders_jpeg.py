"""Frames in JPEG, JPEG-LS, JPEG 2000 and JPEG XL: libjpeg-turbo, CharLS, OpenJPEG, libjxl of imagecodecs.

No decoder sees a code stream whose own header has another size, depth or number of components than the
DICOM header promises. Colours come out as the stream holds them, except that luminance and chrominance
of JPEG become RGB inside libjpeg, by T.871 in fixed point as every other JPEG decoder does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure
from embedstore.readers.codestream import CodeStream, ends_whole, look
from embedstore.readers.decoders_layout import YBR, Layout

_OTHER = "pixel data do not have the size that the header promises"
_CUT = "a compressed frame is cut short"


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """values: (H, W) or (H, W, 3). photometric: what they mean. bits: how many of each are used."""

    values: NDArray[Any]
    photometric: str
    bits: int


def decode_jpeg(frame: bytes, layout: Layout) -> Decoded:
    """T.81, every process libjpeg-turbo knows, lossless ones included. Raises ReadFailure."""
    import imagecodecs

    stream = _checked(frame, layout, "jpeg")
    if not ends_whole(frame):
        raise ReadFailure(_CUT)
    if layout.samples == 1:
        values = imagecodecs.jpeg8_decode(frame)
        return _signed(values, layout, stream.precision, layout.photometric)
    # The stream's own word goes before the header's: writers that change one forget the other.
    ycc = stream.ycc if stream.ycc is not None else layout.photometric != "RGB"
    values = imagecodecs.jpeg8_decode(frame, colorspace="YCBCR" if ycc else "RGB", outcolorspace="RGB")
    return _signed(values, layout, stream.precision, "RGB")


def decode_jpegls(frame: bytes, layout: Layout) -> Decoded:
    """T.87. JPEG-LS does not know signs; they are the header's. Raises ReadFailure."""
    import imagecodecs

    stream = _checked(frame, layout, "jpegls")
    if not ends_whole(frame):
        raise ReadFailure(_CUT)
    values = imagecodecs.jpegls_decode(frame)
    photometric = layout.photometric
    if stream.ycc is False or photometric not in YBR | {"RGB"}:
        photometric = layout.photometric if layout.samples == 1 else "RGB"
    return _signed(values, layout, stream.precision, photometric)


def decode_jpeg2000(frame: bytes, layout: Layout) -> Decoded:
    """T.800 and T.814; its colour transforms are undone by the decoder (PS3.5 8.2.4). Raises ReadFailure."""
    import imagecodecs

    stream = _checked(frame, layout, "jpeg2000")
    if not stream.even:
        raise ReadFailure("components of different size or depth are not supported")
    values = imagecodecs.jpeg2k_decode(frame)
    photometric = "RGB" if layout.photometric in ("YBR_ICT", "YBR_RCT") else layout.photometric
    if stream.signed == layout.signed:
        return _shaped(values, layout, photometric, stream.precision)
    return _signed(values, layout, stream.precision, photometric)


def decode_jpegxl(frame: bytes, layout: Layout) -> Decoded:
    """ISO/IEC 18181 (PS3.5 A.4.13); colour comes out as RGB. Raises ReadFailure."""
    import imagecodecs

    _checked(frame, layout, "jpegxl")
    values = imagecodecs.jpegxl_decode(frame)
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    lossless_ybr = layout.photometric == "YBR_FULL"
    photometric = layout.photometric if layout.samples == 1 or lossless_ybr else "RGB"
    return _signed(values, layout, layout.stored, photometric)


def _checked(frame: bytes, layout: Layout, kind: str) -> CodeStream:
    stream = look(frame)
    if stream is None or stream.kind != kind:
        raise ReadFailure("pixel data do not match the transfer syntax of the header")
    if (stream.rows, stream.columns) != (layout.rows, layout.columns):
        raise ReadFailure(_OTHER)
    if kind != "jpegxl" and stream.components != layout.samples:
        raise ReadFailure("pixel data do not have as many samples as the header promises")
    if stream.precision > max(layout.allocated, 8):
        raise ReadFailure("pixel data have more bits than the header promises")
    return stream


def _shaped(values: NDArray[Any], layout: Layout, photometric: str, bits: int) -> Decoded:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.shape != layout.shape or values.dtype.kind not in "iu":
        raise ReadFailure(_OTHER)
    return Decoded(values, photometric, bits)


def _signed(values: NDArray[Any], layout: Layout, precision: int, photometric: str) -> Decoded:
    """The sign that the header gives to values whose code stream gives them none, or another."""
    shaped = _shaped(values, layout, photometric, min(precision, layout.stored))
    unsigned = shaped.values.view(shaped.values.dtype.str.replace("i", "u"))
    above = 8 * unsigned.dtype.itemsize - shaped.bits
    wanted = unsigned.view(unsigned.dtype.str.replace("u", "i")) if layout.signed else unsigned
    if above:
        wanted = np.right_shift(np.left_shift(unsigned, above).view(wanted.dtype), above)
    return Decoded(wanted, photometric, shaped.bits)
