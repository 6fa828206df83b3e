"""Where on a slide there is tissue, told from a picture of the slide at low resolution.

Tissue is stained and glass is not, so the two differ in saturation. The threshold between them is Otsu's
(N. Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9, 1979), on the
saturation of HSV as CLAM does it (M. Y. Lu et al., Data-efficient and weakly supervised computational
pathology on whole-slide images, Nat. Biomed. Eng. 5, 2021), kept between two bounds. The same picture gives
the same mask everywhere: nothing is random and nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageFilter

MASK_MPP = 8.0
TISSUE_SHARE = 0.25
# On a blank slide Otsu would split the noise of the glass, on one full of tissue the tissue itself. The lower
# bound lies above the saturation of JPEG noise on glass, the upper one below that of ordinary staining.
_LEAST, _MOST = 15, 50
# Saturation means nothing where there is hardly any light: the edge of the holder, or black ink.
_DARK = 40
_SMOOTH = 1


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """A mask over a whole slide. tissue: (H, W) bool. width, height: size of the slide in its own pixels."""

    tissue: NDArray[np.bool_]
    width: int
    height: int

    def shares(self, columns: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of tissue in every cell of a grid.

        columns, rows: the n + 1 and m + 1 edges of the cells in pixels of the slide, rising. Gives (m, n)
        values from 0 to 1. Mask pixels that an edge cuts count in part; beyond the slide is no tissue.
        """
        down, across = self.tissue.shape
        total = np.zeros((down + 1, across + 1))
        total[1:, 1:] = self.tissue.cumsum(0, dtype=np.float64).cumsum(1)
        at_rows = _between(total, np.clip(rows, 0, self.height) * (down / self.height))
        at_both = _between(at_rows.T, np.clip(columns, 0, self.width) * (across / self.width)).T
        held = np.diff(np.diff(at_both, axis=0), axis=1)
        area = np.outer(np.diff(rows) * (down / self.height), np.diff(columns) * (across / self.width))
        return np.asarray(np.clip(held / area, 0.0, 1.0))


def tissue_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) mask of tissue in an (H, W, 3) RGB picture of about `MASK_MPP` microns per pixel."""
    colour = saturation(pixels)
    smooth = np.asarray(Picture.fromarray(colour).filter(ImageFilter.BoxBlur(_SMOOTH)))
    threshold = min(max(otsu(np.bincount(smooth.ravel(), minlength=256)), _LEAST), _MOST)
    return np.asarray((smooth > threshold) & (pixels.max(axis=2) >= _DARK))


def saturation(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Saturation of HSV from 0 to 255 of (H, W, 3) RGB pixels; 0 for black."""
    top = pixels.max(axis=2).astype(np.float32)
    spread = top - pixels.min(axis=2)
    return np.asarray(np.rint(255.0 * spread / np.maximum(top, 1.0)), dtype=np.uint8)


def otsu(histogram: NDArray[Any]) -> int:
    """The value t that best parts a histogram into [0, t] and (t, ...] (largest variance between the two).

    The lowest such value; the only value when there is but one.
    """
    counts = np.asarray(histogram, np.float64)
    values = np.arange(len(counts))
    below, above = counts.cumsum(), counts[::-1].cumsum()[::-1]
    if np.count_nonzero(counts) < 2:
        return int(np.argmax(counts))
    mean_below = (counts * values).cumsum() / np.maximum(below, 1e-12)
    mean_above = (counts * values)[::-1].cumsum()[::-1] / np.maximum(above, 1e-12)
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return int(np.argmax(between))


def _between(table: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of a table at fractional places, linear between two rows."""
    first = np.minimum(at.astype(np.int64), table.shape[0] - 2)
    rest = (at - first)[:, None]
    return np.asarray(table[first] * (1 - rest) + table[first + 1] * rest)
