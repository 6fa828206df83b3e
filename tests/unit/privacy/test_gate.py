"""The gate: nothing passes that no rule names."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.contracts.record import HEADER_COLUMNS, Header
from embedstore.errors import ReadFailure
from embedstore.privacy.gate import Gate, ruled_columns
from embedstore.privacy.identifiers import NOBODY
from embedstore.privacy.key import Key
from embedstore.privacy.profile import Profile

KEY = Key(bytes(32))
BASIC, RESEARCH = (Gate(Profile.parse(name), KEY) for name in ("basic", "research"))


class At:
    path, size, mtime_ns = "/archive/Quixote/film.dcm", 12, 34


def test_every_column_has_a_rule() -> None:
    """A new column of `Header` passes no gate until somebody has thought about it."""
    assert ruled_columns() == set(HEADER_COLUMNS)


def test_basic_leaves_dates_ages_and_descriptions_out() -> None:
    header = Header(
        patient_id="P1", study_date="2019-06-12", acquisition_date="2019-06-12", age=71, sex="M",
        study_description="Chest", institution="Toboso", site="A", contrast="Ultravist", kvp=120.0,
        modality="CT", study_uid="1.2.3.4.5.6", sop_class="1.2.840.10008.5.1.4.1.1.2", whole="1.2.3.4.5.6/3",
    )  # fmt: skip
    out = BASIC.header(header, NOBODY)
    left_out = (
        "study_date",
        "acquisition_date",
        "age",
        "sex",
        "study_description",
        "institution",
        "contrast",
    )
    assert [getattr(out, name) for name in left_out] == [None] * len(left_out)
    assert (out.kvp, out.modality, out.sop_class) == (120.0, "CT", header.sop_class)
    assert re.fullmatch("S-[A-Z2-7]{8}", out.site or "")
    assert out.study_uid == KEY.uid("1.2.3.4.5.6")
    assert "1.2.3" not in (out.whole or "")


def test_a_split_is_a_usual_word_or_a_pseudonym() -> None:
    """An array of a file may be called after its patient, and its name becomes the split."""
    for word in ("train", "Validation", "test", "external", "fold 3", "0"):
        assert BASIC.header(Header(split=word), NOBODY).split == word
    one, again, other = (
        BASIC.header(Header(split=name), NOBODY).split for name in ("Doe", "Doe", "test-Doe")
    )
    assert one == again != other
    assert re.fullmatch("X-[A-Z2-7]{8}", one or "")


def test_research_keeps_ages_up_to_ninety_and_moves_dates() -> None:
    out = RESEARCH.header(Header(patient_id="P1", age=97, sex="F", study_date="2019-06-12"), NOBODY)
    assert (out.age, out.sex) == (90, "F")
    assert out.study_date is not None
    assert out.study_date < "2019-06-12"


@pytest.mark.parametrize(
    ("name", "value", "basic", "research"),
    [
        ("SliceThickness", 1.25, 1.25, 1.25),
        ("ScanOptions", "HELIX", "HELIX", "HELIX"),
        ("ConvolutionKernel", "B30f", "B30f", "B30f"),
        ("ProtocolName", "Chest", None, "Chest"),
        ("PatientWeight", 80.0, None, 80.0),
        ("PatientComments", "a narrative", None, None),
        ("AccessionNumber", "4711", None, None),
        ("DeviceSerialNumber", "S1", None, "S1"),
        ("FrameOfReferenceUID", "1.2.3.4.5.6", KEY.uid("1.2.3.4.5.6"), KEY.uid("1.2.3.4.5.6")),
        ("PatientName", "Quixote", None, None),
        ("SeriesNumber", "Quixote", None, None),
        ("SeriesNumber", "12", "12", "12"),
        ("SeriesNumber", "4155551234", None, None),
        ("ImagingFrequency", "127.729513", "127.729513", "127.729513"),
        ("RadionuclideTotalDose", 3.7e8, 3.7e8, 3.7e8),
        ("ImageType", "ORIGINAL\\PRIMARY\\AXIAL", "ORIGINAL\\PRIMARY\\AXIAL", "ORIGINAL\\PRIMARY\\AXIAL"),
        ("ImageType", "Quixote Alonso!", None, None),
        ("ImageType", "ORIGINAL\\4155551234", None, None),
        ("ImageType", "A NAME AND AN ADDRESS", None, None),
        ("PatientAge", "045Y", None, "045Y"),
        ("PatientAge", "097Y", None, "090Y"),
        ("PatientAge", "born in 1947", None, None),
        ("ward", "7b", None, None),
        ("0009,1010", "x", None, None),
    ],
)
def test_attributes(name: str, value: str | float, basic: object, research: object) -> None:
    for gate, wanted in ((BASIC, basic), (RESEARCH, research)):
        assert gate.header(Header(extra={name: value}), NOBODY).extra.get(name) == wanted


@pytest.mark.parametrize(
    "name", ["PatientWeight", "SliceThickness", "ScanOptions", "ConvolutionKernel", "ward"]
)
def test_a_column_of_a_table_is_no_dicom_element_because_it_is_called_like_one(name: str) -> None:
    """A telephone number under a keyword that would let numbers through."""
    header = Header(extra={name: 4155551234})
    assert not RESEARCH.header(header, NOBODY, frozenset({name})).extra
    kept = replace(RESEARCH, kept=frozenset({name}))
    assert kept.header(header, NOBODY, frozenset({name})).extra == {name: 4155551234}


def test_numbers_that_are_the_patients_own_do_not_pass() -> None:
    header = Header(patient_id="4711081", extra={"SeriesNumber": "4711081", "SliceThickness": "3"})
    assert RESEARCH.header(header, NOBODY).extra == {"SliceThickness": "3"}


def test_columns_of_numbers_hold_what_they_are_called() -> None:
    """A table may map any column to them."""
    kinds = {one.name: str(one.type) for one in fields(Header)}
    numbers = [name for name, kind in kinds.items() if kind.split()[0] in ("int", "float") and name != "age"]
    assert len(numbers) > 10
    for name in numbers:
        assert getattr(BASIC.header(Header(**{name: 4155551234}), NOBODY), name) is None
        assert getattr(BASIC.header(Header(**{name: 7}), NOBODY), name) == 7


def test_a_kept_attribute_passes_searched() -> None:
    gate = Gate(Profile(), KEY, frozenset({"note"}))
    out = gate.header(Header(patient_id="MRN-4711", extra={"note": "of MRN-4711", "other": 1}), NOBODY)
    assert dict(out.extra) == {"note": "of [ID]"}


@pytest.mark.parametrize("part", ["image", "frame/3", "train/17", "tile/512,1024", "slice/4", "volume/t/2"])
def test_our_own_parts_stay(part: str) -> None:
    assert BASIC.part(part) == part


@pytest.mark.parametrize(
    "part", ["report/MRN-4711", "report/4711", "smith/3", "frame/1.2.3.4.5", "slice/Quixote"]
)
def test_other_parts_become_hmacs(part: str) -> None:
    sealed = BASIC.part(part)
    assert re.fullmatch(r"[a-z]+/[a-z2-7]{26}", sealed)
    assert sealed == BASIC.part(part) != BASIC.part(part + "1")


def test_sources_are_sealed() -> None:
    sealed = BASIC.seal(At())  # type: ignore[arg-type]
    assert sealed == BASIC.seal(At())  # type: ignore[arg-type]
    assert re.fullmatch("hmac:[A-Z2-7]{32}", sealed.path)
    assert sealed.size == 0
    with pytest.raises(ReadFailure):
        sealed.open()


def test_reasons_name_no_file() -> None:
    reason = "damaged: /archive/Quixote/film.dcm and Quixote, a film of 12.05.2019"
    assert BASIC.reason(reason, At.path) == "damaged: [FILE] and [FILE], a film of [DATE]"
    words = "a DICOM object without an image: DICOMDIR, an index of other files"
    assert BASIC.reason(words, "/archive/dicom/DICOMDIR") == words


@given(
    st.dictionaries(st.text(max_size=12), st.text(max_size=30) | st.integers() | st.floats(allow_nan=False))
)
def test_no_unnamed_attribute_passes(extra: dict[str, str | int | float]) -> None:
    planted = {f"x{name}": value for name, value in extra.items()}
    assert not BASIC.header(Header(extra=planted), NOBODY).extra
