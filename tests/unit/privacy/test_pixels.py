"""Burned-in text: what is let through, masked, or held back, and why."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from embedstore.privacy.ocr import available, legible_words
from embedstore.privacy.pixels import keep_only, pixel_verdict, plain_verdict
from embedstore.privacy.profile import Profile

REVIEWED = Profile(reviewed_pixels=True)


def header(sop: str = "2", modality: str = "CT", **more: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{sop}"
    ds.Modality, ds.Rows, ds.Columns = modality, 480, 640
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PhotometricInterpretation, ds.BitsStored = "MONOCHROME2", 12
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def ultrasound(*boxes: tuple[int, int, int, int], **more: object) -> Dataset:
    items = []
    for x0, y0, x1, y1 in boxes:
        item = Dataset()
        item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
        items.append(item)
    return header("6.1", "US", SequenceOfUltrasoundRegions=Sequence(items), **more)


@pytest.mark.parametrize(
    ("ds", "kind"),
    [
        (header(), "safe"),
        (header("4", "MR"), "safe"),
        (header("128", "PT"), "safe"),
        (header(ImageType=["DERIVED", "PRIMARY", "MPR"]), "safe"),
        (header("1.1", "DX", BurnedInAnnotation="NO"), "safe"),
        (header("1.2", "MG", BurnedInAnnotation="NO"), "safe"),
        (header(BurnedInAnnotation="YES"), "quarantine"),
        (header(RecognizableVisualFeatures="YES"), "quarantine"),
        (header(ImageType=["DERIVED", "SECONDARY", "REFORMATTED"]), "quarantine"),
        (header(ImageType=["ORIGINAL", "PRIMARY", "SCREEN SAVE"]), "quarantine"),
        (header(SeriesDescription="Dose Report"), "quarantine"),
        (header(PhotometricInterpretation="RGB"), "quarantine"),
        (header(BitsStored=8), "quarantine"),
        (header("7", "CT"), "quarantine"),
        (header("7.4", "OT", BurnedInAnnotation="NO"), "quarantine"),
        (header("1", "CR", ConversionType="DF", BurnedInAnnotation="NO"), "quarantine"),
        (header("1", "CR"), "quarantine"),
        (header("12.1", "XA"), "quarantine"),
        (header("77.1.4", "XC", BurnedInAnnotation="NO"), "quarantine"),
        (header("77.1.6", "SM", ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"]), "quarantine"),
        (Dataset(), "quarantine"),
        (ultrasound((10, 20, 100, 90)), "mask"),
        (ultrasound((10, 20, 100, 90), BurnedInAnnotation="YES"), "mask"),
        (ultrasound(), "quarantine"),
        (ultrasound((0, 0, 639, 479)), "quarantine"),
        (ultrasound((0, 0, 639, 479), BurnedInAnnotation="NO"), "mask"),
        (ultrasound((700, 20, 800, 90)), "quarantine"),
    ],
)
def test_verdicts(ds: Dataset, kind: str) -> None:
    assert pixel_verdict(ds).kind == kind


def test_regions_are_boxes_with_right_and_bottom_excluded() -> None:
    assert pixel_verdict(ultrasound((10, 20, 100, 90))).keep == ((10, 20, 101, 91),)
    assert pixel_verdict(ultrasound((10, 20, 900, 90))).keep == ((10, 20, 640, 91),)


def test_a_review_frees_what_is_unknown_only() -> None:
    assert pixel_verdict(header("1", "CR"), REVIEWED).kind == "safe"
    assert pixel_verdict(header("7", "OT"), REVIEWED).kind == "safe"
    assert pixel_verdict(header(BurnedInAnnotation="YES"), REVIEWED).kind == "quarantine"
    assert pixel_verdict(ultrasound((1, 2, 9, 9)), REVIEWED).kind == "mask"


def test_images_of_silent_formats() -> None:
    assert plain_verdict(28, 28, Profile()).kind == "safe"
    assert plain_verdict(28, 280, Profile()).kind == "quarantine"
    assert plain_verdict(None, None, Profile()).kind == "quarantine"
    assert plain_verdict(1000, 1000, REVIEWED).kind == "safe"


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 8), st.integers(1, 8), st.sampled_from([1, 3]))
def test_only_the_box_is_kept(x0: int, y0: int, width: int, height: int, channels: int) -> None:
    pixels = np.random.default_rng(x0).integers(1, 255, (2, 16, 20, channels), np.uint8)
    out = keep_only(pixels, [(x0, y0, x0 + width, y0 + height)])
    np.testing.assert_array_equal(
        out[:, y0 : y0 + height, x0 : x0 + width], pixels[:, y0 : y0 + height, x0 : x0 + width]
    )
    assert np.count_nonzero(out) == 2 * width * height * channels


def test_measured_values_are_darkened_not_zeroed() -> None:
    values = np.full((4, 4, 1), -1000, np.float32)
    values[1, 1] = -400
    assert keep_only(values, [(1, 1, 3, 3)])[0, 0, 0] == -1000


def test_a_box_outside_is_refused() -> None:
    for boxes in ([(0, 0, 9, 2)], []):
        with pytest.raises(ValueError, match="region"):
            keep_only(np.zeros((4, 4, 1)), boxes)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_tesseract_reads_names_and_passes_anatomy() -> None:
    noise = np.random.default_rng(0).normal(90, 12, (400, 600)).clip(0, 255).astype(np.uint8)
    assert legible_words(noise[..., None]) == 0
    picture = Image.fromarray(noise)
    ImageDraw.Draw(picture).text((30, 30), "QUIXOTE ALONSO 1947", fill=255, font=ImageFont.load_default(28))
    assert legible_words(np.asarray(picture)[..., None]) > 0
    assert legible_words(np.repeat(np.asarray(picture)[..., None], 3, 2)) > 0


def test_without_tesseract_there_is_no_second_look() -> None:
    assert available() == (shutil.which("tesseract") is not None)
