"""Files per second of the header scan: `describe` of many small DICOM files, in one process and in two.

    python benchmarks/describe.py [FOLDER] [--files 10000] [--repeats 3]

FOLDER: DICOM files, taken again and again under other names until there are as many as asked for; default
are CT, MR, CR and ultrasound objects with the headers of real scanners, small matrices and private blocks,
made here. Prints one JSON document; the best of the repeats is what the machine does when it is left alone.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource

_SOP = "1.2.840.10008.5.1.4.1.1."
_CLASSES = ((_SOP + "2", "CT"), (_SOP + "4", "MR"), (_SOP + "1", "CR"), (_SOP + "6.1", "US"))


def item(**elements: object) -> Sequence:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return Sequence([found])


def small_file(number: int) -> bytes:
    """About 110 elements, as an export has them."""
    sop_class, modality = _CLASSES[number % len(_CLASSES)]
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"1.2.276.1.{number}"
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"):
        setattr(ds, keyword, "20240531")
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"):
        setattr(ds, keyword, "101500.123")
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = modality, "Acme", "Scan-o-mat 3000"
    ds.InstitutionName, ds.StationName = "Universit\u00e4tsklinik", "ROOM1"
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "Thorax nativ", "Axial 5mm", "Routine"
    ds.ReferencedStudySequence = item(ReferencedSOPClassUID="1.2.3", ReferencedSOPInstanceUID="1.2.3.4")
    ds.RequestAttributesSequence = item(
        ScheduledProcedureStepID="7", RequestedProcedureID="8",
        ScheduledProtocolCodeSequence=item(CodeValue="A", CodingSchemeDesignator="L", CodeMeaning="Thorax"),
    )  # fmt: skip
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Test^Case", f"P{number // 40}", "19610203"
    ds.PatientSex, ds.PatientAge, ds.PatientWeight, ds.PatientSize = "F", "063Y", 70.5, 1.7
    ds.BodyPartExamined, ds.SliceThickness, ds.KVP = "CHEST", 5, 120
    ds.RepetitionTime, ds.EchoTime, ds.FlipAngle, ds.MagneticFieldStrength = 500, 12.5, 90, 1.5
    ds.SoftwareVersions, ds.DeviceSerialNumber = ["A1", "B2"], "12345"
    for keyword in ("ReconstructionDiameter", "DataCollectionDiameter", "TableHeight", "GantryDetectorTilt"):
        setattr(ds, keyword, 123.25)
    for keyword in ("ExposureTime", "XRayTubeCurrent", "Exposure", "GeneratorPower"):
        setattr(ds, keyword, 100)
    ds.FilterType, ds.ConvolutionKernel, ds.PatientPosition = "BODY", "STANDARD", "HFS"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.276.2.{number // 40}", f"1.2.276.3.{number // 20}"
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", 2, 1, number % 20 + 1
    ds.ImagePositionPatient = [-100, -100, 5.0 * (number % 20)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID, ds.SliceLocation = "1.2.276.4", 5.0 * (number % 20)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 32
    ds.PixelSpacing = [0.7, 0.7]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = ["40", "-600"], ["400", "1600"]
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    for group in (0x0019, 0x0021, 0x0043):
        block = ds.private_block(group, "ACME HEADER", create=True)
        for place in range(12):
            block.add_new(place, "LO", f"private value {place}")
    ds.PixelData = np.zeros((32, 32), np.uint16).tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if number % 5 == 4 else ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        sop_class,
        ds.SOPInstanceUID,
    )
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def corpus(folder: Path, taken_from: Path | None, files: int) -> list[Path]:
    given = sorted(p for p in taken_from.rglob("*") if p.is_file()) if taken_from else []
    made = []
    for number in range(files):
        path = folder / f"{number:06d}.dcm"
        if given:
            shutil.copyfile(given[number % len(given)], path)
        elif number < 400:
            path.write_bytes(small_file(number))
        else:
            shutil.copyfile(folder / f"{number % 400:06d}.dcm", path)
        made.append(path)
    return made


def describe(paths: list[Path]) -> int:
    readers = ReaderSet.installed()
    return sum(len(list(readers.describe(FileSource.of(path)))) for path in paths)


def timed(paths: list[Path], processes: int) -> float:
    """Files per second. Processes are started before the clock."""
    if processes == 1:
        started = time.perf_counter()
        describe(paths)
        return len(paths) / (time.perf_counter() - started)
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        pool.map(describe, [paths[:50]] * processes, chunksize=1)
        started = time.perf_counter()
        pool.map(describe, [paths[first::processes] for first in range(processes)], chunksize=1)
        return len(paths) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        paths = corpus(Path(scratch), chosen.folder, chosen.files)
        describe(paths[:200])
        rates: dict[str, list[float]] = {"1": [], "2": []}
        for _ in range(chosen.repeats):
            for processes in rates:
                rates[processes].append(round(timed(paths, int(processes)), 1))
        size = sum(path.stat().st_size for path in paths) / len(paths)
    report = {
        "files": len(paths),
        "mean_bytes": round(size),
        "cores": os.cpu_count(),
        "files_per_s": {f"{count}_process": max(found) for count, found in rates.items()},
        "repeats": rates,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
