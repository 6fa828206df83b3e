"""Siemens mosaics: the slices of one MR volume side by side in one image, row by row from the upper left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.readers.dicom_values import integer, private_integer, text

_CREATOR, _GROUP, _COUNT = "SIEMENS MR HEADER", 0x0019, 0x0A


@dataclass(frozen=True, slots=True)
class Mosaic:
    """slices: pictures in the grid, the rest of which is empty. rows, columns: size of one of them."""

    slices: int
    across: int
    rows: int
    columns: int

    def cut(self, pixels: NDArray[Any], index: int) -> NDArray[Any]:
        """Slice `index` (from 0) of a mosaic (H, W, C) as an array of its own."""
        down, right = divmod(index, self.across)
        top, left = down * self.rows, right * self.columns
        return np.ascontiguousarray(pixels[top : top + self.rows, left : left + self.columns])


def is_mosaic(ds: Dataset) -> bool:
    """Whether Image Type says so."""
    return "MOSAIC" in (text(ds, "ImageType") or "").upper().split("\\")


def mosaic_of(ds: Dataset) -> Mosaic | None:
    """How a mosaic is divided, by the private element that counts its slices; None when it does not say.

    The direction in which slices follow each other is in the CSA header alone, so they have an order but no
    position here.
    """
    if not is_mosaic(ds):
        return None
    count = private_integer(ds, _GROUP, _CREATOR, _COUNT)
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    if count is None or rows is None or columns is None or not 1 <= count <= rows * columns:
        return None
    across = math.isqrt(count - 1) + 1
    if rows % across or columns % across:
        return None
    return Mosaic(count, across, rows // across, columns // across)
