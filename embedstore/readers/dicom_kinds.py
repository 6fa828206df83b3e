"""DICOM objects that hold no image to look at, and what to call them."""

from __future__ import annotations

from pydicom.uid import UID

from embedstore.readers.dicom_file import DicomFile
from embedstore.readers.dicom_values import text

_SOP = "1.2.840.10008.5.1.4.1.1."
_DICOMDIR = "1.2.840.10008.1.3.10"
_WITH_PIXELS = {
    _SOP + "66.4": "segmentation (SEG)",
    _SOP + "66.7": "label map segmentation (SEG)",
    _SOP + "66.8": "height map segmentation (SEG)",
    _SOP + "481.2": "radiotherapy dose (RTDOSE)",
}
_SHORT = {
    _SOP + "88.59": "key object selection (KO)",
    _SOP + "481.3": "radiotherapy structure set (RTSTRUCT)",
    _SOP + "481.5": "radiotherapy plan (RTPLAN)",
    _SOP + "481.8": "radiotherapy ion plan (RTPLAN)",
    _SOP + "104.1": "encapsulated PDF document",
    _SOP + "104.2": "encapsulated CDA document without text",
    _SOP + "104.3": "encapsulated STL model",
    _SOP + "4.2": "MR spectroscopy",
}
_FAMILIES = (
    (_SOP + "88.", "structured report (SR)"),
    (_SOP + "11.", "presentation state (PR)"),
    (_SOP + "9.", "waveform"),
    (_SOP + "91.", "microscopy annotations"),
    (_SOP + "104.", "encapsulated document"),
    (_SOP + "66", "registration, surface or raw data"),
    (_SOP + "481.", "radiotherapy object"),
    ("1.2.840.10008.5.1.4.39.", "colour palette"),
)
_IMAGE_NAMES = ("Image Storage", "Image Storage - For Presentation", "Image Storage - For Processing")


def is_report(sop_class: str) -> bool:
    """Structured reports; a key object selection has their form, but is a list of images."""
    return sop_class.startswith(_SOP + "88.") and sop_class != _SOP + "88.59"


def is_encapsulated(sop_class: str) -> bool:
    """A document of another format inside a DICOM object (PS3.3 A.45, A.104)."""
    return sop_class.startswith(_SOP + "104.")


def not_an_image(file: DicomFile) -> str | None:
    """The kind of object in words when it rightly holds no image, else None.

    None for an image class without pixel data: that is a damaged file, not another kind of object.
    """
    sop_class = text(file.header, "SOPClassUID") or ""
    if not sop_class and "DirectoryRecordSequence" in file.header:
        return "DICOMDIR, an index of other files"
    if sop_class in _WITH_PIXELS:
        return _WITH_PIXELS[sop_class]
    if file.pixels is not None or not sop_class:
        return None
    if sop_class in _SHORT:
        return _SHORT[sop_class]
    for prefix, kind in _FAMILIES:
        if sop_class.startswith(prefix):
            return kind
    if sop_class == _DICOMDIR:
        return "DICOMDIR, an index of other files"
    name = UID(sop_class).name
    if name == sop_class:  # a private class, or none at all
        return "object of a private class without pixel data"
    return None if any(image in name for image in _IMAGE_NAMES) else name.removesuffix(" Storage").lower()
