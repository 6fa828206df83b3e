"""Writes a phantom film as a DICOM object whose complete headers say, over and over, that it is synthetic."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.demo.anatomy import Anatomy
from embedstore.demo.scanners import Scanner

_FIRST_DAY = date(2021, 1, 4)
_DX = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation (PS3.4 B.5)
_CR = "1.2.840.10008.5.1.4.1.1.1"  # Computed Radiography Image Storage
_EXPLICIT_LE = "1.2.840.10008.1.2.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Who was exposed, where and when. study: from 1. day: days after the cohort's first day."""

    scanner: Scanner
    patient_id: str
    person: Anatomy
    study: int
    day: int
    seed: int

    @property
    def date(self) -> date:
        """The study's date."""
        return _FIRST_DAY + timedelta(days=self.day)


def uid(*names: str | int) -> str:
    """A UID under 2.25 (PS3.5 B.2: a UUID as an integer) that depends on nothing but `names`."""
    raw = hashlib.sha256("/".join(map(str, ("embedstore synthetic", *names))).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=raw[:16], version=4).int}"


def write_film(path: Path, exposure: Exposure, pixels: NDArray[np.uint16]) -> None:
    """Write (rows, columns) stored values as explicit VR little endian; parents are made."""
    from pydicom import Dataset, FileMetaDataset
    from pydicom.uid import UID

    own = (exposure.seed, exposure.patient_id)
    dataset, meta = Dataset(), FileMetaDataset()
    for part in (_patient(exposure), _study(exposure), _equipment(exposure), _image(exposure, pixels)):
        for keyword, value in part.items():
            setattr(dataset, keyword, value)
    dataset.SOPInstanceUID = UID(uid(*own, "image", exposure.study))
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(_EXPLICIT_LE)
    meta.ImplementationClassUID = UID(uid("implementation"))
    meta.ImplementationVersionName = "SYNTHETIC"
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _patient(exposure: Exposure) -> dict[str, Any]:
    born = exposure.date.year - exposure.person.age
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": f"SYNTHETIC^PHANTOM {exposure.patient_id.removeprefix('SYN-')}",
        "PatientID": exposure.patient_id,
        "IssuerOfPatientID": "SYNTHETIC",
        "PatientBirthDate": f"{born}0101",
        "PatientSex": exposure.person.sex,
        "PatientAge": f"{exposure.person.age:03d}Y",
        "PatientComments": "SYNTHETIC PHANTOM, NOT A PERSON",
    }


def _study(exposure: Exposure) -> dict[str, Any]:
    own = (exposure.seed, exposure.patient_id)
    day = exposure.date.strftime("%Y%m%d")
    minute = int(hashlib.sha256(repr((own, exposure.study)).encode()).hexdigest(), 16) % 600
    time = f"{8 + minute // 60:02d}{minute % 60:02d}00"
    return {
        "StudyInstanceUID": uid(*own, "study", exposure.study),
        "SeriesInstanceUID": uid(*own, "series", exposure.study),
        "StudyID": str(exposure.study),
        "AccessionNumber": f"SYN{exposure.scanner.site}{exposure.patient_id[-4:]}{exposure.study}",
        "StudyDate": day,
        "StudyTime": time,
        "SeriesDate": day,
        "SeriesTime": time,
        "AcquisitionDate": day,
        "AcquisitionTime": time,
        "ContentDate": day,
        "ContentTime": time,
        "ReferringPhysicianName": "SYNTHETIC^NOBODY",
        "StudyDescription": "SYNTHETIC CHEST PA",
        "SeriesDescription": "SYNTHETIC PHANTOM",
        "ProtocolName": "SYNTHETIC CHEST PA",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "AcquisitionNumber": 1,
    }


def _equipment(exposure: Exposure) -> dict[str, Any]:
    scanner = exposure.scanner
    return {
        "Modality": scanner.modality,
        "Manufacturer": scanner.manufacturer,
        "ManufacturerModelName": scanner.model,
        "StationName": scanner.station,
        "SoftwareVersions": scanner.software,
        "DeviceSerialNumber": f"SYN-{scanner.site}",
        "InstitutionName": scanner.institution,
        "InstitutionAddress": "SYNTHETIC, NOWHERE",
        "KVP": scanner.kvp,
        "ImagerPixelSpacing": [scanner.spacing_mm, scanner.spacing_mm],
        "DetectorType": "DIRECT" if scanner.modality == "DX" else "STORAGE",
    }


def _image(exposure: Exposure, pixels: NDArray[np.uint16]) -> dict[str, Any]:
    scanner = exposure.scanner
    return {
        "SOPClassUID": _DX if scanner.modality == "DX" else _CR,
        "ImageType": ["DERIVED", "PRIMARY", ""] if scanner.modality == "DX" else ["DERIVED", "PRIMARY"],
        "PresentationIntentType": "FOR PRESENTATION",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "ImageLaterality": "U",
        "ImageComments": "SYNTHETIC PHANTOM",
        "DerivationDescription": "Computer-drawn phantom, no person was exposed",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": 1 if scanner.inverted else -1,
        "PresentationLUTShape": "INVERSE" if scanner.inverted else "IDENTITY",
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "RescaleType": "US",
        "WindowCenter": scanner.window[0],
        "WindowWidth": scanner.window[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": scanner.photometric,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": scanner.bits,
        "HighBit": scanner.bits - 1,
        "PixelRepresentation": 0,
        "PixelData": pixels.astype("<u2").tobytes(),
    }
