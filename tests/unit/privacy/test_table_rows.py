"""Every row of PS3.15 Table E.1-1: what the Basic Profile and each option leave of it, also in a sequence."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from embedstore.privacy.deidentify import deidentify
from embedstore.privacy.key import Key
from embedstore.privacy.profile import Profile
from embedstore.privacy.table import OPTIONS, Row, rows

KEY = Key(bytes(range(32)))
PLANTED = "Quixote"
PLANTED_UID = "1.2.3.987654321.5"
VALUES: dict[str, Any] = {
    "AE": PLANTED, "AS": "067Y", "CS": "QUIXOTE", "DA": "19871106", "DS": "98.76", "DT": "19871106121314",
    "IS": "9876", "LO": PLANTED, "LT": PLANTED, "OB": b"Quixote!", "PN": f"{PLANTED}^Alonso", "SH": PLANTED,
    "ST": PLANTED, "TM": "121314", "UC": PLANTED, "UI": PLANTED_UID, "UN": b"Quixote!", "UR": "http://quixote.example",
    "US": 9876, "UT": PLANTED, "OW": b"Quixote!",
}  # fmt: skip
PLAIN = {"50xxxxxx": "50023000", "60xx3000": "60023000", "60xx4000": "60024000", "private": "00211001"}
UNKNOWN_VR = {"50xxxxxx": "OW", "60xx3000": "OW", "60xx4000": "LT", "private": "LO"}
# Where the sequence around a row stands: an attribute that is in no row of the table.
WRAPPER = "ScheduledProtocolCodeSequence"
ROWS = list(rows().values())


def element_of(row: Row) -> DataElement:
    tag = Tag(int(PLAIN.get(row.tag, row.tag), 16))
    vr = UNKNOWN_VR.get(row.tag)
    if vr is None:
        try:
            vr = dictionary_VR(tag)
        except KeyError:  # newer than pydicom's dictionary: read as UN
            vr = "UN"
    if vr.startswith("OB or") or vr == "OB":
        vr = "OB"
    if vr == "SQ":
        item = Dataset()
        item.CodeValue = "QX-1"
        item.CodeMeaning = PLANTED
        item.PatientName = f"{PLANTED}^Alonso"
        item.ReferencedSOPInstanceUID = PLANTED_UID
        return DataElement(tag, "SQ", Sequence([item]))
    return DataElement(tag, vr, VALUES[vr])


def dataset_of(row: Row, nested: bool) -> Dataset:
    held, out = Dataset(), Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Quixote" is no valid URI, and need not be
        held.add(element_of(row))
    if not nested:
        held.PatientID = held.get("PatientID") or "QX-77"
        return held
    out.PatientID = "QX-77"
    setattr(out, WRAPPER, Sequence([held]))
    return out


def left(row: Row, nested: bool, profile: Profile) -> tuple[DataElement, DataElement | None]:
    """The element before, and what is left of it."""
    before = dataset_of(row, nested)
    after = deidentify(before, profile, KEY)
    place = after[WRAPPER].value[0] if nested else after
    element = element_of(row)
    return element, place.get(element.tag)


def text_of(element: DataElement) -> str:
    return repr(element.to_json_dict(None, 0)) + repr(element.value)


def assert_nothing_of(before: DataElement, after: DataElement, references: bool) -> None:
    """references: a sequence whose UIDs are replaced; its codes stay."""
    code = () if references else ("QX-1",)
    for planted in (PLANTED, "QUIXOTE", "quixote", PLANTED_UID, *code, "19871106", "9876"):
        assert planted not in text_of(after)
    if before.VR == "SQ":
        return
    assert after.value != before.value


@pytest.mark.parametrize("nested", [False, True], ids=["top", "nested"])
@pytest.mark.parametrize("row", ROWS, ids=[row.tag for row in ROWS])
def test_basic_profile(row: Row, nested: bool) -> None:
    before, after = left(row, nested, Profile())
    allowed = set(row.basic.split("/"))
    if after is None:
        assert "X" in allowed
        return
    assert_nothing_of(before, after, row.basic == "X/Z/U*")
    conforming = {"X/Z": "Z", "X/D": "D", "Z/D": "D", "X/Z/D": "D", "X/Z/U*": "U"}.get(row.basic, row.basic)
    assert conforming != "X", "it should have been removed"
    assert after.VR == before.VR
    if conforming == "Z":
        assert after.is_empty or str(after.value).startswith("P-")
    elif conforming == "D":
        assert not after.is_empty
    elif before.VR == "SQ":  # X/Z/U*: references stay, their UIDs are replaced
        assert after.value[0].ReferencedSOPInstanceUID == KEY.uid(PLANTED_UID)
    else:
        assert after.value == KEY.uid(PLANTED_UID)


OPTION_ROWS = [(row, option) for row in ROWS for option in OPTIONS if option in row.options]


@pytest.mark.parametrize("nested", [False, True], ids=["top", "nested"])
@pytest.mark.parametrize(
    ("row", "option"), OPTION_ROWS, ids=[f"{row.tag}-{option}" for row, option in OPTION_ROWS]
)
def test_option(row: Row, option: str, nested: bool) -> None:
    if option == "safe_private":  # not offered: no private attribute is known to be safe here
        _, after = left(row, nested, Profile())
        assert after is None
        return
    profile = Profile(**{option: True})
    before, after = left(row, nested, profile)
    action = row.options[option]
    if row.tag in ("50xxxxxx", "60xx3000") or (action == "C" and before.VR == "OB"):
        assert after is None, "what cannot be cleaned is removed"
        return
    assert after is not None
    assert after.VR == before.VR
    if before.VR == "SQ":
        item = after.value[0]
        assert PLANTED not in str(item.PatientName), "a sequence is kept with its items de-identified"
        assert "CodeValue" in item
        wanted = PLANTED_UID if option == "uids" else KEY.uid(PLANTED_UID)
        assert item.ReferencedSOPInstanceUID == wanted
    elif action == "K":
        assert after.value == before.value
    elif before.VR in ("DA", "DT"):
        assert str(after.value) != str(before.value)
        assert str(after.value)[8:] == str(before.value)[8:], "times of day stay"
        assert not after.is_empty
    elif before.VR in ("TM", "CS"):
        assert after.value == before.value
    elif before.VR == "AE":
        assert PLANTED not in str(after.value)
    else:  # text, searched for the names of this dataset
        named = dataset_of(row, nested)
        named.PatientName = f"{PLANTED}^Alonso"
        cleaned = deidentify(named, profile, KEY)
        place = cleaned[WRAPPER].value[0] if nested else cleaned
        assert PLANTED not in str(place[before.tag].value)


def test_the_table_is_whole() -> None:
    """Table E.1-1 of 2024e has 621 rows; 35 were added up to 2026c."""
    assert len([row for row in ROWS if row.edition == "2024e"]) == 621
    assert len([row for row in ROWS if row.edition == "2026c"]) == 35
    assert {row.basic for row in ROWS} == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
    assert all(set(row.options.values()) <= {"K", "C"} for row in ROWS)


def test_the_table_equals_dicom_anonymizer() -> None:
    """An independent transcription of the Basic Profile column, row by row."""
    peer: Any = pytest.importorskip("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    names = {
        "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z",
        "X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
    }  # fmt: skip
    repeating = {"50000000": "50xxxxxx", "60003000": "60xx3000", "60004000": "60xx4000"}
    theirs = {}
    for name, action in names.items():
        for tag in getattr(peer, name):
            digits = f"{tag[0]:04x}{tag[1]:04x}"
            theirs[repeating.get(digits, digits)] = action
    assert {row.tag: row.basic for row in ROWS if row.tag != "private"} == theirs
