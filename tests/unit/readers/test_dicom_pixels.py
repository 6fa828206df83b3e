"""Decoding and rendering of DICOM against other people's decoders: pydicom's own functions and GDCM."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut, apply_windowing, pixel_array
from pydicom.uid import ExplicitVRBigEndian

from embedstore.contracts.image import Image
from embedstore.contracts.record import Asset
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.sources import FileSource
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource

from .dicom_files import dataset, file_bytes

CARRIED = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))


def assets(path: Path, reader: DicomReader | None = None) -> list[Asset]:
    reader = reader or DicomReader(Limits())
    return [found for found in reader.describe(FileSource.of(path)) if isinstance(found, Asset)]


def first_asset(path: Path) -> Asset | None:
    try:
        return next(iter(assets(path)), None)
    except ReadFailure:
        return None


def as_pydicom_shows(ds, stored: np.ndarray) -> np.ndarray:
    """uint8 by pydicom's modality and windowing functions."""
    values = apply_modality_lut(stored, ds)
    shown = apply_windowing(values, ds).astype(np.float64)
    low = -(2 ** (ds.BitsStored - 1)) if ds.PixelRepresentation else 0
    high = low + 2**ds.BitsStored - 1
    if "RescaleSlope" in ds:
        low, high = (v * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for v in (low, high))
    shown = np.clip((shown - low) / (high - low), 0, 1) * 255
    return 255 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown


def cropped(frame: np.ndarray, image: Image) -> np.ndarray:
    """The part of the frame that is shown: of ultrasound, the picture."""
    top, left = image.offset
    return frame[top : top + image.pixels.shape[0], left : left + image.pixels.shape[1]]


def check_against_pydicom(path: Path) -> str:
    """Compare the first frame with pydicom's; says what was compared."""
    asset = first_asset(path)
    if asset is None:
        return "not an image"
    reader = DicomReader(Limits())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(path)
        try:
            stored = pixel_array(path, index=0)
        except (RuntimeError, AttributeError, NotImplementedError):
            return "pydicom cannot decode it"
        if ds.PhotometricInterpretation == "PALETTE COLOR" or "SharedFunctionalGroupsSequence" in ds:
            return "needs more than pydicom's functions"
        if stored.ndim == 3:
            image = reader.read(asset)
            truth = cropped(stored >> (8 * stored.dtype.itemsize - 8), image)
            assert np.array_equal(image.pixels, truth), path.name
            return "colour"
        raw = reader.read(asset, "raw").pixels[..., 0]
        assert np.allclose(raw, apply_modality_lut(stored, ds), rtol=1e-6), path.name
        if "WindowWidth" not in ds or "VOILUTSequence" in ds:
            return "raw"
        image = reader.read(asset)
        truth = cropped(as_pydicom_shows(ds, stored), image)
        assert np.abs(image.pixels[..., 0].astype(np.float64) - truth).max() <= 0.51, path.name
        return "window"


def test_files_that_pydicom_carries():
    compared = [check_against_pydicom(path) for path in CARRIED]
    assert compared.count("colour") >= 5
    assert compared.count("window") >= 5


def test_the_shared_collection_against_pydicom(shared_data):
    paths = [path for path in sorted((shared_data / "dicom").rglob("*")) if path.is_file()]
    compared = [check_against_pydicom(path) for path in paths]
    assert compared.count("colour") >= 10
    assert compared.count("window") >= 40


def test_one_slice_in_fifteen_syntaxes(shared_data):
    """Lossless syntaxes give the very pixels, lossy ones nearly; HU either way."""
    folder = shared_data / "dicom" / "same_ct_all_syntaxes"
    reader = DicomReader(Limits())
    read = {path.name: reader.read(assets(path)[0], "hu").pixels for path in sorted(folder.iterdir())}
    assert len(read) == 15
    truth = next(pixels for name, pixels in read.items() if "LittleEndianExplicit" in name)
    lossy = ("Lossy", "JPEG2000TransferSyntax", "Process10", "Process1T", "Process2", "Process6")
    for name, pixels in read.items():
        if any(mark in name for mark in lossy):
            inside = truth > -1000  # 12-bit versions were cut at -4047 to 4143
            assert np.abs(pixels - truth)[inside].mean() < (20 if "Process1T" in name else 6), name
        else:
            assert np.array_equal(pixels, truth), name


def test_compressed_frames_against_gdcm(shared_data):
    """GDCM reads the whole file by itself; stored values must agree for every lossless monochrome one."""
    gdcm = pytest.importorskip("gdcm")
    compared = 0
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        asset = first_asset(path)
        if asset is None or asset.header.rows * asset.header.columns > 600_000:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = dcmread(path, stop_before_pixels=True)
        lossless = ds.file_meta.get("TransferSyntaxUID") in {
            "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80",
            "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5",
        }  # fmt: skip
        if not lossless or ds.get("SamplesPerPixel") != 1:
            continue
        opened = gdcm.ImageReader()
        opened.SetFileName(str(path))
        if ds.PhotometricInterpretation == "PALETTE COLOR" or not opened.Read():
            continue
        buffer = opened.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
        kind = f"{'ui'[ds.PixelRepresentation]}{ds.BitsAllocated // 8}"
        theirs = np.frombuffer(buffer, f"<{kind}")[: ds.Rows * ds.Columns]
        ours = DicomReader(Limits()).read(asset, "raw").pixels.ravel()
        if path.name != "J2K_pixelrep_mismatch.dcm":  # GDCM takes its signedness from the code stream
            slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
            assert np.array_equal(ours, (theirs * slope + intercept).astype(np.float32)), path.name
            compared += 1
    assert compared >= 8


@pytest.mark.parametrize("want", ["display", "raw"])
def test_reading_a_carried_file_twice_is_the_same(want):
    path = next(path for path in CARRIED if path.name == "CT_small.dcm")
    reader = DicomReader(Limits())
    asset = assets(path, reader)[0]
    assert np.array_equal(reader.read(asset, want).pixels, reader.read(asset, want).pixels)


@pytest.mark.parametrize("kind", ["u4", "i4"])
@pytest.mark.parametrize("order", ["words of 16 bits, the lowest first", "the whole integer"])
def test_big_endian_values_of_32_bits_in_both_orders_that_are_written(kind, order):
    """PS3.5 7.3 has words of 16 bits, and so dcmtk and GDCM write them; pydicom's files have the integer."""
    rows, columns = np.mgrid[:40, :50]
    values = (rows * 9001 + columns * 777 - 40000 * (kind == "i4")).astype(f"<{kind}")
    ds = dataset(values)
    ds.PixelData = (
        values.view("<u2").astype(">u2").tobytes()
        if "words" in order
        else values.astype(f">{kind}").tobytes()
    )
    source = BytesSource(file_bytes(ds, ExplicitVRBigEndian))
    (asset,) = DicomReader(Limits()).describe(source)
    assert np.array_equal(DicomReader(Limits()).read(asset, "raw").pixels[..., 0], values.astype(np.float32))
