"""Datasets out and in again: every layout, the provenance replayed elsewhere, structured reports."""

from __future__ import annotations

import csv
import json
import shutil

import pyarrow.parquet as pq
import pytest

from embedstore.engine.requests import VoteRequest
from embedstore.engine.store import Store
from embedstore.errors import BadInputFile, NotFound, Refused, UsageError

VOTERS = """
label_set: lit
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  neighbours: {kind: neighbours, column: attr.bright, where: "site = 'A'", k: 3, agreement: 0.6}
  report rules: {kind: rules, finding: opacity}
"""


@pytest.fixture
def labelled(filled, tmp_path):
    (tmp_path / "voters.yaml").write_text(VOTERS)
    filled.run_votes(VoteRequest(voters=tmp_path / "voters.yaml"))
    filled.say_labels("lit", {1: "absent", 2: "present", 3: "absent", 40: "absent"}, "ana")
    filled.say_labels("lit", {1: "present"}, "ana")
    filled.fit_label_model("lit")
    return filled


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_file_has_its_provenance_and_datasheet_beside_it(labelled, tmp_path):
    assert labelled.export_labels("lit", tmp_path / "out.csv") == 60
    lines = [json.loads(line) for line in (tmp_path / "out.provenance.jsonl").read_text().splitlines()]
    assert lines[0]["classes"] == ["absent", "present"]
    assert lines[0]["model"]["silence"] is True
    mine = [one for one in lines[1:] if one["voter"] == "person:ana"]
    assert [(one["label"], one["superseded"]) for one in mine if one["sha256"] == mine[0]["sha256"]] == [
        ("absent", True),
        ("present", False),
    ]
    ruled = next(one for one in lines[1:] if one["voter"] == "report rules")
    assert len(ruled["code_sha256"]) == len(ruled["input_sha256"]) == 64
    assert ruled["created"]
    sheet = (tmp_path / "out.datasheet.md").read_text()
    assert "60 images of 30 known patients" in sheet
    assert "| report rules |" in sheet
    assert "(4 images, 3 patients" in sheet
    assert "*needs author*" in sheet


def test_replayed_provenance_rebuilds_the_same_table(labelled, filled_path, tmp_path):
    labelled.export_labels("lit", tmp_path / "out.csv")
    shutil.copytree(filled_path, tmp_path / "other")
    with Store.open(tmp_path / "other") as other:
        card = other.import_labels("lit", tmp_path / "out.provenance.jsonl")
        assert card.missing == 0
        assert card.votes == 60 * 3 + 5
        other.fit_label_model("lit")
        other.export_labels("lit", tmp_path / "again.csv")
        assert rows_of(tmp_path / "again.csv") == rows_of(tmp_path / "out.csv")
        first, again = (
            (tmp_path / f"{name}.provenance.jsonl").read_text().splitlines()[1:] for name in ("out", "again")
        )
        assert again == first
        assert other.import_labels("lit", tmp_path / "out.provenance.jsonl").votes == 0


@pytest.mark.parametrize("layout", ["huggingface", "coco", "fiftyone"])
def test_every_layout_comes_back_as_votes(labelled, tmp_path, layout):
    out = tmp_path / layout
    assert labelled.export_labels("lit", out, layout) == 60
    assert (out / "README.md").exists()
    assert (out / "provenance.jsonl").exists()
    with pytest.raises(UsageError, match="is there already"):
        labelled.export_labels("lit", out, layout)
    card = labelled.import_labels("lit", out, by=layout)
    assert (card.votes, card.missing) == (60, 0)
    table = labelled._workspace.catalog.labels.votes("lit")
    model = labelled._workspace.catalog.labels.label_model("lit")
    mine = table.values[:, table.voters.index(f"person:{layout}")]
    assert mine.tolist() == model.labels.tolist()


def test_the_layouts_are_what_their_readers_expect(labelled, tmp_path):
    labelled.export_labels("lit", tmp_path / "hf", "huggingface")
    schema = pq.read_schema(tmp_path / "hf/data/train-00000-of-00001.parquet")
    told = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert told["label"] == {"names": ["absent", "present"], "_type": "ClassLabel"}
    assert list(told) == schema.names
    assert (tmp_path / "hf/README.md").read_text().startswith("---\npretty_name")
    labelled.export_labels("lit", tmp_path / "coco", "coco")
    coco = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert [one["name"] for one in coco["categories"]] == ["absent", "present"]
    assert len(coco["images"]) == len(coco["annotations"]) == 60
    assert {one["image_id"] for one in coco["annotations"]} == {one["id"] for one in coco["images"]}
    assert all(0.5 <= one["score"] <= 1 for one in coco["annotations"])
    labelled.export_labels("lit", tmp_path / "fo", "fiftyone")
    labels = json.loads((tmp_path / "fo/labels.json").read_text())
    assert set(labels["labels"]) == set(json.loads((tmp_path / "fo/data.json").read_text()))
    assert labels["classes"] == ["absent", "present"]


def test_structured_reports_are_valid_and_come_back(tmp_path, ask):
    highdicom = pytest.importorskip("highdicom")
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    folder = tmp_path / "dicom"
    folder.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(get_testdata_file(name), folder / name)
    with Store.create(tmp_path / "store") as store:
        store.ingest(ask(folder))
        (tmp_path / "voters.yaml").write_text(
            "label_set: ct\nvoters:\n"
            "  m: {kind: metadata, column: modality, lookup: {CT: present, MR: absent}}\n"
        )
        store.run_votes(VoteRequest(voters=tmp_path / "voters.yaml"))
        store.fit_label_model("ct")
        assert store.export_labels("ct", tmp_path / "sr", "dicom-sr") == 2
        for path in sorted((tmp_path / "sr").glob("*.dcm")):
            report = highdicom.sr.srread(path)
            (group,) = report.content.get_image_measurement_groups()
            (label,) = group.get_qualitative_evaluations()
            assert label.value.meaning in ("absent", "present")
            assert sum(float(one.value) for one in group.get_measurements()) == pytest.approx(1, abs=1e-5)
            image = dcmread(folder / ("CT_small.dcm" if label.value.meaning == "present" else "MR_small.dcm"))
            assert report.PatientID == image.PatientID
            assert report.StudyInstanceUID == image.StudyInstanceUID
            assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        card = store.import_labels("ct", tmp_path / "sr", by="sr")
        assert (card.votes, card.missing) == (2, 0)


def test_a_de_identified_store_writes_no_structured_reports(tmp_path):
    with Store.create(tmp_path / "store", deidentified=True) as store, pytest.raises(Refused):
        store.export_labels("x", tmp_path / "sr", "dicom-sr")


def test_lists_a_person_filled_in(labelled, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("id,path,label\n5,,present\n6,,\n7,elsewhere.png,absent\n9999,,absent\n")
    card = labelled.import_labels("lit", path, by="bea")
    assert (card.votes, card.missing) == (1, 2)
    for text, words in (
        ("id,name\n1,2\n", "no column 'label'"),
        ("id,label\n1,\n", "no label in its column"),
    ):
        path.write_text(text)
        with pytest.raises(BadInputFile, match=words):
            labelled.import_labels("lit", path, by="bea")
    path.write_text("id,label\n1,maybe\n")
    with pytest.raises(UsageError, match="not a class"):
        labelled.import_labels("lit", path, by="bea")
    with pytest.raises(UsageError, match="--by NAME"):
        labelled.import_labels("lit", path)
    with pytest.raises(NotFound, match="no label set"):
        labelled.import_labels("ghost", path, by="bea")
    broken = tmp_path / "p.jsonl"
    broken.write_text('{"format": "embedstore label provenance 1", "label_set": "b", "classes": ["x"]}\n{}\n')
    with pytest.raises(BadInputFile, match="line 2"):
        labelled.import_labels("b", broken)


def test_a_row_that_names_no_image_is_about_none(labelled, tmp_path):
    """Tables write what is missing as None: no image is called that."""
    (tmp_path / "in.csv").write_text("sop_uid,id,label\nNone,,present\n,\u00b2,present\n")
    card = labelled.import_labels("lit", tmp_path / "in.csv", by="bea")
    assert (card.votes, card.missing) == (0, 2)
