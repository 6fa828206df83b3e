"""Burned-in text: which images are known to bear none, which can be masked, and which are held back.

What is not known to be safe is held back. A header's word is taken where the standard makes the attribute
mandatory or the kind of image leaves no room for text; nothing here looks at pixels (see `ocr`).
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.privacy.profile import Profile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; right and bottom excluded."""

# Images that the scanner made as numbers, not as a screen: PS3.3 A.3-A.5, A.21, A.36, A.38, A.56.
_MEASURED = frozenset({"CT", "MR", "PT", "NM"})
_MEASURED_CLASSES = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "130", "128.1", "20")
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ULTRASOUND = ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3")
_SCREENS = (
    "SCREEN",
    "SAVE",
    "CAPTURE",
    "DOSE",
    "REPORT",
    "PROTOCOL",
    "SNAPSHOT",
    "PRINT",
    "POSDISP",
    "CSA REPORT",
    "GSPS",
    "SUMMARY",
    "RESULT",
    "FUSED",
    "OVERLAY",
)
_LEGIBLE_FROM = 64  # pixels: no line of text with a name can be read in less
_ADVICE = "; look at it, mask it, and ingest with the option reviewed-pixels"


@dataclass(frozen=True, slots=True)
class Verdict:
    """kind: "safe", "mask" (only `keep` may be seen) or "quarantine".

    reason: why, without patient data. second_look: OCR should be asked as well where it is there, since
      it is the header's or somebody's word that is believed.
    """

    kind: Literal["safe", "mask", "quarantine"]
    reason: str
    keep: tuple[Box, ...] = ()
    second_look: bool = True


def pixel_verdict(dataset: Dataset, profile: Profile | None = None) -> Verdict:
    """Whether the pixels of a DICOM object may be used; from its header alone.

    profile: with `reviewed_pixels` the unknown pass; what says of itself that it bears text does not.
    """
    found = _verdict(dataset)
    if found.kind != "quarantine" or profile is None or not profile.reviewed_pixels:
        return found
    if _code(dataset, "BurnedInAnnotation") == "YES":
        return found
    return Verdict("safe", "reviewed by whoever ingests it")


def plain_verdict(rows: int | None, columns: int | None, profile: Profile) -> Verdict:
    """The verdict for an image whose format says nothing of burned-in text (PNG, JPEG, TIFF, arrays)."""
    if profile.reviewed_pixels:
        return Verdict("safe", "reviewed by whoever ingests it")
    if rows is not None and columns is not None and max(rows, columns) <= _LEGIBLE_FROM:
        return Verdict("safe", "too small for legible text", second_look=False)
    return Verdict("quarantine", f"nothing says that no text is burned into this image{_ADVICE}")


def keep_only(pixels: NDArray[Any], boxes: Sequence[Box]) -> NDArray[Any]:
    """A copy of (H, W, C) or (D, H, W, C) pixels, everything outside the boxes at the darkest value inside.

    Raises ValueError when a box leaves the image or there is none.
    """
    rows, columns = pixels.shape[-3:-1]
    inside = np.zeros((rows, columns), bool)
    for x0, y0, x1, y1 in boxes:
        if not (0 <= x0 < x1 <= columns and 0 <= y0 < y1 <= rows):
            raise ValueError("a region leaves the image")
        inside[y0:y1, x0:x1] = True
    if not inside.any():
        raise ValueError("no region to keep")
    out = pixels.copy()
    out[..., ~inside, :] = 0 if pixels.dtype == np.uint8 else pixels[..., inside, :].min()
    return out


def _verdict(dataset: Dataset) -> Verdict:
    burned = _code(dataset, "BurnedInAnnotation")
    if _is_ultrasound(dataset):
        return _ultrasound(dataset, burned)
    if burned == "YES":
        return Verdict("quarantine", "its header says that text is burned in")
    if _code(dataset, "RecognizableVisualFeatures") == "YES":
        return Verdict("quarantine", f"its header says that the person can be recognised{_ADVICE}")
    if _text(dataset, "SOPClassUID").startswith(_SECONDARY_CAPTURE) or _text(dataset, "ConversionType"):
        return Verdict("quarantine", f"a secondary capture may show anything{_ADVICE}")
    kinds = _codes(dataset, "ImageType")
    said = " ".join([*kinds[2:], _text(dataset, "SeriesDescription").upper()])
    if any(word in said for word in _SCREENS):
        return Verdict("quarantine", f"a stored screen, report or protocol page{_ADVICE}")
    if {"LABEL", "OVERVIEW"} & set(kinds[2:]):
        return Verdict("quarantine", "the label of a slide, or an overview that shows it")
    if _code(dataset, "Modality") in ("XC", "ES", "DOC", "OT"):
        return Verdict("quarantine", f"a photograph, endoscopy or document may show anything{_ADVICE}")
    if _is_measured(dataset, kinds):
        return Verdict("safe", "measured values of a scanner", second_look=False)
    if burned == "NO":
        return Verdict("safe", "its header says that no text is burned in")
    return Verdict("quarantine", f"its header does not say whether text is burned in{_ADVICE}")


def _is_measured(dataset: Dataset, kinds: list[str]) -> bool:
    """Grey CT, MR, PET or NM of the scanner: ORIGINAL or DERIVED, but PRIMARY (PS3.3 C.7.6.1.1.2)."""
    return (
        _code(dataset, "Modality") in _MEASURED
        and _text(dataset, "SOPClassUID") in _MEASURED_CLASSES
        and kinds[1:2] == ["PRIMARY"]
        and _code(dataset, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
        and _number(dataset, "BitsStored") > 8
    )


def _is_ultrasound(dataset: Dataset) -> bool:
    uid = _text(dataset, "SOPClassUID")
    return _code(dataset, "Modality") in ("US", "IVUS") or uid.startswith(_ULTRASOUND)


def _ultrasound(dataset: Dataset, burned: str) -> Verdict:
    """Outside its regions an ultrasound image is a form with the patient's name on it (PS3.3 C.8.5.5)."""
    rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
    boxes = []
    for item in _items(dataset, "SequenceOfUltrasoundRegions"):
        names = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
        x0, y0, x1, y1 = (_number(item, name) for name in names)
        box = max(x0, 0), max(y0, 0), min(x1 + 1, columns), min(y1 + 1, rows)
        if box[0] >= box[2] or box[1] >= box[3]:
            return Verdict("quarantine", f"its ultrasound regions make no sense{_ADVICE}")
        boxes.append(box)
    if not boxes:
        return Verdict("quarantine", f"an ultrasound image that does not say where its regions are{_ADVICE}")
    if (
        any(x0 == 0 and y0 == 0 and x1 == columns and y1 == rows for x0, y0, x1, y1 in boxes)
        and burned != "NO"
    ):
        return Verdict("quarantine", f"its ultrasound region is the whole screen{_ADVICE}")
    return Verdict("mask", "only its ultrasound regions are used", tuple(boxes))


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(dataset.get(keyword) or ())
    except Exception:  # damaged
        return []


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
        return "" if value is None else str(value).strip("\x00 ")
    except Exception:  # damaged
        return ""


def _codes(dataset: Dataset, keyword: str) -> list[str]:
    try:
        value = dataset.get(keyword)
    except Exception:  # damaged
        return []
    parts = list(value) if isinstance(value, MutableSequence) else [value] if value else []
    return [str(part).strip().upper() for part in parts]


def _code(dataset: Dataset, keyword: str) -> str:
    return next(iter(_codes(dataset, keyword)), "")


def _number(dataset: Dataset, keyword: str) -> int:
    try:
        return int(dataset.get(keyword))
    except Exception:  # absent or damaged
        return -1
