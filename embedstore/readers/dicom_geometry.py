"""Where a slice lies in the patient: position, orientation, spacing (PS3.3 C.7.6.2, C.7.6.16.2.3 and .4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.readers.dicom_transforms import functional_group
from embedstore.readers.dicom_values import number, numbers

Vector = tuple[float, float, float]
_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Plane:
    """The plane of one slice in patient coordinates (LPS: x to the left, y to the back, z to the head), mm.

    position: centre of the first pixel. along_row: direction in which the column index grows, along_column:
    in which the row index grows; both of length 1. spacing: (row, column) distance of pixel centres.
    """

    position: Vector
    along_row: Vector
    along_column: Vector
    spacing: tuple[float, float] | None

    @property
    def normal(self) -> Vector:
        """Cross product of the two directions, of length 1."""
        a, b = self.along_row, self.along_column
        return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])

    @property
    def distance(self) -> float:
        """Position along the normal, in mm: slices of one stack are sorted by it."""
        return sum(p * n for p, n in zip(self.position, self.normal, strict=True))

    @property
    def orientation(self) -> tuple[float, ...]:
        """The directions, rounded so that slices of one stack have the same."""
        return tuple(round(part, 3) + 0.0 for part in (*self.along_row, *self.along_column))

    def affine(self, step: Vector | None = None) -> NDArray[np.float64] | None:
        """(4, 4) from (slice, row, column, 1), the axes of the pixels, to LPS mm; None without spacing.

        step: from one slice to the next, for a stack; the normal for a single slice (equation C.7.6.2.1-1 has
        no third axis).
        """
        if self.spacing is None:
            return None
        matrix = np.eye(4)
        matrix[:3, 0] = step or self.normal
        matrix[:3, 1] = np.array(self.along_column) * self.spacing[0]
        matrix[:3, 2] = np.array(self.along_row) * self.spacing[1]
        matrix[:3, 3] = self.position
        return matrix


def plane_of(ds: Dataset, index: int) -> Plane | None:
    """The plane of frame `index` (from 0); None when position or orientation is absent or impossible.

    Per-frame functional groups come before shared ones and those before the dataset.
    """
    position = _found(ds, index, "PlanePositionSequence", "ImagePositionPatient", 3)
    directions = _found(ds, index, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if position is None or directions is None:
        return None
    along_row, along_column = _unit(directions[:3]), _unit(directions[3:])
    if along_row is None or along_column is None:
        return None
    if abs(sum(a * b for a, b in zip(along_row, along_column, strict=True))) > _TOLERANCE:
        return None
    return Plane((position[0], position[1], position[2]), along_row, along_column, spacing_of(ds, index))


def spacing_of(ds: Dataset, index: int) -> tuple[float, float] | None:
    """(row, column) distance of pixel centres in mm.

    Pixel Spacing, or on the detector plane Imager Pixel Spacing, or Nominal Scanned Pixel Spacing
    (PS3.3 10.7.1.3); None when absent or not positive.
    """
    measures = functional_group(ds, index, "PixelMeasuresSequence")
    places = [ds] if measures is None else [measures, ds]
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        for place in places:
            found = numbers(place, keyword)
            if found and len(found) == 2 and min(found) > 0:
                return found[0], found[1]
    return None


def thickness_of(ds: Dataset, index: int) -> float | None:
    """Slice Thickness in mm; None when absent or not positive."""
    measures = functional_group(ds, index, "PixelMeasuresSequence")
    found = number(measures, "SliceThickness") if measures is not None else None
    found = number(ds, "SliceThickness") if found is None else found
    return found if found is not None and found > 0 else None


def _found(ds: Dataset, index: int, macro: str, keyword: str, count: int) -> tuple[float, ...] | None:
    group = functional_group(ds, index, macro)
    found = numbers(group, keyword) if group is not None else None
    if found is None:
        found = numbers(ds, keyword)
    return found if found is not None and len(found) == count else None


def _unit(vector: tuple[float, ...]) -> Vector | None:
    length = math.sqrt(sum(part * part for part in vector))
    if abs(length - 1) > _TOLERANCE:
        return None
    return vector[0] / length, vector[1] / length, vector[2] / length
