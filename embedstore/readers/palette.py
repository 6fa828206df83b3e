"""Palette colour: indices to RGB by the tables of PS3.3 C.7.9, plain or segmented, of 8 or 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_values import element, numbers
from embedstore.readers.voi import Lut, look_up

_COLOURS = ("Red", "Green", "Blue")
_MOST = 1 << 16
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def expand_palette(ds: Dataset, indices: NDArray[Any], signed: bool) -> NDArray[np.uint8]:
    """(H, W) indices to (H, W, 3) uint8; of 16 bits the upper half. Alpha is not used.

    Indices below and above a table take its first and last entry. Tables that declare 16 bits and hold
    nothing above 255 are taken as 8 bits, else they would show black. Raises ReadFailure when a table is
    missing or damaged.
    """
    tables = [_table(ds, colour, signed) for colour in _COLOURS]
    if any(table is None for table in tables):
        raise ReadFailure("the colour palette is missing or damaged")
    deep = max(int(table.entries.max()) for table in tables if table is not None) > 0xFF
    planes = [look_up(indices, table) for table in tables if table is not None]
    shown = np.stack(planes, axis=-1)
    return (shown >> 8 if deep else shown).astype(np.uint8)


def _table(ds: Dataset, colour: str, signed: bool) -> Lut | None:
    descriptor = numbers(ds, f"{colour}PaletteColorLookupTableDescriptor")
    if descriptor is None or len(descriptor) != 3:
        return None
    count, first, bits = (int(part) for part in descriptor)
    count = (count & 0xFFFF) or _MOST
    if signed and first > 0x7FFF:
        first -= 0x10000
    order = "<" if ds.original_encoding[1] is not False else ">"
    data = element(ds, f"{colour}PaletteColorLookupTableData")
    if isinstance(data, bytes):
        entries = _plain(data, count, order)
    else:
        data = element(ds, f"Segmented{colour}PaletteColorLookupTableData")
        entries = _segmented(data, bits, order) if isinstance(data, bytes) else None
    return None if entries is None or not len(entries) else Lut(first, entries[:count], bits)


def _plain(data: bytes, count: int, order: str) -> NDArray[np.uint16] | None:
    """One byte per entry when the data have just that many (and padding to an even number), else two."""
    if len(data) in (count, count + count % 2):
        return np.frombuffer(data, np.uint8)[:count].astype(np.uint16)
    entries = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")
    return entries.astype(np.uint16) if len(entries) >= count else None


def _segmented(data: bytes, bits: int, order: str) -> NDArray[np.uint16] | None:
    """Segments of C.7.9.2 expanded; None when they are damaged or make more than 65,536 entries."""
    if bits not in (8, 16):
        return None
    wide = bits // 8
    words = np.frombuffer(data[: len(data) // wide * wide], np.uint8 if bits == 8 else f"{order}u2").tolist()
    try:
        made = _expand(words, wide)
    except (IndexError, ValueError):
        return None
    return np.array(made, np.uint16)


def _expand(words: list[int], wide: int) -> list[int]:
    """All entries. Raises IndexError or ValueError."""
    made: list[int] = []
    at = 0
    while at + 1 < len(words):  # a single last word is padding
        if words[at] != _INDIRECT:
            at = _append(words, at, made)
            continue
        # The offset counts bytes from the start of the data, its least significant word first.
        parts = _slice(words, at + 2, 4 // wide)
        there = sum(part << (8 * wide * n) for n, part in enumerate(parts)) // wide
        for _ in range(words[at + 1]):
            there = _append(words, there, made)
        at += 2 + len(parts)
    return made


def _append(words: list[int], at: int, made: list[int]) -> int:
    """Append the discrete or linear segment at word `at`; where the next one begins."""
    kind, count = words[at], words[at + 1]
    if count < 1 or kind not in (_DISCRETE, _LINEAR):
        raise ValueError("a segment that may not stand here")
    if kind == _DISCRETE:
        made += _slice(words, at + 2, count)
    else:
        made += np.rint(np.linspace(made[-1], words[at + 2], count + 1)[1:]).astype(int).tolist()
    if len(made) > _MOST:
        raise ValueError("too many entries")
    return at + 2 + (count if kind == _DISCRETE else 1)


def _slice(words: list[int], start: int, count: int) -> list[int]:
    found = words[start : start + count]
    if len(found) != count:
        raise IndexError("a segment is cut short")
    return found
