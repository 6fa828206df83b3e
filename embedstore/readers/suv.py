"""Standardised uptake values (SUV by body weight, g/ml) of PET images, when the header allows.

The rules are those of the QIBA profile FDG-PET/CT, "SUV vendor-neutral pseudo-code": a scale factor for
rescaled values, from weight, injected dose and decay. Where the header lacks something or contradicts
itself the reason is said and no value is invented.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset

from embedstore.readers.dicom_values import code, item_at, number, text

_PET = frozenset({"1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.130"})
_PHILIPS, _GE = "Philips PET Private Group", "GEMS_PETD_01"
_UNITS_SUVBW = frozenset({"{SUVbw}g/ml", "g/ml{SUVbw}"})
_STAMP = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})(\d{2})(\d{2})?(\d{2}(?:\.\d{1,6})?)?")
_DAY = 86_400.0
#: An injection more than this many half-lives before the scan leaves less than a thousandth of the activity.
_MOST_HALF_LIVES = 10.0
#: Bq; people get tens of millions, and some writers say megabecquerel.
_LEAST_DOSE = 10_000.0


@dataclass(frozen=True, slots=True)
class SuvScale:
    """SUV = factor * x + offset, of rescaled values, or of stored values when `stored`."""

    factor: float
    offset: float = 0.0
    stored: bool = False


def suv_status(ds: Dataset) -> str | None:
    """For the attribute `suv`: "bw" when SUV can be had, else the reason; None for what is no PET image."""
    if not is_pet(ds):
        return None
    scale = suv_scale(ds, 0)
    return scale if isinstance(scale, str) else "bw"


def is_pet(ds: Dataset) -> bool:
    """Whether it is a PET image, by its SOP class or modality."""
    return text(ds, "SOPClassUID") in _PET or code(ds, "Modality") == "PT"


def suv_scale(ds: Dataset, index: int) -> SuvScale | str:
    """How values of frame `index` (from 0) become SUV by body weight, or the reason why they cannot."""
    if not is_pet(ds):
        return "it is no PET image"
    mapped = _mapped(ds, index)
    if mapped is not None:
        return mapped
    units = code(ds, "Units")
    if units == "GML":
        kind = code(ds, "SUVType")
        return SuvScale(1.0) if kind in (None, "BW") else "its SUV are not by body weight"
    if units == "CNTS":
        return _from_counts(ds)
    if units == "BQML":
        return _from_activity(ds, 1.0)
    return "its units are missing" if units is None else "its units are neither BQML, CNTS nor GML"


def _mapped(ds: Dataset, index: int) -> SuvScale | None:
    """A Real World Value Mapping to SUV by body weight (C.7.6.16.2.11), which is of stored values."""
    own = item_at(item_at(ds, "PerFrameFunctionalGroupsSequence", index), "RealWorldValueMappingSequence", 0)
    shared = item_at(item_at(ds, "SharedFunctionalGroupsSequence", 0), "RealWorldValueMappingSequence", 0)
    for mapping in (own, shared, item_at(ds, "RealWorldValueMappingSequence", 0)):
        unit = item_at(mapping, "MeasurementUnitsCodeSequence", 0)
        if mapping is None or unit is None or text(unit, "CodeValue") not in _UNITS_SUVBW:
            continue
        slope, intercept = number(mapping, "RealWorldValueSlope"), number(mapping, "RealWorldValueIntercept")
        if slope is not None and slope > 0 and intercept is not None:
            return SuvScale(slope, intercept, stored=True)
    return None


def _from_counts(ds: Dataset) -> SuvScale | str:
    """Philips keeps the factor to SUV at (7053,xx00), and to Bq/ml at (7053,xx09)."""
    factor = _private(ds, 0x7053, 0x00, _PHILIPS)
    if factor is not None and factor > 0:
        return SuvScale(factor)
    activity = _private(ds, 0x7053, 0x09, _PHILIPS)
    if activity is not None and activity > 0:
        return _from_activity(ds, activity)
    return "it holds counts and no factor to activity"


def _from_activity(ds: Dataset, to_bqml: float) -> SuvScale | str:
    corrected = text(ds, "CorrectedImage")
    if corrected is None:
        return "what it was corrected for is missing"
    done = {part.strip().upper() for part in corrected.split("\\")}
    for name, words in (("ATTN", "attenuation"), ("DECY", "decay")):
        if name not in done:
            return f"it is not corrected for {words}"
    dose = _decayed_dose(ds)
    if isinstance(dose, str):
        return dose
    weight = number(ds, "PatientWeight")
    if weight is None or weight <= 0:
        return "the patient's weight is missing"
    return SuvScale(to_bqml * weight * 1000.0 / dose)


def _decayed_dose(ds: Dataset) -> float | str:
    """Bq at the time to which the image was decay-corrected."""
    tracer = item_at(ds, "RadiopharmaceuticalInformationSequence", 0)
    if tracer is None:
        return "the radiopharmaceutical is missing"
    dose, half_life = number(tracer, "RadionuclideTotalDose"), number(tracer, "RadionuclideHalfLife")
    if dose is None or dose <= 0:
        return "the injected dose is missing"
    if dose < _LEAST_DOSE:
        return "the injected dose is not in becquerel"
    correction = code(ds, "DecayCorrection")
    if correction == "ADMIN":
        return dose
    if correction != "START":
        return (
            "the reference time of its decay correction is missing"
            if correction is None
            else ("it is not corrected for decay")
        )
    if half_life is None or half_life <= 0:
        return "the half life of the radionuclide is missing"
    scan = _scan_start(ds, half_life)
    if scan is None:
        return "the start of the scan is missing"
    seconds = _since_injection(tracer, scan)
    if seconds is None:
        return "the time of injection is missing"
    if not 0 <= seconds <= _MOST_HALF_LIVES * half_life:
        return "injection and scan are not at times that fit each other"
    return float(dose * 2.0 ** (-seconds / half_life))


def _scan_start(ds: Dataset, half_life: float) -> datetime | None:
    """The time to which frames are decay-corrected.

    The series' own time, unless it lies after the acquisition (a series made later, by processing): then GE's
    private scan time (0009,xx0D), else counted back from this frame's acquisition and reference time.
    """
    series = _joined(ds, "SeriesDate", "SeriesTime")
    acquired = _joined(ds, "AcquisitionDate", "AcquisitionTime")
    if series is not None and (acquired is None or series <= acquired):
        return series
    scanned = _moment(_private_text(ds, 0x0009, 0x0D, _GE))
    if scanned is not None:
        return scanned
    reference, duration = number(ds, "FrameReferenceTime"), number(ds, "ActualFrameDuration")
    if acquired is None or reference is None or duration is None or duration <= 0:
        return None
    rate = math.log(2.0) / half_life
    during = rate * duration / 1000.0
    average = math.log(during / -math.expm1(-during)) / rate
    try:
        return acquired - timedelta(seconds=reference / 1000.0 - average)
    except OverflowError:
        return None


def _since_injection(tracer: Dataset, scan: datetime) -> float | None:
    """Seconds from injection to scan; a clock time alone belongs to the day before when it is later."""
    given = _moment(text(tracer, "RadiopharmaceuticalStartDateTime"))
    if given is not None:
        return (scan - given).total_seconds()
    clock = text(tracer, "RadiopharmaceuticalStartTime")
    start = _moment(f"{scan:%Y%m%d}{clock.replace(':', '')}") if clock else None
    if start is None:
        return None
    seconds = (scan - start).total_seconds()
    return seconds if seconds >= 0 else seconds + _DAY


def _joined(ds: Dataset, date: str, time: str) -> datetime | None:
    day, clock = text(ds, date), text(ds, time)
    return _moment(f"{day}{clock.replace(':', '')}") if day and clock else None


def _moment(stamp: str | None) -> datetime | None:
    """DICOM DT without its offset from UTC: the times compared come from one clock."""
    match = _STAMP.match(stamp.strip()) if stamp else None
    if match is None:
        return None
    year, month, day, hour, minute, second = match.groups()
    try:
        begin = datetime(int(year), int(month), int(day), int(hour), int(minute or 0))
        return begin + timedelta(seconds=float(second or 0))
    except ValueError:
        return None


def _private(ds: Dataset, group: int, place: int, creator: str) -> float | None:
    value = _private_value(ds, group, place, creator)
    try:
        found = float(value) if value is not None else None
    except (TypeError, ValueError):
        return None
    return found if found is not None and math.isfinite(found) else None


def _private_text(ds: Dataset, group: int, place: int, creator: str) -> str | None:
    value = _private_value(ds, group, place, creator)
    return None if value is None else str(value)


def _private_value(ds: Dataset, group: int, place: int, creator: str) -> Any:
    """A private element's value, also when it was written without its VR (implicit, or UN)."""
    try:
        value = ds.private_block(group, creator)[place].value
    except Exception:  # no such block or element, or a damaged one
        return None
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else value
