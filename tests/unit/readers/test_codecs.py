"""Each compressed transfer syntax gives back the values that went in, by encoders of other people."""

from __future__ import annotations

import zlib

import imagecodecs
import numpy as np
import pytest
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate

from embedstore.contracts.record import Asset
from embedstore.errors import ReadFailure
from embedstore.readers.codestream import ends_whole, look
from embedstore.readers.dicom import DicomReader
from embedstore.testing.readers import BytesSource

from .dicom_files import dataset, file_bytes

JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1 = (f"1.2.840.10008.1.2.4.{n}" for n in (51, 57, 70))
JPEG_LS, JPEG_2000, JPEG_2000_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (80, 90, 91))

HTJ2K, HTJ2K_RPCL, HTJ2K_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
JPEG_BASELINE, JPEG_XL_LOSSLESS, JPEG_XL_JPEG = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 110, 111))
ENCAPSULATED, DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"


def grey(bits: int, signed: bool = False) -> np.ndarray:
    """Smooth values over the whole range."""
    ramp = np.add.outer(np.arange(40), np.arange(64)) / 102
    low = -(2 ** (bits - 1)) if signed else 0
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    return np.rint(ramp * (2**bits - 1) + low).astype(kind)


def compressed(values, frame: bytes, syntax: str, bits: int, **elements) -> BytesSource:
    ds = dataset(values, BitsStored=bits, **elements)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    known = {**dict.fromkeys((JPEG_XL_LOSSLESS, JPEG_XL_JPEG), HTJ2K), DEFLATED_FRAMES: JPEG_LS}.get(syntax)
    if known is None:
        return BytesSource(file_bytes(ds, syntax))
    # pydicom does not write syntaxes that it does not know: one of the same length in bytes takes its place.
    return BytesSource(
        file_bytes(ds, known).replace(known.encode(), syntax.encode().ljust(len(known), b"\0"))
    )


def raw(source: BytesSource) -> np.ndarray:
    reader = DicomReader()
    (asset,) = (found for found in reader.describe(source) if isinstance(found, Asset))
    return reader.read(asset, "raw").pixels[..., 0]


def colour(source: BytesSource) -> np.ndarray:
    reader = DicomReader()
    (asset,) = (found for found in reader.describe(source) if isinstance(found, Asset))
    return reader.read(asset).pixels


def as_unsigned(values: np.ndarray, bits: int) -> np.ndarray:
    """JPEG knows no sign: the stored bits alone."""
    return (values.astype(np.int64) & (2**bits - 1)).astype(f"u{values.dtype.itemsize}")


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, False), (16, True)])
@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LOSSLESS_SV1])
def test_lossless_jpeg(syntax, bits, signed):
    values = grey(bits, signed)
    frame = imagecodecs.ljpeg_encode(as_unsigned(values, bits), bitspersample=bits)
    assert np.array_equal(raw(compressed(values, frame, syntax, bits)), values)


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, False), (16, True)])
def test_jpeg_ls(bits, signed):
    values = grey(bits, signed)
    frame = imagecodecs.jpegls_encode(as_unsigned(values, bits))
    assert np.array_equal(raw(compressed(values, frame, JPEG_LS, bits)), values)


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, True)])
def test_jpeg_2000(bits, signed):
    values = grey(bits, signed)
    frame = encode_array(values, bits_stored=bits, codec_format=0)
    assert np.array_equal(raw(compressed(values, frame, JPEG_2000, bits)), values)


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, True)])
@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2K_RPCL, HTJ2K_LOSSY])
def test_high_throughput_jpeg_2000(syntax, bits, signed):
    values = grey(bits, signed)
    frame = imagecodecs.htj2k_encode(values)
    assert np.array_equal(raw(compressed(values, frame, syntax, bits)), values)


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, False)])
def test_jpeg_xl(bits, signed):
    values = grey(bits, signed)
    frame = imagecodecs.jpegxl_encode(as_unsigned(values, bits), lossless=True)
    assert np.array_equal(raw(compressed(values, frame, JPEG_XL_LOSSLESS, bits)), values)


def test_jpeg_in_jpeg_xl_is_the_jpeg():
    values = np.stack([grey(8), grey(8).T.reshape(40, 64), 255 - grey(8)], axis=-1)
    jpeg = imagecodecs.jpeg8_encode(values, level=95)
    packed = imagecodecs.jpegxl_encode_jpeg(jpeg)
    here = colour(compressed(values, packed, JPEG_XL_JPEG, 8, PhotometricInterpretation="YBR_FULL_422"))
    there = colour(compressed(values, jpeg, JPEG_BASELINE, 8, PhotometricInterpretation="YBR_FULL_422"))
    difference = np.abs(here.astype(int) - there)
    assert difference.max() <= 4  # libjxl transforms and upsamples in floating point and rounds once
    assert difference.mean() < 1


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, True), (16, False)])
def test_frames_deflated_one_by_one(bits, signed):
    values = grey(bits, signed)
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    frame = pack.compress(values.tobytes()) + pack.flush()
    assert np.array_equal(raw(compressed(values, frame, DEFLATED_FRAMES, bits)), values)
    with pytest.raises(ReadFailure, match=r"damaged|shorter"):
        raw(compressed(values, frame[: len(frame) // 2], DEFLATED_FRAMES, bits))


def test_native_frames_in_fragments():
    values = grey(12, True)
    assert np.array_equal(raw(compressed(values, values.tobytes(), ENCAPSULATED, 12)), values)


def test_jpeg_of_twelve_bits():
    values = grey(12)
    frame = imagecodecs.jpeg8_encode(values, level=98, bitspersample=12)
    found = raw(compressed(values, frame, JPEG_EXTENDED, 12))
    assert np.abs(found - values).max() < 30


def test_sizes_before_decoding():
    values = grey(8)
    frames = (
        imagecodecs.jpeg8_encode(values), imagecodecs.ljpeg_encode(values), imagecodecs.jpegls_encode(values),
        encode_array(values, codec_format=0), encode_array(values, codec_format=1),
        imagecodecs.htj2k_encode(values), imagecodecs.jpegxl_encode(values, lossless=True),
        imagecodecs.jpegxl_encode(values, level=80, usecontainer=True),
    )  # fmt: skip
    for frame in frames:
        found = look(frame)
        assert (found.rows, found.columns) == (40, 64)
    assert look(b"\0" * 64) is None
    assert ends_whole(frames[0] + b"\0\0")
    assert not ends_whole(frames[0][:-2])


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x02", b"\xff\xd8\x00\x00" * 9, b"\xff\x4f\xff\x51\x00",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x08abcd",
    ],
)  # fmt: skip
def test_damaged_code_streams_end(frame):
    """A box of length 0 must not be stepped over for ever."""
    with pytest.raises(ValueError, match=r"code stream"):
        look(frame)
    with pytest.raises(ReadFailure, match="cannot be decoded"):
        raw(compressed(grey(8), frame, JPEG_2000_LOSSY, 8))


def test_rle_that_points_outside_is_a_failure():
    header = (1).to_bytes(4, "little") + (9000).to_bytes(4, "little") + bytes(56)
    with pytest.raises(ReadFailure, match="cannot be decoded"):
        raw(compressed(grey(8), header + b"\x7f\x00", "1.2.840.10008.1.2.5", 8))
