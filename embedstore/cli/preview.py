"""Pictures in a terminal: half blocks in colour, or shades in ASCII."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from embedstore.pages.picture import U8

_SHADES = " .:-=+*#%@"
_GAP = 2


def can_show() -> bool:
    """Whether stdout is a terminal with colours (https://no-color.org is respected)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width_for(pictures: int) -> int:
    """Columns for each of so many pictures side by side."""
    from shutil import get_terminal_size

    room = min(get_terminal_size((100, 24)).columns, 120)
    return max(16, min(56, (room - _GAP * (pictures - 1)) // pictures))


def half_blocks(pictures: list[U8], width: int) -> RenderableType:
    """Each sign stands for two pixels, the upper in the foreground, the lower in the background."""
    from rich.style import Style
    from rich.text import Text

    rows = [_scaled(pixels, width, 1.0) for pixels in pictures]
    text = Text(no_wrap=True, end="")
    for top in range(0, max(len(row) for row in rows), 2):
        for number, values in enumerate(rows):
            text.append(" " * (_GAP if number else 0))
            for column in range(values.shape[1]):
                upper, lower = (_colour(values, at, column) for at in (top, top + 1))
                if upper is None:
                    text.append(" ")
                    continue
                text.append("▀", Style(color=upper, bgcolor=lower))
        text.append("\n")
    return text


def ascii_shades(pixels: U8, width: int) -> Iterator[str]:
    """Lines of ten shades from dark to light; a sign is about twice as high as wide."""
    values = _scaled(pixels, width, 0.5)
    if values.shape[2] == 3:
        values = (values @ [0.299, 0.587, 0.114])[..., None]
    for row in values[..., 0]:
        yield "".join(_SHADES[min(int(value) * len(_SHADES) // 256, 9)] for value in row).rstrip()


def _scaled(pixels: U8, width: int, aspect: float) -> Any:
    import numpy as np
    from PIL import Image as Picture

    from embedstore.pages.picture import as_picture

    picture = as_picture(pixels)
    height = max(1, min(2 * width, round(picture.height * width / picture.width * aspect)))
    values = np.asarray(picture.resize((width, height), Picture.Resampling.BOX))
    return values[..., None] if values.ndim == 2 else values


def _colour(values: Any, row: int, column: int) -> str | None:
    if row >= len(values):
        return None
    channels = [int(value) for value in values[row, column]]
    red, green, blue = channels * 3 if len(channels) == 1 else channels
    return f"#{red:02x}{green:02x}{blue:02x}"
