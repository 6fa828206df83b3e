"""Whole objects: pseudonyms, private attributes, hostile and real datasets."""

from __future__ import annotations

import io
import os
import string
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from embedstore.errors import BadInputFile, NotFound, UsageError
from embedstore.privacy.deidentify import deidentify, pseudonym
from embedstore.privacy.key import Key, is_registered
from embedstore.privacy.profile import Profile

KEY, OTHER = Key(bytes(32)), Key(bytes(31) + b"1")


def person(number: str = "P1", name: str = "Quixote^Alonso", **more: object) -> Dataset:
    ds = Dataset()
    ds.PatientID, ds.PatientName, ds.PatientSex = number, name, "M"
    ds.StudyInstanceUID, ds.SOPClassUID = "1.2.3.4.1", "1.2.840.10008.5.1.4.1.1.2"
    ds.StudyDate, ds.SeriesDate = "20190612", "20190614"
    for key, value in more.items():
        setattr(ds, key, value)
    return ds


def test_pseudonyms_are_consistent_under_a_key_and_unlinked_between_keys() -> None:
    one, again = (deidentify(person(), Profile(), KEY) for _ in range(2))
    assert one == again
    assert one.PatientID == one.PatientName == pseudonym(KEY, "", "P1")
    other = deidentify(person(), Profile(), OTHER)
    assert other.PatientID != one.PatientID
    assert other.StudyInstanceUID != one.StudyInstanceUID
    assert deidentify(person("P2"), Profile(), KEY).PatientID != one.PatientID
    issued = deidentify(person(IssuerOfPatientID="A"), Profile(), KEY)
    assert issued.PatientID != one.PatientID, "two issuers' P1 are two persons"


def test_the_original_stays_as_it_was() -> None:
    ds = person(RequestAttributesSequence=Sequence([person()]))
    before = ds.to_json()
    deidentify(ds, Profile(descriptors=True, modified_dates=True), KEY)
    assert ds.to_json() == before


def test_it_says_what_was_done() -> None:
    profile = Profile.parse("research+retain-uids")
    ds = deidentify(person(), profile, KEY)
    assert ds.PatientIdentityRemoved == "YES"
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in ds.DeidentificationMethodCodeSequence] == [
        "113100", "113105", "113107", "113108", "113109", "113110",
    ]  # fmt: skip
    assert all(len(word) <= 64 for word in ds.DeidentificationMethod)
    twice = deidentify(ds, profile, KEY)
    assert len(twice.DeidentificationMethodCodeSequence) == 6, "said once, however often it is done"
    assert deidentify(person(), Profile(), KEY).LongitudinalTemporalInformationModified == "REMOVED"
    assert (
        deidentify(person(), Profile(full_dates=True), KEY).LongitudinalTemporalInformationModified
        == "UNMODIFIED"
    )


def test_dates_of_a_patient_move_together() -> None:
    profile = Profile(modified_dates=True)
    one = deidentify(person(), profile, KEY)
    assert int(one.SeriesDate) - int(one.StudyDate) in (2, 72, 73, 71, 8872), "two days, over whatever month"
    assert one.StudyDate < "20190612"
    other = deidentify(person("P2"), profile, KEY)
    assert other.StudyDate != one.StudyDate


def test_text_that_is_kept_is_searched() -> None:
    ds = person(StudyDescription="CT of Quixote, P-1 20190612", ImageComments="none")
    cleaned = deidentify(ds, Profile(descriptors=True), KEY)
    assert cleaned.StudyDescription == "CT of [NAME], P-1 [DATE]"


def test_file_meta_and_preamble_carry_nothing() -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.file_meta.SourceApplicationEntityTitle = "SECRET"
    ds.preamble = b"SECRET" * 21 + b"12"
    out = deidentify(ds, Profile(), KEY)
    written = io.BytesIO()
    out.save_as(written, enforce_file_format=True)
    assert b"SECRET" not in written.getvalue()
    again = pydicom.dcmread(io.BytesIO(written.getvalue()))
    assert again.file_meta.MediaStorageSOPInstanceUID == again.SOPInstanceUID == KEY.uid(ds.SOPInstanceUID)
    assert again.PixelData == ds.PixelData
    assert not [e for e in again.iterall() if e.tag.is_private]


REAL = sorted(path.name for path in (Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("profile", ["basic", "research+clean-structured+clean-graphics+retain-institution"])
def test_real_files_come_out_valid_and_empty_of_their_person(name: str, profile: str) -> None:
    path = get_testdata_file(name, download=False)
    assert path is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files are damaged on purpose
        ds = pydicom.dcmread(path, force=True)
        out = deidentify(ds, Profile.parse(profile), KEY)
        written = io.BytesIO()
        out.save_as(written)
        elements = list(pydicom.dcmread(io.BytesIO(written.getvalue()), force=True).iterall())
        secrets = {
            str(ds.get(k) or "") for k in ("PatientName", "PatientID", "SOPInstanceUID", "StudyInstanceUID")
        }
        texts = [str(e.value) for e in elements if e.VR not in ("SQ", "OW", "OB", "CS")]
    assert not [e for e in elements if e.tag.is_private]
    for secret in secrets:
        if len(secret) > 4:
            assert not [text for text in texts if secret in text], secret


WORDS = st.text(string.ascii_letters, min_size=6, max_size=12).map(lambda w: f"zq{w}")
KEYWORDS = st.sampled_from(
    ["StudyDescription", "PatientComments", "InstitutionName", "OperatorsName", "ProtocolName",
     "DerivationDescription", "ImageComments", "RequestedProcedureDescription", "DeviceSerialNumber",
     "StationName", "AccessionNumber"]
)  # fmt: skip


@st.composite
def datasets(draw: st.DrawFn, depth: int = 2) -> tuple[Dataset, set[str]]:
    """A dataset with nested sequences, and every word planted in it."""
    ds, planted = Dataset(), set[str]()
    for keyword in draw(st.lists(KEYWORDS, max_size=5, unique=True)):
        word = draw(WORDS)
        planted.add(word)
        setattr(ds, keyword, word)
    if draw(st.booleans()):
        word = draw(WORDS)
        planted.add(word)
        block = ds.private_block(0x0011, "someone", create=True)
        block.add_new(draw(st.integers(1, 200)), "LO", word)
    if depth:
        for keyword in (
            "RequestAttributesSequence",
            "ScheduledProtocolCodeSequence",
            "AnatomicRegionSequence",
        ):
            if draw(st.booleans()):
                item, more = draw(datasets(depth=depth - 1))
                planted |= more
                setattr(ds, keyword, Sequence([item]))
    return ds, planted


@settings(deadline=None, max_examples=60)
@given(datasets())
def test_nothing_planted_anywhere_survives_the_basic_profile(made: tuple[Dataset, set[str]]) -> None:
    ds, planted = made
    ds.PatientID = "77"
    out = deidentify(ds, Profile(), KEY)
    text = out.to_json()
    assert not [word for word in planted if word in text]
    assert deidentify(out, Profile(), KEY).to_json() is not None


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "k"
    made = Key.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Key.load(path).fingerprint == made.fingerprint
    assert path.read_text().split()[1] not in repr(made) + str(made)
    with pytest.raises(UsageError, match="never overwritten"):
        Key.create(path)
    os.chmod(path, 0o644)  # noqa: PTH101
    with pytest.raises(BadInputFile, match="chmod 600"):
        Key.load(path)
    path.chmod(0o600)
    path.write_text("embedstore-privacy-key-1\nabcd\n")
    with pytest.raises(BadInputFile, match="cut short"):
        Key.load(path)
    path.write_text("something else")
    with pytest.raises(BadInputFile, match="not a privacy key"):
        Key.load(path)
    with pytest.raises(NotFound):
        Key.load(tmp_path / "none")


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=3),
    st.lists(st.text(max_size=8), min_size=1, max_size=3),
)
def test_tokens_of_different_values_differ(one: list[str], other: list[str]) -> None:
    assert (KEY.token("x", *one) == KEY.token("x", *other)) == (one == other)
    assert KEY.token("x", *one) != KEY.token("y", *one)


@given(st.text("0123456789.", min_size=1, max_size=64).filter(lambda uid: not is_registered(uid)))
def test_uids_are_valid_and_standard_ones_stay(uid: str) -> None:
    made = KEY.uid(uid)
    assert pydicom.uid.UID(made).is_valid
    assert made.startswith("2.25.")
    assert KEY.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"


def test_the_standards_root_hides_nothing() -> None:
    assert KEY.uid("1.2.840.10008.19450312").startswith("2.25.")


def test_profiles_are_read_and_written() -> None:
    assert str(Profile.parse("basic+Clean-Descriptors")) == "basic+clean-descriptors"
    assert Profile.parse(str(Profile.parse("research"))) == Profile.parse("research")
    assert Profile.parse("research+full-dates").full_dates
    for wrong in ("", "basic+", "basic+everything", "basic+full-dates+modified-dates"):
        with pytest.raises(UsageError):
            Profile.parse(wrong)
