"""Headers to columns, objects without an image, and no patient data where it does not belong."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

from embedstore.contracts.record import Report, Skip
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.normal import age_between, age_in_years, iso_date, sex_code, side_code
from embedstore.readers.sources import FileSource
from embedstore.testing.readers import BytesSource

from .dicom_files import SECRET, bare_bytes, dataset, file_bytes, item

PIXELS = np.zeros((4, 6), np.uint8)


def header(**elements):
    return next(iter(DicomReader().describe(BytesSource(file_bytes(dataset(PIXELS, **elements)))))).header


def test_columns():
    found = header(
        PatientID=" P-7 ", IssuerOfPatientID="HOSPITAL A", PatientAge="045Y", PatientSex="F",
        StudyDate="20240531", StudyDescription="Chest", SeriesDescription="PA upright", InstanceNumber=3,
        Modality="DX", BodyPartExamined="CHEST", ViewPosition="PA", ImageLaterality="L", Laterality="R",
        Manufacturer="Acme", ManufacturerModelName="Scan-o-mat", InstitutionName="St. Nowhere",
        ImagerPixelSpacing=[0.2, 0.1], ImageType=["ORIGINAL", "PRIMARY"], KVP=120, SliceThickness="2.5",
    )  # fmt: skip
    assert (found.patient_id, found.patient_issuer) == ("P-7", "HOSPITAL A")
    assert (found.age, found.sex, found.study_date) == (45, "F", "2024-05-31")
    assert (found.study_uid, found.series_uid, found.sop_uid) == ("1.2.3", "1.2.3.4", "1.2.3.4.5")
    assert (found.modality, found.body_part, found.view, found.laterality) == ("DX", "CHEST", "PA", "L")
    assert (found.manufacturer, found.model) == ("Acme", "Scan-o-mat")
    assert (found.institution, found.instance_number) == ("St. Nowhere", 3)
    assert (found.rows, found.columns, found.spacing_row_mm, found.spacing_col_mm) == (4, 6, 0.2, 0.1)
    assert found.transfer_syntax == "1.2.840.10008.1.2.1"
    assert found.extra["ImageType"] == "ORIGINAL\\PRIMARY"
    assert (found.extra["KVP"], found.extra["SliceThickness"]) == (120, 2.5)


def test_names_of_persons_are_nowhere():
    found = header(ReferringPhysicianName=SECRET, OperatorsName=SECRET)
    assert "GEHEIM" not in repr(found)


def test_absent_and_empty_elements_are_none():
    found = header(PatientID="", PatientAge="", StudyDate="", PatientSex="", ViewPosition="")
    assert {found.patient_id, found.age, found.study_date, found.sex, found.view, found.laterality} == {None}


def test_acquisition_columns():
    found = header(
        AcquisitionDate="20240530", SliceThickness="2.5", KVP=110, MagneticFieldStrength="1.5",
        ScanningSequence=["SE", "IR"], ContrastBolusAgent="Gd", Modality="MR",
    )  # fmt: skip
    assert (found.acquisition_date, found.slice_thickness_mm, found.kvp) == ("2024-05-30", 2.5, 110)
    assert (found.field_strength_t, found.sequence, found.contrast) == (1.5, "SE\\IR", "Gd")
    coded = header(
        AcquisitionDateTime="20240530101112.5", MagneticFieldStrength="15000", SequenceName="*tfl3d1",
        ContrastBolusAgentSequence=item(CodeMeaning="Gadolinium"), ScanningSequence="GR", SliceThickness="0",
    )  # fmt: skip
    assert (coded.acquisition_date, coded.field_strength_t) == ("2024-05-30", 1.5)  # some write gauss
    assert (coded.sequence, coded.contrast, coded.slice_thickness_mm) == ("*tfl3d1", "Gadolinium", None)


@pytest.mark.parametrize(("code", "view"), [("399368009", "MLO"), ("R-10242", "CC"), ("R-10214", "PA")])
def test_coded_views_have_the_terms_of_view_position(code, view):
    assert header(ViewCodeSequence=item(CodeValue=code, CodeMeaning="some words")).view == view


def test_the_table_of_views_is_that_of_the_standard():
    """Meanings as pydicom's copy of PS3.16 has them; R- codes are the retired ones of the same concepts."""
    from pydicom.sr._snomed_dict import mapping
    from pydicom.sr.codedict import codes

    from embedstore.readers.dicom_header import _VIEWS

    by_code = {c.value: c.meaning for cid in (codes.cid4014, codes.cid4010) for c in cid.concepts.values()}
    terms = {
        "MLO": "medio-lateral oblique", "CC": "cranio-caudal", "LMO": "latero-medial oblique",
        "PA": "postero-anterior", "AP": "antero-posterior", "LL": "left lateral", "RL": "right lateral",
    }  # fmt: skip
    for code, term in _VIEWS.items():
        if code.startswith("R-"):
            newer = mapping["SRT"].get(code)
            assert newer is None or _VIEWS[newer] == term, code
        elif term in terms:
            assert by_code[code] == terms[term], code


def test_laterality_of_the_region_and_coded_institution():
    region = item(CodeMeaning="Breast", AnatomicRegionModifierSequence=item(CodeMeaning="Left"))
    found = header(AnatomicRegionSequence=region, InstitutionCodeSequence=item(CodeMeaning="Hospital A"))
    assert (found.laterality, found.body_part, found.institution) == ("L", "BREAST", "Hospital A")


def test_age_from_birth_date():
    assert header(PatientBirthDate="19800601", StudyDate="20240531").age == 43


def test_the_coded_view_and_region():
    coded = {
        "ViewCodeSequence": item(CodeMeaning="medio-lateral oblique"),
        "AnatomicRegionSequence": item(CodeMeaning="Breast"),
    }
    found = header(**coded)
    assert (found.view, found.body_part) == ("medio-lateral oblique", "BREAST")


def test_spacing_that_is_not_positive_is_unknown():
    assert header(PixelSpacing=[0, 0]).spacing_row_mm is None


def test_control_characters_are_dropped():
    assert header(StudyDescription="a\x1b[31mb\x07c").study_description == "a[31mbc"


@pytest.mark.parametrize(
    ("value", "years"),
    [("045Y", 45), ("006M", 0.5), ("026W", 0.5), ("003D", 0.01), ("45", 45), ("999Y", None), ("4 Y", None)],
)
def test_ages(value, years):
    assert age_in_years(value) == years


def test_dates_sexes_and_sides():
    assert iso_date("2024.05.31") == iso_date("20240531") == iso_date("2024-05-31") == "2024-05-31"
    assert iso_date("20240230") is iso_date("May") is iso_date(None) is None
    assert [sex_code(v) for v in ("m", "Female", "O", "", "?")] == ["M", "F", "O", None, None]
    assert [side_code(v) for v in ("left", "R", "both", "x")] == ["L", "R", "B", None]
    assert age_between("2024-05-31", "2000-01-01") is None


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("ISO_IR 100", b"Universit\xe4t", "Universität"),
        ("ISO_IR 192", "病院".encode(), "病院"),
        ("ISO_IR 144", b"\xb1\xde\xdb\xec\xdd\xd8\xe6\xd0", "Больница"),
        ("ISO 2022 IR 87", b"\x1b$B\x49\x42\x31\x21\x1b(B", "病院"),
    ],
)
def test_character_sets(charset, raw, text):
    ds = dataset(PIXELS, SpecificCharacterSet=charset if "2022" not in charset else ["", charset])
    ds.add_new("InstitutionName", "LO", raw)
    data = file_bytes(ds)
    found = next(iter(DicomReader().describe(BytesSource(data)))).header
    assert found.institution == text


def skip(sop_class, **elements) -> Skip:
    ds = dataset(PIXELS, SOPClassUID=sop_class, **elements)
    if "keep" not in elements:
        del ds.PixelData
    return next(iter(DicomReader().describe(BytesSource(file_bytes(ds)))))


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        ("88.11", "structured report"), ("88.59", "key object"), ("11.1", "presentation state"),
        ("481.3", "structure set"), ("481.5", "plan"), ("104.1", "PDF"), ("9.1.1", "waveform"),
        ("66.4", "segmentation"), ("481.2", "dose"), ("66.1", "registration"), ("67", "real world"),
    ],
)  # fmt: skip
def test_objects_without_an_image_are_skipped_by_kind(sop_class, kind):
    found = skip(f"1.2.840.10008.5.1.4.1.1.{sop_class}")
    assert isinstance(found, Skip)
    assert kind in found.reason


def test_a_private_class_without_pixels_is_skipped():
    assert "private class" in skip("1.2.276.0.9").reason


def test_the_collection_of_special_objects(shared_data):
    reader = DicomReader()
    for path in sorted((shared_data / "dicom" / "refuse_or_special").iterdir()):
        found = list(reader.describe(FileSource.of(path)))
        expected = Report if path.name in ("test-SR.dcm", "reportsi.dcm", "sr_document.dcm") else Skip
        assert [type(one) for one in found] == [expected], path.name


def test_shared_character_sets(shared_data):
    """Institution and the like are not in these files; their patients' names must not come out."""
    reader = DicomReader()
    for path in sorted((shared_data / "dicom" / "charset").iterdir()):
        found = next(iter(reader.describe(FileSource.of(path))))
        assert "^" not in repr(found.header), path.name


def test_nothing_of_the_file_is_logged_or_warned(caplog):
    """pydicom quotes bad values in warnings and log records."""
    ds = dataset(PIXELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.add_new("PatientAge", "AS", f"{SECRET} is old")
        ds.add_new("InstanceNumber", "IS", "7")
        data = bytearray(file_bytes(ds)).replace(b"IS\x02\x007 ", b"IS\x02\x00XX")
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        found = next(iter(DicomReader().describe(BytesSource(bytes(data)))))
        DicomReader().read(found)
        with pytest.raises(ReadFailure) as caught:
            list(DicomReader().describe(BytesSource(bytes(data[:-5]))))
    assert found.header.instance_number is None
    assert "GEHEIM" not in caplog.text
    assert "GEHEIM" not in caught.value.reason
    assert logging.getLogger("pydicom").propagate


def test_text_is_no_dicom():
    reader = DicomReader()
    assert not reader.sniff(b"Patient: GEHEIM\n" * 100)
    with pytest.raises(ReadFailure, match="not a DICOM file"):
        list(reader.describe(BytesSource(b"Patient: GEHEIM\n" * 100)))


def test_a_header_that_breaks_off(tmp_path):
    ds = dataset(PIXELS)
    del ds.PixelData
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"
    ds.add_new(0x300A0002, "SH", "a plan, a name")
    with pytest.raises(ReadFailure, match="truncated"):
        list(DicomReader().describe(BytesSource(bare_bytes(ds)[:-6])))
