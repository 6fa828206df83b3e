"""Every DICOM attribute that a person could filter by, as plain scalars by keyword.

Kept: text, codes, dates, UIDs and numbers of public elements; several values joined by a backslash as in the
file, longer text cut off; a sequence as compact JSON, as many whole items as fit; of a multi-frame object
what its functional groups share, by the keyword of the attribute itself.

Left out: what has a column of its own, names of persons (VR PN), private and unknown elements, binary and
bulk values, lookup tables, overlays, curves, icons, signatures, and what differs from frame to frame.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.charset import convert_encodings
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from embedstore.contracts.record import Scalar
from embedstore.readers.dicom_charset import decode, printable
from embedstore.readers.dicom_scan import Coding, Unusual, elements, items
from embedstore.readers.dicom_values import ASCII, NUMERIC, TEXTUAL, item_at, vr_of

MOST_TEXT = 1024
MOST_JSON = 2048
MOST_ATTRIBUTES = 1024
_DEEPEST = 8
_CHARSET = 0x00080005
_SHARED = "SharedFunctionalGroupsSequence"
_COLUMNS = frozenset(
    (
        *("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
        *("SOPClassUID", "InstanceNumber", "Modality", "StudyDescription", "SeriesDescription"),
        *("Manufacturer", "ManufacturerModelName", "InstitutionName", "Rows", "Columns"),
    )
)
_LEFT_OUT = frozenset(
    (
        *("PerFrameFunctionalGroupsSequence", _SHARED, "ContentSequence", "WaveformSequence"),
        *("IconImageSequence", "ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence"),
        *("DigitalSignaturesSequence", "MACParametersSequence", "EncryptedAttributesSequence"),
        *("OriginalAttributesSequence", "OpticalPathSequence", "DirectoryRecordSequence"),
    )
)
_BULK_GROUPS = frozenset((0x0002, 0x0004, 0x7FE0, 0x5400, 0xFFFA, 0xFFFC, 0xFFFE))
_AMBIGUOUS = {"US or SS": ("US", "SS")}


@dataclass(frozen=True, slots=True)
class _Context:
    """What is needed to read values: byte order, implicit or not, character sets, sign of pixel values."""

    coding: Coding
    encodings: str | Sequence[str]
    signed: bool


class _Budget:
    """Characters that one sequence may still take."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, length: int) -> bool:
        self.left -= length
        return self.left >= 0


def attributes(ds: Dataset, left_out: frozenset[str] = _COLUMNS) -> dict[str, Scalar]:
    """The attributes of a dataset by keyword, without those named in `left_out`."""
    found: dict[str, Scalar] = {}
    _gather(ds, found, left_out)
    shared = item_at(ds, _SHARED, 0)
    for macro in shared.keys() if shared is not None else ():
        keyword = keyword_of(int(macro))
        item = item_at(shared, keyword, 0) if keyword else None
        if item is not None:
            _gather(item, found, left_out)
    return found


def _gather(ds: Dataset, found: dict[str, Scalar], left_out: frozenset[str]) -> None:
    context = _context(ds)
    for tag, raw in ds.items():  # as they are; iterating over the dataset itself decodes every value
        keyword = keyword_of(int(tag))
        if keyword is None or keyword in left_out or keyword in found:
            continue
        value = _raw_value(raw, context) if isinstance(raw, RawDataElement) else _known_value(raw)
        if value is not None and value != "":
            found[keyword] = value
        if len(found) >= MOST_ATTRIBUTES:
            return


@lru_cache(maxsize=8192)
def keyword_of(tag: int) -> str | None:
    """The keyword of an element that is kept; None for all others."""
    group, number = tag >> 16, tag & 0xFFFF
    if group % 2 or number == 0 or group in _BULK_GROUPS or group & 0xFF00 in (0x5000, 0x6000):
        return None
    keyword = keyword_for_tag(tag)
    if not keyword or keyword in _LEFT_OUT or "LookupTable" in keyword or keyword.endswith("LUTDescriptor"):
        return None
    vr = vr_of(tag)
    usual = vr in TEXTUAL or vr in ASCII or vr in NUMERIC or vr in _AMBIGUOUS or vr in ("SQ", "AT")
    return keyword if usual else None


def _signed(ds: Dataset) -> bool:
    raw = ds.get_item(0x00280103, keep_deferred=True)
    return raw is not None and raw.value in (1, b"\1\0", b"\0\1")


def _context(ds: Dataset) -> _Context:
    implicit, little = ds.original_encoding
    return _Context(Coding(bool(implicit), little is not False), ds.original_character_set, _signed(ds))


def _raw_value(raw: RawDataElement, context: _Context) -> Scalar | None:
    value = raw.value
    if not isinstance(value, bytes) or not value:
        return None
    vr = raw.VR
    if vr is None or vr == "UN":
        vr = vr_of(int(raw.tag))
        if raw.VR == "UN":  # such a value is implicit little endian (PS3.5 6.2.2 note 2)
            context = _Context(Coding(True, True), context.encodings, context.signed)
    if vr == "SQ":
        return _as_json(_nested(value, 0, len(value), context, _Budget(MOST_JSON), 1))
    return _scalar(vr, value, context)


def _scalar(vr: str | None, value: bytes, context: _Context) -> Scalar | None:
    if vr in _AMBIGUOUS:
        vr = _AMBIGUOUS[vr][context.signed]
    if vr in ("DS", "IS"):
        return _decimal(value)
    if vr in ASCII or vr in TEXTUAL:
        encodings = context.encodings if vr in TEXTUAL else "iso8859"
        return _joined(decode(value[: 4 * MOST_TEXT], encodings))
    if vr in NUMERIC:
        return _binary(NUMERIC[vr], value, "<" if context.coding.little else ">")
    if vr == "AT":
        order = "<" if context.coding.little else ">"
        count = min(len(value), MOST_TEXT) // 4
        halves = struct.unpack(f"{order}{2 * count}H", value[: 4 * count])
        return "\\".join(f"{halves[at]:04X}{halves[at + 1]:04X}" for at in range(0, 2 * count, 2))
    return None


def _joined(found: str) -> str:
    if "\\" in found:
        found = "\\".join(part.strip(" \0") for part in found.split("\\"))
    return printable(found)[:MOST_TEXT]


def _decimal(value: bytes) -> Scalar:
    found = value[:MOST_TEXT].decode("ascii", "replace").strip(" \0")
    if "\\" not in found and "_" not in found:
        try:
            return _plain(float(found))
        except (ValueError, OverflowError):
            pass
    return _joined(found)


def _binary(form: str, value: bytes, order: str) -> Scalar | None:
    count, rest = divmod(len(value), struct.calcsize(form))
    if rest:
        return None
    found = struct.unpack_from(f"{order}{min(count, MOST_TEXT)}{form}", value)
    if form == "f":
        found = tuple(float(f"{number:.7g}") for number in found)  # the digits that 32 bits hold
    if len(found) == 1:
        return _plain(found[0]) if form in "fd" else int(found[0])
    return "\\".join(f"{number:.15g}" if form in "fd" else str(number) for number in found)[:MOST_TEXT]


def _plain(number: float) -> Scalar:
    """An integer where the number is whole; text for what JSON has no number for."""
    if number != number or number in (float("inf"), float("-inf")):
        return str(number)
    return int(number) if number == int(number) and abs(number) < 2**53 else number


def _nested(
    data: bytes, start: int, end: int, context: _Context, budget: _Budget, depth: int
) -> list[dict[str, Any]] | None:
    """The items of a sequence that fit into the budget; None for none, or for what cannot be parsed."""
    if depth > _DEEPEST:
        return None
    kept: list[dict[str, Any]] = []
    try:
        for begin, stop in items(data, start, end, context.coding):
            item = _nested_item(data, begin, stop, context, budget, depth)
            if budget.left < 0:
                break
            kept.append(item)
    except (Unusual, struct.error):
        return kept or None
    return kept or None


def _nested_item(
    data: bytes, begin: int, end: int, context: _Context, budget: _Budget, depth: int
) -> dict[str, Any]:
    item: dict[str, Any] = {}
    for tag, written, start, length in elements(data, begin, end, context.coding):
        if tag == _CHARSET:
            context = _with_charset(context, data[start : start + length])
        keyword = keyword_of(int(tag))
        if keyword is None or not length:
            continue
        vr = written if written not in (None, "UN") else vr_of(tag)
        value: Any
        if vr == "SQ":
            value = _nested(data, start, start + length, context, budget, depth + 1)
        else:
            value = _scalar(vr, data[start : start + length], context)
        if value is None or value == "":
            continue
        size = len(keyword) + 6 + (0 if isinstance(value, list) else len(str(value)))
        if not budget.take(size):
            return item
        item[keyword] = value
    return item


def _with_charset(context: _Context, value: bytes) -> _Context:
    names = [part.strip(" \0") for part in value.decode("ascii", "replace").split("\\")]
    return _Context(context.coding, convert_encodings(names), context.signed)


def _as_json(found: list[dict[str, Any]] | None) -> str | None:
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) if found else None


def _known_value(known: Any) -> Scalar | None:
    """An element that pydicom has already decoded."""
    try:
        if known.VR == "SQ":
            return _as_json(_known_items(known.value, _Budget(MOST_JSON), 1))
        if known.VR in ("PN", "OB", "OW", "UN") or isinstance(known.value, bytes):
            return None
        return _known_scalar(known.value)
    except Exception:  # pydicom raises nearly any class on a damaged element
        return None


def _known_items(sequence: Items, budget: _Budget, depth: int) -> list[dict[str, Any]] | None:
    kept: list[dict[str, Any]] = []
    for item in sequence if depth <= _DEEPEST else ():
        found = dict(_known_pairs(item, budget, depth))
        if budget.left < 0:
            break
        kept.append(found)
    return kept or None


def _known_pairs(item: Dataset, budget: _Budget, depth: int) -> Iterator[tuple[str, Any]]:
    context = _context(item)
    for tag in item.keys():  # noqa: SIM118 - iterating over a dataset decodes every value
        keyword = keyword_of(int(tag))
        if keyword is None:
            continue
        raw = item.get_item(tag)
        value: Any
        if getattr(raw, "VR", None) == "SQ" or vr_of(int(tag)) == "SQ":
            value = _known_items(item[tag].value, budget, depth + 1)
        else:
            value = _raw_value(raw, context) if isinstance(raw, RawDataElement) else _known_value(raw)
        if value is None or value == "":
            continue
        if not budget.take(len(keyword) + 6 + (0 if isinstance(value, list) else len(str(value)))):
            return
        yield keyword, value


def _known_scalar(value: Any) -> Scalar | None:
    if value is None:
        return None
    if isinstance(value, (MultiValue, list, tuple)):
        return _joined("\\".join(str(part) for part in value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (float, str)):
        return _plain(float(value)) if isinstance(value, float) else _joined(value)
    try:
        return _plain(float(value))  # DS kept as a decimal
    except (TypeError, ValueError):
        return _joined(str(value))
