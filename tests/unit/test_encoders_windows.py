"""Named windows, several as channels, and the field of view of a fundus photograph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.contracts.image import Image, ImageInput
from embedstore.contracts.windows import CT_WINDOWS
from embedstore.encoders.preprocess import CropFieldOfView, Recipe, Windows, ct_window
from embedstore.errors import UsageError

hounsfield = st.lists(st.integers(-3024, 3071), min_size=1, max_size=30)


def hu(values) -> ImageInput:
    return ImageInput(Image(np.array([values], np.float32)[..., None], "hu"))


@given(hounsfield, st.lists(st.sampled_from(list(CT_WINDOWS)), min_size=1, max_size=4))
def test_several_windows_are_the_channels_of_one_image(values, names):
    """Each channel is PS3.3 C.11.2.1.3.2 for its own centre and width."""
    made = Recipe((Windows.named(*names),), wants="hu").apply(hu(values))
    assert made.shape == (len(names), 1, len(values))
    for channel, name in zip(made, names, strict=True):
        centre, width = CT_WINDOWS[name]
        closed = [min(max((x - centre) / width + 0.5, 0.0), 1.0) for x in values]
        assert np.allclose(channel[0], closed, atol=1e-6)
        assert np.array_equal(Recipe((ct_window(name),), wants="hu").apply(hu(values))[0], channel)


def test_a_recipe_keeps_numbers_and_tells_names():
    recipe = Recipe((Windows.named("lung", "brain"),), wants="hu")
    assert recipe.to_json()["steps"] == [
        {"step": "windows", "centers": [-600.0, 40.0], "widths": [1500.0, 80.0]}
    ]
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert "-600/1500 (lung), 40/80 (brain)" in recipe.describe()


def test_windows_refuse_what_they_cannot_mean():
    with pytest.raises(UsageError, match="soft_tissue"):
        Windows.named("heart")  # type: ignore[arg-type]
    for centers, widths in (((), ()), ((1.0,), (0.0,)), ((1.0, 2.0), (1.0,))):
        with pytest.raises(UsageError, match="one centre and one width"):
            Windows(centers=centers, widths=widths)
    colour = ImageInput(Image(np.zeros((2, 2, 3), np.float32), "hu"))
    with pytest.raises(UsageError, match="grey"):
        Recipe((Windows.named("lung"),), wants="hu").apply(colour)


def test_a_recipe_for_suv_refuses_counts():
    recipe = Recipe((), wants="suv")
    assert Recipe.from_json(recipe.to_json()) == recipe
    grey = np.ones((2, 2, 1), np.float32)
    assert recipe.apply(ImageInput(Image(grey, "suv"))).shape == (1, 2, 2)
    with pytest.raises(UsageError, match="wants suv"):
        recipe.apply(ImageInput(Image(grey, "raw")))


def disc(height, width, row, column, radius, level):
    y, x = np.mgrid[:height, :width]
    inside = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return np.where(inside, level, 3).astype(np.uint8)[..., None] * np.array([1, 0.6, 0.3])


@given(
    row=st.integers(70, 140),
    column=st.integers(60, 240),
    radius=st.integers(30, 55),
    level=st.integers(60, 255),
)
def test_a_whole_disc_is_found_within_its_least_chord(row, column, radius, level):
    """A row counts from 2 % of its length: the box lies inside the disc's by the sagitta of such a chord."""
    picture = disc(200, 300, row, column, radius, level).astype(np.uint8)
    picture[2:8, 2:30] = 255  # an annotation in the corner
    top, bottom, left, right = CropFieldOfView().box(picture)
    missing = radius - np.sqrt(radius**2 - (0.02 * 300 / 2) ** 2) + 1
    for found, true in ((row - top, radius), (bottom - 1 - row, radius), (column - left, radius)):
        assert true - missing <= found <= true
    assert right - 1 - column <= radius


def test_a_cut_disc_is_made_whole_and_a_dark_one_is_found():
    bright = disc(200, 300, 100, 150, 120, 220).astype(np.uint8)  # the camera cuts it at top and bottom
    step, context = CropFieldOfView(), hu([0])
    square = step.apply(bright, context)
    assert square.shape[0] == square.shape[1]
    assert abs(square.shape[0] - 241) <= 2
    assert not square[:15].any()
    assert step.box(bright) == step.box(disc(200, 300, 100, 150, 120, 60).astype(np.uint8))
    assert CropFieldOfView(square=False).apply(bright, context).shape[0] == 200


def test_a_picture_without_a_dark_surround_is_left_alone():
    noise = np.random.default_rng(1).integers(100, 255, (40, 60, 3)).astype(np.uint8)
    plain = CropFieldOfView(square=False)
    assert np.array_equal(plain.apply(noise, hu([0])), noise)
    black = np.zeros((40, 60, 3), np.uint8)
    assert np.array_equal(plain.apply(black, hu([0])), black)
    speck = black.copy()
    speck[5:7, 5:8] = 255
    assert np.array_equal(plain.apply(speck, hu([0])), speck)
