"""Pictures for a person: what a reader shows beside what an encoder gets, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

U8 = NDArray[np.uint8]
_GAP = 12
_LINE = 16
_PAPER, _INK = 255, 40


def as_picture(pixels: U8) -> Picture.Image:
    """(H, W, 1 or 3) as a Pillow image."""
    return Picture.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def fitted(pixels: U8, width: int, height: int, *, enlarge: bool = False) -> Picture.Image:
    """The picture within width x height, its proportions kept; small ones stay small unless `enlarge`."""
    picture = as_picture(pixels)
    scale = min(width / picture.width, height / picture.height)
    if scale >= 1 and not enlarge:
        return picture
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    # Enlarged pixels stay squares: a person who looks closely should see what there is.
    how = Picture.Resampling.NEAREST if scale >= 1 else Picture.Resampling.LANCZOS
    return picture.resize(size, how)


def png_bytes(picture: Picture.Image) -> bytes:
    """The picture as PNG, without any text in it."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def side_by_side(pictures: Sequence[tuple[str, U8]], side: int = 512) -> bytes:
    """A PNG of pictures in a row, each within side x side pixels, its caption above it."""
    shown = [(caption, fitted(pixels, side, side, enlarge=True)) for caption, pixels in pictures]
    widths = [max(picture.width, round(ImageDraw.Draw(picture).textlength(text))) for text, picture in shown]
    page = Picture.new(
        "RGB",
        (sum(widths) + _GAP * (len(shown) + 1), max(p.height for _, p in shown) + _LINE + 2 * _GAP),
        (_PAPER,) * 3,
    )
    draw, left = ImageDraw.Draw(page), _GAP
    for (caption, picture), width in zip(shown, widths, strict=True):
        draw.text((left, _GAP // 2), caption, fill=(_INK,) * 3)
        page.paste(picture, (left, _LINE + _GAP))
        left += width + _GAP
    return png_bytes(page)
