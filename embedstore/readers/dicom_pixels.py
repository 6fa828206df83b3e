"""Stored values of one DICOM frame, decoded by pydicom's plugins and, where noted, by libjpeg-turbo.

Each transfer syntax has one decoder, chosen so that damaged data raise an error: GDCM aborts the process on
some, OpenJPEG inside it writes to stderr, pylibjpeg-rle panics in Rust, past `except Exception`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MPEGTransferSyntaxes,
    RLELossless,
)

from embedstore.errors import ReadFailure
from embedstore.readers.codestream import codestream_size, ends_whole
from embedstore.readers.dicom_file import DicomFile, Shape
from embedstore.readers.dicom_values import code, integer
from embedstore.readers.quiet import quiet_pydicom

# T.81 processes 2 to 14: 12 bits, spectral selection, progressive, lossless.
_TURBO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56, 57, 70))
_PLUGINS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pillow", (JPEGBaseline8Bit, JPEGExtended12Bit)),
    ("pyjpegls", (JPEGLSLossless, JPEGLSNearLossless)),
    ("pylibjpeg", tuple(JPEG2000TransferSyntaxes)),
    ("pydicom", (RLELossless,)),
)
_OTHER_SIZE = "pixel data do not have the size that the header promises"


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
    pixels = file.pixels
    if pixels is None or not 0 <= index < shape.frames:
        raise ReadFailure("there is no such frame in the file")
    if (pixels.length is None) != _encapsulated(file.syntax):
        raise ReadFailure("pixel data do not match the transfer syntax of the header")
    stream = file.stream(opened)
    stream.seek(pixels.start)
    with quiet_pydicom():
        try:
            if _encapsulated(file.syntax):
                frame = _checked_frame(shape, stream, index)
                stream.seek(pixels.start)
                if _needs_turbo(file):
                    return _decode_turbo(file, shape, frame)
            elif shape.bits == 1 and shape.samples == 1:
                return _decode_packed(shape, stream, index, pixels.start)
            return _decode_pydicom(file, shape, stream, index)
        except ReadFailure:
            raise
        except Exception:  # decoders raise nearly any class on damaged data; their messages are not passed on
            raise ReadFailure(f"pixel data cannot be decoded ({syntax_name(file.syntax)})") from None


def syntax_name(syntax: UID) -> str:
    """A transfer syntax in words, without echoing an unknown one."""
    return syntax.name if syntax.name != syntax else "unknown transfer syntax"


def refuse_unsupported(file: DicomFile) -> None:
    """Raise ReadFailure, before any pixel is read, for syntaxes that no installed decoder takes."""
    syntax = file.syntax
    if syntax in MPEGTransferSyntaxes or syntax.startswith("1.2.840.10008.1.2.4.10"):
        raise ReadFailure(f"video is not supported by this version ({syntax_name(syntax)})")
    if _needs_turbo(file):
        return
    try:
        plugins = get_decoder(syntax).available_plugins
        known = not _encapsulated(syntax) or _plugin(syntax) in plugins
    except NotImplementedError:
        known = False
    if not known:
        raise ReadFailure(f"no decoder for its transfer syntax ({syntax_name(syntax)})")


def _encapsulated(syntax: UID) -> bool:
    return bool(syntax.is_transfer_syntax and syntax.is_encapsulated)


def _needs_turbo(file: DicomFile) -> bool:
    """JPEG processes that pydicom's plugins do not decode, or only by GDCM."""
    if file.syntax == JPEGExtended12Bit:
        return integer(file.header, "BitsStored") != 8
    return file.syntax in _TURBO


def _options(file: DicomFile) -> dict[str, Any]:
    """pydicom's decoding options, with the gaps filled that common files leave."""
    options = as_pixel_options(file.header)
    options.setdefault("samples_per_pixel", 1)
    options.setdefault("bits_stored", options.get("bits_allocated"))
    options.setdefault("pixel_representation", 0)
    options.setdefault("photometric_interpretation", "MONOCHROME2")
    options["planar_configuration"] = options.get("planar_configuration") or 0
    options["photometric_interpretation"] = str(options["photometric_interpretation"]).strip().upper()
    assert file.pixels is not None
    options["pixel_keyword"] = file.pixels.keyword
    if file.pixels.vr is not None:
        options["pixel_vr"] = file.pixels.vr
    return options


def _decode_pydicom(file: DicomFile, shape: Shape, stream: BinaryIO, index: int) -> Stored:
    options = _options(file)
    stored, high = options["bits_stored"], integer(file.header, "HighBit")
    # Before 2014 the standard let values lie above bit 0 (PS3.5 8.1.1); pydicom takes them to begin there.
    shift = high + 1 - stored if high is not None and not _encapsulated(file.syntax) else 0
    if shift > 0:
        options["correct_unused_bits"] = False
    options["allow_excess_frames"] = False
    values, found = get_decoder(file.syntax).as_array(
        stream, index=index, validate=True, raw=False, decoding_plugin=_plugin(file.syntax), **options
    )
    if shift > 0:
        values = _from_high_bits(values, shift, stored)
    return Stored(values, str(found["photometric_interpretation"]), int(found.get("bits_stored", shape.bits)))


def _decode_packed(shape: Shape, stream: BinaryIO, index: int, start: int) -> Stored:
    """One bit per pixel, lowest bit first; frames need not begin at a byte (PS3.5 8.1.1, annex D)."""
    pixels = shape.rows * shape.columns
    first, inside = divmod(index * pixels, 8)
    stream.seek(start + first)
    data = np.frombuffer(stream.read((inside + pixels + 7) // 8), np.uint8)
    bits = np.unpackbits(data, bitorder="little")[inside : inside + pixels]
    return Stored(bits.reshape(shape.rows, shape.columns), "MONOCHROME2", 1)


def _plugin(syntax: UID) -> str:
    """The one plugin of pydicom that is used for a syntax; "" for uncompressed data."""
    return next((name for name, syntaxes in _PLUGINS if syntax in syntaxes), "")


def _from_high_bits(values: NDArray[Any], shift: int, stored: int) -> NDArray[Any]:
    above = 8 * values.dtype.itemsize - stored - shift
    lifted = np.left_shift(values, max(above, 0))
    return np.asarray(np.right_shift(lifted, max(above, 0) + shift))


def _checked_frame(shape: Shape, stream: BinaryIO, index: int) -> bytes:
    """The encoded frame, refused when its code stream has another size than the header or breaks off."""
    frame = get_frame(stream, index, number_of_frames=shape.frames)
    size = codestream_size(frame)
    if size is not None and size != (shape.rows, shape.columns):
        raise ReadFailure(_OTHER_SIZE)
    if frame.startswith(b"\xff\xd8") and not ends_whole(frame):
        raise ReadFailure("a compressed frame is cut short")
    return frame


def _decode_turbo(file: DicomFile, shape: Shape, frame: bytes) -> Stored:
    import imagecodecs

    values = np.asarray(imagecodecs.jpeg8_decode(frame))
    expected = (shape.rows, shape.columns) if shape.samples == 1 else (shape.rows, shape.columns, 3)
    if values.shape != expected:
        raise ReadFailure(_OTHER_SIZE)
    stored = integer(file.header, "BitsStored") or shape.bits
    if integer(file.header, "PixelRepresentation") == 1:
        values = values.astype(f"u{max(shape.bits // 8, values.dtype.itemsize)}")
        above = 8 * values.dtype.itemsize - stored
        values = np.right_shift(np.left_shift(values, above).view(values.dtype.str.replace("u", "i")), above)
    photometric = code(file.header, "PhotometricInterpretation") or "MONOCHROME2"
    return Stored(values, "RGB" if shape.samples == 3 else photometric, stored)
