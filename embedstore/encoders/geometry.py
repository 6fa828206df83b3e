"""Preprocessing steps that move pixels: region, resize, crop, pad. Arrays are (H, W, C)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from embedstore.contracts.image import ImageInput
from embedstore.errors import UsageError

Pixels = NDArray[Any]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_PIL = {
    "nearest": PilImage.Resampling.NEAREST,
    "bilinear": PilImage.Resampling.BILINEAR,
    "bicubic": PilImage.Resampling.BICUBIC,
    "lanczos": PilImage.Resampling.LANCZOS,
}
_SPLINE_ORDER = {"nearest": 0, "bilinear": 1, "bicubic": 3}
#: Of a field that recipes did not always have: at its default it is left out of their JSON, so that the
#: fingerprints of older spaces stay.
LATER: Mapping[str, bool] = MappingProxyType({"later": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRoi:
    """Crop to the bounding box of the region of interest, when one is given; else leave the image alone.

    margin: added on each side, as a fraction of the box's side, clipped at the image's edge.
    """

    name: ClassVar[str] = "crop_roi"
    margin: float = 0.0

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) to (h, w, C). Raises UsageError for an empty region or one of another shape."""
        if context.roi is None:
            return pixels
        if context.roi.shape != pixels.shape[:2]:
            raise UsageError(f"region of interest is {context.roi.shape}, the image is {pixels.shape[:2]}")
        rows = np.flatnonzero(context.roi.any(axis=1))
        columns = np.flatnonzero(context.roi.any(axis=0))
        if not rows.size:
            raise UsageError("the region of interest is empty: it has no pixel inside the image")
        top, bottom = self._widen(int(rows[0]), int(rows[-1]) + 1, pixels.shape[0])
        left, right = self._widen(int(columns[0]), int(columns[-1]) + 1, pixels.shape[1])
        return pixels[top:bottom, left:right]

    def _widen(self, start: int, stop: int, limit: int) -> tuple[int, int]:
        extra = round((stop - start) * self.margin)
        return max(0, start - extra), min(limit, stop + extra)

    def describe(self) -> str:
        """In words."""
        return f"crop to the region of interest if one is given (margin {self.margin:g} of its side)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Resample to `size` = (height, width).

    mode: "squash" ignores the aspect ratio; "shortest" keeps it and covers `size` (crop afterwards);
      "longest" keeps it and fits inside `size` (pad afterwards).
    library: "pillow" resamples uint8 in fixed point as torchvision does on PIL images, float32 as Pillow's
      mode F; it always low-passes when shrinking. "scipy" is scikit-image's `resize` (Gaussian of sigma
      (factor - 1) / 2 when `antialias`, then a spline), in float; uint8 in gives uint8 out, truncated.
      "tensorflow" is `tf.image.resize` without antialias (bilinear between half-pixel centres, edges held).
    rounding: how "shortest" and "longest" round the other side ("truncate" as torchvision, "round" as timm).
    border: what "scipy" takes to lie beyond the edge, the picture mirrored or zeros.
    """

    name: ClassVar[str] = "resize"
    size: tuple[int, int]
    mode: Literal["squash", "shortest", "longest"] = "squash"
    interpolation: Interpolation = "bicubic"
    antialias: bool = True
    library: Literal["pillow", "scipy", "tensorflow"] = "pillow"
    rounding: Literal["truncate", "round"] = "truncate"
    border: Literal["mirror", "zeros"] = field(default="mirror", metadata=LATER)

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise UsageError(f"resize to {self.size}: both sides must be at least one pixel")
        if self.library == "pillow" and not self.antialias:
            raise UsageError("resize: Pillow always low-passes when shrinking; use library 'scipy'")
        if self.library == "scipy" and self.interpolation not in _SPLINE_ORDER:
            raise UsageError(f"resize: library 'scipy' has no {self.interpolation} interpolation")
        if self.library == "tensorflow" and (self.antialias or self.interpolation != "bilinear"):
            raise UsageError("resize: library 'tensorflow' is bilinear without antialias here")
        if self.library == "pillow" and self.border != "mirror":
            raise UsageError("resize: Pillow knows nothing beyond the edge; use library 'scipy'")

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that an image of this height and width is resampled to."""
        if self.mode == "squash":
            return self.size
        ratios = height / self.size[0], width / self.size[1]
        by_height = (ratios[0] <= ratios[1]) == (self.mode == "shortest")
        fit: Callable[[float], int] = round if self.rounding == "round" else int
        if by_height:
            return self.size[0], max(1, fit(self.size[0] * width / height))
        return max(1, fit(self.size[1] * height / width)), self.size[1]

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) uint8 or float32 to (h, w, C) of the same dtype."""
        shape = self.target(pixels.shape[0], pixels.shape[1])
        if shape == pixels.shape[:2]:
            return pixels
        if self.library == "scipy":
            return self._scipy(pixels, shape)
        if self.library == "tensorflow":
            return _tensorflow_resize(pixels, shape)
        return _pil_resize(pixels, shape, _PIL[self.interpolation])

    def describe(self) -> str:
        """In words."""
        how = {
            "squash": "to exactly {h}x{w}, aspect ratio not kept",
            "shortest": "keeping the aspect ratio, to cover {h}x{w}",
            "longest": "keeping the aspect ratio, to fit inside {h}x{w}",
        }[self.mode].format(h=self.size[0], w=self.size[1])
        beyond = ", zeros beyond the edge" if self.border == "zeros" else ""
        return (
            f"resize {how} ({self.interpolation}, {self.library}{', antialiased' * self.antialias}{beyond})"
        )

    def _scipy(self, pixels: Pixels, shape: tuple[int, int]) -> Pixels:
        """What `skimage.transform.resize(..., preserve_range=True)` computes, without scikit-image."""
        from scipy import ndimage

        order = _SPLINE_ORDER[self.interpolation]
        beyond, zoom_beyond = ("mirror",) * 2 if self.border == "mirror" else ("constant", "grid-constant")
        source: NDArray[np.float64] = pixels.astype(np.float64)
        factors = np.array(pixels.shape[:2]) / np.array(shape)
        if self.antialias:
            sigma = (*np.maximum(0, (factors - 1) / 2), 0.0)
            source = ndimage.gaussian_filter(source, sigma, mode=beyond)
        zoomed: Pixels = ndimage.zoom(
            source, (*(1 / factors), 1), order=order, mode=zoom_beyond, grid_mode=True
        )
        if order > 1:  # splines overshoot; scikit-image clips to the range of the image before filtering
            zoomed = np.clip(zoomed, pixels.min(), pixels.max())
        return zoomed.astype(pixels.dtype if pixels.dtype == np.uint8 else np.float32)


def _pil_resize(pixels: Pixels, shape: tuple[int, int], filter_: PilImage.Resampling) -> Pixels:
    size = (shape[1], shape[0])
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.asarray(PilImage.fromarray(np.ascontiguousarray(pixels)).resize(size, filter_))
    planes = [
        np.asarray(PilImage.fromarray(np.ascontiguousarray(pixels[..., c])).resize(size, filter_))
        for c in range(pixels.shape[2])
    ]
    return np.stack(planes, axis=2)


def _tensorflow_resize(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    """In float32 and in TensorFlow's order of operations: truncation to uint8 shows the last bit."""
    source = pixels.astype(np.float32)
    for axis, length in ((1, shape[1]), (0, shape[0])):
        scale = np.float32(source.shape[axis]) / np.float32(length)
        at = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
        below = np.floor(at)
        low = source.take(np.maximum(below, 0).astype(np.intp), axis=axis)
        high = source.take(np.minimum(np.ceil(at), source.shape[axis] - 1).astype(np.intp), axis=axis)
        weight = (at - below).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        source = low + (high - low) * weight
    return source.astype(pixels.dtype if pixels.dtype == np.uint8 else np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class CenterCrop:
    """Take the middle (height, width); a side that is too short is padded with `fill` on both sides first.

    rounding: of an odd margin; "round" as torchvision, "floor" as transformers' image processors.
    """

    name: ClassVar[str] = "center_crop"
    size: tuple[int, int]
    fill: float = 0.0
    rounding: Literal["round", "floor"] = "round"

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) to (height, width, C)."""
        pixels = Pad(size=self.size, fill=self.fill).apply(pixels, context)
        top = self._margin(pixels.shape[0] - self.size[0])
        left = self._margin(pixels.shape[1] - self.size[1])
        return pixels[top : top + self.size[0], left : left + self.size[1]]

    def _margin(self, spare: int) -> int:
        return spare // 2 if self.rounding == "floor" else round(spare / 2)

    def describe(self) -> str:
        """In words."""
        return f"centre crop {self.size[0]}x{self.size[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Pad to at least `size` = (height, width) with the value `fill` (in the units at that point).

    align: "center" puts the spare odd row or column at the bottom or right; "top_left" pads only there.
    """

    name: ClassVar[str] = "pad"
    size: tuple[int, int]
    fill: float = 0.0
    align: Literal["center", "top_left"] = "center"

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) to (max(H, height), max(W, width), C)."""
        missing = [max(0, want - have) for want, have in zip(self.size, pixels.shape[:2], strict=True)]
        if not any(missing):
            return pixels
        before = [m // 2 if self.align == "center" else 0 for m in missing]
        around = [(b, m - b) for b, m in zip(before, missing, strict=True)]
        return np.pad(pixels, (*around, (0, 0)), constant_values=self.fill)

    def describe(self) -> str:
        """In words."""
        return f"pad to {self.size[0]}x{self.size[1]} with {self.fill:g} ({self.align.replace('_', ' ')})"
