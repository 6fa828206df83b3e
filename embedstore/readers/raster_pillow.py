"""Pictures that Pillow decodes: sizes from headers, pixels as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from embedstore.contracts.image import DRAFT_SIDE
from embedstore.contracts.record import Scalar
from embedstore.errors import ReadFailure
from embedstore.readers.icc import icc_status, picture_to_srgb, to_srgb
from embedstore.readers.quiet import quiet
from embedstore.readers.raster_pixels import upright
from embedstore.settings import Limits

# Named by their plugins, so that these are imported: Pillow loads some only when it tries every format.
TIFF = (TiffImagePlugin.TiffImageFile.format,)
FORMATS = tuple(
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        BmpImagePlugin.BmpImageFile,
        WebPImagePlugin.WebPImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
    )
)
_JPEG2000 = Jpeg2KImagePlugin.Jpeg2KImageFile.format
DAMAGED = "the image is damaged or cut short"
TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112
DEEP_GREY = "percentiles 0.5 to 99.5"
_KEPT = frozenset({"1", "L", "LA", "RGB", "RGBA", "F", "I"})


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Size of the upright picture, and attributes: display (which rule), icc (what became of the profile)."""

    rows: int
    columns: int
    extra: Mapping[str, Scalar]


def picture_facts(stream: BinaryIO, limits: Limits) -> PictureFacts:
    """What the header of a picture says. Raises ReadFailure, also beyond the limits."""
    with quiet("PIL"), opened(stream, limits) as picture:
        columns, rows = picture.size
        turned = orientation_of(picture) in TURNED
        extra: dict[str, Scalar] = {"display": _rule(picture)}
        profile = icc_status(profile_of(picture), picture.mode) if _managed(picture) else None
        if profile is not None:
            extra["icc"] = profile
        frames = _frames(picture)
        if frames > 1:
            extra["NumberOfFrames"] = frames
        return PictureFacts(*((columns, rows) if turned else (rows, columns)), extra)


def read_picture(stream: BinaryIO, limits: Limits, managed: bool, draft: bool = False) -> NDArray[Any]:
    """Pixels of the upright picture as `pillow_values` gives them; draft: of a JPEG by the scaled inverse
    transform of libjpeg. Raises ReadFailure."""
    with quiet("PIL"), opened(stream, limits) as picture:
        orientation = orientation_of(picture)
        try:
            if draft:  # which formats other than JPEG ignore
                picture.draft(picture.mode, (DRAFT_SIDE, DRAFT_SIDE))
            if picture.format == _JPEG2000 and picture.mode.startswith("I"):
                values = _deep_jpeg2000(stream, picture.size)
            else:
                values = pillow_values(picture, managed)
        except Exception:  # decoders raise nearly any class on damaged data
            raise ReadFailure(DAMAGED) from None
    return upright(values, orientation)


def pillow_values(picture: Pillow.Image, managed: bool) -> NDArray[Any]:
    """Pixels of an opened picture: (H, W) grey, or (H, W, 2..4) with colour or alpha last.

    managed: colours are converted from the picture's ICC profile to sRGB. Raises whatever Pillow raises on
    damaged data.
    """
    mode, transparent = picture.mode, "transparency" in picture.info
    profile = profile_of(picture) if managed and _managed(picture) else None
    if mode == "CMYK" and (converted := picture_to_srgb(picture, profile)) is not None:
        return np.asarray(converted)
    if mode in ("P", "PA") or (transparent and mode in ("L", "RGB", "1")):
        picture = picture.convert("RGBA" if transparent or mode == "PA" else "RGB")
    elif mode not in _KEPT and not mode.startswith("I;16"):
        picture = picture.convert({"RGBa": "RGBA", "La": "LA"}.get(mode, "RGB"))
    values = np.asarray(picture)
    if profile is None or mode == "CMYK" or values.ndim != 3 or values.shape[2] < 3:
        return values
    return np.concatenate([to_srgb(values[..., :3], profile), values[..., 3:]], axis=2)


def profile_of(picture: Pillow.Image) -> bytes | None:
    """The embedded ICC profile."""
    profile = picture.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def _managed(picture: Pillow.Image) -> bool:
    """Whether a profile of the picture would be used: colours are converted, greys are not."""
    return picture.mode in ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK")


def _frames(picture: Pillow.Image) -> int:
    try:
        return int(getattr(picture, "n_frames", 1))
    except Exception:  # a damaged animation still has its first picture
        return 1


def _rule(picture: Pillow.Image) -> str:
    tiles = getattr(picture, "tile", [])  # how the decoder is asked to unpack: "RGB;16B" for 16 bits
    mode, deep = picture.mode, any("16" in str(part) for tile in tiles for part in tile[3:])
    if mode in ("P", "PA"):
        words = "palette"
    elif mode.startswith("I") or mode == "F":
        words = DEEP_GREY
    elif mode in ("1", "L", "LA", "La"):
        words = "upper 8 of 16 bits" if deep else f"{1 if mode == '1' else 8} bits as stored"
    elif mode in ("RGB", "RGBA"):
        words = "colour, upper 8 of 16 bits" if deep else "colour as stored"
    else:
        words = f"{mode} to RGB"
    clear = mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info
    return f"{words}, on black" if clear else words


def _deep_jpeg2000(stream: BinaryIO, size: tuple[int, int]) -> NDArray[Any]:
    """Grey of more than 8 bits as it is stored; Pillow would scale 12 bits up to 16."""
    import imagecodecs

    stream.seek(0)
    values = np.asarray(imagecodecs.jpeg2k_decode(stream.read()))
    if values.shape != size[::-1]:
        raise ValueError("not one grey plane of the promised size")
    return values


def opened(stream: BinaryIO, limits: Limits, formats: tuple[str, ...] = FORMATS) -> Pillow.Image:
    """Parse the header of a picture and check its size. Raises ReadFailure."""
    try:
        picture = Pillow.open(stream, formats=formats)
    except Pillow.DecompressionBombError:
        raise ReadFailure(f"more pixels than the limit of {limits.max_pixels:,}") from None
    except Exception:  # decoders raise nearly any class on damaged data
        raise ReadFailure(DAMAGED) from None
    check_size(picture.size[1], picture.size[0], limits)
    return picture


def check_size(rows: int, columns: int, limits: Limits) -> None:
    """Raise ReadFailure for an image without pixels or with more than the limit."""
    if rows < 1 or columns < 1:
        raise ReadFailure("the image has no pixels (zero rows or columns)")
    if rows * columns > limits.max_pixels:
        raise ReadFailure(f"{rows} x {columns} pixels are more than the limit of {limits.max_pixels:,}")


def orientation_of(picture: Pillow.Image) -> int:
    """EXIF orientation, 1 when there is none."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block does not make the pixels unreadable
        return 1
