"""From a DICOM dataset to the columns people filter by. Names of persons are never read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydicom.dataset import Dataset

from embedstore.contracts.record import Header, Scalar
from embedstore.readers.dicom_attributes import MOST_TEXT, attributes
from embedstore.readers.dicom_file import DicomFile, Shape
from embedstore.readers.dicom_frames import Part
from embedstore.readers.dicom_geometry import plane_of, spacing_of, thickness_of
from embedstore.readers.dicom_render import rules_of
from embedstore.readers.dicom_stack import classic_time, classic_whole
from embedstore.readers.dicom_transforms import functional_group
from embedstore.readers.dicom_values import code, integer, item_at, meaning, number, text
from embedstore.readers.normal import age_between, age_in_years, iso_date, sex_code, side_code

__all__ = ["frame_header", "header_of", "identity_header", "spacing_of"]

# PS3.16 CID 4014 and 4010 by SNOMED CT code and by the older SRT code, with the terms of PS3.3 C.8.11.7.
_VIEWS = {
    **{"399260004": "ML", "399368009": "MLO", "399352003": "LM", "399099002": "LMO", "399162004": "CC"},
    **{"399196006": "FB", "399188001": "SIO", "399265009": "XCC", "399192008": "XCCL", "399101009": "XCCM"},
    **{"R-10224": "ML", "R-10226": "MLO", "R-10228": "LM", "R-10230": "LMO", "R-10242": "CC"},
    **{"R-10244": "FB", "R-102D0": "SIO", "R-102CF": "XCC", "R-1024A": "XCCL", "R-1024B": "XCCM"},
    **{"399348003": "AP", "272479007": "PA", "399173006": "LL", "399198007": "RL"},
    **{"R-10206": "AP", "R-10214": "PA", "R-40888": "PA", "R-10236": "LL", "R-10232": "RL"},
}
_GAUSS_PER_TESLA = 1e4
_STRONGEST_TESLA = 100


def identity_header(ds: Dataset, syntax: str | None) -> Header:
    """The columns that objects without an image have as well: whose it is, from where, about what."""
    seen = iso_date(text(ds, "StudyDate"))
    age = age_in_years(text(ds, "PatientAge"))
    acquired = _acquired(ds)
    return Header(
        patient_id=_text(ds, "PatientID"),
        patient_issuer=_text(ds, "IssuerOfPatientID"),
        study_uid=_text(ds, "StudyInstanceUID"),
        series_uid=_text(ds, "SeriesInstanceUID"),
        sop_uid=_text(ds, "SOPInstanceUID"),
        sop_class=_text(ds, "SOPClassUID"),
        transfer_syntax=syntax,
        instance_number=integer(ds, "InstanceNumber"),
        modality=code(ds, "Modality"),
        study_date=seen,
        acquisition_date=acquired,
        study_description=_text(ds, "StudyDescription"),
        series_description=_text(ds, "SeriesDescription"),
        age=age if age is not None else age_between(_birth(ds), seen or acquired),
        sex=sex_code(code(ds, "PatientSex")),
        manufacturer=_text(ds, "Manufacturer"),
        model=_text(ds, "ManufacturerModelName"),
        institution=_text(ds, "InstitutionName") or meaning(ds, "InstitutionCodeSequence"),
        extra=attributes(ds),
    )


def header_of(file: DicomFile, shape: Shape) -> Header:
    """Columns of the whole object; `frame_header` adds what one frame says of its own."""
    ds = file.header
    spacing = spacing_of(ds, 0)
    plane = plane_of(ds, 0) if shape.frames == 1 else None
    base = identity_header(ds, str(file.syntax) or None)
    return replace(
        base,
        extra={**base.extra, **rules_of(ds)},
        body_part=_body_part(ds, 0),
        laterality=_laterality(ds, 0),
        view=_view(ds),
        rows=shape.rows,
        columns=shape.columns,
        spacing_row_mm=spacing[0] if spacing else None,
        spacing_col_mm=spacing[1] if spacing else None,
        slice_thickness_mm=thickness_of(ds, 0),
        kvp=_kvp(ds),
        field_strength_t=_tesla(ds),
        sequence=_sequence(ds),
        contrast=_contrast(ds),
        whole=classic_whole(ds, base, plane) if shape.frames == 1 else None,
        position_mm=round(plane.distance, 4) if plane is not None else None,
        time_s=classic_time(ds) if shape.frames == 1 else None,
    )


def frame_header(base: Header, ds: Dataset, part: Part, extra: Mapping[str, Scalar]) -> Header:
    """The columns of one frame: its number from 1, its place in the whole, what its functional groups say.

    extra: shared by the frames of a whole, so that it is in memory once.
    """
    spacing = spacing_of(ds, part.index)
    return replace(
        base,
        frame=part.index + 1,
        body_part=_body_part(ds, part.index),
        laterality=_laterality(ds, part.index),
        spacing_row_mm=spacing[0] if spacing else None,
        spacing_col_mm=spacing[1] if spacing else None,
        slice_thickness_mm=thickness_of(ds, part.index),
        whole=part.whole,
        part_number=part.number,
        position_mm=part.position_mm,
        time_s=part.time_s,
        extra=extra,
    )


def _text(ds: Dataset, keyword: str) -> str | None:
    found = text(ds, keyword)
    return found[:MOST_TEXT] if found else None


def _birth(ds: Dataset) -> str | None:
    return iso_date(text(ds, "PatientBirthDate"))


def _acquired(ds: Dataset) -> str | None:
    """Acquisition Date, else the date in Acquisition DateTime, else that of the first frame."""
    found = iso_date(text(ds, "AcquisitionDate")) or iso_date(text(ds, "AcquisitionDateTime"))
    if found is None:
        content = functional_group(ds, 0, "FrameContentSequence")
        found = iso_date(text(content, "FrameAcquisitionDateTime")) if content is not None else None
    return found


def _body_part(ds: Dataset, index: int) -> str | None:
    """Body Part Examined, else the meaning of the coded anatomic region, in upper case."""
    found = code(ds, "BodyPartExamined")
    if found:
        return found[:MOST_TEXT]
    anatomy = functional_group(ds, index, "FrameAnatomySequence")
    for place in (anatomy, ds):
        region = meaning(place, "AnatomicRegionSequence")
        if region:
            return region.upper()
    return None


def _laterality(ds: Dataset, index: int) -> str | None:
    """L, R, B (both) or U (unpaired): the image's own before the frame's, the series' and the modifier's."""
    anatomy = functional_group(ds, index, "FrameAnatomySequence")
    own = code(ds, "ImageLaterality")
    frame = code(anatomy, "FrameLaterality") if anatomy is not None else None
    found = side_code(own) or side_code(frame) or side_code(code(ds, "Laterality"))
    if found is not None:
        return found
    region = item_at(ds, "AnatomicRegionSequence", 0)
    return side_code(meaning(region, "AnatomicRegionModifierSequence"))


def _view(ds: Dataset) -> str | None:
    """View Position (PA, AP, LL, CC, MLO, ...), else the coded view in the same terms or in words."""
    found = code(ds, "ViewPosition")
    if found:
        return found[:MOST_TEXT]
    view = item_at(ds, "ViewCodeSequence", 0)
    if view is None:
        return None
    return _VIEWS.get(text(view, "CodeValue") or "") or _text(view, "CodeMeaning")


def _kvp(ds: Dataset) -> float | None:
    found = number(ds, "KVP")
    if found is None:
        details = functional_group(ds, 0, "CTXRayDetailsSequence")
        found = number(details, "KVP") if details is not None else None
    return found if found is not None and found > 0 else None


def _tesla(ds: Dataset) -> float | None:
    """Magnetic Field Strength in tesla. Some writers give gauss; no magnet is that strong in tesla."""
    found = number(ds, "MagneticFieldStrength")
    if found is None or found <= 0:
        return None
    return found / _GAUSS_PER_TESLA if found >= _STRONGEST_TESLA else found


def _sequence(ds: Dataset) -> str | None:
    """Pulse Sequence Name (enhanced), Sequence Name, else Scanning Sequence (SE, GR, EP, ...)."""
    return _text(ds, "PulseSequenceName") or _text(ds, "SequenceName") or _text(ds, "ScanningSequence")


def _contrast(ds: Dataset) -> str | None:
    """Contrast/Bolus Agent as text, else the meaning of its code."""
    return _text(ds, "ContrastBolusAgent") or meaning(ds, "ContrastBolusAgentSequence")
