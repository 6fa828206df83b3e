"""Peak memory and time of reading files of several gigabytes: volumes, multi-frame objects, series, slides.

    python benchmarks/large_files.py [--gib 3] [--folder SCRATCH] [--only nii,nii.gz,dicom,series,slide]

Each file is made in the scratch folder (which must have room), described and read at sixteen places in a
process of its own, and deleted. peak_mb is the largest resident size of that process, above_idle_mb what it
takes beyond one that has imported the same and read nothing; pages of files mapped into memory count as
resident. Unpacked voxels lie in a temporary file, so TMPDIR should be on a disk. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SIDE = 512
PLACES = 16
_GIB = 1 << 30


def slices(count: int, side: int = SIDE) -> Iterator[bytes]:
    """Noise on a ramp, each slice another; packs to about half."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 16, (side, side), np.int16) + np.arange(side, dtype=np.int16)
    for number in range(count):
        yield np.roll(noise, number * 7, axis=number % 2).tobytes()


def nifti(path: Path, size: int) -> Path:
    import nibabel as nib

    depth = size // (SIDE * SIDE * 2)
    header = nib.Nifti1Header()
    header.set_data_shape((SIDE, SIDE, depth))
    header.set_data_dtype(np.int16)
    header.set_sform(np.diag([0.5, 0.5, 1.0, 1.0]), 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    opened = gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb")  # noqa: SIM115
    with opened as out:
        out.write(header.binaryblock + bytes(4))
        for data in slices(depth):
            out.write(data)
    return path


def header_of(rows: int, number: int, frames: int) -> bytes:
    """A DICOM file up to its pixel data (explicit little endian)."""
    import io

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3" if frames > 1 else "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.3.4.{number}", "1.2.3", "1.2.3.4"
    ds.Modality, ds.PatientID, ds.InstanceNumber = "CT", "P", number
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    if frames > 1:
        ds.NumberOfFrames = frames
    else:
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, number]
    ds.Rows = ds.Columns = rows
    ds.PixelSpacing = [0.5, 0.5]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, "1.2.3.4"
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    length = rows * rows * 2 * frames
    return out.getvalue() + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", length)


def multi_frame(path: Path, size: int) -> Path:
    frames = min(size, (1 << 32) - 2) // (SIDE * SIDE * 2)
    with path.open("wb") as out:
        out.write(header_of(SIDE, 1, frames))
        for data in slices(frames):
            out.write(data)
    return path


def series(path: Path, size: int) -> Path:
    path.mkdir()
    count = size // (SIDE * SIDE * 2)
    for number, data in enumerate(slices(count), 1):
        (path / f"{number * 7919 % count:06}.dcm").write_bytes(header_of(SIDE, number, 1) + data)
    return path


def slide(path: Path, size: int) -> Path:
    """A tiled pyramid without compression, 0.25 microns per pixel, pink everywhere."""
    import tifffile

    side = int((size / 3) ** 0.5) // 4096 * 4096
    tile = np.random.default_rng(2).integers(-20, 20, (SIDE, SIDE, 3)) + np.array([190, 90, 150])
    data = tile.astype(np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as out:
        for level in range(4):
            length = side // 4**level
            tiles = (data for _ in range((-(-length // SIDE)) ** 2))
            out.write(
                tiles, shape=(length, length, 3), dtype=np.uint8, tile=(SIDE, SIDE), photometric="rgb",
                subfiletype=1 if level else 0, resolution=(4e4 / 4**level,) * 2, resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


MAKERS = {
    "nii": (nifti, "large.nii"), "nii.gz": (nifti, "large.nii.gz"), "dicom": (multi_frame, "large.dcm"),
    "series": (series, "series"), "slide": (slide, "large.tif"),
}  # fmt: skip


def measure(path: Path | None) -> dict[str, object]:
    """In a process of its own: describe everything, read sixteen items spread over it."""
    from embedstore.contracts.record import Asset
    from embedstore.readers.choose import ReaderSet
    from embedstore.readers.walk import walk

    readers = ReaderSet.installed()
    idle = _peak_mb()
    if path is None:
        return {"peak_mb": idle}
    started = time.perf_counter()
    assets = [one for source in walk([path]) for one in readers.describe(source) if isinstance(one, Asset)]
    described = time.perf_counter() - started
    chosen = sorted({round(n * (len(assets) - 1) / (PLACES - 1)) for n in range(PLACES)})
    started, first = time.perf_counter(), 0.0
    for number in chosen:
        assert readers.read(assets[number]).pixels.size
        first = first or time.perf_counter() - started
    rest = (time.perf_counter() - started - first) / max(len(chosen) - 1, 1)
    return {
        "items": len(assets),
        "describe_s": round(described, 2),
        "first_read_s": round(first, 2),
        "each_further_read_ms": round(rest * 1000, 1),
        "peak_mb": _peak_mb(),
        "above_idle_mb": round(_peak_mb() - idle),
    }


def _peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--gib", type=float, default=3.0)
    arguments.add_argument("--folder", type=Path)
    arguments.add_argument("--only", default=",".join(MAKERS))
    arguments.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    rows = []
    for kind in options.only.split(","):
        make, name = MAKERS[kind]
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            path = make(Path(scratch) / name, int(options.gib * _GIB))
            files = [path] if path.is_file() else list(path.iterdir())
            size = sum(one.stat().st_size for one in files)
            command = [sys.executable, __file__, "--measure", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"kind": kind, "mb": size >> 20, **json.loads(done.stdout)})
            shutil.rmtree(scratch, ignore_errors=True)
            Path(scratch).mkdir(exist_ok=True)
    print(json.dumps({"gib": options.gib, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
