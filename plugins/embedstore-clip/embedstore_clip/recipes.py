"""Two libraries' image preprocessing settings turned into recipes. Tests hold them equal to the libraries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from embedstore.encoders.preprocess import (
    CenterCrop,
    CropRoi,
    Normalize,
    Recipe,
    Rescale,
    Resize,
    Step,
    ToRGB,
)
from embedstore.errors import Refused

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_MODES: Mapping[str, Literal["squash", "shortest", "longest"]] = {
    "squash": "squash",
    "shortest": "shortest",
    "longest": "longest",
}
_PIL_FILTERS: Mapping[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def from_open_clip(settings: Mapping[str, Any]) -> Recipe:
    """The recipe of an open_clip `PreprocessCfg` (as a dictionary; absent keys have its defaults).

    Raises Refused for a setting this plugin does not know.
    """
    size = _pair(settings.get("size", 224))
    named = settings.get("resize_mode") or "shortest"
    mode = _MODES.get(named)
    if mode is None:
        raise Refused(f"this model asks for the resize mode '{named}', which embedstore-clip does not know")
    # open_clip covers a square with torchvision's Resize, which truncates the long side; all else it rounds,
    # and a shape that is not square it covers by bicubic interpolation whatever the settings say.
    plain = mode == "shortest" and size[0] == size[1]
    rounding: Literal["truncate", "round"] = "truncate" if plain else "round"
    bilinear = settings.get("interpolation") == "bilinear" and (plain or mode != "shortest")
    interpolation: Interpolation = "bilinear" if bilinear else "bicubic"
    steps: list[Step] = [
        CropRoi(),
        Resize(size=size, mode=mode, interpolation=interpolation, rounding=rounding),
    ]
    if mode != "squash":
        steps.append(CenterCrop(size=size, fill=float(settings.get("fill_color") or 0)))
    mean = _triple(settings.get("mean") or _OPENAI_MEAN)
    std = _triple(settings.get("std") or _OPENAI_STD)
    return Recipe((*steps, Rescale(divisor=255), ToRGB(), Normalize(mean=mean, std=std)))


def from_processor(settings: Mapping[str, Any]) -> Recipe:
    """The recipe of a transformers `preprocessor_config.json` of CLIP or SigLIP.

    Raises Refused for a step this plugin does not know.
    """
    steps: list[Step] = [CropRoi()]
    if settings.get("do_resize", True):
        steps.append(_processor_resize(settings))
    if settings.get("do_center_crop", False):
        steps.append(CenterCrop(size=_sides(settings.get("crop_size", 224)), rounding="floor"))
    if settings.get("do_pad"):
        raise Refused("this model's preprocessing pads images, which embedstore-clip does not know")
    if settings.get("do_rescale", True):
        steps.append(Rescale(divisor=1 / float(settings.get("rescale_factor", 1 / 255))))
    steps.append(ToRGB())
    if settings.get("do_normalize", True):
        mean = _triple(settings.get("image_mean") or _OPENAI_MEAN)
        steps.append(Normalize(mean=mean, std=_triple(settings.get("image_std") or _OPENAI_STD)))
    return Recipe(tuple(steps))


def _processor_resize(settings: Mapping[str, Any]) -> Resize:
    size, code = settings.get("size", 224), int(settings.get("resample", 3))
    interpolation = _PIL_FILTERS.get(code)
    if interpolation is None:
        raise Refused(
            f"this model resamples with Pillow's filter {code}, which embedstore-clip does not know"
        )
    shortest = size if isinstance(size, int) else size.get("shortest_edge")
    if shortest is not None and settings.get("do_center_crop", False):
        edge = int(shortest)
        return Resize(size=(edge, edge), mode="shortest", interpolation=interpolation)
    return Resize(size=_sides(size), mode="squash", interpolation=interpolation)


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        if "height" not in size or "width" not in size:
            raise Refused(
                "this model keeps the aspect ratio without a crop; embedstore-clip needs one input size"
            )
        return int(size["height"]), int(size["width"])
    return _pair(size)


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    sides = [int(side) for side in size]
    return sides[0], sides[-1]


def _triple(values: Any) -> tuple[float, ...]:
    if isinstance(values, int | float):
        return (float(values),) * 3
    return tuple(float(value) for value in values)
