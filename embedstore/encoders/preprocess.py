"""Preprocessing recipes as data: what happens to an image between a reader and a network.

A recipe is a policy ("clip to percentiles 0.5 and 99.5"), never one image's numbers, so its JSON can be
part of a space's fingerprint. This module is the door for encoder plugins: it also hands on the steps
(`geometry`, `intensity`) and the helpers of `batching`. Only numpy and Pillow are imported.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Literal

import numpy as np

from embedstore.contracts.image import F32, Image, ImageInput, Intensity
from embedstore.encoders.batching import Rate, batched, check_texts, fastest, in_batches, stack
from embedstore.encoders.field_of_view import CropFieldOfView
from embedstore.encoders.geometry import CenterCrop, CropRoi, Pad, Resize
from embedstore.encoders.intensity import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClipMinMax,
    MinMax,
    Normalize,
    PercentileWindow,
    Rescale,
    ToGrey,
    ToRGB,
    ToUint8,
    Window,
    ZScore,
)
from embedstore.encoders.parent import Statistic
from embedstore.encoders.windows import Windows, ct_window
from embedstore.errors import UsageError

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "CenterCrop",
    "ClipMinMax",
    "CropFieldOfView",
    "CropRoi",
    "MinMax",
    "Normalize",
    "Pad",
    "PercentileWindow",
    "Rate",
    "Recipe",
    "Rescale",
    "Resize",
    "Step",
    "ToGrey",
    "ToRGB",
    "ToUint8",
    "Window",
    "Windows",
    "ZScore",
    "batched",
    "check_texts",
    "ct_window",
    "fastest",
    "in_batches",
    "stack",
]

Step = (
    CropRoi
    | CropFieldOfView
    | Resize
    | CenterCrop
    | Pad
    | ToRGB
    | ToGrey
    | Window
    | Windows
    | ClipMinMax
    | PercentileWindow
    | MinMax
    | Rescale
    | ToUint8
    | Normalize
    | ZScore
)
_STEPS: Mapping[str, Any] = types.MappingProxyType({s.name: s for s in typing.get_args(Step)})
_WANTS: Mapping[Intensity, tuple[Intensity, ...]] = types.MappingProxyType(
    {"display": ("display",), "draft": ("draft",), "raw": ("raw", "hu"), "hu": ("hu",), "suv": ("suv",)}
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in order. `wants` is the intensity it reads; HU also serves a recipe that wants raw values."""

    steps: tuple[Step, ...]
    wants: Intensity = "display"

    def apply(self, image: ImageInput) -> F32:
        """A 2D image to the network's input: (C, H, W) C-contiguous float32. The input is not changed.

        Raises UsageError for a volume, an empty image, other than 1 or 3 channels, or another intensity.
        """
        source = image.image
        if source.intensity not in _WANTS[self.wants]:
            raise UsageError(
                f"this encoder wants {self.wants} pixels and was given {source.intensity} pixels"
            )
        pixels = source.pixels
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
            shape = "x".join(str(n) for n in pixels.shape)
            raise UsageError(f"an image of {shape} cannot be encoded: height x width x 1 or 3 is needed")
        if source.intensity in ("display", "draft") and pixels.dtype != np.uint8:
            raise UsageError(f"display pixels must be uint8, not {pixels.dtype}")
        if pixels.dtype != np.uint8:
            pixels = pixels.astype(np.float32, copy=False)
        for step in self.steps:
            pixels = step.apply(pixels, image)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)

    def parent_statistic(self) -> Statistic | None:
        """An empty statistic of a whole volume that this recipe wants, None when it wants none."""
        for step in self.steps:
            if isinstance(step, ClipMinMax | PercentileWindow):
                return step.statistic()
        return None

    def add_to(self, statistic: Statistic, image: Image) -> None:
        """Count one slice of the volume in, as it is when it comes to the step that wants the statistic."""
        pixels = image.pixels
        for step in self.steps:
            if isinstance(step, ClipMinMax | PercentileWindow):
                break
            pixels = step.apply(pixels, ImageInput(image))
        statistic.add(pixels)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of what comes out; None when that depends on the image."""
        for step in reversed(self.steps):
            if isinstance(step, CenterCrop | Pad) or (isinstance(step, Resize) and step.mode == "squash"):
                return step.size
            if isinstance(step, Resize):
                return None
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, complete: `from_json` gives an equal recipe."""
        steps = [{"step": step.name, **_plain(step)} for step in self.steps]
        return {"wants": self.wants, "steps": steps}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """The recipe a `to_json` described. Raises UsageError for unknown steps, fields or values."""
        wants, steps = data.get("wants", "display"), data.get("steps")
        if wants not in _WANTS or not isinstance(steps, list) or set(data) - {"wants", "steps"}:
            raise UsageError(
                "a preprocessing recipe is {'wants': 'display'|'draft'|'raw'|'hu'|'suv', 'steps': [...]}"
            )
        return cls(tuple(_step(entry) for entry in steps), wants)

    def describe(self) -> str:
        """In words, for `encoders show`."""
        return "; ".join((f"{self.wants} pixels", *(step.describe() for step in self.steps)))


def _plain(step: Step) -> dict[str, Any]:
    settled = {f.name for f in fields(step) if f.metadata.get("later") and getattr(step, f.name) == f.default}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(step).items() if k not in settled}


def _step(entry: Any) -> Step:
    kind = _STEPS.get(entry.get("step", "")) if isinstance(entry, Mapping) else None
    if kind is None:
        raise UsageError(f"a preprocessing step must name one of {', '.join(sorted(_STEPS))}")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k != "step"}
    hints = _hints(kind)
    for key, value in given.items():
        if key not in hints or not _fits(value, hints[key]):
            raise UsageError(f"preprocessing step '{kind.name}' does not take {key} = {value!r}")
    needed = {f.name for f in fields(kind)} - set(given)
    try:
        step: Step = kind(**given)
    except TypeError:
        raise UsageError(f"preprocessing step '{kind.name}' needs {', '.join(sorted(needed))}") from None
    return step


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        want = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        return len(want) == len(value) > 0 and all(map(_fits, value, want))
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if hint is float else hint)
