"""What a DICOM file is and how its pixels come to the screen, in words, from its header alone."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import UID

from embedstore.contracts.record import Source
from embedstore.readers.dicom_file import DicomFile, parse
from embedstore.readers.dicom_render import rules_of
from embedstore.readers.dicom_transforms import Transforms, transforms_of
from embedstore.readers.dicom_values import code, integer, numbers, text
from embedstore.readers.explained import Explained, Facts
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.voi import Lut, Rescale
from embedstore.settings import Limits

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
        return Explained(
            format="DICOM",
            facts=facts,
            display=_display(file.header, index),
            remarks=(*_colour_and_uptake(file.header, index), *_remarks(file.header)),
        )


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


def _display(ds: Dataset, index: int) -> str:
    """Modality transform, then the reader's own words for the rule it applies."""
    steps = [rules_of(ds, index).get("display", "")]
    if code(ds, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2", None):
        steps.insert(0, _modality_words(transforms_of(ds, index)))
        windows = len(numbers(ds, "WindowCenter") or ())
        if windows > 1 and steps[-1].startswith("window"):
            steps.append(f"the first of {windows} windows in the header")
    return "; ".join(step for step in steps if step)


def _modality_words(transforms: Transforms) -> str:
    modality = transforms.modality
    unit = " to Hounsfield units" if transforms.hounsfield else ""
    if isinstance(modality, Lut):
        return f"modality LUT of {len(modality.entries)} entries{unit}"
    if isinstance(modality, Rescale):
        return f"rescale slope {modality.slope:g}, intercept {modality.intercept:g}{unit}"
    return "no rescale"


def _colour_and_uptake(ds: Dataset, index: int) -> list[str]:
    rules = rules_of(ds, index)
    remarks = [f"ICC profile: {rules['icc']}"] if "icc" in rules else []
    if "suv" in rules:
        uptake = rules["suv"]
        had = "can be had (by body weight)" if uptake == "bw" else f"cannot be had: {uptake}"
        remarks.append(f"standardised uptake values {had}")
    return remarks


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
