"""Display pixels beside those of dcmtk, which renders by itself: a table by syntax, photometric and bits.

    python benchmarks/rendering.py [FOLDER ...] [--frames 3] [--out FILE.json]

FOLDER: DICOM files, besides those that come with pydicom. dcmtk (Debian: dcmtk) decodes the file, or GDCM
where dcmtk has no decoder; dcmtk then renders it with the window, table or percentiles that the rules name.
The formula of PS3.3 in float64 on those decoded values is the third voice. The tolerance is one grey level,
and for lossy syntaxes what one stored level becomes in the window. Cropping to ultrasound regions is compared
inside the crop.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image as Pillow
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from embedstore.contracts.record import Asset, Cut
from embedstore.contracts.windows import CT_WINDOWS
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.dicom_transforms import transforms_of
from embedstore.readers.sources import source_at
from embedstore.readers.voi import Lut, Window

_LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81, 91, 93, 203, 112)}


@dataclass(frozen=True)
class Compared:
    """One frame. worst, ours_to_formula, dcmtk_to_formula: largest difference in levels, None without one."""

    path: str
    frame: int
    syntax: str
    photometric: str
    bits: int
    verdict: str
    worst: int | None
    share: float = 0.0
    ours_to_formula: int | None = None
    dcmtk_to_formula: int | None = None


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folders", nargs="*", type=Path)
    arguments.add_argument("--frames", type=int, default=3, help="frames of each file, from the first")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    for tool in ("dcm2pnm", "dcmdjpeg", "dcmdjpls", "dcmdrle"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed (Debian: apt install dcmtk)")
    shipped = Path(pydicom.__file__).parent / "data" / "test_files"
    files = sorted({p for folder in (*options.folders, shipped) for p in folder.rglob("*") if p.is_file()})
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        rows = [row for path in files for row in compare(path, options.frames, Path(scratch))]
    table(rows)
    if options.out:
        options.out.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")


def compare(path: Path, frames: int, scratch: Path) -> list[Compared]:
    """Frames of one file; nothing for what is no readable DICOM image."""
    reader, source = DicomReader(), source_at(str(path))
    with source.open() as stream:
        if not reader.sniff(stream.read(4096)):
            return []
    try:
        items = [one for one in reader.describe(source, Cut(unit="frame")) if isinstance(one, Asset)]
    except ReadFailure:
        return []
    # Not the tiles of a mosaic, which dcmtk shows as one picture.
    found = [one for one in items if one.part.partition("/")[0] in ("image", "frame")][:frames]
    rows = []
    ds = pydicom.dcmread(path, force=True)
    syntax = str(ds.file_meta.get("TransferSyntaxUID", "none")) if hasattr(ds, "file_meta") else "none"
    plain = decoded(path, syntax, scratch)
    native = None if plain is None else pydicom.dcmread(plain, force=True)
    label = (UID(syntax).name, str(ds.get("PhotometricInterpretation")), int(ds.get("BitsStored", 0)))
    for asset in found:  # in the order of their places, which need not be that of the file
        number = asset.header.frame or 1
        try:
            image = reader.read(asset)
        except ReadFailure:
            continue
        theirs = dcmtk(plain, native, number, scratch) if native is not None else None
        top, left = image.offset
        ours = image.pixels
        place = f"{path.parent.name}/{path.name}"
        said = None if native is None else third_voice(native, number - 1, image.offset, ours.shape)
        if theirs is None or theirs.shape[2] != ours.shape[2]:
            near = _distance(said, ours)
            rows.append(Compared(place, number, *label, "dcmtk gives none", None, ours_to_formula=near))
            continue
        theirs = theirs[top : top + ours.shape[0], left : left + ours.shape[1]]
        away = np.abs(ours.astype(int) - theirs.astype(int))
        worst, share = int(away.max()), float((away > 1).mean())
        allowed = _allowed(native, syntax, number - 1)
        verdict = "equal" if not worst else "within 1" if worst <= 1 else "differs"
        if verdict == "differs" and worst <= allowed:
            verdict = "within one stored level"
        rows.append(
            Compared(
                place, number, *label, verdict, worst, share, _distance(said, ours), _distance(said, theirs)
            )
        )
    return rows


def decoded(path: Path, syntax: str, scratch: Path) -> Path | None:
    """The file without compression, by dcmtk or GDCM; None when neither takes it."""
    if not UID(syntax).is_transfer_syntax or not UID(syntax).is_encapsulated:
        return path
    native = scratch / "native.dcm"
    native.unlink(missing_ok=True)
    tools = {
        **dict.fromkeys(JPEGTransferSyntaxes, "dcmdjpeg"),
        **dict.fromkeys(JPEGLSTransferSyntaxes, "dcmdjpls"),
    }
    tool = tools.get(UID(syntax), "dcmdrle")
    if subprocess.run([tool, "-q", path, native], capture_output=True, timeout=120, check=False).returncode:
        _by_gdcm(path, native)
    return native if native.exists() else None


def dcmtk(path: Path, ds: pydicom.Dataset, frame: int, scratch: Path) -> np.ndarray | None:
    """(H, W, C) of one frame as dcmtk shows it, or None."""
    out = scratch / "shown.pnm"
    out.unlink(missing_ok=True)
    asked = window(ds, frame - 1)
    command = ["dcm2pnm", "-q", "-O", "+op", "+F", str(frame), *asked, str(path), str(out)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    if done.returncode or not out.exists():
        return None
    pixels = np.asarray(Pillow.open(out))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def window(ds: pydicom.Dataset, index: int) -> list[str]:
    """dcmtk's words for what the rules name; percentiles are of values that pydicom decodes."""
    if not str(ds.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME"):
        return []
    transforms = transforms_of(ds, index)
    if isinstance(transforms.voi, Lut):
        return ["+Mc", "+Wl", "1"]
    if isinstance(transforms.voi, Window):
        found = transforms.voi
        how = ["+Wfs"] if found.function == "SIGMOID" else []
        width = found.width + (1 if found.function == "LINEAR_EXACT" else 0)
        centre = found.centre + (0.5 if found.function == "LINEAR_EXACT" else 0)
        return [*how, "+Ww", repr(centre), repr(width)]
    if ds.BitsStored <= 8 and not ds.get("PixelRepresentation") and transforms.plain:
        return []
    if transforms.named is not None:
        return ["+Ww", *(repr(value) for value in CT_WINDOWS[transforms.named])]
    low, high = _ends(ds, index)
    return ["+Ww", repr((low + high) / 2 + 0.5), repr(high - low + 1)] if high > low else ["+Wm"]


def third_voice(
    ds: pydicom.Dataset, index: int, offset: tuple[int, int], shape: tuple[int, ...]
) -> np.ndarray | None:
    """The formula's own pixels inside the crop; None for colour that pydicom leaves as it is stored."""
    try:
        values = _values(ds, index)
        photometric = str(ds.get("PhotometricInterpretation", "MONOCHROME2"))
        if photometric.startswith("MONOCHROME"):
            said = _formula(ds, index, values)[..., None]
        elif photometric == "RGB" and values.dtype.itemsize == 1:
            said = values
        else:
            return None
    except Exception:  # pydicom does not take the file
        return None
    return said[offset[0] : offset[0] + shape[0], offset[1] : offset[1] + shape[1]]


def table(rows: list[Compared]) -> None:
    verdicts = ("equal", "within 1", "within one stored level", "differs", "dcmtk gives none")
    grouped: dict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
    for row in rows:
        grouped[row.syntax, row.photometric, row.bits][row.verdict] += 1
    print("| transfer syntax | photometric | bits | frames | " + " | ".join(verdicts) + " |")
    print("|---|---|" + "---:|" * (2 + len(verdicts)))
    for (syntax, photometric, bits), counts in sorted(grouped.items()):
        cells = " | ".join(str(counts[verdict]) for verdict in verdicts)
        print(f"| {syntax} | {photometric} | {bits} | {counts.total()} | {cells} |")
    total = Counter(row.verdict for row in rows)
    print(f"| all | | | {len(rows)} | " + " | ".join(str(total[verdict]) for verdict in verdicts) + " |")
    voiced = Counter(row.ours_to_formula for row in rows if row.ours_to_formula is not None)
    theirs = Counter(row.dcmtk_to_formula for row in rows if row.dcmtk_to_formula is not None)
    print(f"\nlevels from the formula: embedstore {dict(voiced)}, dcmtk {dict(theirs)}")
    for row in rows:
        if row.verdict in ("differs", "dcmtk gives none"):
            print(
                f"{row.path} frame {row.frame}: {row.verdict}, {row.worst} levels, {row.share:.2%} above 1; "
                f"from the formula embedstore {row.ours_to_formula}, dcmtk {row.dcmtk_to_formula}"
            )


def _distance(one: np.ndarray | None, other: np.ndarray) -> int | None:
    return None if one is None else int(np.abs(one.astype(int) - other.astype(int)).max())


def _allowed(ds: pydicom.Dataset, syntax: str, index: int) -> int:
    if syntax not in _LOSSY:
        return 1
    if not str(ds.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        return 2
    words = window(ds, index)
    width = float(words[-1]) if "+Ww" in words else 2.0 ** int(ds.BitsStored)
    return 1 + int(np.ceil(255 * abs(float(ds.get("RescaleSlope", 1) or 1)) / width))


def _by_gdcm(path: Path, out: Path) -> None:
    try:
        copy = pydicom.dcmread(path, force=True)
        try:
            copy.decompress(decoding_plugin="gdcm", generate_instance_uid=False)
        except Exception:  # GDCM refuses some code streams; OpenJPEG by itself does not
            copy.decompress(generate_instance_uid=False)
        copy.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        copy.save_as(out)
    except Exception:  # none takes it
        out.unlink(missing_ok=True)


def _values(ds: pydicom.Dataset, index: int) -> np.ndarray:
    values = ds.pixel_array
    return values[index] if int(ds.get("NumberOfFrames", 1) or 1) > 1 else values


def _modality(ds: pydicom.Dataset, index: int, values: np.ndarray) -> np.ndarray:
    """Rescaled by the frame's own Pixel Value Transformation (C.7.6.16.2.9), which pydicom leaves out."""
    groups = [
        ds.get("PerFrameFunctionalGroupsSequence", [])[index : index + 1],
        ds.get("SharedFunctionalGroupsSequence", []),
    ]
    for group in (item for sequence in groups for item in sequence):
        if "PixelValueTransformationSequence" in group:
            own = group.PixelValueTransformationSequence[0]
            return values * float(own.RescaleSlope) + float(own.RescaleIntercept)
    return np.asarray(apply_modality_lut(values, ds), np.float64)


def _formula(ds: pydicom.Dataset, index: int, values: np.ndarray) -> np.ndarray:
    """Grey levels by C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID) and .2 (LINEAR_EXACT), in float64."""
    asked, transforms = window(ds, index), transforms_of(ds, index)
    x = _modality(ds, index, values)
    if isinstance(transforms.voi, Lut):
        unit = apply_voi_lut(x.astype(np.int64), ds) / (2.0 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1)
    elif "+Ww" not in asked:
        unit = x / (2.0**ds.BitsStored - 1)
    else:
        centre, width = float(asked[-2]), float(asked[-1])
        if "+Wfs" in asked:
            unit = 1 / (1 + np.exp(-4 * (x - centre) / width))
        else:
            unit = np.clip((x - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5, 0, 1)
    white = ds.PhotometricInterpretation == "MONOCHROME1" or ds.get("PresentationLUTShape") == "INVERSE"
    shown = np.rint(unit * 255)
    return (255 - shown if white else shown).astype(np.uint8)


def _ends(ds: pydicom.Dataset, index: int) -> tuple[float, float]:
    values = np.asarray(_values(ds, index))
    padding = transforms_of(ds, index).padding
    seen = values if padding is None else values[(values < padding[0]) | (values > padding[1])]
    low, high = np.percentile(_modality(ds, index, seen), (0.5, 99.5))
    return float(low), float(high)


if __name__ == "__main__":
    main()
