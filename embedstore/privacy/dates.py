"""Dates moved by whole days: the order and the distances of one patient's dates stay."""

from __future__ import annotations

import re
from datetime import date, timedelta

_DA = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})\Z")
_DT = re.compile(r"(\d{8})(.*)\Z")


def parsed(text: str) -> date | None:
    """A DICOM DA (also the old `1993.08.22`), the date of a DT, or an ISO date; None for anything else."""
    plain = text.strip("\x00 ")
    found = _DA.match(plain) or _DA.match(plain[:10]) or _DA.match(plain[:8])
    if found is None:
        return None
    try:
        return date(*(int(part) for part in found.groups()))
    except ValueError:
        return None


def shifted(text: str, days: int) -> str | None:
    """A DA or ISO date `days` earlier, in the notation it came in; None when it is no whole date."""
    found = parsed(text)
    if found is None or len(text.strip("\x00 ")) > 10:
        return None
    moved = _earlier(found, days)
    return moved.isoformat() if "-" in text else f"{moved:%Y%m%d}" if moved.year > 999 else None


def shifted_datetime(text: str, days: int) -> str | None:
    """A DT `days` earlier; time and offset stay. None when its day is not known."""
    plain = text.strip("\x00 ")
    found = _DT.match(plain)
    day = shifted(found.group(1), days) if found else None
    return f"{day}{found.group(2)}" if found and day else None


def _earlier(found: date, days: int) -> date:
    try:
        return found - timedelta(days=days)
    except OverflowError:
        return date.min
