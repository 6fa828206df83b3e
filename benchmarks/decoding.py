"""Images per second by transfer syntax: embedstore, pydicom's default, dcmtk and GDCM on the same frames.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py [FOLDER ...] [--frames 24] [--repeats 3]

Of each transfer syntax and photometric interpretation under FOLDER (and in pydicom's own test files) the
largest single-frame file is taken and written again as a file of many equal frames, so that starting a
process and opening a file do not count. Each then decodes all frames, on one thread, in turn; the best of the
repeats counts.

- embedstore: `decode_frame` of each frame from the opened file; YBR becomes RGB.
- pydicom: `pydicom.pixels.iter_pixels` with the plugin it chooses by itself; YBR becomes RGB.
- gdcm: `gdcm.ImageReader` and the buffer of its image.
- dcmtk: dcmj2pnm, dcml2pnm or dcm2pnm with all frames, which it renders to 8 bits; raw PNM in /dev/shm.

Before the clock, the stored values of embedstore and pydicom are compared. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_file import parse, shape_of
from embedstore.readers.dicom_pixels import decode_frame
from embedstore.settings import Limits

_SMALLEST = 200 * 200
_GREYSCALE_FRAMES = "1.2.840.10008.5.1.4.1.1.7.3"


def candidates(folders: list[Path]) -> dict[tuple[str, str], Path]:
    """The largest single-frame file of each transfer syntax and photometric interpretation."""
    best: dict[tuple[str, str], tuple[int, Path]] = {}
    for path in sorted({p for folder in folders for p in folder.rglob("*") if p.is_file()}):
        try:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            size = int(ds.Rows) * int(ds.Columns)
            key = str(ds.file_meta.TransferSyntaxUID), str(ds.PhotometricInterpretation)
        except Exception:  # no DICOM, or no image
            continue
        if (
            size >= _SMALLEST
            and int(ds.get("NumberOfFrames") or 1) == 1
            and size > best.get(key, (0, path))[0]
        ):
            best[key] = size, path
    return {key: path for key, (_, path) in sorted(best.items())}


def many_frames(path: Path, frames: int, out: Path) -> pydicom.Dataset:
    """The same image `frames` times in one file."""
    ds = pydicom.dcmread(path)
    syntax = ds.file_meta.TransferSyntaxUID
    ds.NumberOfFrames, ds.SOPClassUID = frames, _GREYSCALE_FRAMES
    ds.file_meta.MediaStorageSOPClassUID = _GREYSCALE_FRAMES
    if syntax.is_encapsulated:
        ds.PixelData = encapsulate([get_frame(ds.PixelData, 0, number_of_frames=1)] * frames)
        ds["PixelData"].is_undefined_length = True
    else:
        samples = 2 if ds.PhotometricInterpretation == "YBR_FULL_422" else ds.SamplesPerPixel
        ds.PixelData = ds.PixelData[: ds.Rows * ds.Columns * samples * ds.BitsAllocated // 8] * frames
    ds.save_as(out)
    return ds


def by_embedstore(path: Path) -> list[np.ndarray]:
    with path.open("rb") as opened:
        file = parse(opened, path.stat().st_size, Limits())
        shape = shape_of(file, Limits())
        return [decode_frame(file, shape, opened, index).values for index in range(shape.frames)]


def by_pydicom(path: Path) -> list[np.ndarray]:
    return list(iter_pixels(path))


def by_gdcm(path: Path) -> object:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise RuntimeError("GDCM cannot read it")
    return reader.GetImage().GetBuffer()


def by_dcmtk(path: Path) -> None:
    syntax = UID(str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID))
    tool = "dcm2pnm"
    if syntax in JPEGTransferSyntaxes:
        tool = "dcmj2pnm"
    elif syntax in JPEGLSTransferSyntaxes:
        tool = "dcml2pnm"
    elif syntax.is_encapsulated and "RLE" not in syntax.name:
        raise RuntimeError("dcmtk has no decoder for it")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        command = [tool, "-q", "-O", "+Fa", "+op", "+Wm", str(path), f"{scratch}/out"]
        plain = [part for part in command if part != "+Wm"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            subprocess.run(plain, capture_output=True, check=True)


def rate(decode: Callable[[Path], object], path: Path, frames: int, repeats: int) -> float | None:
    best = None
    for _ in range(repeats):
        started = time.perf_counter()
        try:
            decode(path)
        except (Exception, SystemError):  # it has no decoder for this syntax
            return None
        took = time.perf_counter() - started
        best = took if best is None else min(best, took)
    assert best is not None
    return round(frames / best, 1)


def agree(path: Path) -> str:
    """Whether embedstore and pydicom give the same values."""
    try:
        ours = by_embedstore(path)[0]
    except ReadFailure as failure:
        return f"refused: {failure.reason}"
    try:
        theirs = by_pydicom(path)[0]
    except Exception:  # pydicom has no decoder for it
        return "pydicom gives none"
    return f"at most {int(np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max())} apart"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folders", nargs="*", type=Path)
    arguments.add_argument("--frames", type=int, default=24)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    if shutil.which("dcmj2pnm") is None:
        raise SystemExit("dcmj2pnm is not installed (Debian: apt install dcmtk)")
    shipped = Path(pydicom.__file__).parent / "data" / "test_files"
    tools = {"embedstore": by_embedstore, "pydicom": by_pydicom, "gdcm": by_gdcm, "dcmtk": by_dcmtk}
    rows = []
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        gdcm.Trace.WarningOff()
        gdcm.Trace.ErrorOff()
        for (syntax, photometric), path in candidates([*options.folders, shipped]).items():
            frames = Path(scratch) / "frames.dcm"
            try:
                ds = many_frames(path, options.frames, frames)
            except Exception:  # a test file that is damaged on purpose
                continue
            speeds = {
                name: rate(tool, frames, options.frames, options.repeats) for name, tool in tools.items()
            }
            rows.append(
                {
                    "syntax": UID(syntax).name,
                    "photometric": photometric,
                    "size": [int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel), int(ds.BitsStored)],
                    "images_per_s": speeds,
                    "beside_pydicom": agree(frames),
                }
            )
    print(json.dumps({"frames": options.frames, "repeats": options.repeats, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
