"""Files of kinds that the image collection lacks, drawn here: no patient is behind them.

Each is written with the attributes that decide how it is shown, so that the reader has the same work as with
a real one.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

_SOP = "1.2.840.10008.5.1.4.1.1."


def mammogram(path: Path) -> None:
    """A left CC view: adipose and glandular tissue, some calcifications; 12 bits, sigmoid window."""
    rows, columns = np.mgrid[0:480, 0:360]
    breast = ((rows - 240) / 210) ** 2 + (columns / 290) ** 2 < 1
    edge = np.clip(1 - ((rows - 240) / 210) ** 2 - (columns / 290) ** 2, 0, 1) ** 0.4
    gland = _cloud((480, 360), 9, seed=3) * np.exp(
        -(((rows - 240) / 130) ** 2) - ((columns - 120) / 110) ** 2
    )
    values = np.where(breast, 1300 * edge + 900 * gland, 0) + 40 * _cloud((480, 360), 1, seed=4)
    rng = np.random.default_rng(5)
    for row, column in rng.integers((220, 130), (262, 172), (9, 2)):
        values[row : row + 2, column : column + 2] += 900
    _write(
        path, values.clip(0, 4095).astype(np.uint16), BitsStored=12, HighBit=11, Modality="MG",
        SOPClassUID=_SOP + "1.2", ViewPosition="CC", ImageLaterality="L", BodyPartExamined="BREAST",
        PresentationIntentType="FOR PRESENTATION", WindowCenter=1500, WindowWidth=2400,
        VOILUTFunction="SIGMOID", ImagerPixelSpacing=[0.4, 0.4], PresentationLUTShape="IDENTITY",
    )  # fmt: skip


def pet_slice(path: Path) -> None:
    """A trunk with two kidneys and a hot spot; Bq/ml, with what SUV by body weight needs."""
    rows, columns = np.mgrid[0:128, 0:128]
    activity = np.where(_disc(rows, columns, (64, 64), (38, 52)), 4000.0, 0.0)
    for centre in ((76, 40), (76, 88)):
        activity += np.where(_disc(rows, columns, centre, (9, 6)), 14000, 0)
    activity += 42000 * np.exp(-((rows - 52) ** 2 + (columns - 74) ** 2) / 18)
    activity *= 1 + 0.12 * _cloud((128, 128), 1.5, seed=6)
    dose = Dataset()
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = 370e6, 6586.2
    dose.RadiopharmaceuticalStartTime = "100000"
    _write(
        path, (activity / 2).clip(0, 32767).astype(np.int16), Modality="PT", SOPClassUID=_SOP + "128",
        RescaleSlope=2, RescaleIntercept=0, Units="BQML", DecayCorrection="START",
        CorrectedImage=["DECY", "ATTN"], SeriesDate="20240102", SeriesTime="110000",
        AcquisitionDate="20240102", AcquisitionTime="110000", PatientWeight=74.0,
        RadiopharmaceuticalInformationSequence=[dose], PixelSpacing=[4.0, 4.0], SliceThickness=4,
        ImagePositionPatient=[-256, -256, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )  # fmt: skip


def angiogram(path: Path) -> None:
    """A vessel that fills with contrast over 24 frames; 10 bits, frame time 66 ms."""
    rows, columns = np.mgrid[0:256, 0:256]
    middle = 128 + 40 * np.sin(rows / 34)
    branch = 128 + 40 * np.sin(3) + (rows - 100) * 0.9
    distance = np.minimum(abs(columns - middle) / 5, np.where(rows > 100, abs(columns - branch) / 3, 99))
    vessel = np.exp(-(distance**2))
    tissue = 700 + 60 * _cloud((256, 256), 20, seed=7)
    frames = [
        tissue - 430 * vessel * (rows < 12 * n) + 14 * np.random.default_rng(n).standard_normal((256, 256))
        for n in range(24)
    ]
    _write(
        path, np.stack(frames).clip(0, 1023).astype(np.uint16), BitsStored=10, HighBit=9, Modality="XA",
        SOPClassUID=_SOP + "12.1", NumberOfFrames=24, FrameTime=66.0, FrameIncrementPointer=0x00181063,
        WindowCenter=512, WindowWidth=1024, BodyPartExamined="HEART", ImageType=["ORIGINAL", "PRIMARY"],
    )  # fmt: skip


def oct_stack(path: Path) -> None:
    """Eight B-scans of retina-like layers with a pit in the middle."""
    rows, columns = np.mgrid[0:200, 0:320]
    frames = []
    for n in range(8):
        depth = 26 * np.exp(-(((columns - 160) / 42) ** 2) - ((n - 4) / 3) ** 2)
        values = 12.0 + 6 * _cloud((200, 320), 1, seed=20 + n)
        for top, bright, thick in ((60, 150, 9), (80, 70, 10), (98, 110, 8), (118, 60, 14), (140, 230, 7)):
            shift = depth * max(0.0, (130 - top) / 70)
            values += bright * np.exp(-(((rows - top - shift) / thick) ** 2))
        frames.append(values * (0.75 + 0.5 * np.random.default_rng(n).random((200, 320))))
    _write(
        path, np.stack(frames).clip(0, 255).astype(np.uint8), Modality="OPT", NumberOfFrames=8,
        SOPClassUID=_SOP + "77.1.5.4", ImageLaterality="R", BodyPartExamined="EYE",
    )  # fmt: skip


def nifti_ct(path: Path) -> None:
    """A head-like cylinder of 24 slices in HU: air, bone, brain."""
    import nibabel

    rows, columns = np.mgrid[0:96, 0:96]
    volume = np.full((96, 96, 24), -1000, np.int16)
    for n in range(24):
        size = 40 - (n - 12) ** 2 / 8
        volume[..., n][_disc(rows, columns, (48, 48), (size, size * 0.8))] = 900
        brain = _disc(rows, columns, (48, 48), (size - 4, size * 0.8 - 4))
        volume[..., n][brain] = (34 + 8 * _cloud((96, 96), 3, seed=n))[brain]
    image = nibabel.Nifti1Image(volume, np.diag([-2.0, -2.0, 5.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


PHANTOMS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mammogram": ("mammogram.dcm", mammogram),
    "pet": ("pet.dcm", pet_slice),
    "angiogram": ("angiogram.dcm", angiogram),
    "oct": ("oct.dcm", oct_stack),
    "nifti-ct": ("ct.nii.gz", nifti_ct),
}


def _disc(rows: Any, columns: Any, centre: tuple[float, float], radii: tuple[float, float]) -> Any:
    return ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1


def _cloud(shape: tuple[int, int], size: float, seed: int) -> Any:
    """Smooth noise of spread 1."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), size)
    return noise / noise.std()


def _write(path: Path, pixels: Any, **elements: Any) -> None:
    ds = Dataset()
    ds.PatientID, ds.PatientName, ds.Manufacturer = "SYNTHETIC", "SYNTHETIC", "SYNTHETIC"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, generate_uid(entropy_srcs=[path.name, keyword]))
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    if "HighBit" not in ds:
        ds.HighBit = ds.BitsStored - 1
    ds.PixelData = np.ascontiguousarray(pixels).tobytes()
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    path.write_bytes(out.getvalue())
