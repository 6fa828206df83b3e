"""NRRD and MetaImage headers: lines of text in front of, or beside, the voxels.

They are read here and not by ITK, which opens whatever file a header names, wherever it lies, needs files
where archives give streams, and holds the whole volume for one slice. ITK is what the tests compare with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import ReadFailure

MOST_HEADER_BYTES = 1 << 20
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class HeaderFault(Exception):
    """A field that is missing or makes no sense; its text is the name of the field."""


def integers(text: str, count: int | None = None) -> list[int]:
    """Whole numbers separated by blanks. Raises HeaderFault."""
    words = text.split()
    if (count is not None and len(words) != count) or len(words) > 16:
        raise HeaderFault
    try:
        return [int(word) for word in words if len(word) < 20 or fault()]
    except ValueError:
        raise HeaderFault from None


def floats(text: str, count: int | None = None) -> list[float]:
    """Finite numbers separated by blanks or commas. Raises HeaderFault."""
    words = text.replace(",", " ").split()
    if (count is not None and len(words) != count) or not all(_NUMBER.fullmatch(word) for word in words):
        raise HeaderFault
    found = [float(word) for word in words]
    if not all(math.isfinite(value) for value in found):
        raise HeaderFault
    return found


def fault(field: str = "") -> bool:
    """Raise HeaderFault, in an expression."""
    raise HeaderFault(field)


def needed(fields: Mapping[str, str], name: str) -> str:
    """A field that must be there. Raises HeaderFault."""
    return fields[name] if name in fields else str(fault(name))


def line_of(stream: BinaryIO) -> bytes | None:
    """The next line without its end, None at the end of the file. Raises ReadFailure for too many."""
    line = stream.readline(1 << 16)
    if stream.tell() > MOST_HEADER_BYTES:
        raise ReadFailure("the header of the volume is longer than any honest one")
    return line.rstrip(b"\r\n") if line else None


def grid(columns: list[list[float]], origin: list[float]) -> NDArray[np.float64]:
    """(4, 4) from steps along i, j, k and the place of the first voxel."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns, np.float64).T
    affine[:3, 3] = origin
    return affine
