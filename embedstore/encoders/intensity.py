"""Preprocessing steps that change values: channels, windows, scaling, normalisation. Arrays are (H, W, C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import ImageInput
from embedstore.encoders.parent import Extremes, Percentiles
from embedstore.errors import UsageError

Pixels = NDArray[Any]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_TINY = np.float32(1e-8)


def _words(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:g}" for v in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToRGB:
    """Repeat a grey channel three times. Put it late: resizing one channel costs a third."""

    name: ClassVar[str] = "to_rgb"

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, 1 or 3) to (H, W, 3); a grey image becomes a read-only view."""
        if pixels.shape[2] == 3:
            return pixels
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))

    def describe(self) -> str:
        """In words."""
        return "repeat grey as three channels"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToGrey:
    """Luma of RGB by ITU-R BT.601 (0.299, 0.587, 0.114), as Pillow's mode L; grey passes unchanged."""

    name: ClassVar[str] = "to_grey"

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, 1 or 3) to (H, W, 1) of the same dtype."""
        if pixels.shape[2] == 1:
            return pixels
        luma = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        if pixels.dtype == np.uint8:
            luma = np.rint(luma).astype(np.uint8)
        return luma[..., None]

    def describe(self) -> str:
        """In words."""
        return "luma of colour images (ITU-R BT.601)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Window level and width in the units of the image (HU for CT), to [0, 1].

    The linear-exact function of DICOM PS3.3 C.11.2.1.3.2: (x - (center - width / 2)) / width, clipped.
    """

    name: ClassVar[str] = "window"
    center: float
    width: float

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise UsageError(f"window width {self.width:g} must be above 0")

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) numbers to float32 in [0, 1]."""
        low = np.float32(self.center - self.width / 2)
        scaled: Pixels = np.clip((pixels.astype(np.float32) - low) / np.float32(self.width), 0, 1)
        return scaled

    def describe(self) -> str:
        """In words."""
        return f"window level {self.center:g}, width {self.width:g}, to [0, 1]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMinMax:
    """Clip to `low`..`high` in the units of the image (HU for CT), then the extremes left to 0 and 1.

    MedSAM's rule for CT (-160 to 240). Unlike `Window`, an image that does not fill the range is stretched.
    parent: use the extremes of `ImageInput.parent_range` where it is given, so that the slices of one volume
      are scaled alike.
    """

    name: ClassVar[str] = "clip_min_max"
    low: float
    high: float
    parent: bool = True

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise UsageError(f"clip: {self.low:g} must be below {self.high:g}")

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) numbers to float32 in [0, 1]; a constant image gives zeros."""
        values = np.clip(pixels.astype(np.float32), np.float32(self.low), np.float32(self.high))
        extremes = float(values.min()), float(values.max())
        if self.parent and context.parent_range is not None:
            start, stop = (float(np.clip(end, self.low, self.high)) for end in context.parent_range)
            extremes = start, stop
        low, high = np.float32(extremes[0]), np.float32(extremes[1])
        scaled: Pixels = np.clip((values - low) / np.maximum(high - low, _TINY), 0, 1)
        return scaled

    def statistic(self) -> Extremes | None:
        """What is to be known of a whole volume; None when each image is for itself."""
        return Extremes() if self.parent else None

    def describe(self) -> str:
        """In words."""
        whose = "the volume's (a lone image's own)" if self.parent else "this image's"
        return f"clip to {self.low:g}..{self.high:g}, {whose} minimum and maximum to 0 and 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentileWindow:
    """Clip to two percentiles of the image and scale to [0, 1] (MedSAM's rule for MR: 0.5 and 99.5).

    nonzero: percentiles of the non-zero pixels alone, and pixels that were 0 stay 0 (background).
    parent: use `ImageInput.parent_range` instead of percentiles where it is given, so that the slices
      of one volume are windowed alike.
    """

    name: ClassVar[str] = "percentile_window"
    low: float = 0.5
    high: float = 99.5
    nonzero: bool = True
    parent: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise UsageError(f"percentiles {self.low:g} to {self.high:g} must rise within 0 to 100")

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) numbers to float32 in [0, 1]; a constant image gives zeros."""
        values = pixels.astype(np.float32)
        if self.parent and context.parent_range is not None:
            low, high = (float(end) for end in context.parent_range)
        else:
            counted = values[values != 0] if self.nonzero else values.ravel()
            if not counted.size:
                return np.zeros_like(values)
            low, high = (float(p) for p in np.percentile(counted, (self.low, self.high)))
        span = max(high - low, float(_TINY))
        scaled = (np.clip(values, low, high) - np.float32(low)) / np.float32(span)
        if self.nonzero:
            scaled[values == 0] = 0
        result: Pixels = scaled.astype(np.float32, copy=False)
        return result

    def statistic(self) -> Percentiles | None:
        """What is to be known of a whole volume; None when each image is for itself."""
        return Percentiles(self.low, self.high, self.nonzero) if self.parent else None

    def describe(self) -> str:
        """In words."""
        of = "non-zero pixels" if self.nonzero else "all pixels"
        return f"clip to percentiles {self.low:g} and {self.high:g} of {of}, to [0, 1]"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinMax:
    """Per-image minimum and maximum to 0 and 1 (over all channels together); a constant image gives zeros."""

    name: ClassVar[str] = "min_max"

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) numbers to float32 in [0, 1]."""
        values = pixels.astype(np.float32)
        low = values.min()
        scaled: Pixels = (values - low) / np.maximum(values.max() - low, _TINY)
        return scaled

    def describe(self) -> str:
        """In words."""
        return "this image's minimum and maximum to 0 and 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """Divide by `divisor`: 255 takes uint8 to [0, 1]; float32 out."""

    name: ClassVar[str] = "rescale"
    divisor: float = 255.0

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) numbers to float32."""
        return pixels.astype(np.float32) / np.float32(self.divisor)

    def describe(self) -> str:
        """In words."""
        return f"divide by {self.divisor:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToUint8:
    """[0, 1] to 0..255 as bytes, clipped; rounding "truncate" is numpy's cast, as MedSAM does it."""

    name: ClassVar[str] = "to_uint8"
    rounding: Literal["round", "truncate"] = "round"

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) float32 to uint8; uint8 passes unchanged."""
        if pixels.dtype == np.uint8:
            return pixels
        scaled = np.clip(pixels * np.float32(255), 0, 255)
        return (np.rint(scaled) if self.rounding == "round" else scaled).astype(np.uint8)

    def describe(self) -> str:
        """In words."""
        return f"to 8 bits ({self.rounding})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize:
    """Subtract a mean and divide by a standard deviation per channel; both in the units at that point."""

    name: ClassVar[str] = "normalize"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UsageError("normalize: one mean and one standard deviation above 0 per channel")

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) to float32 of the same shape."""
        if len(self.mean) not in (1, pixels.shape[2]):
            raise UsageError(f"normalize: {len(self.mean)} channel means for {pixels.shape[2]} channels")
        # Plane by plane, as networks want them: over three neighbours at a time it takes ten times as long.
        planes = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
        planes -= np.array(self.mean, dtype=np.float32)[:, None, None]
        planes /= np.array(self.std, dtype=np.float32)[:, None, None]
        return planes.transpose(1, 2, 0)

    def describe(self) -> str:
        """In words."""
        return f"subtract ({_words(self.mean)}) and divide by ({_words(self.std)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZScore:
    """Per image: subtract its mean, divide by its standard deviation (population), of each channel or of all.

    `epsilon` is added to the standard deviation's divisor floor: a constant channel gives zeros.
    """

    name: ClassVar[str] = "z_score"
    per_channel: bool = True
    epsilon: float = 1e-8

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, C) numbers to float32 with mean 0 and standard deviation 1."""
        axis = (0, 1) if self.per_channel else (0, 1, 2)
        values = pixels.astype(np.float64)  # float32 sums of a large image lose digits
        values -= values.mean(axis=axis, keepdims=True)
        values /= np.maximum(values.std(axis=axis, keepdims=True), self.epsilon)
        return values.astype(np.float32)

    def describe(self) -> str:
        """In words."""
        over = "each channel" if self.per_channel else "all channels together"
        return f"this image's mean to 0 and standard deviation to 1, of {over}"
