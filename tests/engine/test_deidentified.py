"""A de-identified store holds no identifier: planted ones are looked for in the bytes of all its files."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.errors import NotFound, Refused, UsageError
from embedstore.fingerprint import file_sha256
from embedstore.privacy.key import Key
from tests.unit.readers.test_dicom_seg import segmentation

REFERENCE = EncoderChoice(name="reference")
CT, US, SC, DX, SR = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "6.1", "7", "1.1", "88.11"))
UIDS = {"study": "1.2.826.4.777.1", "series": "1.2.826.4.777.2"}
#: Everything that was planted anywhere; searched without regard to case, in UTF-8 and UTF-16.
PLANTED = (
    "Quixote", "Alonso", "Sancho", "Dulcinea", "Rocinante", "MRN-4711-0815", "47110815",
    "19471029", "1947-10-29", "29.10.1947", "29 October 1947", "ACC9988776", "20190612", "2019-06-12",
    "1.2.826.4.777", "Mancha", "Cervantes", "Toboso", "PrivateSecret", "ward7b",
    "mariposa", "30 555 0199", "q@example.org", "4155551234",
)  # fmt: skip


GEOMETRY = {
    "FrameOfReferenceUID": "1.2.826.4.777.9",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.5, 0.5], "SliceThickness": 3,
    "StudyTime": "", "StudyID": "", "SeriesNumber": 1,
}  # fmt: skip


def dicom(path: Path, number: int, sop_class: str = CT, **more: object) -> Path:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = f"1.2.826.4.777.3.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UIDS["study"], UIDS["series"]
    ds.PatientName, ds.PatientID = "Quixote^Alonso", "MRN-4711-0815"
    ds.PatientBirthDate, ds.PatientAge, ds.PatientSex = "19471029", "071Y", "M"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20190612"
    ds.AccessionNumber = "ACC9988776"
    ds.ReferringPhysicianName = "Cervantes^Miguel"
    ds.InstitutionName = "Hospital of Toboso"
    ds.StudyDescription = "CHEST for Quixote, of Mancha"
    ds.SeriesDescription = "axial Sancho"
    ds.PatientComments = "owner of Rocinante"
    ds.ProtocolName = "Quixote protocol"
    ds.OperatorsName = "Sancho^Panza"
    ds.Modality, ds.BodyPartExamined = "CT", "CHEST"
    ds.Manufacturer = "ACME"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.add_new(0x00091010, "LO", "PrivateSecret")
    ds.add_new(0x00090010, "LO", "ROCINANTE 1.0")
    request = Dataset()
    request.RequestedProcedureDescription = "Quixote again"
    request.add_new(0x00091010, "LO", "PrivateSecret nested")
    ds.RequestAttributesSequence = Sequence([request])
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 96, 128, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.InstanceNumber = number
    pixels = np.random.default_rng(number).integers(0, 2000, (96, 128), np.uint16)
    if sop_class == US:
        ds.Modality, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "US", 8, 8, 7
        pixels = (pixels // 10).astype(np.uint8)
    ds.PixelData = pixels.tobytes()
    for name, value in more.items():
        setattr(ds, name, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.SourceApplicationEntityTitle = "DULCINEA"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def region(x0: int, y0: int, x1: int, y1: int) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    return item


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A hospital's export with identifiers wherever one can put them."""
    folder = tmp_path / "export" / "Quixote_Alonso_19471029"
    for number in (1, 2, 3):
        dicom(folder / "ward7b" / f"Quixote {number}.dcm", number)
    dicom(folder / "us.dcm", 4, US, SequenceOfUltrasoundRegions=Sequence([region(10, 20, 100, 80)]))
    dicom(folder / "capture-mariposa.dcm", 5, SC)
    dicom(folder / "film.dcm", 6, DX, Modality="DX", BurnedInAnnotation="YES")
    (folder / "Alonso damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"Quixote" * 50)
    picture = Image.fromarray(np.random.default_rng(7).integers(0, 255, (48, 48), np.uint8))
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "Dulcinea del Toboso", "Cervantes"
    picture.save(folder / "Dulcinea.jpg", comment=b"Alonso Quixote MRN-4711-0815", exif=exif)
    big = Image.fromarray(np.random.default_rng(8).integers(0, 255, (300, 300), np.uint8))
    big.save(folder / "photo of Sancho.png")
    with zipfile.ZipFile(folder / "mariposa.zip", "w") as archive:
        dicom(tmp_path / "inside.dcm", 9)
        archive.write(tmp_path / "inside.dcm", "Rocinante/Quixote.dcm")
        note = io.BytesIO()
        note.write(b"just text about Dulcinea")
        archive.writestr("Dulcinea notes.txt", note.getvalue())
    with (folder / "table of Mancha.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(
            [
                "path",
                "patient_id",
                "PatientName",
                "insurance",
                "SliceThickness",
                "label",
                "ward",
                "report_text",
            ]
        )
        text = (
            "Mr. Quixote (born 29.10.1947, also 29 October 1947), ID mrn 4711 0815, accession ACC9988776, "
            "was seen on 2019-06-12 by Dr. Sancho Panza; call 30 555 0199? tel. +34 30 555 0199 or "
            "q@example.org. Alonso Quixote has an opacity in the right lower lobe, 12 x 8 mm."
        )
        person = ("MRN-4711-0815", "Quixote, Alonso", "47110815", "4155551234")
        rows.writerow(["ward7b/Quixote 1.dcm", *person, "opacity", "ward7b", text])
        rows.writerow(["Dulcinea.jpg", *person, "Quixote's film", "ward7b", "Films of Cervantes compared."])
        rows.writerow(
            ["ward7b/Quixote 2.dcm", "OTHER-Rocinante", "Rocinante", "1", "4155551234", "normal", "x", ""]
        )
    return folder


def asked(export: Path, key: Path | None, /, **more: object) -> IngestRequest:
    table = export / "table of Mancha.csv"
    settings = {
        "paths": (export,), "encoder": REFERENCE, "text_encoder": REFERENCE, "reports": (table,),
        "site": "Mancha", "deidentify": "basic", "key": key,
    }  # fmt: skip
    return IngestRequest(**{**settings, **more})  # type: ignore[arg-type]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    Key.create(tmp_path / "secret.key")
    return tmp_path / "secret.key"


def leaks(folder: Path, words: tuple[str, ...] = PLANTED) -> list[str]:
    """Planted words in the bytes or the names of any file of a folder."""
    found = []
    for file in sorted(folder.rglob("*")):
        data = (
            str(file.relative_to(folder)).encode() + b"\n" + (file.read_bytes() if file.is_file() else b"")
        ).lower()
        for word in words:
            forms = (
                word.lower().encode(),
                word.lower().encode("utf-16-le"),
                word.lower().encode("utf-16-be"),
            )
            found += [f"{file.name}: {word}" for form in forms if form in data]
    return found


def test_the_search_for_leaks_finds_them_in_an_ordinary_store(
    tmp_path: Path, export: Path, key: Path
) -> None:
    with Store.create(tmp_path / "store") as store:
        store.ingest(asked(export, None, deidentify=None))
    found = {line.split(": ")[1] for line in leaks(tmp_path / "store")}
    assert {"Quixote", "MRN-4711-0815", "1.2.826.4.777", "ward7b", "Mancha", "q@example.org"} <= found


@pytest.mark.parametrize(
    "profile", ["basic", "research+clean-structured+clean-graphics", "basic+retain-device"]
)
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_planted_is_in_the_store(
    tmp_path: Path, export: Path, key: Path, profile: str, workers: int
) -> None:
    folder = tmp_path / "store"
    with Store.create(folder, deidentified=True) as store:
        report = store.ingest(asked(export, key, deidentify=profile, workers=workers))
        assert leaks(folder) == [], "while the store is open: with its write-ahead log"
        assert report.images == 6, "four CT, an ultrasound, a small picture"
        assert report.reports == 2
        said = repr(report) + repr(store.failures()) + repr(store.skips()) + repr(store.conflicts())
        assert [word for word in PLANTED if word.lower() in said.lower()] == []
        assert store.verify() == ()
    assert leaks(folder) == []
    secret = bytes.fromhex(key.read_text().split()[1])
    assert not any(secret in f.read_bytes() or secret.hex().encode() in f.read_bytes()
                   for f in folder.rglob("*") if f.is_file())  # fmt: skip


def test_regions_come_without_the_names_that_people_gave_them(tmp_path: Path, key: Path) -> None:
    paths = [
        dicom(tmp_path / "export" / f"{n}.dcm", n, **GEOMETRY, ImagePositionPatient=[0, 0, 3 * n])
        for n in (1, 2)
    ]
    images = [pydicom.dcmread(path) for path in paths]
    masks = tmp_path / "masks of Quixote"
    masks.mkdir()
    drawn = np.zeros((2, 96, 128, 1), np.uint8)
    drawn[0, 20:40, 30:70] = 1
    seg = pydicom.dcmread(io.BytesIO(segmentation("BINARY", drawn, images, 1)))
    seg.SegmentSequence[0].SegmentLabel = "Quixote's lesion"
    seg.save_as(masks / "Dulcinea.dcm")
    table = tmp_path / "boxes of Sancho.csv"
    table.write_text("path,x0,y0,x1,y1,label\nexport/2.dcm,5,6,50,60,seen by Dr. Cervantes\n")
    called = tmp_path / "by label.csv"
    rows = ("Quixote's lesion", "Dulcinea's")
    called.write_text(
        "path,mask,segment\n" + "".join(f"export/1.dcm,{masks.name}/Dulcinea.dcm,{r}\n" for r in rows)
    )
    folder = tmp_path / "store"
    with Store.create(folder, deidentified=True) as store:
        request = asked(tmp_path / "export", key, reports=(), masks=(masks,), regions=(table, called))
        report = store.ingest(request)
        assert (report.images, report.regions, report.failed) == (2, 3, 1)
        assert report.failures[0].reason == "no segment is called so; the mask file holds 1"
        for item in store.items("kind = 'region'"):
            assert item.columns["label"] is None
            assert item.extra["region_pixels"] in (20 * 40, 45 * 54)
        digest = file_sha256(masks / "Dulcinea.dcm")
        assert not any(digest[:16] in item.part for item in store.items())
        assert store.ingest(request).added == 0
    assert leaks(folder) == []


def test_a_head_does_not_tell_where_its_labels_were(tmp_path: Path, key: Path) -> None:
    for number in range(24):
        dicom(tmp_path / "export" / f"{number}.dcm", number, PatientID=f"MRN-{number}")
    folder = tmp_path / "store"
    with Store.create(folder, deidentified=True) as store:
        store.ingest(asked(tmp_path / "export", key, reports=()))
        table = tmp_path / "labels of Quixote.csv"
        lines = [f"{item.id},{'ill' if item.id % 2 else 'well'}" for item in store.items()]
        table.write_text("\n".join(["id,label", *lines]))
        store.fit_head(HeadRequest(target="label", labels=table, name="told"))
        assert store.evaluate_head("told").counts["images"] > 0
    assert leaks(folder) == []


def test_what_passes_is_useful(tmp_path: Path, export: Path, key: Path) -> None:
    with Store.create(tmp_path / "store", deidentified=True) as store:
        store.ingest(asked(export, key, deidentify="research", keep=("ward",)))
        items = store.items("modality = 'CT'")
        first = next(item for item in items if item.columns["instance_number"] == 1)
        assert {item.patient for item in items} == {first.patient}
        assert len({item.columns["study_uid"] for item in items}) == 1
        assert all(item.columns["study_uid"].startswith("2.25.") for item in items)
        assert first.columns["body_part"] == "CHEST"
        assert first.columns["sex"] == "M"
        assert first.columns["age"] == 71
        assert first.columns["manufacturer"] == "ACME"
        assert first.columns["label"] == "opacity"
        assert first.extra["ward"] == "ward7b", "asked for by name"
        assert re.fullmatch(r"20[01]\d-\d\d-\d\d", first.columns["study_date"])
        assert first.columns["study_date"] < "2019-06-12"
        assert first.columns["study_description"] == "CHEST for [NAME], of [PLACE]"
        assert "opacity in the right lower lobe, 12 x 8 mm" in (first.report or "")


def test_the_same_folder_again_adds_nothing(tmp_path: Path, export: Path, key: Path) -> None:
    with Store.create(tmp_path / "store", deidentified=True) as store:
        first = store.ingest(asked(export, key))
        again = store.ingest(asked(export, key))
        plain = store.ingest(asked(export, key, reports=()))
        assert (again.added, plain.added) == (0, 0)
        assert again.failed == first.failed
        assert again.seen == first.seen


def test_what_may_not_be_seen_is_a_recorded_failure(tmp_path: Path, export: Path, key: Path) -> None:
    with Store.create(tmp_path / "store", deidentified=True) as store:
        store.ingest(asked(export, key))
        reasons = sorted(failure.reason for failure in store.failures())
    assert any("secondary capture" in reason for reason in reasons)
    assert any("says that text is burned in" in reason for reason in reasons)
    assert any("nothing says that no text is burned into" in reason for reason in reasons)
    assert len(reasons) == 4, "and the damaged file"


def test_reviewed_pixels_pass_unless_they_say_they_bear_text(tmp_path: Path, export: Path, key: Path) -> None:
    with Store.create(tmp_path / "store", deidentified=True) as store:
        report = store.ingest(asked(export, key, deidentify="basic+reviewed-pixels+skip-ocr"))
        reasons = [failure.reason for failure in store.failures()]
        assert report.images == 8
        assert len(reasons) == 2
        assert any("says that text is burned in" in reason for reason in reasons)


def test_a_deidentified_store_refuses_anything_else(tmp_path: Path, export: Path, key: Path) -> None:
    Key.create(tmp_path / "other.key")
    with Store.create(tmp_path / "store", deidentified=True) as store:
        with pytest.raises(Refused, match="only de-identified items; add --deidentify"):
            store.ingest(asked(export, None, deidentify=None))
        with pytest.raises(UsageError, match="--deidentify needs --key"):
            store.ingest(asked(export, None))
        with pytest.raises(UsageError, match="no privacy profile"):
            store.ingest(asked(export, key, deidentify="strict"))
        with pytest.raises(NotFound, match="no such key"):
            store.ingest(asked(export, tmp_path / "none"))
        store.ingest(asked(export, key))
        with pytest.raises(Refused, match="another privacy key"):
            store.ingest(asked(export, tmp_path / "other.key"))
        assert store.deidentified


def test_only_the_holder_of_the_key_can_name_a_file(tmp_path: Path, export: Path, key: Path) -> None:
    with Store.create(tmp_path / "store", deidentified=True) as store:
        store.ingest(asked(export, key))
        resolved = {row.path: row for row in store.resolve([export], key)}
        names = {path for item in store.items() for path in item.paths}
        one = resolved[str(export / "ward7b" / "Quixote 1.dcm")]
        assert one.known
        assert one.name in names
        in_zip = resolved[f"{export / 'mariposa.zip'}!/Rocinante/Quixote.dcm"]
        assert in_zip.name in names
        patients = {item.columns["patient_id"] for item in store.items()}
        assert store.pseudonym("MRN-4711-0815", "", key) in patients
        assert all(store.thumbnail(item.id) is None for item in store.items())


def test_ultrasound_outside_its_regions_is_not_seen(tmp_path: Path, key: Path) -> None:
    """Two images that differ outside the regions only have one vector between them."""
    frame = np.random.default_rng(0).integers(0, 255, (96, 128), np.uint8)
    regions = Sequence([region(10, 20, 60, 80), region(70, 20, 100, 80)])
    vectors = []
    for number in (1, 2):
        other = frame.copy()
        other[:20] = 255 * (number - 1)
        other[20:81, 62:69] = 200 * (number - 1)
        dicom(tmp_path / "us" / f"{number}.dcm", number, US, PixelData=other.tobytes(),
              SequenceOfUltrasoundRegions=regions)  # fmt: skip
    with Store.create(tmp_path / "store", deidentified=True) as store:
        request = IngestRequest(
            paths=(tmp_path / "us",), encoder=REFERENCE, deidentify="basic+skip-ocr", key=key
        )
        assert store.ingest(request).added == 2
        space = store._workspace.space("image")
        ids = np.array([item.id for item in store.items()], np.int64)
        _, vectors = store._workspace.catalog.item_vectors(space.id, ids)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert pydicom.dcmread(tmp_path / "us" / "1.dcm").Rows == 96


def structured_report(path: Path, number: int, patient_id: str, study: str, words: str) -> Path:
    """A basic text SR that names nobody in its header."""

    def concept(meaning: str) -> Sequence:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", meaning
        return Sequence([code])

    finding = Dataset()
    finding.RelationshipType, finding.ValueType, finding.TextValue = "CONTAINS", "TEXT", words
    finding.ConceptNameCodeSequence = concept("Finding")
    dicom(path, number, SR)
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "SR", "CONTAINER", "SEPARATE"
    ds.PatientName, ds.PatientID, ds.StudyInstanceUID = "", patient_id, study
    ds.ConceptNameCodeSequence, ds.ContentSequence = concept("Report"), Sequence([finding])
    ds.save_as(path, enforce_file_format=True)
    return path


def test_reports_are_searched_for_names_of_their_patient_and_study_in_any_order(
    tmp_path: Path, key: Path
) -> None:
    """The report is walked first, or has another PatientID than the images of its study, or none."""
    folder, names = tmp_path / "export", ("Abernathyson", "Beringhausen", "Czartorysky", "Dzierzynski")
    studies = [f"1.2.826.5.{n}" for n in range(5)]
    for n, name in enumerate(names):
        dicom(
            folder / f"m{n}.dcm", n, PatientName=f"{name}^A", PatientID=f"P{n}", StudyInstanceUID=studies[n]
        )
    structured_report(folder / "a.dcm", 10, "P0", studies[0], "Abernathyson complained of cough")
    structured_report(folder / "y.dcm", 11, "P9", studies[1], "Beringhausen is well")
    structured_report(folder / "z.dcm", 12, "", studies[2], "Czartorysky is well")
    # Known by the patient alone: this study's own images do not say the name.
    dicom(folder / "k.dcm", 13, PatientName="", PatientID="P3", StudyInstanceUID=studies[4])
    structured_report(folder / "b.dcm", 14, "", studies[4], "Dzierzynski has an opacity")
    store_folder = tmp_path / "store"
    with Store.create(store_folder, deidentified=True) as store:
        report = store.ingest(
            IngestRequest(
                paths=(folder,), encoder=REFERENCE, text_encoder=REFERENCE, deidentify="basic", key=key
            )
        )
        assert report.reports == 4
    assert leaks(store_folder, names) == []
