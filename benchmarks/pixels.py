"""Stored values of DICOM files beside GDCM's and dcmtk's: a table by transfer syntax, photometric and bits.

    python benchmarks/pixels.py [FOLDER ...] [--frames 4]

FOLDER: DICOM files, besides those that come with pydicom. GDCM (Debian: libgdcm-tools) and dcmtk each write
the file without compression, in processes of their own; the bytes of that pixel data are compared with what
is decoded here. Luminance and chrominance are compared as they are stored, or, where a decoder has already
made RGB of them, after the formula of PS3.3 C.7.6.3.1.2 for whoever has not. A file counts as equal when one
of the two has the same values in all its frames; in syntaxes that lose something they may be one level off.
Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import UID, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_file import parse, plausible, shape_of
from embedstore.readers.dicom_pixels import decode_stored
from embedstore.settings import Limits

LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81, 91, 93, 112, 203)}
_RLE = "1.2.840.10008.1.2.5"
_PATIENCE_S = 60


@dataclass(frozen=True)
class Frame:
    """values: (H, W) or (H, W, 3). photometric: what they mean."""

    values: np.ndarray
    photometric: str


@dataclass
class Compared:
    """One file. worst: largest difference from each peer over its frames, None where it gives no pixels."""

    path: str
    syntax: str
    photometric: str
    bits: int
    frames: int = 0
    refused: str = ""
    worst: dict[str, int | None] = field(default_factory=dict)
    between_peers: int | None = None

    @property
    def verdict(self) -> str:
        known = [one for one in self.worst.values() if one is not None]
        if self.refused:
            return "refused here" if known else "nobody decodes it"
        if not known:
            return "no peer decodes it"
        least = min(known)
        return "equal" if least == 0 else "within 1" if least == 1 and self.syntax in LOSSY else "differs"


def compare(path: Path, most: int, scratch: Path) -> Compared | None:
    """One file against both peers; None for what is no DICOM image at all."""
    with path.open("rb") as opened:
        if not plausible(opened.read(4096)):
            return None
        opened.seek(0)
        peers = {name: native(tool(path, scratch)) for name, tool in (("gdcm", by_gdcm), ("dcmtk", by_dcmtk))}
        opened.seek(0)
        try:
            file = parse(opened, path.stat().st_size, Limits())
            shape = shape_of(file, Limits())
        except ReadFailure as failure:
            read = [name for name, frames in peers.items() if frames]
            return Compared(path.name, "", "", 0, 0, failure.reason, dict.fromkeys(read, 0)) if read else None
        header = file.header
        row = Compared(
            path=f"{path.parent.name}/{path.name}",
            syntax=str(file.syntax),
            photometric=str(header.get("PhotometricInterpretation", "")),
            bits=int(header.get("BitsStored") or 0),
            frames=min(shape.frames, most),
        )
        row.worst = dict.fromkeys(peers)
        for index in range(row.frames):
            given = {name: one[index] for name, one in peers.items() if one is not None and index < len(one)}
            try:
                stored = decode_stored(file, shape, opened, index)
            except ReadFailure as failure:
                row.refused = failure.reason
                row.worst = {name: 0 if name in given else None for name in peers}
                break
            ours = Frame(stored.values, stored.photometric)
            for name, theirs in given.items():
                row.worst[name] = max(row.worst[name] or 0, distance(ours, theirs))
            if len(given) == 2:
                row.between_peers = max(row.between_peers or 0, distance(given["gdcm"], given["dcmtk"]))
    return row


def by_gdcm(path: Path, scratch: Path) -> Path | None:
    return _run(["gdcmconv", "--raw", "--force", path, scratch / "gdcm.dcm"])


def by_dcmtk(path: Path, scratch: Path) -> Path | None:
    syntax = UID(
        str(pydicom.dcmread(path, stop_before_pixels=True, force=True).file_meta.get("TransferSyntaxUID", ""))
    )
    out = scratch / "dcmtk.dcm"
    if syntax in JPEGTransferSyntaxes:
        return _run(["dcmdjpeg", "-q", "+te", path, out])
    if syntax in JPEGLSTransferSyntaxes:
        return _run(["dcmdjpls", "-q", "+te", path, out])
    if syntax == _RLE:
        return _run(["dcmdrle", "-q", "+te", path, out])
    return _run(["dcmconv", "-q", "+te", path, out])


def _run(command: list[object]) -> Path | None:
    out = Path(str(command[-1]))
    out.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [str(one) for one in command], capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return out if done.returncode == 0 and out.exists() else None


def native(path: Path | None) -> list[Frame] | None:
    """The frames of an uncompressed little endian file, from its bytes (PS3.5 8.1.1, PS3.3 C.7.6.3.1)."""
    if path is None:
        return None
    try:
        ds = pydicom.dcmread(path, force=True)
        if UID(ds.file_meta.TransferSyntaxUID).is_encapsulated:
            return None
        keyword = next(k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in ds)
        return _frames(ds, bytes(ds[keyword].value), keyword != "PixelData")
    except Exception:  # a peer wrote something that is no image
        return None


def _frames(ds: pydicom.Dataset, data: bytes, floating: bool) -> list[Frame]:
    rows, columns, allocated = int(ds.Rows), int(ds.Columns), int(ds.BitsAllocated)
    samples, frames = int(ds.get("SamplesPerPixel") or 1), int(ds.get("NumberOfFrames") or 1)
    photometric = str(ds.get("PhotometricInterpretation") or "MONOCHROME2")
    kind = "f" if floating else "i" if ds.get("PixelRepresentation") == 1 else "u"
    halved = photometric == "YBR_FULL_422" and samples == 3 and len(data) < rows * columns * 3 * frames
    count = rows * columns * (2 if halved else samples)
    if allocated == 1:
        values = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * frames]
    else:
        values = np.frombuffer(data, f"<{kind}{allocated // 8}", count * frames)
        stored, high = int(ds.BitsStored), int(ds.get("HighBit", int(ds.BitsStored) - 1))
        if not floating and (above := allocated - 1 - high) + high + 1 - stored:
            values = np.left_shift(values, above) >> (above + high + 1 - stored)
    found = []
    for one in values.reshape(frames, count):
        if halved:
            pairs = one.reshape(-1, 4)
            first, second = pairs[:, [0, 2, 3]], pairs[:, [1, 2, 3]]
            shaped = np.stack([first, second], 1).reshape(rows, columns, 3)
        elif samples == 1:
            shaped = one.reshape(rows, columns)
        elif ds.get("PlanarConfiguration") == 1:
            shaped = one.reshape(samples, rows, columns).transpose(1, 2, 0)
        else:
            shaped = one.reshape(rows, columns, samples)
        found.append(Frame(shaped, photometric))
    return found


def distance(one: Frame, other: Frame) -> int:
    """Largest difference; an absurdly large one for another shape."""
    if one.values.shape != other.values.shape:
        return 1 << 30
    a, b = one.values.astype(np.float64), other.values.astype(np.float64)
    if one.values.ndim == 3:
        ycc = [frame.photometric in ("YBR_FULL", "YBR_FULL_422") for frame in (one, other)]
        if ycc[0] != ycc[1]:
            a, b = (rgb(values) if flag else values for values, flag in zip((a, b), ycc, strict=True))
    return int(np.nanmax(np.abs(a - b), initial=0))


def rgb(values: np.ndarray) -> np.ndarray:
    """YBR_FULL to RGB by the inverse of C.7.6.3.1.2, rounded."""
    y, cb, cr = (values[..., n] for n in range(3))
    cb, cr = cb - 128, cr - 128
    found = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    return np.clip(np.floor(found + 0.5), 0, 255)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folders", nargs="*", type=Path)
    arguments.add_argument("--frames", type=int, default=4, help="frames of each file, from the first")
    options = arguments.parse_args()
    missing = [
        tool for tool in ("gdcmconv", "dcmdjpeg", "dcmdjpls", "dcmdrle", "dcmconv") if not shutil.which(tool)
    ]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)} (Debian: apt install dcmtk libgdcm-tools)")
    shipped = Path(pydicom.__file__).parent / "data" / "test_files"
    files = sorted({p for folder in (*options.folders, shipped) for p in folder.rglob("*") if p.is_file()})
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        rows = [row for path in files if (row := compare(path, options.frames, Path(scratch))) is not None]
    table: dict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
    for row in rows:
        table[UID(row.syntax).name, row.photometric, row.bits][row.verdict] += 1
    exceptions = [
        {
            "path": row.path,
            "syntax": UID(row.syntax).name,
            "photometric": row.photometric,
            "bits": row.bits,
            "verdict": row.verdict,
            "reason": row.refused,
            "from": row.worst,
            "between_peers": row.between_peers,
        }
        for row in rows
        if row.verdict not in ("equal", "within 1")
    ]
    print(
        json.dumps(
            {
                "files": len(rows),
                "frames": sum(row.frames for row in rows),
                "verdicts": Counter(row.verdict for row in rows),
                "table": [
                    {
                        "syntax": key[0],
                        "photometric": key[1],
                        "bits": key[2],
                        "files": counts.total(),
                        **counts,
                    }
                    for key, counts in sorted(table.items())
                ],
                "exceptions": exceptions,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
