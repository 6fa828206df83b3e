"""Stored values of one DICOM frame: its bytes found, its header checked, its decoder asked.

Each transfer syntax has one decoder, chosen so that damaged data raise an error: GDCM aborts the process on
some, OpenJPEG inside it writes to stderr, pylibjpeg-rle panics in Rust, past `except Exception`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import MPEGTransferSyntaxes

from embedstore.errors import ReadFailure
from embedstore.readers.decoders import decodable, decoder_of, encapsulated, syntax_name
from embedstore.readers.decoders_jpeg import Decoded
from embedstore.readers.decoders_layout import YBR, Layout, layout_of
from embedstore.readers.decoders_native import decode_native, frame_place
from embedstore.readers.decoders_ybr import ybr_to_rgb
from embedstore.readers.dicom_file import DicomFile, PixelElement, Shape

__all__ = ["Stored", "decode_frame", "decode_stored", "refuse_unsupported", "syntax_name"]


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One frame as stored. values: (H, W) or (H, W, 3); photometric: what they mean after decoding."""

    values: NDArray[Any]
    photometric: str
    bits: int


def decode_frame(file: DicomFile, shape: Shape, opened: BinaryIO, index: int) -> Stored:
    """Decode frame `index` (from 0) and no other; YBR arrives as RGB, unused bits are cleared.

    Raises ReadFailure when no decoder takes the transfer syntax or the data are damaged.
    """
    stored = decode_stored(file, shape, opened, index)
    if stored.photometric not in YBR:
        return stored
    if stored.values.dtype.itemsize != 1:
        raise ReadFailure("luminance and chrominance of more than 8 bits are not supported")
    return Stored(ybr_to_rgb(stored.values), "RGB", 8)


def decode_stored(file: DicomFile, shape: Shape, opened: BinaryIO, index: int) -> Stored:
    """The same without the conversion of native YBR. Raises ReadFailure."""
    pixels = file.pixels
    if pixels is None or not 0 <= index < shape.frames:
        raise ReadFailure("there is no such frame in the file")
    if (pixels.items is not None) != encapsulated(file.syntax):
        raise ReadFailure("pixel data do not match the transfer syntax of the header")
    layout = layout_of(file, shape)
    stream = file.stream(opened)
    try:
        decoded = _decode(file, pixels, shape, layout, stream, index)
    except ReadFailure:
        raise
    except Exception:  # decoders raise nearly any class on damaged data; their messages are not passed on
        raise ReadFailure(f"pixel data cannot be decoded ({syntax_name(file.syntax)})") from None
    return Stored(np.ascontiguousarray(decoded.values), decoded.photometric, decoded.bits)


def refuse_unsupported(file: DicomFile) -> None:
    """Raise ReadFailure, before any pixel is read, for syntaxes that no installed decoder takes."""
    syntax = file.syntax
    if syntax in MPEGTransferSyntaxes or syntax.startswith("1.2.840.10008.1.2.4.10"):
        raise ReadFailure(f"video is not supported by this version ({syntax_name(syntax)})")
    if not decodable(syntax):
        raise ReadFailure(f"no decoder for its transfer syntax ({syntax_name(syntax)})")


def _decode(
    file: DicomFile, pixels: PixelElement, shape: Shape, layout: Layout, stream: BinaryIO, index: int
) -> Decoded:
    if pixels.items is None:
        start, length = frame_place(layout, index, shape.frame_bytes)
        stream.seek(pixels.start + start)
        values = decode_native(stream.read(length), layout, index)
        return Decoded(values, layout.photometric, layout.stored)
    decode = decoder_of(file.syntax)
    if decode is None:
        raise ReadFailure(f"no decoder for its transfer syntax ({syntax_name(file.syntax)})")
    return decode(pixels.items.frame(stream, index, shape.frames), layout)
