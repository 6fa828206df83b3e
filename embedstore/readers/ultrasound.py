"""Where in an ultrasound frame the picture is: the US Region Calibration module (PS3.3 C.8.5.5)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from embedstore.readers.dicom_values import element, integer, item_at

_TWO_D = (
    1  # Region Spatial Format (0018,6012): 1 is 2D; M-mode, spectral Doppler, waves and graphics are others
)
_MOST_REGIONS = 64
_LEAST_SHARE = 0.05
_CORNERS = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame in pixels; bottom and right are excluded."""

    top: int
    bottom: int
    left: int
    right: int


def picture_region(ds: Dataset, rows: int, columns: int) -> Region | None:
    """The smallest rectangle that holds all 2D regions (tissue and colour flow) of a frame.

    None when there is no such region, when they cover less than a twentieth of the frame (the calibration
    is not of this frame, then), or all of it. Corners are pixels inside the region (C.8.5.5.1.14 to 17).
    """
    boxes = [box for item in _regions(ds) if (box := _box(item, rows, columns)) is not None]
    if not boxes:
        return None
    union = Region(
        top=min(box.top for box in boxes),
        bottom=max(box.bottom for box in boxes),
        left=min(box.left for box in boxes),
        right=max(box.right for box in boxes),
    )
    area = (union.bottom - union.top) * (union.right - union.left)
    return union if _LEAST_SHARE * rows * columns <= area < rows * columns else None


def _regions(ds: Dataset) -> list[Dataset]:
    value = element(ds, "SequenceOfUltrasoundRegions")
    if not isinstance(value, Sequence):
        return []
    items = (item_at(ds, "SequenceOfUltrasoundRegions", n) for n in range(min(len(value), _MOST_REGIONS)))
    return [item for item in items if item is not None]


def _box(item: Dataset, rows: int, columns: int) -> Region | None:
    if integer(item, "RegionSpatialFormat") != _TWO_D:
        return None
    corners = [integer(item, keyword) for keyword in _CORNERS]
    if None in corners:
        return None
    left, top, right, bottom = (int(corner or 0) for corner in corners)
    # Writers that count the corner as the first pixel outside give the size of the frame itself.
    box = Region(max(top, 0), min(bottom + 1, rows), max(left, 0), min(right + 1, columns))
    return box if box.top < box.bottom and box.left < box.right else None
