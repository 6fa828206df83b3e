"""What a classifier gets from grey values alone: the number every encoder has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import UsageError

BASELINE_NAME = "mean and histogram of pixels"
_BINS = 32
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def pixel_features(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """(34,) float32: mean and standard deviation (0-1) and the shares of 32 grey-value bins.

    pixels: uint8 (H, W), (H, W, 1) or (H, W, 3), as a reader renders them for display.
    """
    shown = np.asarray(pixels)
    if shown.dtype != np.uint8 or shown.ndim not in (2, 3) or shown.size == 0:
        raise UsageError(
            f"the pixel baseline needs uint8 (H, W[, C]) pixels, got {shown.dtype} {shown.shape}"
        )
    if shown.ndim == 3:
        shown = shown[:, :, 0] if shown.shape[2] < 3 else (shown[:, :, :3] @ _LUMA).astype(np.uint8)
    shares = np.bincount(shown.ravel() // (256 // _BINS), minlength=_BINS) / shown.size
    moments = [shown.mean() / 255.0, shown.std() / 255.0]
    return np.concatenate([moments, shares]).astype(np.float32)
