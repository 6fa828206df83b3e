"""Single values out of a DICOM dataset: a damaged or absent element is None, never an error.

Values are decoded from the raw bytes where that is plain (text and numbers of a known representation), by
pydicom else. Reasons and logs never see a value: pydicom puts values into its messages, so nothing of them is
passed on.
"""

from __future__ import annotations

import math
import struct
from functools import cache, lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from embedstore.readers.dicom_charset import decode, printable
from embedstore.readers.dicom_scan import tag_of

NUMERIC = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
TEXTUAL = frozenset(("LO", "SH", "LT", "ST", "UT", "UC"))
ASCII = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
_MOST_NUMBERS = 1 << 16


def element(ds: Dataset, keyword: str) -> Any:
    """The value of an element, or None when it is absent, empty or cannot be decoded."""
    try:
        value = ds.get(keyword)
    except Exception:  # pydicom raises nearly any class on a damaged element
        return None
    return None if value is None or value == "" else value


def text(ds: Dataset, keyword: str) -> str | None:
    r"""Text without padding and control characters; several values joined by a backslash as in the file."""
    raw = _raw(ds, keyword)
    if raw is None:
        return None
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        found = text_of(ds, raw)
        if found is not None:
            return found or None
    value = element(ds, keyword)
    if value is None:
        return None
    try:
        parts = [str(part) for part in value] if isinstance(value, (MultiValue, list)) else [str(value)]
    except Exception:  # a person name or a text in an undecodable character set
        return None
    return printable("\\".join(parts)) or None


def code(ds: Dataset, keyword: str) -> str | None:
    """A code string (VR CS) in upper case; of several values the first."""
    value = text(ds, keyword)
    return value.partition("\\")[0].strip().upper() or None if value else None


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...] | None:
    """All values of a numeric element; None when one of them is no finite number."""
    raw = _raw(ds, keyword)
    if raw is None:
        return None
    found: tuple[float, ...] | None
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        plain, found = numbers_of(raw)
        if plain:
            return found
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
    if ds is None or _raw(ds, keyword) is None:
        return None
    value = element(ds, keyword)
    try:
        item = value[index] if isinstance(value, Sequence) and 0 <= index < len(value) else None
    except Exception:  # an item that cannot be parsed
        return None
    return item if isinstance(item, Dataset) else None


def items_of(ds: Dataset | None, keyword: str, most: int) -> list[Dataset]:
    """At most `most` items of a sequence; none when it is absent or damaged."""
    value = element(ds, keyword) if ds is not None and _raw(ds, keyword) is not None else None
    if not isinstance(value, Sequence):
        return []
    found = (item_at(ds, keyword, index) for index in range(min(len(value), most)))
    return [item for item in found if item is not None]


def meaning(ds: Dataset | None, keyword: str) -> str | None:
    """What the first code of a coded sequence means, in words (PS3.3 8.3)."""
    item = item_at(ds, keyword, 0)
    return text(item, "CodeMeaning") if item is not None else None


def private_integer(ds: Dataset, group: int, creator: str, place: int) -> int | None:
    """A whole number in a private block (PS3.5 7.8.1); None when the block is not there or damaged."""
    try:
        return int(ds.private_block(group, creator)[place].value)
    except Exception:  # absent, empty, several values, or pydicom cannot decode it
        return None


def representation(raw: RawDataElement) -> str | None:
    """The VR: as written, or from the dictionary where it is not (implicit) or unknown (UN)."""
    return raw.VR if raw.VR not in (None, "UN") else vr_of(int(raw.tag))


def text_of(ds: Dataset, raw: RawDataElement) -> str | None:
    """The text of a raw element, "" for none; None when it is for pydicom to decode."""
    vr = representation(raw)
    value = raw.value or b""
    if vr in TEXTUAL:
        found = decode(value, ds.original_character_set)
    elif vr in ASCII:
        found = value.decode("ascii", "replace") if value.isascii() else decode(value, "iso8859")
    else:
        return None
    if "\\" in found:
        found = "\\".join(part.strip(" \0") for part in found.split("\\"))
    return printable(found)


def numbers_of(raw: RawDataElement) -> tuple[bool, tuple[float, ...] | None]:
    """Whether it can be decoded here, and the finite numbers of a raw element, None for bad ones."""
    vr = representation(raw)
    value = raw.value or b""
    if vr in ("DS", "IS"):
        return True, _decimals(value)
    form = NUMERIC.get(vr or "")
    if form is None:
        return False, None
    count, rest = divmod(len(value), struct.calcsize(form))
    if rest or count > _MOST_NUMBERS:
        return False, None
    found = struct.unpack(f"{'<' if raw.is_little_endian else '>'}{count}{form}", value)
    good = found and all(math.isfinite(number) for number in found)
    return True, tuple(map(float, found)) if good else None


def _decimals(value: bytes) -> tuple[float, ...] | None:
    if b"_" in value:  # Python reads 1_0 as 10
        return None
    try:
        found = tuple(float(part.strip(b" \0")) for part in value.split(b"\\"))
    except ValueError:
        return None
    return found if all(math.isfinite(number) for number in found) else None


def _raw(ds: Dataset, keyword: str) -> Any:
    tag = _tag(keyword)
    return None if tag is None else ds.get_item(tag, keep_deferred=True)


@cache
def _tag(keyword: str) -> BaseTag | None:
    number = tag_for_keyword(keyword)
    return None if number is None else tag_of(number)


@lru_cache(maxsize=8192)
def vr_of(tag: int) -> str | None:
    """The representation that the data dictionary gives a public element, None for one it does not know."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return None
