"""A second look at pixels with tesseract, where it is there. It only holds images back, never frees them."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SECONDS = 30
_CONFIDENCE = 60.0
_MOST_PIXELS = 4_000_000
_WORD = re.compile(r"[^\W_]{3,}")
# What technicians put on films: sides, projections, positions.
_MARKERS = frozenset(
    {"left", "right", "erect", "supine", "prone", "portable", "upright", "semi", "sitting", "standing", "lat"}
    | {"mobile", "view", "rcc", "lcc", "rmlo", "lmlo", "mlo", "decub", "insp", "exp", "weight", "bearing"}
)


class OcrUnavailable(Exception):
    """tesseract is not installed, failed, or took too long: there was no second look."""


@cache
def _program() -> str | None:
    return shutil.which("tesseract")


def available() -> bool:
    """Whether tesseract is there."""
    return _program() is not None


def legible_words(pixels: NDArray[np.uint8]) -> int:
    """How many words tesseract reads with confidence in (H, W, 1 or 3) display pixels, markers left out.

    The words themselves are not returned: they may be names. Raises OcrUnavailable.
    """
    program = _program()
    if program is None:
        raise OcrUnavailable("tesseract is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - no shell, fixed arguments, the image on stdin
            [program, "stdin", "stdout", "--psm", "11", "tsv"],
            input=_png(pixels),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        raise OcrUnavailable("tesseract failed or took too long") from None
    return sum(_counts(line) for line in done.stdout.decode("utf-8", "replace").splitlines()[1:])


def _counts(line: str) -> bool:
    """Whether a line of tesseract's TSV (12 columns, the last confidence and text) is a word read well."""
    columns = line.split("\t")
    if len(columns) < 12:
        return False
    try:
        confident = float(columns[10]) >= _CONFIDENCE
    except ValueError:
        return False
    word = columns[11].strip()
    return confident and _WORD.search(word) is not None and word.lower().strip(".,:;") not in _MARKERS


def _png(pixels: NDArray[Any]) -> bytes:
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
    if max(picture.size) < 1000:  # small letters are read better when enlarged
        picture = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS)
    if picture.width * picture.height > _MOST_PIXELS:
        side = int(_MOST_PIXELS**0.5)
        picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
