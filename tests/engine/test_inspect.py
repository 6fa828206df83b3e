"""Inspect against the values a file was written with, and against the reader and recipe themselves."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedstore.contracts.image import ImageInput
from embedstore.contracts.record import Asset, Cut
from embedstore.encoders.preprocess import MinMax, Normalize, Recipe, Rescale, ToRGB
from embedstore.engine.encoders import show_encoder
from embedstore.engine.inspect import InspectRequest, inspect_path, viewable
from embedstore.engine.units import unit_of, why
from embedstore.errors import NotFound, ReadFailure, UnknownPlugin, UsageError
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource
from tests.unit.readers.dicom_files import SECRET, dataset, file_bytes

REFERENCE = InspectRequest(encoder="reference")
MOST = 1000


def ramp(high: int = 4000) -> np.ndarray:
    return np.linspace(0, high, 48 * 40).reshape(48, 40).astype(np.uint16)


@pytest.fixture
def write(tmp_path):
    def to(name: str = "a.dcm", pixels: np.ndarray | None = None, **elements) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(dataset(ramp() if pixels is None else pixels, **elements)))
        return path

    return to


def look(path: Path, request: InspectRequest = REFERENCE):
    return inspect_path(str(path), request, MOST)


DISPLAYS = {
    "a window": (
        {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400},
        "rescale slope 1, intercept -1024 to Hounsfield units; window 40/400 LINEAR",
    ),
    "the first of three": (
        {"WindowCenter": [40, 300, 500], "WindowWidth": [400, 1500, 50], "VOILUTFunction": "SIGMOID"},
        "no rescale; window 40/400 SIGMOID; the first of 3 windows in the header",
    ),
    "none": ({"Modality": "MR"}, "no rescale; percentiles 0.5 to 99.5"),
    "none, inverted": (
        {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0},
        "no rescale; percentiles 0.5 to 99.5, inverted",
    ),
}


@pytest.mark.parametrize("name", DISPLAYS)
def test_the_display_rule_in_words(write, name):
    elements, words = DISPLAYS[name]
    assert look(write(**elements)).card.display == words


def test_what_the_file_is(write):
    card = look(write(RescaleSlope=1, RescaleIntercept=-1024)).card
    facts = dict(card.facts)
    assert card.format == "DICOM"
    assert facts["object"] == "CT Image Storage"
    assert facts["transfer syntax"] == "Explicit VR Little Endian"
    assert facts["photometric"] == "MONOCHROME2"
    assert facts["bits"] == "16 stored in 16, unsigned"
    assert (card.unit, card.items, card.parts) == ("image", 1, ("image",))
    assert (card.columns["patient_id"], card.columns["rows"]) == ("P-1", 48)
    assert (card.stored["low"], card.stored["high"]) == (-1024, 4000 - 1024)
    assert SECRET not in repr(card)


def test_pictures_are_those_of_reader_and_recipe(write):
    path = write(WindowCenter=2000, WindowWidth=1000)
    found = look(path)
    readers = ReaderSet.installed()
    (asset,) = (one for one in readers.describe(FileSource.of(path)) if isinstance(one, Asset))
    image = readers.read(asset)
    np.testing.assert_array_equal(found.shown, image.pixels)
    recipe = Recipe.from_json(show_encoder("reference").tower("image").preprocess)
    values = recipe.apply(ImageInput(image))
    assert found.card.recipe.input == values.shape == (1, 8, 8)
    np.testing.assert_allclose(
        found.encoded[..., 0], 255 * (values[0] - values.min()) / np.ptp(values), atol=0.51
    )


def test_a_normalisation_is_undone_for_the_eye():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    steps = Recipe((ToRGB(), Rescale(), Normalize()))
    values = ((pixels / 255 - Normalize().mean) / Normalize().std).transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(viewable(steps, values), pixels)
    flat = np.full((1, 4, 4), 3.0, np.float32)
    assert not viewable(Recipe((MinMax(),)), flat).any()


def test_frames_are_items_and_the_middle_one_is_shown(write):
    frames = np.stack([np.full((8, 6), 10 * n, np.uint8) for n in range(5)])
    path = write(pixels=frames, NumberOfFrames=5)
    found = look(path)
    assert (found.card.unit, found.card.items, found.card.part) == ("frame", 5, "frame/3")
    assert (found.shown == 20).all()
    first = look(path, InspectRequest(encoder="reference", part="frame/1"))
    assert (first.shown == 0).all()
    whole = look(path, InspectRequest(encoder="reference", cut=Cut(unit="image")))
    assert (whole.card.unit, whole.card.items) == ("image", 1)
    assert whole.card.stored["shape"] == (5, 8, 6, 1)
    assert (whole.shown == 20).all()
    with pytest.raises(NotFound, match="no part 'frame/9'; its 5 parts begin with frame/1"):
        look(path, InspectRequest(encoder="reference", part="frame/9"))


def test_remarks_of_what_to_know_before(write):
    us = look(write(Modality="US")).card.remarks
    assert any("burned into the pixels" in remark for remark in us)
    lossy = look(write(LossyImageCompression="01", LossyImageCompressionRatio=12.5)).card.remarks
    assert lossy == ("was compressed with loss (ratio 12.5)",)
    nobody = look(write(PatientID="")).card.remarks
    assert any("no patient identifier" in remark for remark in nobody)


def test_an_object_without_an_image_is_a_skip(write):
    ds = dataset(ramp(), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    del ds.PixelData
    path = write()
    path.write_bytes(file_bytes(ds))
    found = look(path)
    assert found.shown is None
    assert (found.card.items, found.card.part) == (0, None)
    assert found.card.skips == ("a DICOM object without an image: structured report (SR)",)
    assert dict(found.card.facts)["object"] == "Comprehensive SR Storage"


def test_an_encoder_that_would_refuse_says_so(write):
    found = look(write(), InspectRequest(encoder="medsam", profile="ct"))
    assert found.shown is not None
    assert found.encoded is None
    assert "Hounsfield" in found.card.recipe.refusal


def test_failures_are_reasons(write, tmp_path):
    (tmp_path / "empty.dcm").touch()
    with pytest.raises(ReadFailure, match=r"^empty file$"):
        look(tmp_path / "empty.dcm")
    with pytest.raises(NotFound, match="no such file"):
        look(tmp_path / "nowhere")
    with pytest.raises(UnknownPlugin):
        look(write(), InspectRequest(encoder="referense"))
    picture = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 90), np.uint8)).save(picture)
    picture.write_bytes(picture.read_bytes()[:3000])
    cut = look(picture)
    assert cut.shown is None
    assert cut.card.failure


def test_a_folder_by_kind(write, tmp_path):
    for n in range(3):
        write(f"box/ct{n}.dcm")
    write("box/loop.dcm", np.zeros((4, 8, 8), np.uint8), NumberOfFrames=4, Modality="US")
    Image.new("L", (9, 9)).save(tmp_path / "box" / "film.png")
    (tmp_path / "box" / "notes.txt").write_text("hello")
    (tmp_path / "box" / "empty.dcm").touch()
    card = look(tmp_path / "box")
    assert (card.files, card.items, card.complete) == (7, 8, True)
    rows = {(row.reader, row.modality, row.unit): (row.files, row.items) for row in card.kinds}
    assert rows == {
        ("dicom", "CT", "image"): (3, 3),
        ("dicom", "US", "frame"): (1, 4),
        ("raster", None, "image"): (1, 1),
    }
    assert [(row.reason, row.files) for row in card.failures] == [("empty file", 1)]
    assert [row.reason for row in card.skips] == ["not an image (plain text)"]
    few = inspect_path(str(tmp_path / "box"), REFERENCE, 2)
    assert (few.files, few.complete) == (2, False)
    with pytest.raises(UsageError, match="--part is about one file"):
        look(tmp_path / "box", InspectRequest(part="image"))


def test_archives_and_their_members(write, tmp_path):
    one, two = write("one.dcm"), write("two.dcm", Modality="MR")
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.write(one, "x/one.dcm")
        archive.write(two, "x/two.dcm")
    assert look(tmp_path / "both.zip").files == 2
    member = inspect_path(f"{tmp_path}/both.zip!/x/two.dcm", REFERENCE, MOST)
    assert member.card.columns["modality"] == "MR"
    (tmp_path / "bad.zip").write_bytes((tmp_path / "both.zip").read_bytes()[:60])
    with pytest.raises(ReadFailure, match="archive is damaged"):
        look(tmp_path / "bad.zip")


def test_units_in_words():
    assert unit_of("image") == "image"
    assert unit_of("frame/3") == "frame"
    assert unit_of("train/17") == "row"
    assert unit_of("tile/0/3/4") == "tile"
    assert unit_of("volume") == "volume"
    assert unit_of("time/3/slice/k/17") == "slice"
    assert unit_of("time/3/volume") == "volume"
    assert unit_of("image", {"whole": "w", "position_mm": 0.0}) == "slice"
    assert unit_of("frame/2", {"whole": "w", "position_mm": None}) == "frame"
    assert unit_of("frame/2", {"tile_x": 0}) == "tile"
    assert why("frame", Cut()).endswith("(the default for this kind of object)")
    assert why("frame", Cut(unit="frame", every=5)).endswith("one in 5 of them (asked for)")
    assert "no 'tile' of this kind" in why("image", Cut(unit="tile"))
    assert "224 pixels at 0.5 microns per pixel" in why("tile", Cut())


def test_every_shared_file_is_answered(shared_data):
    """No kind of file makes inspect fall over: a card, a summary or a ReadFailure."""
    for folder in ("dicom/image", "dicom/refuse_or_special", "broken", "broken/made", "nifti", "wsi"):
        for path in sorted((shared_data / folder).iterdir()):
            if path.is_file():
                with suppress(ReadFailure):
                    card = getattr(look(path), "card", None)
                    assert card is None or card.items or card.skips or card.reports


def test_a_sampled_loop_says_how_many_of_its_frames_are_taken(write):
    frames = np.zeros((40, 8, 8), np.uint8)
    path = write(pixels=frames, NumberOfFrames=40, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", FrameTime=40)
    card = look(path).card
    assert card.items == 16
    assert card.why.endswith("16 of its 40 frames, spread evenly")
    every = look(path, InspectRequest(encoder="reference", cut=Cut(unit="frame"))).card
    assert every.items == 40
    assert "spread" not in every.why
