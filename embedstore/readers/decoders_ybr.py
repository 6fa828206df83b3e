"""YBR_FULL to RGB (PS3.3 C.7.6.3.1.2), exact and without floating point in the image."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def ybr_to_rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) of 8 bits. Every channel is luminance plus a rounded term of the chrominance alone."""
    red, green, blue = _terms()
    luminance = values[..., 0].astype(np.int16)
    rgb = np.empty(values.shape, np.uint8)
    chroma = values[..., 1].astype(np.intp)
    np.clip(luminance + blue[chroma], 0, 255, out=rgb[..., 2], casting="unsafe")
    chroma <<= 8
    chroma += values[..., 2]
    np.clip(luminance + green[chroma], 0, 255, out=rgb[..., 1], casting="unsafe")
    np.clip(luminance + red[values[..., 2]], 0, 255, out=rgb[..., 0], casting="unsafe")
    return rgb


@lru_cache(maxsize=1)
def _terms() -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]:
    """What red adds for each Cr, green for each Cb * 256 + Cr, blue for each Cb, rounded half up."""
    span = np.arange(256) - 128.0
    green = -0.114 * 1.772 / 0.587 * span[:, None] - 0.299 * 1.402 / 0.587 * span[None, :]
    red, blue = 1.402 * span, 1.772 * span
    each = (np.floor(term + 0.5).astype(np.int16) for term in (red, green.ravel(), blue))
    return tuple(each)  # type: ignore[return-value]
