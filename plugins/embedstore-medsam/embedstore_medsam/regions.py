"""Which cells of a feature map a region of interest covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, ImageInput
from embedstore.encoders.preprocess import Recipe
from embedstore.errors import UsageError

Mask = NDArray[np.bool_]


def covered_cells(roi: Mask, grid: int) -> Mask:
    """(H, W) mask over the image to the (grid, grid) cells of the map that it covers; at least one.

    The mask is resized by bilinear interpolation without antialias (half-pixel centres, as torch's
    `interpolate`) and a cell counts where the result is above 0. A region that slips between the sampled
    points is given the cell that holds its centre. Raises UsageError for an empty mask.
    """
    rows, columns = np.nonzero(roi)
    if not len(rows):
        raise UsageError("the region of interest is empty: it has no pixel inside the image")
    height, width = roi.shape
    cells: Mask = (_taps(height, grid) @ roi @ _taps(width, grid).T) > 0
    if not cells.any():
        cells[int((rows.mean() + 0.5) * grid / height), int((columns.mean() + 0.5) * grid / width)] = True
    return cells


def _taps(length: int, grid: int) -> NDArray[np.float32]:
    """(grid, length) weights by which `grid` samples are taken from `length` pixels."""
    at = np.maximum((np.arange(grid) + 0.5) * (length / grid) - 0.5, 0)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    weight = (at - low).astype(np.float32)
    taps = np.zeros((grid, length), dtype=np.float32)
    np.add.at(taps, (np.arange(grid), low), 1 - weight)
    np.add.at(taps, (np.arange(grid), high), weight)
    return taps


@dataclass(frozen=True, slots=True)
class Preparation:
    """The preprocessing of an image and of the region in it; needs neither torch nor the weights."""

    recipe: Recipe
    size: int
    grid: int

    def __call__(self, image: ImageInput) -> F32:
        """(4, size, size) float32: three channels by the recipe, and the region's cells.

        Raises UsageError for a region that is empty or of another shape than the image.
        """
        prepared = np.ones((4, self.size, self.size), dtype=np.float32)
        prepared[:3] = self.recipe.apply(image)
        if image.roi is not None:
            if image.roi.shape != image.image.pixels.shape[:2]:
                raise UsageError(
                    f"region of interest is {image.roi.shape}, the image is {image.image.pixels.shape[:2]}"
                )
            cell = self.size // self.grid
            prepared[3] = np.kron(covered_cells(image.roi, self.grid), np.ones((cell, cell)))
        return prepared
