"""`embedstore inspect` as a person and a program meet it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedstore.cli.preview import ascii_shades, half_blocks
from embedstore.engine.inspect import FileCard, Inspection, RecipeCard
from embedstore.engine.inspect_many import FolderCard, KindRow, ReasonRow
from tests.cli.conftest import Ran
from tests.unit.readers.dicom_files import dataset, file_bytes

CARD = {"path", "format", "reader", "facts", "unit", "why", "items", "parts", "skips", "part", "columns"} | {
    "attributes", "display", "stored", "remarks", "recipe", "failure", "wholes", "reports", "bytes",
}  # fmt: skip
HOSTILE = "\x1b[31mred\x07 [bold]not markup[/bold]"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CT with a window, a loop of 12 frames, a text, an empty file; the working folder."""
    ramp = np.arange(32 * 24, dtype=np.uint16).reshape(32, 24)
    ct = dataset(
        ramp, PatientID="P-SECRET-1", RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=40,
        WindowWidth=400, PixelSpacing=[0.7, 0.7], KVP=120,
        StudyDescription=HOSTILE, InstitutionName="St. Elsewhere",
        PatientAge="061Y", SliceLocation=12.5, ConvolutionKernel="B30f", ImageType=["ORIGINAL", "PRIMARY"],
        FrameOfReferenceUID="1.2.9.9",
    )  # fmt: skip
    (tmp_path / "ct.dcm").write_bytes(file_bytes(ct))
    loop = dataset(np.zeros((12, 8, 8), np.uint8), NumberOfFrames=12, Modality="US")
    (tmp_path / "loop.dcm").write_bytes(file_bytes(loop))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.dcm").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


CT = FileCard(
    path="/data/" + "long folder/" * 6 + "ct.dcm",
    bytes=39_206,
    format="DICOM",
    facts=(("object", "CT Image Storage"), ("bits", "12 stored in 16, unsigned")),
    items=1,
    wholes=0,
    parts=("image",),
    reports=0,
    skips=(),
    reader="dicom",
    unit="image",
    why="one picture is one item (the default for this kind of object)",
    part="image",
    columns={"patient_id": HOSTILE, "modality": "CT", "spacing_row_mm": 0.661468, "age": 61.0, "view": None},
    attributes={f"Name{n}": n for n in range(8)} | {"KVP": 120},
    display="rescale slope 1, intercept -1024 to Hounsfield units; window: centre 40, width 400",
    stored={"shape": (8, 8, 1), "low": -1024.0, "high": 1167.0, "spacing_mm": (0.661468, 0.661468)},
    remarks=("was compressed with loss (ratio 12.5)",),
    recipe=RecipeCard(
        encoder="reference", steps=("display pixels", "divide by 255"), input=(1, 8, 8), low=0.0, high=1.0
    ),
)
STACK = replace(
    CT, items=40, wholes=1, parts=("slice/1", "slice/2", "slice/3", "slice/4", "slice/5"), part="slice/21",
    unit="slice", why="a stack is taken slice by slice", remarks=(),
    recipe=RecipeCard(encoder="medsam", steps=("hu pixels",), refusal="its values are not Hounsfield units"),
)  # fmt: skip
SKIP = FileCard(
    path="/data/sr.dcm", bytes=5, format="DICOM", facts=(("object", "Comprehensive SR Storage"),), items=0,
    wholes=0, parts=(), reports=0, skips=("a DICOM object without an image: structured report (SR)",),
)  # fmt: skip
FOLDER = FolderCard(
    path="/data",
    files=20_000,
    items=19_990,
    complete=False,
    kinds=(
        KindRow(reader="dicom", modality="CT", unit="slice", files=19_900, items=19_900, wholes=120),
        KindRow(reader="report", modality=None, unit="", files=4, items=90, wholes=0),
    ),
    skips=(ReasonRow(reason="not an image (plain text)", files=3, examples=("/data/a/b.txt",)),),
    failures=(ReasonRow(reason=f"truncated {HOSTILE}", files=1, examples=("/data/c.dcm",)),),
)
RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
FOUND = {
    "file": Inspection(CT, RAMP, RAMP),
    "stack": Inspection(STACK, RAMP),
    "skip": Inspection(SKIP),
    "folder": FOLDER,
}
SHOWN = {
    "inspect": ("file", "--ascii"),
    "inspect-all": ("file", "--all"),
    "inspect-private": ("file", "--all", "--no-identifiers"),
    "inspect-stack": ("stack",),
    "inspect-skip": ("skip",),
    "inspect-folder": ("folder",),
    "inspect-folder-private": ("folder", "--no-identifiers"),
    "inspect-both": ("skip", "folder"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_text_is_readable_and_safe(
    name: str,
    embedstore: Callable[..., Ran],
    golden: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("embedstore.engine.inspect.inspect_path", lambda path, *_: FOUND[path])
    ran = embedstore("inspect", *SHOWN[name])
    assert (ran.status, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    golden(ran.out, file=f"{name}.txt")


def test_json(folder: Path, embedstore: Callable[..., Ran]) -> None:
    document = embedstore("inspect", "ct.dcm", ".", "--encoder", "reference", "--json").json
    assert set(document) == {"files", "folders", "failures"}
    (card,) = document["files"]
    assert set(card) == CARD
    assert card["facts"]["object"] == "CT Image Storage"
    assert card["columns"]["patient_id"] == "P-SECRET-1"
    assert card["recipe"]["input"] == [1, 8, 8]
    (summary,) = document["folders"]
    assert (summary["files"], summary["items"]) == (4, 13)
    assert summary["failures"][0]["examples"] == [str(folder / "empty.dcm")]


def test_without_identifiers_nothing_tells_who_it_is(folder: Path, embedstore: Callable[..., Ran]) -> None:
    named = folder / "DOE_JANE"
    named.mkdir()
    (folder / "ct.dcm").rename(named / "P-SECRET-1.dcm")
    for arguments in (("DOE_JANE/P-SECRET-1.dcm",), ("DOE_JANE",), ("DOE_JANE/P-SECRET-1.dcm", "--all")):
        for form in ((), ("--json",)):
            ran = embedstore("inspect", *arguments, *form, "--no-identifiers", "--encoder", "reference")
            assert ran.status == 0
            for secret in ("SECRET", "DOE", "1.2.3", "1.2.9", "Elsewhere", "[31mred", str(folder)):
                assert secret not in ran.out
            assert "CT" in ran.out


def test_a_picture_beside_what_the_encoder_gets(folder: Path, embedstore: Callable[..., Ran]) -> None:
    ran = embedstore("inspect", "ct.dcm", "--encoder", "reference", "--png", "out.png")
    assert ran.status == 0
    assert ran.out.endswith("Picture: out.png\n")
    picture = Image.open(folder / "out.png")
    assert picture.format == "PNG"
    assert picture.text == {}
    assert picture.size[0] > picture.size[1] > 512


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("empty.dcm",), 9, "empty.dcm: empty file"),
        (("nowhere.dcm",), 3, "nowhere.dcm: no such file"),
        (("ct.dcm", "--encoder", "referense"), 2, "reference"),
        (("ct.dcm", "--part", "frame/2"), 3, "it has no part 'frame/2'"),
        (("ct.dcm", "loop.dcm", "--png", "x.png"), 2, "--png is about one file"),
        (("ct.dcm", "--png", "no/x.png"), 2, "the folder of --png 'no/x.png' does not exist"),
        ((".", "--png", "x.png"), 2, "no picture to write"),
        ((".", "--part", "image"), 2, "--part is about one file"),
        ((), 2, "missing argument"),
    ],
)
def test_what_goes_wrong_is_one_line(
    arguments: tuple[str, ...], status: int, says: str, folder: Path, embedstore: Callable[..., Ran]
) -> None:
    ran = embedstore("inspect", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.count("\n") == 1
    assert says in ran.err


def test_the_readable_files_are_shown_and_the_failure_is_told(
    folder: Path, embedstore: Callable[..., Ran]
) -> None:
    ran = embedstore("inspect", "empty.dcm", "ct.dcm", "--encoder", "reference")
    assert ran.status == 9
    assert "CT Image Storage" in ran.out
    assert ran.err == "embedstore: empty.dcm: empty file\n"
    both = embedstore("inspect", "empty.dcm", "ct.dcm", "--encoder", "reference", "--json")
    assert both.json["failures"] == ["empty.dcm: empty file"]


def test_shades_and_blocks_follow_the_picture() -> None:
    from rich.console import Console

    pixels = np.zeros((20, 20, 1), np.uint8)
    pixels[:, 10:] = 255
    lines = list(ascii_shades(pixels, 20))
    assert lines == [" " * 10 + "@" * 10] * 10
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=60)
    console.print(half_blocks([pixels, np.repeat(255 - pixels, 3, axis=2)], 20))
    rows = console.file.getvalue().strip("\n").split("\n")
    assert len(rows) == 10
    assert all(row.count("▀") == 40 for row in rows)
    left, right = rows[0].split("  ")
    assert left.index("38;2;0;0;0") < left.index("38;2;255;255;255")
    assert right.index("38;2;255;255;255") < right.index("38;2;0;0;0")
