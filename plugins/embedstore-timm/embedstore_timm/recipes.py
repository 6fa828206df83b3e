"""Profiles, and timm's data configuration turned into recipes. Tests hold them equal to timm's transforms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from embedstore.encoders.preprocess import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    CropRoi,
    Normalize,
    Recipe,
    Rescale,
    Resize,
    Step,
    ToRGB,
)
from embedstore.errors import Refused, UsageError

VIEWS = ("default", "squash", "pad")
POOLINGS = ("token", "avg")
_PROFILE = re.compile(r"(?P<view>\w+)(@(?P<size>\d+))?(\+(?P<pooling>\w+))?")
_INTERPOLATIONS: Mapping[str, Literal["nearest", "bilinear", "bicubic", "lanczos"]] = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos": "lanczos",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """VIEW[@SIZE][+POOLING]. view: "default" is timm's evaluation transform, "squash" and "pad" show the
    whole image. size: side of the input in pixels, None for the model's own. pooling: None for its own."""

    view: str
    size: int | None = None
    pooling: str | None = None

    @classmethod
    def parse(cls, text: str) -> Profile:
        """Raises UsageError for a view or pooling that does not exist."""
        match = _PROFILE.fullmatch(text)
        if match is None or match["view"] not in VIEWS or match["pooling"] not in (None, *POOLINGS):
            raise UsageError(
                f"timm has no profile '{text}'; it has {', '.join(VIEWS)}, each with @SIZE for another input "
                f"size and +{' or +'.join(POOLINGS)} for another pooling than the model's own"
            )
        return cls(match["view"], int(match["size"]) if match["size"] else None, match["pooling"])


def from_timm(data: Mapping[str, Any], profile: Profile) -> Recipe:
    """The recipe of timm's data configuration (`resolve_data_config`; absent keys have its defaults).

    Raises Refused for a setting this plugin does not know, or other than three channels.
    """
    channels, *sides = data.get("input_size") or (3, 224, 224)
    size = (profile.size, profile.size) if profile.size else (int(sides[0]), int(sides[1]))
    interpolation = _INTERPOLATIONS.get(str(data.get("interpolation") or "bicubic"))
    if channels != 3 or interpolation is None:
        raise Refused(
            f"this model reads {channels} channels by {data.get('interpolation')} interpolation, "
            "which embedstore-timm does not know"
        )
    mean = tuple(float(value) for value in data.get("mean") or IMAGENET_MEAN)
    std = tuple(float(value) for value in data.get("std") or IMAGENET_STD)
    if profile.view == "squash":
        view: list[Step] = [Resize(size=size, mode="squash", interpolation=interpolation)]
    elif profile.view == "pad":
        view = [Resize(size=size, mode="longest", interpolation=interpolation), CenterCrop(size=size)]
    else:
        view = _evaluation(data, size, interpolation)
    return Recipe((CropRoi(), *view, Rescale(divisor=255), ToRGB(), Normalize(mean=mean, std=std)))


def _evaluation(
    data: Mapping[str, Any],
    size: tuple[int, int],
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"],
) -> list[Step]:
    share = float(data.get("crop_pct") or 0.875)
    mode = data.get("crop_mode") or "center"
    scaled = (math.floor(size[0] / share), math.floor(size[1] / share))
    if mode == "squash":
        return [
            Resize(size=scaled, mode="squash", interpolation=interpolation),
            CenterCrop(size=size),
        ]
    if mode != "center":
        raise Refused(f"this model's crop mode is '{mode}', which embedstore-timm does not know; try squash")
    # A square is covered by torchvision's Resize, which truncates the long side; all else timm rounds.
    rounding: Literal["truncate", "round"] = "truncate" if scaled[0] == scaled[1] else "round"
    return [
        Resize(size=scaled, mode="shortest", interpolation=interpolation, rounding=rounding),
        CenterCrop(size=size),
    ]
