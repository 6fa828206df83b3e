"""Structured reports and encapsulated documents as text."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from embedstore.contracts.record import Report, Skip
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.sources import FileSource
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource, ReaderContract

from .dicom_files import SECRET, dataset, file_bytes, item

BASIC = "1.2.840.10008.5.1.4.1.1.88.11"
IMAGE = "1.2.3.4.5.6"


def content(kind: str, name: str | None = None, inside: list[Dataset] | None = None, **elements) -> Dataset:
    ds = Dataset()
    ds.ValueType, ds.RelationshipType = kind, "CONTAINS"
    if name:
        ds.ConceptNameCodeSequence = coded(name)
    if inside:
        ds.ContentSequence = Sequence(inside)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def coded(meaning: str, value: str = "1", scheme: str = "99X") -> Sequence:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def number(value: str, unit: str, name: str) -> Dataset:
    measured = item(NumericValue=value, MeasurementUnitsCodeSequence=coded(unit, unit, "UCUM"))
    return content("NUM", name, MeasuredValueSequence=measured)


def image(uid: str = IMAGE) -> Dataset:
    reference = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid)
    return content("IMAGE", "Source", ReferencedSOPSequence=reference)


def sr(inside: list[Dataset], title: str = "Chest report", **elements) -> bytes:
    ds = dataset(np.zeros((2, 2), np.uint8), SOPClassUID=BASIC, Modality="SR", **elements)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(ds, keyword)
    ds.ValueType, ds.ConceptNameCodeSequence = "CONTAINER", coded(title)
    if inside:
        ds.ContentSequence = Sequence(inside)
    return file_bytes(ds)


def only(data: bytes, limits: Limits | None = None):
    (found,) = DicomReader(limits or Limits()).describe(BytesSource(data))
    return found


TREE = [
    content("PNAME", "Person Observer", PersonName=SECRET),
    content("TEXT", None, ConceptNameCodeSequence=coded("Observer name", "121008", "DCM"), TextValue=SECRET),
    content(
        "CONTAINER",
        "Findings",
        [
            content("TEXT", "Finding", [image()], TextValue="Left effusion.\r\nNo pneumothorax."),
            number("12.5", "mm", "Depth"),
            number("3", "1", "Count"),
            content("CODE", "Laterality", ConceptCodeSequence=coded("Left")),
            content("DATE", "Seen", Date="20240531"),
            content("UIDREF", "Tracking", UID="1.2.3"),
        ],
    ),
]


def test_the_tree_is_rendered():
    found = only(sr(TREE, StudyDate="20240601", PatientAge="050Y"))
    assert isinstance(found, Report)
    assert found.part == "report"
    assert found.text == (
        "Chest report\n"
        "  Findings\n"
        "    Finding: Left effusion.\n"
        "      No pneumothorax.\n"
        "    Depth: 12.5 mm\n"
        "    Count: 3\n"
        "    Laterality: Left\n"
        "    Seen: 20240531"
    )
    assert (found.header.patient_id, found.header.study_uid, found.header.modality) == ("P-1", "1.2.3", "SR")
    assert (found.header.study_date, found.header.age, found.header.rows) == ("2024-06-01", 50, None)
    assert found.header.extra["AboutSOPInstanceUID"] == IMAGE


def test_a_report_about_several_images_is_linked_to_none():
    text = content("TEXT", "Finding", TextValue="x")
    assert "AboutSOPInstanceUID" not in only(sr([text, image("1.2"), image("1.3")])).header.extra
    evidence = item(ReferencedSeriesSequence=item(ReferencedSOPSequence=item(ReferencedSOPInstanceUID="1.7")))
    found = only(sr([text], CurrentRequestedProcedureEvidenceSequence=evidence))
    assert found.header.extra["AboutSOPInstanceUID"] == "1.7"


def test_japanese_text():
    found = only(sr([content("TEXT", "所見", TextValue="左胸水")], SpecificCharacterSet="ISO_IR 192"))
    assert found.text.endswith("所見: 左胸水")


def test_reports_that_say_nothing_are_skips():
    for inside in ([], [content("CONTAINER", "Findings")], [image()]):
        found = only(sr(inside))
        assert isinstance(found, Skip)
        assert "structured report" in found.reason


def test_long_and_deep_reports_are_refused():
    text = content("TEXT", "Finding", TextValue="x" * 5000)
    with pytest.raises(ReadFailure, match="limit of 1,000"):
        only(sr([text]), Limits(max_text_chars=1000))
    deep = content("TEXT", "Finding", TextValue="end")
    for _ in range(60):
        deep = content("CONTAINER", "Level", [deep])
    with pytest.raises(ReadFailure, match="nested deeper"):
        only(sr([deep]))


def test_items_by_reference_are_not_followed():
    """A report may refer to its own items, also to those above (PS3.3 C.17.3.2.5)."""
    loop = Dataset()
    loop.RelationshipType, loop.ReferencedContentItemIdentifier = "INFERRED FROM", [1]
    assert only(sr([content("TEXT", "Finding", [loop], TextValue="x")])).text.endswith("Finding: x")


CDA = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3"><title>Befund</title>
<recordTarget><patientRole><patient><name>GEHEIM</name></patient></patientRole></recordTarget>
<component><structuredBody><component><section><code code="1"/><title>Beurteilung</title>
<text><paragraph>Erguss <content>links</content>.</paragraph>
<table><tbody><tr><td>Tiefe</td><td>12 mm</td></tr></tbody></table></text>
<entry><observation><value>GEHEIM</value></observation></entry>
<component><section><title>Technik</title><text>CT</text></section></component>
</section></component></structuredBody></component></ClinicalDocument>"""


def document(data: bytes, kind: str, sop_class: str = "104.2") -> bytes:
    ds = dataset(np.zeros((2, 2), np.uint8), SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{sop_class}")
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(ds, keyword)
    ds.MIMETypeOfEncapsulatedDocument = kind
    ds.EncapsulatedDocumentLength = len(data)
    ds.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    ds.SourceInstanceSequence = item(ReferencedSOPInstanceUID=IMAGE)
    return file_bytes(ds)


def test_the_narrative_of_cda_is_a_report():
    found = only(document(CDA.encode(), "text/XML"))
    assert found.text == "Befund\nBeurteilung\nErguss links.\nTiefe 12 mm\nTechnik\nCT"
    assert found.header.extra["AboutSOPInstanceUID"] == IMAGE


def test_plain_text_is_a_report():
    assert only(document("Größe\r\nnormal\r\n".encode(), "text/plain")).text == "Größe\nnormal"


def test_damaged_and_hostile_documents():
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><ClinicalDocument>&a;</ClinicalDocument>'
    for text in ("<ClinicalDocument>", bomb, ""):
        try:
            assert isinstance(only(document(text.encode(), "text/xml")), Skip)
        except ReadFailure as failure:
            assert failure.reason == "the encapsulated document is damaged"  # noqa: PT017
    deep = "<x>" * 20_000 + "</x>" * 20_000
    nested = f'<ClinicalDocument xmlns="urn:hl7-org:v3"><component>{deep}</component></ClinicalDocument>'
    assert isinstance(only(document(nested.encode(), "text/xml")), Skip)


def test_other_documents_are_skips():
    found = only(document(b"%PDF-1.4", "application/pdf", "104.1"))
    assert isinstance(found, Skip)
    assert "PDF" in found.reason


def test_highdicom_reports_are_read():
    """A measurement report as another library writes it."""
    hd = pytest.importorskip("highdicom")
    from pydicom.sr.codedict import codes

    observer = hd.sr.ObserverContext(
        codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(uid="1.2.3.9")
    )
    finding = hd.sr.CodedConcept("52988006", "SCT", "Lesion")
    measurement = hd.sr.Measurement(
        hd.sr.CodedConcept("410668003", "SCT", "Length"), 12.5, codes.UCUM.Millimeter
    )
    reference = hd.sr.SourceImageForMeasurementGroup("1.2.840.10008.5.1.4.1.1.2", IMAGE)
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        hd.sr.TrackingIdentifier("1.2.3.77", "lesion 1"), finding_type=finding, measurements=[measurement],
        source_images=[reference],
    )  # fmt: skip
    report = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=observer),
        codes.LN.CTUnspecifiedBodyRegion, imaging_measurements=[group],
    )  # fmt: skip
    evidence = dataset(
        np.zeros((2, 2), np.int16), SOPInstanceUID=IMAGE, StudyDate="", StudyTime="", AccessionNumber="",
        StudyID="", PatientBirthDate="", PatientSex="", ReferringPhysicianName="",
    )  # fmt: skip
    found = hd.sr.ComprehensiveSR([evidence], report[0], "1.2.5", 1, "1.2.5.1", 1, "M")
    out = io.BytesIO()
    found.save_as(out)
    text = only(out.getvalue()).text
    assert "Finding: Lesion" in text
    assert "Length: 12.5 mm" in text


def test_the_reports_of_the_collection(shared_data):
    folder = shared_data / "dicom" / "refuse_or_special"
    (found,) = DicomReader().describe(FileSource.of(folder / "sr_document.dcm"))
    assert "Area of defined region: 1.7 cm2\n        Normality: Normal" in found.text
    (found,) = DicomReader().describe(FileSource.of(folder / "test-SR.dcm"))
    assert "Diameter: 3 Length Unit" in found.text


class TestReportContract(ReaderContract):
    make = DicomReader
    secrets = (SECRET,)

    def sample(self):
        return sr(TREE)

    def other(self):
        return sr([content("TEXT", "Finding", TextValue="Normal")])
