"""Slides of vendors and generic pyramidal TIFFs, through OpenSlide."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from embedstore.contracts.record import Scalar
from embedstore.errors import ReadFailure
from embedstore.readers.slide_pyramid import RGB, Level, SlideFacts
from embedstore.readers.slide_tiles import plausible

_CACHE_BYTES = 128 << 20
_WHITE = (255, 255, 255)
_COLOUR = re.compile(r"[0-9a-fA-F]{6}")
_MOST_PROFILE = 16 << 20
_DAMAGED = "the slide is damaged or truncated: its pixels cannot be decoded"
_NOT_OPENED = "the slide is damaged, incomplete or of a kind that OpenSlide does not read"


class OpenSlideSlide:
    """A slide that OpenSlide has open. Decoded tiles are kept in a cache of 128 MiB.

    assumed: microns per pixel for a slide that does not say its own; `assumes` is whether it was needed.
    """

    def __init__(self, path: Path, assumed: float | None = None) -> None:
        library = _library()
        try:
            self._slide = library.OpenSlide(str(path))
        except library.OpenSlideError:
            raise ReadFailure(_NOT_OPENED) from None
        self._error = library.OpenSlideError
        try:
            self._slide.set_cache(library.OpenSlideCache(_CACHE_BYTES))
            facts = _facts(self._slide, path)
        except library.OpenSlideError:
            self.close()
            raise ReadFailure(_NOT_OPENED) from None
        except BaseException:
            self.close()
            raise
        self.assumes = facts.mpp is None and assumed is not None
        self._facts = replace(facts, mpp=(assumed, assumed)) if facts.mpp is None and assumed else facts

    @property
    def facts(self) -> SlideFacts:
        """What the slide says of itself."""
        return self._facts

    def region(self, level: int, corner: tuple[int, int], size: tuple[int, int]) -> Picture.Image:
        """RGB pixels of one level, `corner` in pixels of that level. Raises ReadFailure."""
        per = self._facts.levels[level].downsample
        place = round(corner[0] * per), round(corner[1] * per)
        try:
            found = self._slide.read_region(place, level, size)
        except self._error:
            raise ReadFailure(_DAMAGED) from None
        return flattened(found, self._facts.background)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()


def flattened(picture: Picture.Image, background: RGB) -> Picture.Image:
    """An RGBA picture on the colour of the slide's background."""
    alpha = picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return picture.convert("RGB")
    ground = Picture.new("RGB", picture.size, background)
    ground.paste(picture, mask=alpha)
    return ground


def _library() -> Any:
    try:
        import openslide
    except (ImportError, OSError):
        raise ReadFailure("whole slides are read by OpenSlide; install embedstore[slides]") from None
    return openslide


def _facts(slide: Any, path: Path) -> SlideFacts:
    properties: Mapping[str, str] = slide.properties
    levels = tuple(
        Level(int(width), int(height), float(downsample))
        for (width, height), downsample in zip(slide.level_dimensions, slide.level_downsamples, strict=True)
    )
    if not levels or any(one.width < 1 or one.height < 1 or not one.downsample > 0 for one in levels):
        raise ReadFailure("the slide has no pixels")
    return SlideFacts(
        levels=levels,
        mpp=_mpp(properties),
        key=_key(properties, path),
        power=_number(properties.get("openslide.objective-power")),
        profile=_profile(slide),
        background=_background(properties.get("openslide.background-color")),
        associated=tuple(sorted(slide.associated_images)),
        extra=_extra(properties),
    )


def _mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """None also for what no microscope has: OpenSlide hands on the 72 dots per inch that programs make up."""
    x, y = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    return (x, y) if x is not None and y is not None and plausible(x) and plausible(y) else None


def _key(properties: Mapping[str, str], path: Path) -> str:
    """OpenSlide's own fingerprint of the slide, else one of the file's first bytes and its size."""
    quick = properties.get("openslide.quickhash-1")
    if quick:
        return quick
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    with path.open("rb") as stream:
        digest.update(stream.read(1 << 20))
    return digest.hexdigest()


def _profile(slide: Any) -> bytes | None:
    try:
        found = slide.color_profile
    except OSError:  # not a profile at all
        return b"?"
    size = int(slide.properties.get("openslide.icc-size", 0))
    return None if found is None or size > _MOST_PROFILE else bytes(found.tobytes())


def _background(value: str | None) -> RGB:
    if not value or not _COLOUR.fullmatch(value):
        return _WHITE
    return int(value[:2], 16), int(value[2:4], 16), int(value[4:], 16)


def _extra(properties: Mapping[str, str]) -> dict[str, Scalar]:
    """The kind of slide alone: comments and vendors' properties name users, files and patients."""
    vendor = properties.get("openslide.vendor")
    return {"slide_format": vendor} if vendor else {}


def _number(value: str | None) -> float | None:
    try:
        found = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) and found > 0 else None
