"""What a DICOM file is and how its pixels come to the screen, in words, from its header alone."""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import UID

from embedstore.contracts.record import Source
from embedstore.readers.dicom_file import DicomFile, parse
from embedstore.readers.dicom_transforms import Transforms, transforms_of
from embedstore.readers.dicom_values import code, integer, numbers, text
from embedstore.readers.explained import Explained, Facts
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.voi import Lut, Rescale, Window
from embedstore.settings import Limits

_DEMANDS_RGB = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
_OFTEN_BURNED_IN = frozenset({"US", "SC", "OT", "XC", "ES", "GM", "IVUS"})


def explain_dicom(source: Source, frame: int | None, limits: Limits) -> Explained:
    """Facts, display rule and remarks of one frame (from 1; None for the first). Raises ReadFailure."""
    with source.open() as stream:
        file = parse(stream, source.size, limits)
    with quiet_pydicom():
        facts = tuple(_facts(file))
        if file.pixels is None:
            return Explained(format="DICOM", facts=facts)
        index = (frame or 1) - 1
        explained = Explained(format="DICOM", facts=facts, remarks=tuple(_remarks(file.header)))
        if code(file.header, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2", None):
            return replace(explained, display=_monochrome(file.header, index))
        return replace(explained, display=_colour(file.header))


def _facts(file: DicomFile) -> Facts:
    ds = file.header
    yield "object", name_of(text(ds, "SOPClassUID"))
    yield "transfer syntax", name_of(str(file.syntax))
    if file.pixels is None:
        return
    yield "photometric", text(ds, "PhotometricInterpretation") or "not stated"
    allocated, stored = integer(ds, "BitsAllocated"), integer(ds, "BitsStored")
    sign = "signed" if integer(ds, "PixelRepresentation") == 1 else "unsigned"
    yield "bits", f"{stored or allocated} stored in {allocated}, {sign}"
    yield "samples per pixel", str(integer(ds, "SamplesPerPixel") or 1)
    yield "frames", str(integer(ds, "NumberOfFrames") or 1)


def name_of(uid: str | None) -> str:
    """The standard's name of a UID (PS3.6 annex A), the UID itself when it has none."""
    if not uid:
        return "not stated"
    name = UID(uid).name
    return name if name != uid else f"private ({uid})"


def _monochrome(ds: Dataset, index: int) -> str:
    transforms = transforms_of(ds, index)
    steps = [_modality_words(transforms), _voi_words(ds, transforms)]
    if transforms.inverted:
        steps.append("inverted (MONOCHROME1 or Presentation LUT Shape INVERSE)")
    return "; ".join(step for step in steps if step)


def _modality_words(transforms: Transforms) -> str:
    modality = transforms.modality
    unit = " to Hounsfield units" if transforms.hounsfield else ""
    if isinstance(modality, Lut):
        return f"modality LUT of {len(modality.entries)} entries{unit}"
    if isinstance(modality, Rescale):
        return f"rescale slope {modality.slope:g}, intercept {modality.intercept:g}{unit}"
    return "no rescale"


def _voi_words(ds: Dataset, transforms: Transforms) -> str:
    voi = transforms.voi
    if isinstance(voi, Lut):
        return f"VOI LUT of the header ({len(voi.entries)} entries of {voi.bits} bits)"
    if isinstance(voi, Window):
        windows = len(numbers(ds, "WindowCenter") or (0,))
        first = f", the first of {windows}" if windows > 1 else ""
        return f"window of the header: centre {voi.centre:g}, width {voi.width:g} ({voi.function}){first}"
    bits = integer(ds, "BitsStored") or integer(ds, "BitsAllocated") or 16
    if bits <= 8 and integer(ds, "PixelRepresentation") != 1 and transforms.modality is None:
        return "no window in the header: 8-bit values shown as they are"
    padding = ", pixel padding left out" if transforms.padding else ""
    return f"no window in the header: stretched from percentile 0.5 to 99.5 of this frame{padding}"


def _colour(ds: Dataset) -> str:
    photometric = code(ds, "PhotometricInterpretation") or ""
    if photometric == "PALETTE COLOR":
        return "palette expanded to RGB"
    if photometric == "RGB" or photometric not in _DEMANDS_RGB:
        return "colour, shown as it is"
    return f"colour, {photometric} converted to RGB"


def _remarks(ds: Dataset) -> list[str]:
    remarks = []
    burned = code(ds, "BurnedInAnnotation")
    if burned == "YES":
        remarks.append("the header says that text is burned into the pixels; it may name a person")
    elif burned is None and code(ds, "Modality") in _OFTEN_BURNED_IN:
        remarks.append("the header does not say whether text is burned into the pixels")
    if code(ds, "LossyImageCompression") == "01":
        ratio = numbers(ds, "LossyImageCompressionRatio")
        remarks.append(f"was compressed with loss{f' (ratio {ratio[0]:g})' if ratio else ''}")
    if code(ds, "PresentationIntentType") == "FOR PROCESSING":
        remarks.append("raw for processing: what a workstation shows of it looks different")
    return remarks
