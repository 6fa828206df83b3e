"""OpenI's report XML."""

from __future__ import annotations

import csv
import json

import pytest

from embedstore.contracts.record import Skip
from embedstore.errors import ReadFailure
from embedstore.readers.openi import OpenIReader
from embedstore.readers.sources import FileSource
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource


def record(sections: str, mesh: str = "", head: str = '<uId id="CXR42"/>') -> BytesSource:
    return BytesSource(
        f"<?xml version='1.0'?><eCitation>{head}<MedlineCitation><Article><Abstract>{sections}"
        f"</Abstract></Article></MedlineCitation><MeSH>{mesh}</MeSH></eCitation>".encode()
    )


def only(source):
    (found,) = OpenIReader().describe(source)
    return found


def section(name, text):
    return f'<AbstractText Label="{name}">{text}</AbstractText>'


def test_sections_in_order():
    text = section("IMPRESSION", "Normal.") + section("FINDINGS", " The\n heart &amp; lungs ")
    text += section("COMPARISON", "") + section("OTHER", "x")
    assert only(record(text)).text == "FINDINGS: The heart & lungs IMPRESSION: Normal."


@pytest.mark.parametrize(
    ("mesh", "label"),
    [
        ("<major>normal</major>", "normal"),
        ("<major>Cardiomegaly/mild</major><major>normal</major>", "abnormal"),
        ("", None),
    ],
)
def test_labels_from_headings(mesh, label):
    assert only(record(section("FINDINGS", "x"), mesh)).header.label == label


def test_the_patient_only_when_the_file_has_a_number():
    assert only(record(section("FINDINGS", "x"))).header.patient_id == "openi-42"
    assert only(record(section("FINDINGS", "x"), head="")).header.patient_id is None


def test_no_text_is_a_skip():
    assert isinstance(only(record("")), Skip)


@pytest.mark.parametrize(
    "attack",
    [
        '<!DOCTYPE a [<!ENTITY x "x">]><eCitation>&x;</eCitation>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><eCitation>&x;</eCitation>',
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><eCitation/>',
    ],
)
def test_entities_are_refused(attack):
    with pytest.raises(ReadFailure, match="refused"):
        only(BytesSource(attack.encode()))


def test_damage_and_limits():
    with pytest.raises(ReadFailure, match="damaged"):
        only(BytesSource(record(section("FINDINGS", "x")).data[:-20]))
    with pytest.raises(ReadFailure, match="unknown encoding"):
        only(BytesSource(b"<?xml version='1.0' encoding='klingon'?><eCitation></eCitation>"))
    with pytest.raises(ReadFailure, match="longer than"):
        list(OpenIReader(Limits(max_text_chars=5)).describe(record(section("FINDINGS", "long"))))


def test_the_shared_reports_against_the_manifest(shared_data):
    """The manifest was made from the same files by other hands."""
    with (shared_data / "MANIFEST.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["path"].startswith("reports_openi")]
    assert len(rows) == 300
    for row in rows:
        found = only(FileSource.of(shared_data / row["path"]))
        assert found.text == row["report_text"], row["path"]
        assert found.header.patient_id == row["patient_id"]
        assert found.header.label == row["label"]
        assert found.header.extra["mesh"].split("; ") == [
            " ".join(heading.split()) for heading in json.loads(row["extra"])["mesh_major"]
        ]
