"""`embedstore embed` as a person and a program meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Ran


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A film, a mask of it, words, a damaged picture; the working folder."""
    films = tmp_path / "films"
    films.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)).save(films / "film.png")
    (films / "notes.txt").write_text("words")
    (films / "cut.png").write_bytes((films / "film.png").read_bytes()[:60])
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:20] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return films


def test_json_is_the_documented_document(folder: Path, embedstore: Callable[..., Ran]) -> None:
    ran = embedstore("embed", folder, "--encoder", "reference", "--json")
    assert (ran.status, ran.err) == (0, "")
    found = ran.json
    assert found["dim"] == 64
    assert len(found["space"]) == 64
    (row,) = found["rows"]
    assert set(row) == {"path", "part", "vector"}
    assert (row["path"], row["part"], len(row["vector"])) == (str(folder / "film.png"), "image", 64)
    assert [Path(one["path"]).name for one in found["skips"]] == ["notes.txt"]
    assert [Path(one["path"]).name for one in found["failures"]] == ["cut.png"]


def test_text_names_what_failed_and_where_the_vectors_are(
    folder: Path, embedstore: Callable[..., Ran]
) -> None:
    ran = embedstore("embed", folder, "--encoder", "reference", "--out", "v.npz")
    assert ran.status == 0
    assert "1 vector of 64 dimensions by reference" in ran.out
    assert "1 skipped, 1 failed" in ran.out
    assert "cut.png" in ran.out
    with np.load("v.npz", allow_pickle=False) as stored:
        assert stored["vectors"].shape == (1, 64)
        assert stored["parts"].tolist() == ["image"]


def test_a_box_and_a_mask_of_it_agree(folder: Path, embedstore: Callable[..., Ran]) -> None:
    ask = ("embed", folder / "film.png", "--encoder", "reference", "--json")
    box, mask, whole = (
        embedstore(*ask, *more).json["rows"] for more in (("--box", "10,5,20,15"), ("--mask", "mask.png"), ())
    )
    assert box == mask
    assert box != whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--box", "10,5,20"), "is not x0,y0,x1,y1"),
        (("--box", "10,5,10,9"), "is empty"),
        (("--box", "-1,5,10,9"), "is not x0,y0,x1,y1"),
        (("--box", "10,5,31,9"), "not inside the image, which is 30 pixels wide and 20 high"),
        (("--box", "1,1,2,2", "--mask", "mask.png"), "not both"),
        (("--segment", "1"), "name it with --mask"),
        (("--out", "nowhere/v.npz"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    folder: Path, embedstore: Callable[..., Ran], options: tuple[str, ...], words: str
) -> None:
    ran = embedstore("embed", folder / "film.png", "--encoder", "reference", *options)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_paths_with_escapes_do_not_steer_the_terminal(folder: Path, embedstore: Callable[..., Ran]) -> None:
    (folder / "film.png").rename(folder / "\x1b[31mred.png")
    ran = embedstore("embed", folder, "--encoder", "reference")
    assert "\x1b" not in ran.out
    document = embedstore("embed", folder, "--encoder", "reference", "--json")
    assert "\x1b" not in document.out
    assert json.loads(document.out)["rows"]
