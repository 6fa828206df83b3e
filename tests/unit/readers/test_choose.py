"""The right reader for a file, by content, and a sensible word on all others."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest
from PIL import Image as Pillow

from embedstore.contracts.record import Asset, Skip
from embedstore.errors import ReadFailure, UnknownPlugin
from embedstore.readers.choose import ReaderSet
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource

from .dicom_files import dataset, file_bytes
from .volume_files import nifti, pattern

ZIPPED_TEXT = gzip.compress(b"text", mtime=0)


@pytest.fixture(scope="module")
def readers() -> ReaderSet:
    return ReaderSet.installed()


def png() -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(np.zeros((3, 4), np.uint8)).save(out, "PNG")
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, images=np.zeros((2, 3, 4), np.uint8))
    return out.getvalue()


def test_built_in_readers(readers):
    assert {"dicom", "medmnist", "openi", "raster", "volume"} <= set(readers.names)


@pytest.mark.parametrize(
    ("data", "reader"),
    [(png, "raster"), (npz, "medmnist"), (lambda: file_bytes(dataset(np.zeros((2, 2), np.uint8))), "dicom")],
)
@pytest.mark.parametrize("name", ["/a/file", "/a/file.jpg", "/a/FILE.DCM", "/a/file.txt"])
def test_content_decides_not_the_suffix(readers, data, reader, name):
    found = list(readers.describe(BytesSource(data(), path=name)))
    assert isinstance(found[0], Asset)
    assert found[0].reader == reader
    assert readers.read(found[0]).pixels.dtype == np.uint8


def test_a_dicom_file_whose_preamble_is_a_tiff(readers):
    """PS3.10 7.1 lets the preamble make a file both; it is DICOM."""
    data = b"II*\x00" + file_bytes(dataset(np.zeros((2, 2), np.uint8)))[4:]
    assert next(iter(readers.describe(BytesSource(data)))).reader == "dicom"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"some words\n", "plain text"), ("Größe: 5 µm".encode("latin-1"), "plain text"),
        ("words".encode("utf-16"), "plain text"), (b'{"a": 1}', "JSON"), (b"<?xml?><a/>", "XML"),
        (b"<!DOCTYPE html><html>", "HTML"), (b"%PDF-1.7 ...", "PDF"), (ZIPPED_TEXT, "gzip"),
        (b"PK\x03\x04" + bytes(60), "package"), (b"SQLite format 3\x00", "SQLite"),
        (b"MZ\x90\x00\x01", "program"),
    ],
)  # fmt: skip
def test_documents_are_skipped(readers, data, kind):
    (found,) = readers.describe(BytesSource(data, path="/a/notes"))
    assert isinstance(found, Skip)
    assert kind in found.reason


def test_a_table_is_called_one(readers):
    (found,) = readers.describe(BytesSource(b"a,b\n1,2\n", path="/a/list.csv"))
    assert "a table" in found.reason


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.dcm", "empty file"), (b"", "a.txt", "empty file"),
        (b"words", "a.dcm", "plain text named .dcm"),
        (b"<html>", "a.PNG", "HTML page named .png"), (b"\x89PNGxx\x00\x01", "a.png", "not a .png file"),
        (ZIPPED_TEXT, "a.nii.gz", "gzip"), (b"NRRD0004\ntype: short\n", "a.nrrd", "NRRD header is damaged"),
        (b"ObjectType = Image\n", "a.mha", "MetaImage header"), (b"GIF89a\x01\x00", "a.gif", "GIF images"),
        (b"\x93NUMPY\x01\x00", "a.npy", "single .npy"), (b"\x00\x01\x02\x03" * 9, "a.bin", "unknown kind"),
        (b"PK\x03\x04" + bytes(60), "b.zip", "archive inside an archive"),
    ],
)  # fmt: skip
def test_what_may_be_an_image_is_a_failure(readers, data, name, reason):
    with pytest.raises(ReadFailure) as caught:
        list(readers.describe(BytesSource(data, path=f"/a/{name}")))
    assert reason in caught.value.reason


def test_a_file_beyond_the_limit_is_refused_after_its_head():
    source = BytesSource(png())
    with pytest.raises(ReadFailure, match="larger than the limit"):
        list(ReaderSet.installed(Limits(max_file_bytes=10)).describe(source))
    assert len(source.opened) <= 1


def test_what_is_read_piece_by_piece_may_be_larger():
    readers = ReaderSet.installed(Limits(max_file_bytes=10))
    for data in (file_bytes(dataset(np.zeros((4, 4), np.uint8))), nifti(pattern(1, 4, 5, 6))):
        (asset, *_) = readers.describe(BytesSource(data))
        assert readers.read(asset).pixels.size


def test_an_asset_of_a_reader_that_is_gone(readers):
    (asset,) = readers.describe(BytesSource(png()))
    stranger = Asset(source=asset.source, part=asset.part, reader="slides", header=asset.header)
    with pytest.raises(UnknownPlugin, match="no reader is called 'slides'"):
        readers.read(stranger)


def test_every_file_of_the_shared_collection(readers, shared_data):
    """None is dropped, none raises anything else, and every reason is one sensible line."""
    from embedstore.readers.walk import walk

    reasons: set[str] = set()
    counts = {"asset": 0, "report": 0, "skip": 0, "failure": 0}
    for source in walk([shared_data]):
        try:
            found = list(readers.describe(source))
            assert found, source.path
            if isinstance(found[0], Asset):
                readers.read(found[-1])
            kind = type(found[0]).__name__.lower()
        except ReadFailure as failure:
            kind = "failure"
            reasons.add(failure.reason)
        counts[kind] += 1
    assert all(reason.strip() and "\n" not in reason for reason in reasons)
    assert sum(counts.values()) == sum(1 for path in shared_data.rglob("*") if path.is_file())
    assert counts["report"] == 303  # of OpenI, and three structured reports
    assert counts["asset"] > 850


def test_a_draft_of_what_has_none_is_its_display(readers):
    (asset,) = readers.describe(BytesSource(file_bytes(dataset(np.arange(16, dtype=np.uint8).reshape(4, 4)))))
    shown, draft = (readers.read(asset, want) for want in ("display", "draft"))
    assert np.array_equal(shown.pixels, draft.pixels)
    assert draft.intensity == "draft"
