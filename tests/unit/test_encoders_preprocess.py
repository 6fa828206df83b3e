"""Preprocessing steps against the libraries and formulae they stand for; recipes as data."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as PilImage

from embedstore.contracts.image import Image, ImageInput
from embedstore.encoders.preprocess import (
    CenterCrop,
    CropRoi,
    MinMax,
    Normalize,
    Pad,
    PercentileWindow,
    Recipe,
    Rescale,
    Resize,
    ToGrey,
    ToRGB,
    ToUint8,
    Window,
    ZScore,
)
from embedstore.errors import UsageError

RNG = np.random.default_rng(11)


def _display(*shape):
    return ImageInput(Image(RNG.integers(0, 256, shape, dtype=np.uint8), "display"))


def _raw(values, intensity="raw", **rest):
    pixels = np.asarray(values, dtype=np.float32)
    return ImageInput(Image(pixels, intensity), **rest)


def _apply(image, *steps):
    """(H, W, C) again, as the step left it."""
    return Recipe(steps, image.image.intensity).apply(image).transpose(1, 2, 0)


# Geometry


@pytest.mark.parametrize("shape", [(37, 91, 3), (91, 37, 1), (30, 30, 3), (500, 40, 1)])
@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resize_is_pillows_bit_for_bit(shape, name):
    image = _display(*shape)
    pixels = image.image.pixels
    source = PilImage.fromarray(pixels if shape[2] == 3 else pixels[..., 0])
    expected = np.asarray(source.resize((33, 21), PilImage.Resampling[name.upper()]))
    assert np.array_equal(
        _apply(image, Resize(size=(21, 33), interpolation=name)), expected.reshape(21, 33, -1)
    )


def test_resize_of_float_values_is_pillows_too():
    image = _raw(RNG.normal(0, 1000, (40, 50, 1)))
    expected = PilImage.fromarray(image.image.pixels[..., 0]).resize((20, 25), PilImage.Resampling.BICUBIC)
    assert np.array_equal(_apply(image, Resize(size=(25, 20)))[..., 0], np.asarray(expected))


@pytest.mark.parametrize("shape", [(37, 91, 3), (91, 37, 3), (224, 224, 3), (1, 300, 3), (501, 334, 3)])
def test_shortest_side_and_centre_crop_are_torchvisions(shape):
    transforms = pytest.importorskip("torchvision.transforms")
    bicubic = transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose(
        [transforms.Resize(64, interpolation=bicubic), transforms.CenterCrop((57, 50))]
    )
    image = _display(*shape)
    found = _apply(image, Resize(size=(64, 64), mode="shortest"), CenterCrop(size=(57, 50)))
    assert np.array_equal(found, np.asarray(theirs(PilImage.fromarray(image.image.pixels))))


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(20, 31), (90, 77)])
@pytest.mark.parametrize("border", ["mirror", "zeros"])
def test_scipy_resize_is_scikit_images(order, antialias, size, border):
    transform = pytest.importorskip("skimage.transform")
    for image in (_display(60, 50, 3), _raw(RNG.normal(40, 400, (60, 50, 1)))):
        step = Resize(
            size=size,
            interpolation="bicubic" if order == 3 else "bilinear",
            library="scipy",
            antialias=antialias,
            border=border,
        )
        pixels = image.image.pixels
        theirs = transform.resize(
            pixels.astype(np.float64),
            size,
            order=order,
            mode="constant" if border == "zeros" else "reflect",
            preserve_range=True,
            anti_aliasing=antialias,
        )
        if pixels.dtype == np.uint8:
            assert np.array_equal(_apply(image, step), theirs.astype(np.uint8))
        else:
            assert np.allclose(_apply(image, step), theirs, atol=1e-3)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 64), st.integers(1, 64))
def test_cover_covers_and_fit_fits(height, width, rows, columns):
    cover = Resize(size=(rows, columns), mode="shortest", rounding="round").target(height, width)
    fit = Resize(size=(rows, columns), mode="longest").target(height, width)
    assert cover[0] >= rows
    assert cover[1] >= columns
    assert 1 <= fit[0] <= rows
    assert 1 <= fit[1] <= columns
    assert rows in (cover[0], fit[0]) or columns in (cover[1], fit[1])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_centre_crop_is_centred_and_pads_what_is_short(height, width, rows, columns):
    pixels = np.zeros((height, width, 1), dtype=np.uint8)
    pixels[...] = 9
    for rounding in ("round", "floor"):
        step = CenterCrop(size=(rows, columns), fill=1, rounding=rounding)
        found = _apply(ImageInput(Image(pixels, "display")), step)[..., 0]
        assert found.shape == (rows, columns)
        inside = np.argwhere(found == 9)
        assert len(inside) == min(rows, height) * min(columns, width)
        low, high = inside.min(axis=0), np.array([rows, columns]) - 1 - inside.max(axis=0)
        assert np.abs(low - high).max() <= 1


def test_pad_top_left_keeps_the_image_in_its_corner():
    image = _display(3, 5, 3)
    found = _apply(image, Pad(size=(8, 6), fill=4, align="top_left"))
    assert np.array_equal(found[:3, :5], image.image.pixels)
    assert (found[3:] == 4).all()
    assert (found[:, 5:] == 4).all()


def test_crop_to_a_region_with_a_margin_stays_inside_the_image():
    image = _display(20, 30, 1)
    roi = np.zeros((20, 30), dtype=bool)
    roi[2:12, 25:29] = True
    found = _apply(ImageInput(image.image, roi=roi), CropRoi(margin=0.5))
    assert np.array_equal(found, image.image.pixels[0:17, 23:30])
    assert np.array_equal(_apply(image, CropRoi(margin=0.5)), image.image.pixels)


# Values


@given(arrays.arrays(np.uint8, (4, 5, 3)))
def test_luma_is_pillows_within_one(pixels):
    found = _apply(ImageInput(Image(pixels, "display")), ToGrey())
    expected = np.asarray(PilImage.fromarray(pixels).convert("L")).astype(int)
    assert np.abs(found[..., 0] - expected).max() <= 1


def test_window_is_linear_between_its_ends():
    found = _apply(
        _raw([[[-2000.0], [-160.0], [40.0], [240.0], [3000.0]]], "hu"), Window(center=40, width=400)
    )
    assert found.ravel().tolist() == [0, 0, 0.5, 1, 1]


def test_percentile_window_is_medsams():
    """The rule of MedSAM's pre_CT_MR.py: percentiles of non-zero pixels, clip, min-max, background kept 0."""
    values = RNG.gamma(2, 100, (64, 64, 1)).astype(np.float32)
    values[:20] = 0
    low, high = np.percentile(values[values > 0], 0.5), np.percentile(values[values > 0], 99.5)
    theirs = np.clip(values, low, high)
    theirs = (theirs - theirs.min()) / (theirs.max() - theirs.min()) * 255
    theirs[values == 0] = 0
    found = _apply(_raw(values), PercentileWindow(), ToUint8(rounding="truncate"))
    assert np.abs(found - np.uint8(theirs)).max() <= 1
    assert (found[:20] == 0).all()


def test_percentile_window_takes_the_parents_range_where_it_is_given():
    values = [[[0.0], [50.0], [100.0], [400.0]]]
    found = _apply(_raw(values, parent_range=(0.0, 200.0)), PercentileWindow())
    assert found.ravel().tolist() == [0, 0.25, 0.5, 1]
    alone = _apply(_raw(values, parent_range=(0.0, 200.0)), PercentileWindow(low=0, high=100, parent=False))
    assert alone.ravel().tolist() == [0, 0, pytest.approx(50 / 350), 1]


def test_min_max_z_score_and_normalise_are_their_formulae():
    values = RNG.normal(5, 3, (9, 8, 3)).astype(np.float32)
    assert np.allclose(_apply(_raw(values), MinMax()), (values - values.min()) / np.ptp(values), atol=1e-6)
    each = (values - values.mean((0, 1))) / values.std((0, 1))
    assert np.allclose(_apply(_raw(values), ZScore()), each, atol=1e-5)
    whole = (values - values.mean()) / values.std()
    assert np.allclose(_apply(_raw(values), ZScore(per_channel=False)), whole, atol=1e-5)
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    assert np.allclose(_apply(_raw(values), Normalize(mean=mean, std=std)), (values - mean) / std, atol=1e-5)


@pytest.mark.parametrize("step", [MinMax(), ZScore(), PercentileWindow(), PercentileWindow(nonzero=False)])
@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_gives_zeros_not_nan(step, value):
    assert not _apply(_raw(np.full((4, 4, 1), value)), step).any()


def test_repeating_grey_late_changes_nothing():
    grey = _display(50, 31, 1)
    tail = (Rescale(divisor=255), Normalize(mean=(0.5,), std=(0.25,)))
    resize = Resize(size=(24, 24))
    early, late = Recipe((ToRGB(), resize, *tail)), Recipe((resize, *tail, ToRGB()))
    assert np.array_equal(early.apply(grey), late.apply(grey))
    assert late.apply(grey).shape == (3, 24, 24)


# Recipes


EVERY_STEP = Recipe(
    (
        CropRoi(margin=0.1),
        Window(center=40, width=400),
        PercentileWindow(low=1, high=99, nonzero=False),
        ToUint8(),
        ToGrey(),
        Resize(size=(32, 48), mode="longest", library="scipy", antialias=False),
        CenterCrop(size=(32, 48), rounding="floor"),
        Pad(size=(40, 50), fill=1.5, align="top_left"),
        Rescale(divisor=2),
        MinMax(),
        ZScore(per_channel=False),
        ToRGB(),
        Normalize(),
    ),
    "hu",
)


def test_a_recipe_survives_json_and_says_what_it_does():
    again = Recipe.from_json(json.loads(json.dumps(EVERY_STEP.to_json())))
    assert again == EVERY_STEP
    words = EVERY_STEP.describe()
    assert words.startswith("hu pixels; crop to the region of interest")
    assert words.count(";") == len(EVERY_STEP.steps)
    prepared = EVERY_STEP.apply(_raw(RNG.normal(0, 500, (60, 30, 1)), "hu"))
    assert prepared.shape == (3, 40, 50)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    assert np.isfinite(prepared).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a preprocessing recipe is"),
        ({"wants": "lux", "steps": []}, "a preprocessing recipe is"),
        ({"steps": [], "more": 1}, "a preprocessing recipe is"),
        ({"steps": [{"step": "blur"}]}, "must name one of"),
        ({"steps": ["resize"]}, "must name one of"),
        ({"steps": [{"step": "resize"}]}, "needs .*size"),
        ({"steps": [{"step": "resize", "size": [1, 2, 3]}]}, "does not take size"),
        ({"steps": [{"step": "resize", "size": [8, 8], "mode": "stretch"}]}, "does not take mode"),
        ({"steps": [{"step": "resize", "size": [8, 8], "antialias": 1}]}, "does not take antialias"),
        ({"steps": [{"step": "resize", "size": [8, 8], "speed": 3}]}, "does not take speed"),
        ({"steps": [{"step": "resize", "size": [0, 8]}]}, "at least one pixel"),
        ({"steps": [{"step": "resize", "size": [8, 8], "antialias": False}]}, "always low-passes"),
        ({"steps": [{"step": "window", "center": True, "width": 400}]}, "does not take center"),
        ({"steps": [{"step": "window", "center": 40, "width": 0}]}, "above 0"),
        ({"steps": [{"step": "percentile_window", "low": 50, "high": 50}]}, "must rise"),
        ({"steps": [{"step": "normalize", "mean": [0.5], "std": [0.0]}]}, "above 0"),
    ],
)
def test_a_damaged_recipe_is_refused(data, message):
    with pytest.raises(UsageError, match=message):
        Recipe.from_json(data)


@pytest.mark.parametrize(
    ("pixels", "intensity", "message"),
    [
        (np.zeros((3, 4, 5, 1), np.uint8), "display", "3x4x5x1 cannot be encoded"),
        (np.zeros((0, 4, 1), np.uint8), "display", "cannot be encoded"),
        (np.zeros((4, 4, 4), np.uint8), "display", "1 or 3"),
        (np.zeros((4, 4), np.uint8), "display", "cannot be encoded"),
        (np.zeros((4, 4, 1), np.float32), "display", "must be uint8"),
        (np.zeros((4, 4, 1), np.float32), "raw", "wants display pixels"),
    ],
)
def test_what_cannot_be_encoded_is_refused(pixels, intensity, message):
    with pytest.raises(UsageError, match=message):
        Recipe((Rescale(),)).apply(ImageInput(Image(pixels, intensity)))


def test_hounsfield_units_serve_a_recipe_that_wants_raw_values_but_not_the_reverse():
    values = _raw(np.ones((2, 2, 1)), "hu")
    assert Recipe((), "raw").apply(values).shape == (1, 2, 2)
    with pytest.raises(UsageError, match="wants hu pixels"):
        Recipe((), "hu").apply(_raw(np.ones((2, 2, 1))))


@pytest.mark.parametrize(
    ("roi", "message"),
    [(np.zeros((4, 4), bool), "empty"), (np.ones((4, 5), bool), r"is \(4, 5\), the image is \(4, 4\)")],
)
def test_a_region_that_makes_no_sense_is_refused(roi, message):
    image = ImageInput(_display(4, 4, 1).image, roi=roi)
    with pytest.raises(UsageError, match=message):
        Recipe((CropRoi(),)).apply(image)


def test_a_mean_per_channel_needs_the_channels():
    with pytest.raises(UsageError, match="3 channel means for 1 channels"):
        Recipe((Normalize(),)).apply(_display(4, 4, 1))


def test_a_setting_that_came_later_leaves_older_fingerprints_alone():
    before = {"step": "resize", "size": [8, 8], "mode": "squash", "interpolation": "bicubic"}
    before |= {"antialias": True, "library": "scipy", "rounding": "truncate"}
    plain = Recipe((Resize(size=(8, 8), library="scipy"),))
    assert plain.to_json()["steps"] == [before]
    edged = Recipe((Resize(size=(8, 8), library="scipy", border="zeros"),))
    assert edged.to_json()["steps"] == [{**before, "border": "zeros"}]
    assert Recipe.from_json(edged.to_json()) == edged


def test_only_numpy_and_pillow_are_imported():
    code = (
        "import sys; import embedstore.encoders.reference;"
        "heavy = {'scipy', 'torch', 'sklearn', 'skimage'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
