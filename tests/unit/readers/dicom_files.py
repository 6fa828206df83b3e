"""Small DICOM files for tests, written by pydicom; every name and number in them is invented."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

SECRET = "GEHEIM^NAME"


def dataset(pixels: np.ndarray, **elements: Any) -> Dataset:
    """An image: (H, W), (H, W, 3), or (frames, H, W) with NumberOfFrames among the elements."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3.4.5"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    ds.PatientName, ds.PatientID, ds.Modality = SECRET, "P-1", "CT"
    colour = pixels.ndim == 3 and "NumberOfFrames" not in elements
    ds.Rows, ds.Columns = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:3]
    ds.SamplesPerPixel = 3 if colour else 1
    if colour:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    if "HighBit" not in ds:
        ds.HighBit = ds.BitsStored - 1
    data = np.ascontiguousarray(pixels).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated <= 8 else "OW"
    return ds


def file_bytes(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The dataset as a PS3.10 file. Pixel data are taken as they are (little endian, or already packed)."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3.4.5")
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def bare_bytes(ds: Dataset, syntax: str = ImplicitVRLittleEndian) -> bytes:
    """The dataset alone: neither preamble nor meta information."""
    out = io.BytesIO()
    ds.save_as(
        out,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=False,
    )
    return out.getvalue()


def item(**elements: Any) -> Sequence:
    """A sequence of one item."""
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return Sequence([found])
