"""Contours of structure sets (RTSTRUCT) as masks of the slices they were drawn on (PS3.3 C.8.8.6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.contracts.record import Source
from embedstore.errors import ReadFailure
from embedstore.readers.dicom_file import parse
from embedstore.readers.dicom_geometry import Plane
from embedstore.readers.dicom_seg import Reference
from embedstore.readers.dicom_values import code, integer, items_of, numbers, text
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")
_MOST_REGIONS, _MOST_CONTOURS = 10_000, 100_000
_ON_SLICE_MM = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """A closed contour. points: (n, 3) in patient coordinates (LPS, mm). references: its slices."""

    points: NDArray[np.float64]
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """A region of interest. number, name: as the file has them. space: UID of its frame of reference."""

    number: int
    name: str | None
    contours: tuple[Contour, ...]
    space: str | None = None


def read_structures(source: Source, limits: Limits = DEFAULT_LIMITS) -> list[Structure]:
    """The regions of a structure set with their closed planar contours. Raises ReadFailure."""
    with source.open() as stream:
        file = parse(stream, source.size, limits)
        ds = file.header
        if text(ds, "SOPClassUID") != STRUCTURE_SET:
            raise ReadFailure("not a DICOM structure set (RTSTRUCT)")
        with quiet_pydicom():
            named = {
                integer(item, "ROINumber"): (
                    text(item, "ROIName"),
                    text(item, "ReferencedFrameOfReferenceUID"),
                )
                for item in items_of(ds, "StructureSetROISequence", _MOST_REGIONS)
            }
            found: list[Structure] = []
            for item in items_of(ds, "ROIContourSequence", _MOST_REGIONS):
                number = integer(item, "ReferencedROINumber")
                if number is not None:
                    contours = items_of(item, "ContourSequence", _MOST_CONTOURS)
                    kept = tuple(one for one in map(_contour, contours) if one is not None)
                    name, space = named.get(number, (None, None))
                    found.append(Structure(number, name, kept, space))
    return found


def contour_mask(
    contours: Iterable[Contour], image: Reference, plane: Plane, size: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """(H, W) bool: pixels whose centres lie inside the contours on one slice; None when there are none on it.

    A contour is on the slice that it refers to, else on the one whose plane its points are in within half
    a millimetre. Where contours overlap, the inner ones are holes (even-odd rule, as for keyhole and XOR
    contours). Raises ReadFailure for a slice without spacing.
    """
    if plane.spacing is None:
        raise ReadFailure("the slice has no pixel spacing, so contours have no place on it")
    chosen = list(contours)
    referring = [contour for contour in chosen if image in contour.references]
    drawn = referring or [
        contour for contour in chosen if not contour.references and _lies_on(contour, plane)
    ]
    if not drawn:
        return None
    mask = np.zeros(size, dtype=bool)
    for contour in drawn:
        offsets = contour.points - np.asarray(plane.position)
        rows = offsets @ np.asarray(plane.along_column) / plane.spacing[0]
        columns = offsets @ np.asarray(plane.along_row) / plane.spacing[1]
        mask ^= fill_polygon(rows, columns, size)
    return mask


def fill_polygon(
    rows: NDArray[np.float64], columns: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Pixels of a (H, W) grid whose centres lie inside a polygon, by the even-odd rule.

    rows, columns: coordinates of its corners in pixels, centres at whole numbers.
    """
    height, width = size
    crossings = np.zeros((height, width + 1), dtype=np.int64)
    first = max(int(np.ceil(rows.min())), 0)
    last = min(int(np.floor(rows.max())), height - 1)
    next_rows, next_columns = np.roll(rows, -1), np.roll(columns, -1)
    for row in range(first, last + 1):
        cut = (rows <= row) != (next_rows <= row)
        if not cut.any():
            continue
        along = (row - rows[cut]) / (next_rows[cut] - rows[cut])
        at = columns[cut] + along * (next_columns[cut] - columns[cut])
        # A crossing at x turns every centre to its right over.
        np.add.at(crossings[row], np.clip(np.floor(at) + 1, 0, width).astype(np.int64), 1)
    return np.asarray(np.cumsum(crossings[:, :width], axis=1) % 2 == 1)


def _contour(item: Dataset) -> Contour | None:

    if code(item, "ContourGeometricType") not in _AREAS:
        return None
    data = numbers(item, "ContourData")
    if data is None or len(data) < 9 or len(data) % 3:
        return None
    references = []
    for image in items_of(item, "ContourImageSequence", 64):
        uid = text(image, "ReferencedSOPInstanceUID")
        if uid:
            references.append(Reference(uid, integer(image, "ReferencedFrameNumber")))
    return Contour(np.array(data, dtype=np.float64).reshape(-1, 3), tuple(references))


def _lies_on(contour: Contour, plane: Plane) -> bool:
    offsets = (contour.points - np.asarray(plane.position)) @ np.asarray(plane.normal)
    return bool(np.abs(offsets).max() <= _ON_SLICE_MM)
