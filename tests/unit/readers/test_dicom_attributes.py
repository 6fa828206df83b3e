"""Every attribute by keyword, whatever the header: against pydicom, and with headers made by hypothesis."""

from __future__ import annotations

import io
import json
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.dicom_attributes import MOST_JSON, MOST_TEXT, attributes
from embedstore.readers.dicom_charset import decode
from embedstore.readers.dicom_scan import scan_header
from embedstore.readers.sources import FileSource
from embedstore.testing.readers import BytesSource

from .dicom_files import SECRET, bare_bytes, dataset, file_bytes, item

PIXELS = np.zeros((4, 6), np.uint8)
CARRIED = sorted(
    path
    for path in Path(os.path.dirname(pydicom.data.__file__)).rglob("*")  # noqa: PTH120
    if path.is_file() and path.read_bytes()[128:132] == b"DICM"
)


def extra(data: bytes):
    return next(iter(DicomReader().describe(BytesSource(data)))).header.extra


def test_values_of_every_kind():
    ds = dataset(
        PIXELS, ImageType=["ORIGINAL", "PRIMARY"], SliceThickness="2.50", KVP="120", ExposureTime="7",
        AcquisitionDate="20240531", FrameIncrementPointer=[0x00181063, 0x00181065],
        TagAngleFirstAxis=1.5, EchoTrainLength="3", SmallestImagePixelValue=7, PixelAspectRatio=["1", "2"],
        PatientComments="line\r\nline", RecommendedDisplayFrameRateInFloat=0.1,
    )  # fmt: skip
    found = extra(file_bytes(ds))
    assert found["ImageType"] == "ORIGINAL\\PRIMARY"
    assert (found["SliceThickness"], found["KVP"], found["ExposureTime"]) == (2.5, 120, 7)
    assert (found["AcquisitionDate"], found["EchoTrainLength"]) == ("20240531", 3)
    assert found["FrameIncrementPointer"] == "00181063\\00181065"
    assert (found["TagAngleFirstAxis"], found["SmallestImagePixelValue"]) == (1.5, 7)
    assert found["PixelAspectRatio"] == "1\\2"
    assert found["RecommendedDisplayFrameRateInFloat"] == 0.1  # 32 bits, without the digits they do not have
    assert found["PatientComments"] == "lineline"


def test_what_is_left_out():
    ds = dataset(
        PIXELS, ReferringPhysicianName=SECRET, OtherPatientNames=SECRET, PatientID="P", StudyDescription="S",
        RequestAttributesSequence=item(RequestingPhysician=SECRET, RequestedProcedureID="7"),
        RedPaletteColorLookupTableDescriptor=[1, 0, 16], IconImageSequence=item(Rows=2),
        ICCProfile=b"\0" * 200, LargestImagePixelValue=3,
    )  # fmt: skip
    ds.add_new(0x60000010, "US", 4)
    ds.private_block(0x0011, "SECRET CORP", create=True).add_new(1, "LO", SECRET)
    found = extra(file_bytes(ds))
    assert "GEHEIM" not in repr(found)
    assert json.loads(found["RequestAttributesSequence"]) == [{"RequestedProcedureID": "7"}]
    absent = (
        *("PatientID", "StudyDescription", "RedPaletteColorLookupTableDescriptor", "IconImageSequence"),
        *("ICCProfile", "PixelData", "OverlayRows"),
    )
    assert not set(absent) & set(found)
    assert found["LargestImagePixelValue"] == 3


def test_lengths_are_bounded():
    code = [Dataset() for _ in range(500)]
    for number, one in enumerate(code):
        one.CodeValue, one.CodeMeaning = str(number), "x" * 50
    ds = dataset(PIXELS, ProcedureCodeSequence=Sequence(code), ImageComments="y" * 5000)
    ds.add_new(0x00181065, "DS", ["1"] * 3000)
    found = extra(file_bytes(ds))
    assert len(found["ImageComments"]) == MOST_TEXT
    assert len(found["FrameTimeVector"]) <= MOST_TEXT
    kept = json.loads(found["ProcedureCodeSequence"])
    assert len(found["ProcedureCodeSequence"]) <= MOST_JSON * 1.2
    assert [one["CodeValue"] for one in kept] == [str(number) for number in range(len(kept))]
    assert len(kept) > 10


def test_nested_sequences_of_any_depth():
    ds = Dataset()
    ds.CodeValue = "deepest"
    for _ in range(40):
        outer = Dataset()
        outer.ConceptCodeSequence = Sequence([ds])
        outer.CodeValue = "level"
        ds = outer
    top = dataset(PIXELS, RequestAttributesSequence=Sequence([ds]))
    for data in (file_bytes(top), _undefined_lengths(top)):
        found = json.loads(extra(data)["RequestAttributesSequence"])
        depth, inner = 0, found[0]
        while "ConceptCodeSequence" in inner:
            depth, inner = depth + 1, inner["ConceptCodeSequence"][0]
        assert 5 <= depth < 10


def _undefined_lengths(ds: Dataset) -> bytes:
    ds["RequestAttributesSequence"].is_undefined_length = True
    inner = ds.RequestAttributesSequence[0]
    inner.is_undefined_length_sequence_item = True
    return file_bytes(ds)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, None]
)
def test_every_coding_gives_the_same_attributes(syntax):
    elements = {
        "SpecificCharacterSet": "ISO_IR 192", "InstitutionalDepartmentName": "Gef\u00e4\u00dfe",
        "RequestAttributesSequence": item(RequestedProcedureID="\u00e4", NumberOfFrames="3"),
        "TagAngleFirstAxis": 1.25, "FrameIncrementPointer": 0x00181063, "KVP": "80",
    }  # fmt: skip
    truth = dict(extra(file_bytes(dataset(PIXELS, **elements))))
    data = bare_bytes(dataset(PIXELS, **elements)) if syntax is None else file_bytes(
        dataset(PIXELS, **elements), syntax
    )  # fmt: skip
    assert dict(extra(data)) == truth


def test_shared_functional_groups_are_attributes_too():
    shared = Dataset()
    shared.MRTimingAndRelatedParametersSequence = item(RepetitionTime=500, FlipAngle=30)
    shared.CTXRayDetailsSequence = item(KVP=110)
    ds = dataset(
        np.zeros((2, 4, 6), np.uint8), NumberOfFrames=2, SharedFunctionalGroupsSequence=Sequence([shared]),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
    )  # fmt: skip
    header = next(iter(DicomReader().describe(BytesSource(file_bytes(ds))))).header
    assert (header.extra["RepetitionTime"], header.extra["FlipAngle"]) == (500, 30)
    assert header.kvp == 110


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.name)
def test_the_quick_scan_finds_what_pydicom_finds(path):
    data = path.read_bytes()
    quick, slow = io.BytesIO(data), io.BytesIO(data)
    found = scan_header(quick, len(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if found is None:
            return
        truth = dcmread(slow, stop_before_pixels=True)
        assert quick.tell() == slow.tell()
        assert found.original_encoding == truth.original_encoding
        assert found.file_meta == truth.file_meta
        assert found == truth


def test_the_quick_scan_takes_nearly_all_files():
    taken = 0
    for path in CARRIED:
        data = path.read_bytes()
        taken += scan_header(io.BytesIO(data), len(data)) is not None
    assert taken / len(CARRIED) > 0.9


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.name)
def test_attributes_are_what_pydicom_decodes(path):
    """Text and numbers of the top level."""
    try:
        assets = [one for one in DicomReader().describe(FileSource.of(path)) if hasattr(one, "reader")]
    except ReadFailure:
        return
    if not assets:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = dcmread(path, stop_before_pixels=True)
        for keyword, value in assets[0].header.extra.items():
            if keyword not in truth or truth[keyword].VR in ("SQ", "AT"):
                continue
            theirs = truth[keyword].value
            if isinstance(value, str):
                parts = [theirs] if isinstance(theirs, str) or not hasattr(theirs, "__iter__") else theirs
                joined = "\\".join(str(part).strip() for part in parts)
                assert value == "".join(c for c in joined if c.isprintable()).strip()[:MOST_TEXT], keyword
            else:
                assert math.isclose(value, float(theirs), rel_tol=1e-6), keyword


KEYWORDS = ("ImageComments", "ProtocolName", "KVP", "EchoTrainLength", "ImageType", "AcquisitionTime")


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYWORDS), st.binary(max_size=40)),
    st.sampled_from(["ISO_IR 100", "ISO_IR 192", "GB18030", "", "NO SUCH SET", "\\ISO 2022 IR 87"]),
)
def test_any_bytes_are_attributes_or_none(values, charset):
    """Whatever the values are: scalars that JSON and SQL take, and never an error."""
    ds = dataset(PIXELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if charset:
            ds.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
        data = bytearray(file_bytes(ds))
    at = data.index(b"\x28\x00\x02\x00US")  # Samples per Pixel: before it comes what is added
    added = b""
    for keyword, value in sorted(values.items(), key=lambda pair: pydicom.datadict.tag_for_keyword(pair[0])):
        tag = pydicom.datadict.tag_for_keyword(keyword)
        raw = value + b" " * (len(value) % 2)
        vr = pydicom.datadict.dictionary_VR(tag).encode()
        added += (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        added += vr + len(raw).to_bytes(2, "little") + raw
    found = extra(bytes(data[:at]) + added + bytes(data[at:]))
    json.dumps(found, allow_nan=False)
    for value in found.values():
        assert isinstance(value, (str, int, float))
        assert not isinstance(value, str) or (
            ("\0" not in value and value.isprintable()) or not value.isascii()
        )
        str(value).encode()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_headers_are_read_or_refused(data):
    sample = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(132, len(sample) - 1))
        sample[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3)) == 0
    if cut:
        sample = sample[: data.draw(st.integers(1, len(sample)))]
    try:
        for found in DicomReader().describe(BytesSource(bytes(sample))):
            repr(found)
    except ReadFailure as failure:
        reasons = failure.reason
    else:
        reasons = ""
    assert "GEHEIM" not in reasons


def _sample() -> bytes:
    frames = []
    for z in (0, 2, 1):
        one = Dataset()
        one.PlanePositionSequence = item(ImagePositionPatient=[0, 0, z])
        one.FrameContentSequence = item(StackID="1", TemporalPositionIndex=1, DimensionIndexValues=[1, 2])
        frames.append(one)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = item(PixelSpacing=[1, 1])
    ds = dataset(
        np.zeros((3, 4, 6), np.uint8), NumberOfFrames=3, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        PerFrameFunctionalGroupsSequence=Sequence(frames), SharedFunctionalGroupsSequence=Sequence([shared]),
        RequestAttributesSequence=item(
            RequestedProcedureID="1", ScheduledProtocolCodeSequence=item(CodeValue="2")
        ),
    )  # fmt: skip
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    return file_bytes(ds)


SAMPLE = _sample()


@pytest.mark.parametrize(
    ("names", "data", "text"),
    [
        (["iso8859"], b"plain", "plain"),
        (["iso8859"], "Größe".encode(), "Größe"),  # nothing declared, but UTF-8
        (["iso8859"], "Größe".encode("latin-1"), "Größe"),
        (["latin_1"], "é".encode(), "Ã©"),  # declared as Latin-1: taken at its word
        (["UTF8"], b"Gr\xf6\xdfe", "Gr\ufffd\ufffde"),  # not what was declared
        (["GB18030"], "王^小东".encode("gb18030"), "王^小东"),
        (["GBK"], "誠\\意".encode("gbk"), "誠\\意"),  # the second byte of 誠 is a backslash
        (["iso8859", "iso2022_jp"], b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田"),
        (["iso8859", "euc_kr"], b"\x1b$)C\xb1\xe8\xc8\xf1", "김희"),
        (["shift_jis", "iso2022_jp"], b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
        (["no such set"], b"caf\xe9", "café"),
    ],
)
def test_character_sets_are_decoded_before_values_are_split(names, data, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode(data, names) == text


@given(
    st.binary(max_size=60), st.sampled_from(["iso8859", "UTF8", "GBK", "euc_kr", "iso2022_jp", "shift_jis"])
)
def test_decoding_never_fails(data, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(decode(data, ["iso8859", name]), str)
        assert isinstance(decode(data, name), str)


def test_a_value_of_two_characters_with_backslash_bytes():
    """GBK: both bytes of a character may be found in the value delimiter's place."""
    ds = dataset(PIXELS, SpecificCharacterSet="GBK")
    ds.add_new("ProtocolName", "LO", "誠意".encode("gbk"))
    assert extra(file_bytes(ds))["ProtocolName"] == "誠意"


def test_a_converted_dataset_gives_the_same_attributes():
    """pydicom decodes what was looked at, and sequences of undefined length, at once."""
    data = SAMPLE
    raw = scan_header(io.BytesIO(data), len(data))
    known = dcmread(io.BytesIO(data), stop_before_pixels=True)
    for element in known.iterall():
        str(element.value)
    assert attributes(raw) == attributes(known)
