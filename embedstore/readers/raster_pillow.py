"""Pictures that Pillow decodes: sizes from headers, pixels as arrays."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from embedstore.errors import ReadFailure
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
    )
)
DAMAGED = "the image is damaged or cut short"
TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112
_KEPT = frozenset({"1", "L", "LA", "RGB", "RGBA", "F", "I"})


def picture_size(stream: BinaryIO, limits: Limits) -> tuple[int, int]:
    """(rows, columns) of the upright picture from its header. Raises ReadFailure, also beyond the limits."""
    with quiet("PIL"), opened(stream, limits) as picture:
        columns, rows = picture.size
        return (columns, rows) if orientation_of(picture) in TURNED else (rows, columns)


def read_picture(stream: BinaryIO, limits: Limits) -> NDArray[Any]:
    """Pixels of the upright picture as `pillow_values` gives them. Raises ReadFailure."""
    with quiet("PIL"), opened(stream, limits) as picture:
        orientation = orientation_of(picture)
        try:
            values = pillow_values(picture)
        except Exception:  # decoders raise nearly any class on damaged data
            raise ReadFailure(DAMAGED) from None
    return upright(values, orientation)


def pillow_values(picture: Pillow.Image) -> NDArray[Any]:
    """Pixels of an opened picture: (H, W) grey, or (H, W, 2..4) with colour or alpha last.

    Raises whatever Pillow raises on damaged data.
    """
    mode, transparent = picture.mode, "transparency" in picture.info
    if mode in ("P", "PA") or (transparent and mode in ("L", "RGB", "1")):
        picture = picture.convert("RGBA" if transparent or mode == "PA" else "RGB")
    elif mode not in _KEPT and not mode.startswith("I;16"):
        picture = picture.convert("RGBA" if mode in ("RGBa", "La") else "RGB")
    return np.asarray(picture)


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
