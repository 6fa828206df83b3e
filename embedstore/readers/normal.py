"""One spelling for dates, ages, sex, side and names of files, wherever they come from."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
OLDEST = 130.0
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
_SIDE = {"l": "L", "left": "L", "r": "R", "right": "R", "b": "B", "both": "B", "bilateral": "B", "u": "U"}


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
    return round(years, 2) if years <= OLDEST else None


def age_between(born: str | None, seen: str | None) -> float | None:
    """Whole years from an ISO birth date to an ISO study date, None when that makes no sense."""
    if born is None or seen is None:
        return None
    first, last = date.fromisoformat(born), date.fromisoformat(seen)
    years = last.year - first.year - ((last.month, last.day) < (first.month, first.day))
    return float(years) if 0 <= years <= OLDEST else None


def sex_code(value: str | None) -> str | None:
    """`M`, `F` or `O` from the code or the English word, else None."""
    return _SEX.get(value.strip().lower()) if value else None


def side_code(value: str | None) -> str | None:
    """`L`, `R`, `B` (both) or `U` (unpaired) from the code or the English word, else None."""
    return _SIDE.get(value.strip().lower()) if value else None


def composed(name: str) -> str:
    """NFC: macOS hands out names of files with their accents apart (NFD), tables have them together."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
