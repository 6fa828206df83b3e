"""Which transforms a DICOM frame asks for: rescale, window, lookup tables, inversion, padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.readers.dicom_values import code, element, integer, item_at, number, numbers, text
from embedstore.readers.voi import Lut, Rescale, VoiFunction, Window

_FUNCTIONS: dict[str | None, VoiFunction] = {"LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
_CT = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})


@dataclass(frozen=True, slots=True, eq=False)
class Transforms:
    """Everything between stored and displayed values of one monochrome frame.

    inverted: MONOCHROME1, or Presentation LUT Shape INVERSE. padding: (low, high) stored values that are no
    image. hounsfield: whether modality values are known to be Hounsfield units.
    """

    modality: Rescale | Lut | None
    voi: Window | Lut | None
    inverted: bool
    padding: tuple[int, int] | None
    hounsfield: bool


def transforms_of(ds: Dataset, index: int) -> Transforms:
    """Transforms of frame `index` (from 0).

    Per-frame functional groups come before shared ones and those before the dataset itself. A VOI LUT
    comes before a window; of several windows or tables the first is taken (C.11.2.1.2 leaves the choice).
    """
    modality = _modality(ds, index)
    photometric = code(ds, "PhotometricInterpretation")
    shape = code(ds, "PresentationLUTShape")
    signed = integer(ds, "PixelRepresentation") == 1 or isinstance(modality, Rescale)
    return Transforms(
        modality=modality,
        voi=_voi(ds, index, signed and not isinstance(modality, Lut)),
        inverted=photometric == "MONOCHROME1" or shape == "INVERSE",
        padding=_padding(ds),
        hounsfield=_hounsfield(ds, index, modality),
    )


def functional_group(ds: Dataset, index: int, keyword: str) -> Dataset | None:
    """The macro `keyword` of an enhanced multi-frame object for one frame (PS3.3 C.7.6.16), or None."""
    own = item_at(item_at(ds, "PerFrameFunctionalGroupsSequence", index), keyword, 0)
    return own or item_at(item_at(ds, "SharedFunctionalGroupsSequence", 0), keyword, 0)


def lut_of(item: Dataset, signed: bool) -> Lut | None:
    """A Modality or VOI LUT from its sequence item; None when it is damaged.

    signed: whether the values looked up can be negative, which decides how the first entry is read.
    """
    descriptor = numbers(item, "LUTDescriptor")
    data = element(item, "LUTData")
    if descriptor is None or len(descriptor) != 3 or data is None:
        return None
    count, first, bits = (int(part) for part in descriptor)
    count = count or 1 << 16
    if signed and first > 0x7FFF:
        first -= 0x10000
    entries = _entries(data, count, _is_little(item))
    if entries is None or not 1 <= bits <= 16:
        return None
    # Some writers declare 16 bits for tables of 8 or 12 bits; the values themselves are kept as they are.
    return Lut(first, entries, bits)


def _is_little(item: Dataset) -> bool:
    encoding = item.original_encoding
    return encoding[1] is not False


def _entries(data: Any, count: int, little: bool) -> NDArray[Any] | None:
    if isinstance(data, bytes):
        kind = "u1" if len(data) in (count, count + 1) and count > 1 else ("<u2" if little else ">u2")
        entries = np.frombuffer(data[: len(data) - len(data) % np.dtype(kind).itemsize], kind)
    else:
        entries = np.asarray(data, dtype=np.int64) & 0xFFFF
    return entries[:count].astype(np.uint16) if 1 <= count <= len(entries) else None


def _modality(ds: Dataset, index: int) -> Rescale | Lut | None:
    item = item_at(ds, "ModalityLUTSequence", 0)
    if item is not None:
        table = lut_of(item, integer(ds, "PixelRepresentation") == 1)
        if table is not None:
            return table
    where = functional_group(ds, index, "PixelValueTransformationSequence") or ds
    slope, intercept = number(where, "RescaleSlope"), number(where, "RescaleIntercept")
    if slope is None and intercept is None:
        return None
    # A slope of 0 would erase the image; files that carry it mean "none".
    return Rescale(slope or 1.0, intercept or 0.0)


def _voi(ds: Dataset, index: int, signed: bool) -> Window | Lut | None:
    item = item_at(ds, "VOILUTSequence", 0)
    if item is not None:
        table = lut_of(item, signed)
        if table is not None:
            return table
    where = functional_group(ds, index, "FrameVOILUTSequence") or ds
    centre, width = number(where, "WindowCenter"), number(where, "WindowWidth")
    if centre is None or width is None:
        return None
    window = Window(centre, width, _FUNCTIONS.get(code(where, "VOILUTFunction"), "LINEAR"))
    return window if window.usable else None


def _padding(ds: Dataset) -> tuple[int, int] | None:
    value = integer(ds, "PixelPaddingValue")
    if value is None:
        return None
    limit = integer(ds, "PixelPaddingRangeLimit")
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def _hounsfield(ds: Dataset, index: int, modality: Rescale | Lut | None) -> bool:
    """CT image classes are in HU unless Rescale Type says otherwise (C.8.2.1.1.1, C.11.1.1.2)."""
    where = functional_group(ds, index, "PixelValueTransformationSequence") or ds
    kind = code(where, "RescaleType")
    if kind is not None:
        return kind == "HU" and modality is not None
    return text(ds, "SOPClassUID") in _CT and modality is not None
