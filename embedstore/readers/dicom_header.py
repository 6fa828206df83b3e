"""From a DICOM dataset to the columns people filter by. Names of persons are never read."""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset

from embedstore.contracts.record import Header, Scalar
from embedstore.readers.dicom_file import DicomFile, Shape
from embedstore.readers.dicom_render import rules_of
from embedstore.readers.dicom_transforms import functional_group
from embedstore.readers.dicom_values import (
    code,
    integer,
    item_at,
    number,
    numbers,
    text,
)
from embedstore.readers.normal import age_between, age_in_years, iso_date, sex_code, side_code

_EXTRA_TEXT = (
    "ImageType",
    "PhotometricInterpretation",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "ConversionType",
    "PatientPosition",
    "PresentationIntentType",
    "ProtocolName",
    "ConvolutionKernel",
    "FrameOfReferenceUID",
)
_EXTRA_NUMBERS = (
    "SeriesNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "SliceThickness",
    "SliceLocation",
    "KVP",
    "RepetitionTime",
    "EchoTime",
    "MagneticFieldStrength",
    "NumberOfFrames",
)


def header_of(file: DicomFile, shape: Shape) -> Header:
    """Columns of the whole object; `frame_header` adds what one frame says of its own."""
    ds = file.header
    spacing = spacing_of(ds, 0)
    seen = iso_date(text(ds, "StudyDate"))
    age = age_in_years(text(ds, "PatientAge"))
    return Header(
        patient_id=text(ds, "PatientID"),
        patient_issuer=text(ds, "IssuerOfPatientID"),
        study_uid=text(ds, "StudyInstanceUID"),
        series_uid=text(ds, "SeriesInstanceUID"),
        sop_uid=text(ds, "SOPInstanceUID"),
        sop_class=text(ds, "SOPClassUID"),
        transfer_syntax=str(file.syntax) or None,
        instance_number=integer(ds, "InstanceNumber"),
        modality=code(ds, "Modality"),
        body_part=_body_part(ds, 0),
        laterality=_laterality(ds, 0),
        view=_view(ds),
        study_date=seen,
        study_description=text(ds, "StudyDescription"),
        series_description=text(ds, "SeriesDescription"),
        age=age if age is not None else age_between(iso_date(text(ds, "PatientBirthDate")), seen),
        sex=sex_code(code(ds, "PatientSex")),
        manufacturer=text(ds, "Manufacturer"),
        model=text(ds, "ManufacturerModelName"),
        institution=text(ds, "InstitutionName"),
        rows=shape.rows,
        columns=shape.columns,
        spacing_row_mm=spacing[0] if spacing else None,
        spacing_col_mm=spacing[1] if spacing else None,
        extra=_extra(ds),
    )


def frame_header(base: Header, ds: Dataset, index: int) -> Header:
    """The columns of frame `index` (from 0): its number from 1, and what its functional groups say."""
    spacing = spacing_of(ds, index)
    return replace(
        base,
        frame=index + 1,
        body_part=_body_part(ds, index),
        laterality=_laterality(ds, index),
        spacing_row_mm=spacing[0] if spacing else None,
        spacing_col_mm=spacing[1] if spacing else None,
    )


def spacing_of(ds: Dataset, index: int) -> tuple[float, float] | None:
    """(row, column) distance of pixel centres in mm.

    Pixel Spacing, or on the detector plane Imager Pixel Spacing, or Nominal Scanned Pixel Spacing
    (PS3.3 10.7.1.3); None when absent or not positive.
    """
    measures = functional_group(ds, index, "PixelMeasuresSequence")
    places = [ds] if measures is None else [measures, ds]
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        for place in places:
            found = numbers(place, keyword)
            if found and len(found) == 2 and min(found) > 0:
                return found[0], found[1]
    return None


def _body_part(ds: Dataset, index: int) -> str | None:
    """Body Part Examined, else the meaning of the coded anatomic region, in upper case."""
    found = code(ds, "BodyPartExamined")
    if found:
        return found
    anatomy = functional_group(ds, index, "FrameAnatomySequence")
    for place in (anatomy, ds):
        region = item_at(place, "AnatomicRegionSequence", 0)
        meaning = text(region, "CodeMeaning") if region is not None else None
        if meaning:
            return meaning.upper()
    return None


def _laterality(ds: Dataset, index: int) -> str | None:
    """L, R, B (both) or U (unpaired): the image's own before the frame's before the series'."""
    anatomy = functional_group(ds, index, "FrameAnatomySequence")
    own = code(ds, "ImageLaterality")
    frame = code(anatomy, "FrameLaterality") if anatomy is not None else None
    return side_code(own) or side_code(frame) or side_code(code(ds, "Laterality"))


def _view(ds: Dataset) -> str | None:
    """View Position (PA, AP, LL, CC, MLO, ...), else the meaning of the coded view."""
    found = code(ds, "ViewPosition")
    if found:
        return found
    view = item_at(ds, "ViewCodeSequence", 0)
    return text(view, "CodeMeaning") if view is not None else None


def _extra(ds: Dataset) -> dict[str, Scalar]:
    extra: dict[str, Scalar] = {}
    for keyword in _EXTRA_TEXT:
        found = text(ds, keyword)
        if found is not None:
            extra[keyword] = found
    for keyword in _EXTRA_NUMBERS:
        value = number(ds, keyword)
        if value is not None:
            extra[keyword] = int(value) if value == int(value) else value
    extra.update(rules_of(ds))
    return extra
