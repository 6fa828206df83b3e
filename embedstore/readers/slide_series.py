"""The files of one DICOM slide: each level of its pyramid is a file, and so are its label and overview."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from embedstore.readers.dicom_transforms import functional_group
from embedstore.readers.dicom_values import code, integer, number, numbers, text
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.slide_formats import is_dicom_slide
from embedstore.readers.slide_pyramid import SAME
from embedstore.readers.slide_tiles import canonical

VOLUME = "VOLUME"
_MOST_FILES = 20_000
_TAGS = [
    "ImageType",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PyramidUID",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixRows",
    "ImagedVolumeWidth",
    "ImagedVolumeHeight",
    "SharedFunctionalGroupsSequence",
    "ConcatenationUID",
]


@dataclass(frozen=True, slots=True)
class SlideFile:
    """One file of a slide, from its header.

    flavour: value 3 of Image Type, VOLUME for a level of the pyramid (PS3.3 C.8.12.4.1.1). width, height:
    Total Pixel Matrix. mpp: microns per pixel along x and y, from Pixel Spacing, else from the Imaged Volume;
    None when neither is there. part_of: the Concatenation UID when its frames are spread over several files.
    """

    path: Path
    flavour: str
    resampled: bool
    slide: str
    width: int
    height: int
    mpp: tuple[float, float] | None
    part_of: str | None


class Siblings:
    """The files that lie beside a level. Headers of the last folder are kept while it does not change."""

    def __init__(self) -> None:
        self._folder: tuple[str, int] | None = None
        self._files: dict[str, list[SlideFile]] = {}

    def levels_of(self, own: SlideFile) -> list[SlideFile]:
        """The levels of the same pyramid in the same folder, from fine to coarse, `own` included.

        Only `own` in a folder of more than 20,000 files, which is no export of slides.
        """
        self._scan(own.path.parent)
        found = [one for one in self._files.get(own.slide, []) if one.path != own.path and _alike(one, own)]
        return sorted([own, *found], key=lambda one: (-one.width, one.path.name))

    def _scan(self, folder: Path) -> None:
        try:
            state = str(folder), folder.stat().st_mtime_ns
        except OSError:
            return
        if state == self._folder:
            return
        self._folder, self._files = state, {}
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if entry.is_file())
        except OSError:
            return
        if len(names) > _MOST_FILES:
            return
        for name in names:
            found = _look(folder / name)
            if found is not None and found.flavour == VOLUME:
                self._files.setdefault(found.slide, []).append(found)


def slide_file(path: Path, ds: Dataset) -> SlideFile:
    """What a header says of its file's place in the slide."""
    kind = (text(ds, "ImageType") or "").upper().split("\\")
    width, height = integer(ds, "TotalPixelMatrixColumns"), integer(ds, "TotalPixelMatrixRows")
    return SlideFile(
        path=path,
        flavour=kind[2].strip() if len(kind) > 2 else VOLUME,
        resampled=len(kind) > 3 and kind[3].strip() == "RESAMPLED",
        slide=_slide_key(ds),
        width=max(width or 0, 0),
        height=max(height or 0, 0),
        mpp=_mpp(ds, width, height),
        part_of=text(ds, "ConcatenationUID"),
    )


def serving(levels: list[SlideFile], own: SlideFile, mpp: float) -> SlideFile:
    """The level that serves `mpp` best: the coarsest that is at least as fine, else the finest.

    Levels of one and the same size (focal planes, stains) serve equally: then `own` if it is one of them.
    """
    known = [one for one in levels if one.mpp is not None]
    fitting = [one for one in known if max(one.mpp or (0.0,)) <= mpp * (1 + SAME)]
    best = min(fitting, key=lambda one: one.width) if fitting else max(known, key=lambda one: one.width)
    return own if (own.width, own.height) == (best.width, best.height) else best


def serving_overview(levels: list[SlideFile], own: SlideFile, side: int) -> SlideFile:
    """The coarsest level that is at least `side` pixels long, else the finest; `own` if it has that size."""
    fitting = [one for one in levels if max(one.width, one.height) >= side]
    best = min(fitting, key=lambda one: one.width) if fitting else max(levels, key=lambda one: one.width)
    return own if (own.width, own.height) == (best.width, best.height) else best


def with_assumed(levels: list[SlideFile], mpp: float) -> list[SlideFile]:
    """The levels with the resolution that the user gave for the finest of them."""
    finest = max(one.width for one in levels)
    return [one if one.mpp or not one.width else _assuming(one, mpp * finest / one.width) for one in levels]


def _assuming(one: SlideFile, mpp: float) -> SlideFile:
    return replace(one, mpp=(canonical(mpp), canonical(mpp)))


def _look(path: Path) -> SlideFile | None:
    """None for what is no readable DICOM slide; if it was asked for, its own turn will say why."""
    try:
        with path.open("rb") as stream:
            if not is_dicom_slide(stream.read(4096)):
                return None
            stream.seek(0)
            with quiet_pydicom():
                ds = dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)
                return slide_file(path, ds)
    except Exception:  # pydicom raises nearly any class on a damaged header
        return None


def _mpp(ds: Dataset, width: int | None, height: int | None) -> tuple[float, float] | None:
    measures = functional_group(ds, 0, "PixelMeasuresSequence")
    spacing = numbers(measures, "PixelSpacing") if measures is not None else None
    if spacing is not None and len(spacing) == 2:
        found = spacing[1] * 1000, spacing[0] * 1000
        if _is_resolution(found):
            return found
    across, down = number(ds, "ImagedVolumeWidth"), number(ds, "ImagedVolumeHeight")
    if across and down and width and height:
        found = across * 1000 / width, down * 1000 / height
        if _is_resolution(found):
            return found
    return None


def _is_resolution(mpp: tuple[float, float]) -> bool:
    """A coarse level may have half a millimetre per pixel; nanometres and decimetres are mistakes."""
    return all(math.isfinite(one) and 0.01 <= one <= 1000 for one in mpp)


def _slide_key(ds: Dataset) -> str:
    """Shared by the levels of one pyramid; a digest, because UIDs lead back to the archive."""
    series = text(ds, "SeriesInstanceUID") or text(ds, "SOPInstanceUID") or ""
    return hashlib.sha256(f"{series}\n{code(ds, 'PyramidUID') or ''}".encode()).hexdigest()


def _alike(one: SlideFile, own: SlideFile) -> bool:
    """Whether two levels show the same field: their proportions, to two pixels of the coarser one."""
    if not (one.width and one.height and own.width and own.height):
        return False
    coarse, fine = sorted((one, own), key=lambda level: level.width)
    return abs(coarse.height - fine.height * coarse.width / fine.width) <= 2 * max(
        1.0, coarse.height / coarse.width
    )
