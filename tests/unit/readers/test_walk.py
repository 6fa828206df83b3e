"""Sources, and walking to them: every file once, in a fixed order, none dropped, nothing hangs."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.fileset import FileSet

from embedstore.errors import NotFound, ReadFailure
from embedstore.readers.sources import FileSource, ZipMember, source_at
from embedstore.readers.walk import Unreachable, walk
from embedstore.settings import Limits
from embedstore.storage.store import create_store

from .dicom_files import dataset, file_bytes


def walked(*paths: Path, limits=None) -> list[str]:
    base = paths[0] if paths[0].is_dir() else paths[0].parent
    found = []
    for one in walk(paths, limits or Limits()):
        name = one.path.removeprefix(f"{base}/")
        found.append(f"{name}: {one.reason}" if isinstance(one, Unreachable) else name)
    return found


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_folders_in_order_without_junk(tmp_path):
    for name in ("b/2.png", "b/10.png", "a.dcm", "Ünicode und Leer/ß.jpg", ".hidden/x.dcm"):
        put(tmp_path / name)
    for junk in (".DS_Store", "b/Thumbs.db", "__MACOSX/a", "b/._2.png"):
        put(tmp_path / junk)
    found = walked(tmp_path)
    assert found == [".hidden/x.dcm", "a.dcm", "b/10.png", "b/2.png", "Ünicode und Leer/ß.jpg"]
    assert found == walked(tmp_path)


def test_a_store_among_the_images_is_not_entered_and_said(tmp_path):
    create_store(tmp_path / "embedstore-data")
    put(tmp_path / "film.png")
    put(tmp_path / "segments/film.png")
    said = "embedstore-data: a store of embedstore; not entered"
    assert walked(tmp_path) == [said, "film.png", "segments/film.png"]


def test_a_path_given_twice_is_met_once(tmp_path):
    put(tmp_path / "b/1")
    assert walked(tmp_path, tmp_path / "b", tmp_path / "b/1", tmp_path) == ["b/1"]


def test_a_path_that_does_not_exist_stops_before_anything(tmp_path):
    with pytest.raises(NotFound, match="no such file or folder"):
        walk([tmp_path, tmp_path / "missing"])


def test_loops_of_links_end(tmp_path):
    put(tmp_path / "real/1")
    (tmp_path / "real/loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "nothing").symlink_to(tmp_path / "gone")
    assert walked(tmp_path) == ["nothing: a link to nothing", "real/1"]


def test_a_folder_outside_is_entered_by_its_link(tmp_path):
    put(tmp_path / "out/1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    assert walked(tmp_path / "in") == ["link/1"]


def test_what_cannot_be_opened_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path / "file")
    assert walked(tmp_path) == ["file", "pipe: not a regular file (a device, pipe or socket)"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_said(tmp_path):
    folder = put(tmp_path / "closed/1").parent
    file = put(tmp_path / "locked")
    folder.chmod(0)
    file.chmod(0)
    try:
        assert walked(tmp_path) == [
            "closed: folder: no permission to read it",
            "locked: no permission to read it",
        ]
    finally:
        folder.chmod(0o700)


def test_no_permission_is_said_even_to_root(tmp_path, monkeypatch):
    """Where tests run as root nothing is forbidden: let the system refuse."""
    put(tmp_path / "closed/1")
    real = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert walked(tmp_path) == ["closed: folder: no permission to read it"]


def test_names_that_are_not_text(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(b"x")
    assert walked(tmp_path) == ["\\udcff.png: the file name is not valid UTF-8; rename it"]


def archive(path: Path, members: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_are_opened_by_content(tmp_path, method):
    """Not by suffix; members are sorted; junk in them is passed over."""
    members = {"b.dcm": b"B" * 5000, "a/c.png": b"C", "__MACOSX/b.dcm": b"junk", "a/.DS_Store": b"junk"}
    path = archive(tmp_path / "study.bin", members, method)
    found = list(walk([tmp_path]))
    assert [one.path for one in found] == [f"{path}!/a/c.png", f"{path}!/b.dcm"]
    assert [one.size for one in found] == [1, 5000]
    with found[1].open() as stream:
        assert stream.read(3) == b"BBB"
        stream.seek(-1, 2)
        assert stream.read() == b"B"


def test_arrays_and_documents_are_no_archives(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2), np.uint8))
    archive(tmp_path / "b.docx", {"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"})
    assert walked(tmp_path) == ["a.npz", "b.docx"]


def test_damaged_and_crowded_archives(tmp_path):
    path = archive(tmp_path / "a.zip", {f"{n}": b"1" for n in range(5)})
    crowded = walked(path, limits=Limits(max_members=4))
    assert crowded == ["a.zip: the archive has 5 members, more than the limit of 4"]
    path.write_bytes(path.read_bytes()[:-30])
    assert walked(path) == ["a.zip: the zip archive is damaged or incomplete"]
    assert walked(archive(tmp_path / "e.zip", {})) == ["e.zip: the archive is empty"]


def flawed(tmp_path: Path, change) -> str:
    path = archive(tmp_path / "a.zip", {"x": os.urandom(300)}, zipfile.ZIP_STORED)
    member = next(iter(walk([path])))
    member = change(path, member)
    with pytest.raises(ReadFailure) as caught:
        member.open()
    return caught.value.reason


def test_members_are_checked(tmp_path):
    def flip(path, member):
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
        return member

    def lie(path, member):
        return ZipMember(**{f: getattr(member, f) for f in member.__slots__} | {"size": 200})

    def lock(path, member):
        return ZipMember(**{f: getattr(member, f) for f in member.__slots__} | {"flags": 1})

    def shrink(path, member):
        fields = {f: getattr(member, f) for f in member.__slots__}
        return ZipMember(**fields | {"limits": Limits(max_file_bytes=10)})

    assert "checksum" in flawed(tmp_path, flip)
    assert "checksum" in flawed(tmp_path, lie)
    assert "encrypted" in flawed(tmp_path, lock)
    assert "limit" in flawed(tmp_path, shrink)


def test_names_that_lead_out_of_an_archive_and_links_are_refused(tmp_path):
    names = (
        "../up.dcm",
        "a/../../b.dcm",
        "/etc/c.dcm",
        "..\\d.dcm",
        "C:\\e.dcm",
        "d:/f.dcm",
        "\\\\host\\g.dcm",
    )
    path = archive(tmp_path / "a.zip", dict.fromkeys((*names, "fine..dcm", "a/T2:x.dcm"), b"x"))
    link = zipfile.ZipInfo("link.dcm")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as out:
        out.writestr(link, "/etc/passwd")
    found = list(walk([path]))
    refused = {
        one.path.removeprefix(f"{path}!/"): one.reason for one in found if isinstance(one, Unreachable)
    }
    assert refused.keys() == {*names, "link.dcm"}
    assert {reason for name, reason in refused.items() if name in names} == {
        "the archive member's name leads out of the archive; refused"
    }
    assert "a link" in refused["link.dcm"]
    read = [one for one in found if not isinstance(one, Unreachable)]
    assert {one.name for one in read} == {"fine..dcm", "a/T2:x.dcm"}
    for one in read:
        with one.open() as stream:
            assert stream.read() == b"x"
    with pytest.raises(ReadFailure, match="refused"):  # nor by its stored path
        source_at(f"{path}!/../up.dcm").open()


def test_a_deflated_bomb_stops_at_its_promise(tmp_path):
    """The directory says 100 bytes, the data are 50 MB."""
    path = archive(tmp_path / "a.zip", {"x": bytes(50_000_000)})
    member = next(iter(walk([path])))
    fields = {f: getattr(member, f) for f in member.__slots__}
    with pytest.raises(ReadFailure, match="checksum"):
        ZipMember(**fields | {"size": 100}).open()


def test_sources_travel_to_other_processes(tmp_path):
    put(tmp_path / "1")
    archive(tmp_path / "a.zip", {"x": b"hello"})
    for one in walk([tmp_path]):
        again = pickle.loads(pickle.dumps(one))
        assert again == one
        with again.open() as stream:
            assert stream.read()


def test_a_stored_path_finds_its_source(tmp_path):
    file, zipped = put(tmp_path / "a!/b"), archive(tmp_path / "a.zip", {"d/x": b"hello"})
    assert source_at(str(file)) == FileSource.of(file)
    with source_at(f"{zipped}!/d/x").open() as stream:
        assert stream.read() == b"hello"
    for gone in (tmp_path / "gone", f"{zipped}!/gone", f"{tmp_path}/gone.zip!/x"):
        with pytest.raises(NotFound):
            source_at(str(gone))


def test_a_vanished_file_is_a_failure(tmp_path):
    source = FileSource.of(put(tmp_path / "1"))
    (tmp_path / "1").unlink()
    with pytest.raises(ReadFailure, match="does not exist"):
        source.open()
    with pytest.raises(ReadFailure, match="does not exist"):
        FileSource.of(tmp_path / "1")


@pytest.fixture
def medium(tmp_path) -> Path:
    """A medium of two images with its DICOMDIR."""
    files = FileSet()
    for number in (1, 2):
        ds = dataset(np.zeros((4, 4), np.uint8), SOPInstanceUID=f"1.2.3.4.{number}", InstanceNumber=number)
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.SeriesNumber = "20240531", "1200", "1", 1
        ds.PatientName = "A^B"
        put(tmp_path / f"in/{number}", file_bytes(ds))
        files.add(tmp_path / f"in/{number}")
    files.write(tmp_path / "medium")
    files._stage["t"].cleanup()  # pydicom leaves it to the garbage collector, which warns
    return tmp_path / "medium"


def test_a_dicomdir_brings_its_files(medium):
    whole = walked(medium)
    alone = [one.path for one in walk([medium / "DICOMDIR"])]
    assert len(whole) == 3
    assert sorted(Path(path).relative_to(medium).as_posix() for path in alone) == sorted(whole)


def test_files_that_a_dicomdir_misses_are_said(medium):
    images = [path for path in walked(medium) if not path.endswith("DICOMDIR")]
    (medium / images[0]).unlink()
    found = walked(medium)
    assert f"{images[0]}: referenced by a DICOMDIR, but not there" in found
    assert len(found) == 3


def test_a_medium_in_lower_case(medium):
    for path in sorted(medium.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    found = [one.path for one in walk([medium / "dicomdir"])]
    assert len(found) == 3
    assert all(Path(path).is_file() for path in found)


def test_a_dicomdir_cannot_lead_outside(medium):
    data = (medium / "DICOMDIR").read_bytes()
    first = next(path for path in walked(medium) if not path.endswith("DICOMDIR"))
    name = "\\".join(Path(first).parts).encode()
    put(medium / "DICOMDIR", data.replace(name, b"..\\..\\x".ljust(len(name), b"x"), 1))
    outside = [one for one in walk([medium / "DICOMDIR"]) if isinstance(one, Unreachable)]
    assert len(outside) == 1
    assert "outside" in outside[0].reason


def test_a_damaged_dicomdir_is_said(tmp_path):
    put(tmp_path / "DICOMDIR", bytes(128) + b"DICM" + os.urandom(40))
    found = walked(tmp_path)
    assert found[0] == "DICOMDIR"
