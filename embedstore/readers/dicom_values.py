"""Single values out of a DICOM dataset: a damaged or absent element is None, never an error.

Reasons and logs never see a value: pydicom puts values into its messages, so nothing of them is passed on.
"""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_OLDEST = 130.0
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


def items(ds: Dataset | None, keyword: str) -> list[Dataset]:
    """The items of a sequence; none when it is absent or damaged."""
    value = element(ds, keyword) if ds is not None else None
    if value is None or isinstance(value, (str, bytes)):
        return []
    try:
        return [item for item in value if isinstance(item, Dataset)]
    except Exception:  # a sequence whose items cannot be parsed
        return []


def iso_date(value: str | None) -> str | None:
    """DICOM DA (`20240531`, in old files `2024.05.31`) to ISO 8601; None when it is no date."""
    match = _DATE.match(value) if value else None
    if match is None:
        return None
    try:
        return date(*(int(part) for part in match.groups())).isoformat()
    except ValueError:
        return None


def age_in_years(value: str | None) -> float | None:
    """DICOM AS (`045Y`, `006M`, `012W`, `003D`; PS3.5 6.2) to years, rounded to a hundredth.

    A bare number is taken as years. Ages over 130 years are placeholders: None.
    """
    match = _AGE.fullmatch(value.strip().upper()) if value else None
    if match is not None:
        years = int(match[1]) * _DAYS[match[2]] / _DAYS["Y"]
    elif value and value.strip().isascii() and value.strip().isdigit():
        years = float(value)
    else:
        return None
    return round(years, 2) if years <= _OLDEST else None


def age_between(born: str | None, seen: str | None) -> float | None:
    """Whole years from an ISO birth date to an ISO study date, None when that makes no sense."""
    if born is None or seen is None:
        return None
    first, last = date.fromisoformat(born), date.fromisoformat(seen)
    years = last.year - first.year - ((last.month, last.day) < (first.month, first.day))
    return float(years) if 0 <= years <= _OLDEST else None
