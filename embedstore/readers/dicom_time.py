"""When each frame of a cine loop was taken, in seconds since the first."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import accumulate

from pydicom.dataset import Dataset

from embedstore.readers.dicom_transforms import functional_group
from embedstore.readers.dicom_values import number, numbers, text

_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d{1,6}))?([+-]\d{4})?")


def frame_times(ds: Dataset, frames: int) -> tuple[float, ...] | None:
    """Seconds of each frame since the first; None when the header does not tell.

    In this order: Frame Time Vector or Frame Time (in ms; PS3.3 C.7.6.5), whichever Frame Increment Pointer
    names first; the date and time of each frame (C.7.6.16.2.2); Cine Rate, Recommended Display Frame Rate
    (frames per second).
    """
    steps, step = _vector(ds, frames), number(ds, "FrameTime")
    if steps is not None and not (step and "00181063" in _pointer(ds)):
        return steps
    if step is not None and step > 0:
        return tuple(round(index * step / 1000, 6) for index in range(frames))
    moments = [frame_moment(ds, index) for index in range(frames)] if _has_moments(ds) else []
    if moments and moments[0] is not None and all(moment is not None for moment in moments):
        first = moments[0]
        return tuple(round((moment - first).total_seconds(), 6) for moment in moments if moment is not None)
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = number(ds, keyword)
        if rate is not None and rate > 0:
            return tuple(round(index / rate, 6) for index in range(frames))
    return None


def frame_moment(ds: Dataset, index: int) -> datetime | None:
    """Frame Reference DateTime, else Frame Acquisition DateTime."""
    content = functional_group(ds, index, "FrameContentSequence")
    if content is None:
        return None
    for keyword in ("FrameReferenceDateTime", "FrameAcquisitionDateTime"):
        found = moment_of(text(content, keyword))
        if found is not None:
            return found
    return None


def moment_of(value: str | None) -> datetime | None:
    """DICOM DT (PS3.5 6.2) to the second or finer; a UTC offset is applied. None when it is no moment."""
    match = _MOMENT.match(value) if value else None
    if match is None:
        return None
    *parts, fraction, offset = match.groups()
    try:
        year, month, day, hour, minute, second = (int(part) for part in parts)
        micro = int((fraction or "0").ljust(6, "0"))
        moment = datetime(year, month, day, hour, minute, min(second, 59), micro)  # 60 is a leap second
        if offset:
            minutes = int(offset[1:3]) * 60 + int(offset[3:])
            moment -= timedelta(minutes=minutes if offset[0] == "+" else -minutes)
    except (ValueError, OverflowError):
        return None
    return moment


def _has_moments(ds: Dataset) -> bool:
    return frame_moment(ds, 0) is not None


def _pointer(ds: Dataset) -> str:
    """Frame Increment Pointer as tags, without punctuation."""
    return re.sub(r"[^0-9A-F\\]", "", (text(ds, "FrameIncrementPointer") or "").upper())


def _vector(ds: Dataset, frames: int) -> tuple[float, ...] | None:
    """Sums of Frame Time Vector: increments between frames in ms, 0 for the first."""
    steps = numbers(ds, "FrameTimeVector")
    if steps is None or len(steps) < frames or min(steps) < 0:
        return None
    first = steps[0]
    return tuple(round((total - first) / 1000, 6) for total in accumulate(steps[:frames]))
