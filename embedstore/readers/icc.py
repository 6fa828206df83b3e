"""Colour profiles (ICC.1) of photographs and slides to sRGB, by LittleCMS in Pillow."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

_MOST_BYTES = 4 << 20
_HEADER = 128
_SPACES = {"RGB": b"RGB ", "CMYK": b"CMYK"}
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
_SAME = 1
_PROBE = 9


def icc_status(profile: bytes | None, mode: str = "RGB") -> str | None:
    """For the attribute `icc`: "srgb" (nothing to do), "converted" or "ignored: REASON".

    None without a profile.
    """
    if not profile:
        return None
    reason = _refusal(profile, mode)
    if reason is not None:
        return f"ignored: {reason}"
    try:
        return "converted" if _transform(profile, mode) is not None else "srgb"
    except Exception:  # LittleCMS says in many ways that a profile is damaged
        return "ignored: the profile is damaged"


def to_srgb(pixels: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """(H, W, 3) of the profile's RGB to sRGB, perceptual or the profile's own intent, black kept.

    Left alone: no profile, one that is broken, of another colour space or larger than 4 MiB, and one that
    moves no colour by more than one level, as sRGB's own does.
    """
    if not profile or _refusal(profile, "RGB") is not None:
        return pixels
    try:
        transform = _transform(profile, "RGB")
        if transform is None:
            return pixels
        return _applied(transform, np.ascontiguousarray(pixels))
    except Exception:  # LittleCMS says in many ways that a profile is damaged
        return pixels


def picture_to_srgb(picture: Pillow.Image, profile: bytes | None) -> Pillow.Image | None:
    """A CMYK picture to RGB by its profile; None when that cannot be done."""
    if not profile or picture.mode != "CMYK" or _refusal(profile, "CMYK") is not None:
        return None
    try:
        transform = _transform(profile, "CMYK")
        return None if transform is None else ImageCms.applyTransform(picture, transform)
    except Exception:  # LittleCMS says in many ways that a profile is damaged
        return None


def _refusal(profile: bytes, mode: str) -> str | None:
    """What the profile's header says against using it (ICC.1:2022 7.2)."""
    if len(profile) > _MOST_BYTES:
        return "the profile is larger than 4 MiB"
    if len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        return "the profile is damaged"
    if int.from_bytes(profile[:4], "big") > len(profile):
        return "the profile is cut short"
    if profile[16:20] != _SPACES.get(mode) or profile[12:16] not in _CLASSES:
        return "the profile is of another colour space"
    return None


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform to sRGB; None when it changes nothing. Raises whatever LittleCMS raises."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
    built = ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), mode, "RGB", intent, ImageCms.Flags.BLACKPOINTCOMPENSATION
    )
    if mode == "RGB":
        probe = _lattice()
        moved = np.abs(_applied(built, probe).astype(np.int16) - probe.astype(np.int16)).max()
        if moved <= _SAME:
            return None
    return built


def _applied(transform: ImageCms.ImageCmsTransform, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    made: Any = ImageCms.applyTransform(Pillow.fromarray(pixels), transform)
    return np.array(made, np.uint8)


def _lattice() -> NDArray[np.uint8]:
    """(81, 9, 3): colours spread evenly over the cube."""
    steps = np.linspace(0, 255, _PROBE).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return np.ascontiguousarray(grid.reshape(_PROBE * _PROBE, _PROBE, 3))
