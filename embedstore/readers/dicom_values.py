"""Single values out of a DICOM dataset: a damaged or absent element is None, never an error.

Reasons and logs never see a value: pydicom puts values into its messages, so nothing of them is passed on.
"""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

_CONTROL = dict.fromkeys([*range(32), *range(127, 160)])


def element(ds: Dataset, keyword: str) -> Any:
    """The value of an element, or None when it is absent, empty or cannot be decoded."""
    try:
        value = ds.get(keyword)
    except Exception:  # pydicom raises nearly any class on a damaged element
        return None
    return None if value is None or value == "" else value


def text(ds: Dataset, keyword: str) -> str | None:
    r"""Text without padding and control characters; several values joined by a backslash as in the file."""
    value = element(ds, keyword)
    if value is None:
        return None
    try:
        parts = [str(part) for part in value] if isinstance(value, (MultiValue, list)) else [str(value)]
    except Exception:  # a person name or a text in an undecodable character set
        return None
    joined = "\\".join(parts).translate(_CONTROL).strip()
    return joined.encode("utf-8", "replace").decode("utf-8") or None


def code(ds: Dataset, keyword: str) -> str | None:
    """A code string (VR CS) in upper case; of several values the first."""
    value = text(ds, keyword)
    return value.partition("\\")[0].strip().upper() or None if value else None


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...] | None:
    """All values of a numeric element; None when one of them is no finite number."""
    value = element(ds, keyword)
    if value is None or isinstance(value, (bytes, Dataset)):
        return None
    parts = list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found and all(math.isfinite(number) for number in found) else None


def number(ds: Dataset, keyword: str) -> float | None:
    """The first value of a numeric element."""
    found = numbers(ds, keyword)
    return found[0] if found else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """The first value of a numeric element when it is whole."""
    found = number(ds, keyword)
    return int(found) if found is not None and found == int(found) else None


def item_at(ds: Dataset | None, keyword: str, index: int) -> Dataset | None:
    """Item `index` of a sequence, without touching the others; None when it is absent or damaged."""
    value = element(ds, keyword) if ds is not None else None
    try:
        item = value[index] if isinstance(value, Sequence) and 0 <= index < len(value) else None
    except Exception:  # an item that cannot be parsed
        return None
    return item if isinstance(item, Dataset) else None
