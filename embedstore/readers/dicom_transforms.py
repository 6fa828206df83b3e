"""Which transforms a DICOM frame asks for: rescale, window, lookup tables, inversion, padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.contracts.windows import CtWindow
from embedstore.readers.dicom_values import code, element, integer, item_at, number, numbers, text
from embedstore.readers.voi import Lut, Rescale, VoiFunction, Window

_FUNCTIONS: dict[str | None, VoiFunction] = {"LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
_BRAIN = frozenset({"HEAD", "BRAIN"})
_CT = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})


_IDENTITY = Rescale()


@dataclass(frozen=True, slots=True, eq=False)
class Transforms:
    """Everything between stored and displayed values of one monochrome frame.

    inverted: MONOCHROME1, or Presentation LUT Shape INVERSE. padding: (low, high) stored values that are no
    image. hounsfield: whether modality values are known to be Hounsfield units. voi: what the file asks for,
    None when nothing usable. named: the CT window that stands in for it then, None for other images.
    """

    modality: Rescale | Lut | None
    voi: Window | Lut | None
    inverted: bool
    padding: tuple[float, float] | None
    hounsfield: bool
    named: CtWindow | None = None

    @property
    def plain(self) -> bool:
        """Whether modality values are the stored values."""
        return self.modality is None or self.modality == _IDENTITY


def transforms_of(ds: Dataset, index: int) -> Transforms:
    """Transforms of frame `index` (from 0).

    Per-frame functional groups come before shared ones and those before the dataset itself. A VOI LUT
    comes before a window; of several windows or tables the first is taken (C.11.2.1.2 leaves the choice).
    """
    modality = _modality(ds, index)
    hounsfield = _hounsfield(ds, index, modality)
    photometric = code(ds, "PhotometricInterpretation")
    shape = code(ds, "PresentationLUTShape")
    signed = integer(ds, "PixelRepresentation") == 1 or _can_be_negative(modality)
    return Transforms(
        modality=modality,
        voi=_voi(ds, index, signed and not isinstance(modality, Lut)),
        inverted=photometric == "MONOCHROME1" or shape == "INVERSE",
        padding=_padding(ds),
        hounsfield=hounsfield,
        named=_ct_window(ds) if hounsfield else None,
    )


def _can_be_negative(modality: Rescale | Lut | None) -> bool:
    """Of unsigned values; a VOI LUT's first value is then signed (C.11.2.1.1), else it may exceed 32,767."""
    return isinstance(modality, Rescale) and (modality.slope < 0 or modality.intercept < 0)


def functional_group(ds: Dataset, index: int, keyword: str) -> Dataset | None:
    """The macro `keyword` of an enhanced multi-frame object for one frame (PS3.3 C.7.6.16), or None."""
    own = item_at(item_at(ds, "PerFrameFunctionalGroupsSequence", index), keyword, 0)
    return own or item_at(item_at(ds, "SharedFunctionalGroupsSequence", 0), keyword, 0)


def lut_of(item: Dataset, signed: bool) -> Lut | None:
    """A Modality or VOI LUT from its sequence item (C.11.1.1.1, C.11.2.1.1); None when it is damaged.

    signed: whether the values looked up can be negative, which decides how the first entry is read when it
    was written as unsigned.
    """
    descriptor = numbers(item, "LUTDescriptor")
    data = element(item, "LUTData")
    if descriptor is None or len(descriptor) != 3 or data is None:
        return None
    count, first, bits = (int(part) for part in descriptor)
    count = (count & 0xFFFF) or 1 << 16  # a signed writer says -32768 for 32,768 entries
    if signed and first > 0x7FFF:
        first -= 0x10000
    elif not signed and first < 0:
        first += 0x10000
    entries = _entries(data, count, item.original_encoding[1] is not False)
    return None if entries is None else Lut(first, entries, _depth(bits, int(entries.max())))


def _depth(declared: int, largest: int) -> int:
    """Bits per entry: as declared, unless that cannot be meant.

    A table that holds more than it declares, or declares more than 8 bits and holds nothing above 255, would
    be shown cut off or black. Other tables that do not use their depth are kept as the file has them.
    """
    needed = max(largest.bit_length(), 1)
    if not needed <= declared <= 16:
        return 8 if needed <= 8 else needed
    return 8 if declared > 8 >= needed else declared


def _entries(data: Any, count: int, little: bool) -> NDArray[Any] | None:
    """Entries of one byte or two, however they were written: as OW bytes, US words, or two to a word."""
    if isinstance(data, bytes):
        wide = len(data) not in (count, count + 1) or count == 1
        kind = ("<u2" if little else ">u2") if wide else "u1"
        entries = np.frombuffer(data[: len(data) - len(data) % np.dtype(kind).itemsize], kind)
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
        if len(entries) == (count + 1) // 2 < count:
            entries = entries.astype("<u2").view(np.uint8)  # the lower byte comes first (PS3.5 8.1.1)
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
    where = functional_group(ds, index, "FrameVOILUTSequence") or ds
    item = item_at(where, "VOILUTSequence", 0)
    if item is not None:
        table = lut_of(item, signed)
        if table is not None:
            return table
    centre, width = number(where, "WindowCenter"), number(where, "WindowWidth")
    if centre is None or width is None:
        return None
    window = Window(centre, width, _FUNCTIONS.get(code(where, "VOILUTFunction"), "LINEAR"))
    return window if window.usable else None


def _ct_window(ds: Dataset) -> CtWindow | None:
    """The window of a CT image that names none; None for a localizer, which is a radiograph."""
    if "LOCALIZER" in (text(ds, "ImageType") or "").upper().split("\\"):
        return None
    return "brain" if code(ds, "BodyPartExamined") in _BRAIN else "soft_tissue"


def _padding(ds: Dataset) -> tuple[float, float] | None:
    """Stored values that are no image, both included (C.7.5.1.1.2), in the range of the stored values."""
    for kind in ("Float", "DoubleFloat"):  # C.7.6.24, C.7.6.25
        floating = number(ds, f"{kind}PixelPaddingValue")
        if floating is not None:
            limit = number(ds, f"{kind}PixelPaddingRangeLimit")
            return _ordered(floating, floating if limit is None else limit)
    return _whole_padding(ds)


def _ordered(one: float, other: float) -> tuple[float, float]:
    return min(one, other), max(one, other)


def _whole_padding(ds: Dataset) -> tuple[float, float] | None:
    value = integer(ds, "PixelPaddingValue")
    if value is None:
        return None
    limit = integer(ds, "PixelPaddingRangeLimit")
    signed, bits = integer(ds, "PixelRepresentation") == 1, integer(ds, "BitsAllocated") or 16
    return _ordered(*(_wrapped(end, signed, bits) for end in (value, value if limit is None else limit)))


def _wrapped(value: int, signed: bool, bits: int) -> int:
    """A value whose element was written with the other signedness than the pixels have."""
    if signed and value >= 1 << (bits - 1):
        return value - (1 << bits)
    return value + (1 << bits) if not signed and value < 0 else value


def _hounsfield(ds: Dataset, index: int, modality: Rescale | Lut | None) -> bool:
    """CT image classes are in HU unless Rescale Type says otherwise (C.8.2.1.1.1, C.11.1.1.2)."""
    where = functional_group(ds, index, "PixelValueTransformationSequence") or ds
    kind = code(where, "RescaleType")
    if kind is not None:
        return kind == "HU" and modality is not None
    return text(ds, "SOPClassUID") in _CT and modality is not None
