"""The shared search for weights: order of places, what came instead of a file, failures in plain words."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from embedstore.contracts.encoder import LoadRequest
from embedstore.encoders.weights import Official, not_downloaded, read_checkpoint, some, unlike_a_checkpoint
from embedstore.errors import Refused, WeightsMissing

MODEL = Official(files=("model.pth", "old.pth"), obtain="fetch it at example.org", repository="org/model")
ZIP = b"PK\x03\x04"


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "models--org--model" / "snapshots" / "abc"


def test_places_are_searched_in_order(tmp_path: Path, hub: Path) -> None:
    folder, named = tmp_path / "folder", tmp_path / "named.pth"
    hub.mkdir(parents=True)
    folder.mkdir()
    wanted = [hub / "model.pth", folder / "old.pth", folder / "model.pth"]
    assert MODEL.report(LoadRequest(weights_folder=folder)).state == "missing"
    for path in wanted:
        path.write_bytes(ZIP)
        assert MODEL.require(LoadRequest(weights_folder=folder)) == path
    named.write_bytes(ZIP)
    assert MODEL.require(LoadRequest(weights=named, weights_folder=folder)) == named
    named.unlink()
    with pytest.raises(WeightsMissing, match=r"no such weights: .*named\.pth; give the path of model\.pth"):
        MODEL.require(LoadRequest(weights=named, weights_folder=folder), "; and others")
    assert not MODEL.is_here(LoadRequest(weights=named))
    searched = MODEL.report(LoadRequest(weights_folder=tmp_path)).searched
    assert searched[:2] == (str(tmp_path / "model.pth"), str(tmp_path / "old.pth"))


def test_a_person_without_weights_is_told_what_to_do(tmp_path: Path) -> None:
    report = MODEL.report(LoadRequest(weights_folder=tmp_path), "; an old one is here")
    for words in ("model.pth is not", "fetch it at example.org", "EMBEDSTORE_WEIGHTS", "an old one is here"):
        assert words in report.remedy


@pytest.mark.parametrize(
    ("content", "gated", "why"),
    [
        (b"", False, "is empty"),
        (b"  <!doctype html>", False, "download the file itself"),
        (b"<html>", True, "terms have to be accepted"),
        (b'{"error": "gated"}', False, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", False, "Git LFS pointer"),
    ],
)
def test_what_came_in_place_of_weights_is_named(
    tmp_path: Path, content: bytes, gated: bool, why: str
) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    assert why in not_downloaded(path, gated)
    assert why in unlike_a_checkpoint(path, gated)
    report = Official(files=("model.pth",), obtain="x", gated=gated).report(LoadRequest(weights=path))
    assert (report.state, why in report.remedy) == ("unusable", True)


def test_weights_of_other_formats_are_downloads_but_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert not_downloaded(path) == ""
    assert "is not a PyTorch checkpoint" in unlike_a_checkpoint(path)
    assert "cannot be read" in not_downloaded(tmp_path / "absent")


def test_failures_of_a_loader_become_reasons(tmp_path: Path) -> None:
    archive, other = tmp_path / "archive.pth", tmp_path / "other.pth"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"x")
    other.write_bytes(b"not a checkpoint")
    assert read_checkpoint(archive, lambda mmap: ("read", mmap), Refused) == ("read", True)
    assert read_checkpoint(other, lambda mmap: mmap, Refused) is False

    def fail_with(error: Exception):
        def load(_: bool) -> None:
            raise error

        return load

    with pytest.raises(Refused, match=r"found Python objects \(posix\.system\), which could run code"):
        read_checkpoint(archive, fail_with(pickle.UnpicklingError("GLOBAL posix.system was not")), Refused)
    for error in (pickle.UnpicklingError(), RuntimeError("long story"), EOFError(), KeyError("x")):
        with pytest.raises(Refused, match=r"^it is truncated, or no PyTorch checkpoint$"):
            read_checkpoint(other, fail_with(error), Refused)
    with pytest.raises(WeightsMissing, match="cannot be read"):
        read_checkpoint(tmp_path / "absent", lambda _: None, Refused)


def test_many_names_are_shortened() -> None:
    assert some([]) == "nothing"
    assert some("abcdef") == "a, b, c, d and 2 more"


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, embedstore.encoders.weights; "
        "print(sorted({'torch', 'numpy', 'PIL', 'sqlalchemy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in ran.stdout
    assert "sqlalchemy" not in ran.stdout
