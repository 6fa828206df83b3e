"""Modality and VOI transforms against pydicom's, for any window, rescale and table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence

from embedstore.readers.dicom_transforms import transforms_of
from embedstore.readers.voi import Lut, Window, stretch, to_display, to_modality, to_shown, to_uint8

thousandths = st.integers(-2_000_000, 2_000_000).map(lambda n: n / 1000)


@st.composite
def images(draw, bits=(8, 10, 12, 16), signed=(False, True)):
    """A dataset without pixels, and the stored values that go with it."""
    ds = Dataset()
    ds.PhotometricInterpretation, ds.SamplesPerPixel = "MONOCHROME2", 1
    ds.BitsStored = draw(st.sampled_from(bits))
    ds.BitsAllocated = 8 if ds.BitsStored <= 8 else 16
    ds.PixelRepresentation = int(draw(st.sampled_from(signed)))
    low, high = (-(2 ** (ds.BitsStored - 1)), 2 ** (ds.BitsStored - 1) - 1)
    if not ds.PixelRepresentation:
        low, high = 0, 2**ds.BitsStored - 1
    values = draw(st.lists(st.integers(low, high), min_size=1, max_size=40))
    kind = f"{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}"
    return ds, np.array([values], dtype=kind)


def unit(pydicom_output: np.ndarray, ds: Dataset) -> np.ndarray:
    """pydicom scales to the range of the stored values (after rescale); bring it to 0..1."""
    low = -(2 ** (ds.BitsStored - 1)) if ds.PixelRepresentation else 0
    high = low + 2**ds.BitsStored - 1
    if "RescaleSlope" in ds:
        low, high = (v * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for v in (low, high))
    return (pydicom_output.astype(np.float64) - low) / (high - low)


@given(
    image=images(),
    centre=thousandths,
    width=st.integers(1_000, 4_000_000).map(lambda n: n / 1000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", None]),
    rescale=st.none() | st.tuples(st.integers(1, 5000).map(lambda n: n / 1000), thousandths),
)
def test_windows_are_those_of_pydicom(image, centre, width, function, rescale):
    ds, stored = image
    ds.WindowCenter, ds.WindowWidth = centre, width
    if function:
        ds.VOILUTFunction = function
    if rescale:
        ds.RescaleSlope, ds.RescaleIntercept = rescale
    transforms = transforms_of(ds, 0)
    ours = to_display(to_modality(stored, transforms.modality), transforms.voi)
    with np.errstate(over="ignore"):  # pydicom's sigmoid, far outside the window
        theirs = apply_windowing(apply_modality_lut(stored, ds), ds)
    # float32 modality values: a step of a narrow window can fall on either side of its edge
    close = np.abs(ours - unit(theirs, ds)) < 1e-3
    edges = np.abs(apply_modality_lut(stored, ds).astype(np.float64) - (centre - 0.5)) < 1e-3
    assert np.all(close | edges)


@given(image=images(), slope=thousandths.filter(bool), intercept=thousandths)
def test_rescale_is_that_of_pydicom(image, slope, intercept):
    ds, stored = image
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    ours = to_modality(stored, transforms_of(ds, 0).modality)
    assert ours.dtype == np.float32
    assert np.allclose(ours, apply_modality_lut(stored, ds), rtol=1e-6, atol=1e-6)


@given(
    image=images(),
    repeats=st.sampled_from([1, 5000]),
    centre=thousandths,
    width=st.integers(1_000, 4_000_000).map(lambda n: n / 1000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    rescale=st.none() | st.tuples(st.integers(1, 5000).map(lambda n: n / 1000), thousandths),
)
def test_looking_pixels_up_shows_what_transforming_each_shows(
    image, repeats, centre, width, function, rescale
):
    ds, stored = image
    stored = np.repeat(stored, repeats, axis=0)
    if rescale:
        ds.RescaleSlope, ds.RescaleIntercept = rescale
    modality, window = transforms_of(ds, 0).modality, Window(centre, width, function)
    each = to_uint8(to_display(to_modality(stored, modality), window))
    shown = to_shown(stored, modality, window)
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, each)


@st.composite
def tables(draw, first, depths=(12, 16)):
    """A LUT item: descriptor and data, whose first input value is near the stored values."""
    # pydicom keeps its place in tables of 8 bits in 8 bits as well, which is too small for 16-bit images.
    bits = draw(st.sampled_from(depths))
    count = draw(st.integers(2, 64))
    item = Dataset()
    item.LUTDescriptor = [count, draw(st.integers(*first)), bits]
    item.LUTData = draw(st.lists(st.integers(0, 2**bits - 1), min_size=count, max_size=count))
    return item


@given(image=images(signed=(False,)), table=tables(first=(0, 300), depths=(16,)))
def test_modality_tables_are_those_of_pydicom(image, table):
    ds, stored = image
    table.ModalityLUTType = "US"
    ds.ModalityLUTSequence = Sequence([table])
    ours = to_modality(stored, transforms_of(ds, 0).modality)
    assert np.array_equal(ours, apply_modality_lut(stored.astype(np.int64), ds))


@given(image=images(), table=tables(first=(-300, 300)))
def test_voi_tables_are_those_of_pydicom(image, table):
    ds, stored = image
    if not ds.PixelRepresentation:
        count, first, bits = table.LUTDescriptor
        table.LUTDescriptor = [count, abs(first), bits]
    assume(max(table.LUTData) > 255)  # else its depth is not believed: test_dicom_quirks
    ds.VOILUTSequence = Sequence([table])
    ours = to_display(to_modality(stored, None), transforms_of(ds, 0).voi)
    theirs = apply_voi_lut(stored.astype(np.int64), ds) / (2 ** table.LUTDescriptor[2] - 1)
    assert np.allclose(ours, theirs, atol=1e-6)


@given(
    st.lists(st.integers(0, 255), min_size=2, max_size=40),
    st.integers(-300, 300),
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=40),
)
def test_tables_hold_their_ends(entries, first, values):
    lut = Lut(first, np.array(entries, np.uint16), 8)
    ours = to_display(np.array(values, np.float32), lut)
    by_hand = [entries[min(max(value - first, 0), len(entries) - 1)] / 255 for value in values]
    assert np.allclose(ours, by_hand, atol=1e-6)


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(np.nan), min_size=1, max_size=50))
def test_a_stretch_stays_within_bounds_and_keeps_the_order(values):
    array = np.array([values], np.float32)
    shown = stretch(array)
    assert np.isfinite(shown).all()
    assert shown.min() >= 0
    assert shown.max() <= 1
    finite = np.isfinite(array)
    order = np.argsort(array[finite], kind="stable")
    assert np.all(np.diff(shown[finite][order]) >= 0)


@given(st.floats(0, 1, width=32))
def test_display_values_are_rounded_to_the_nearest(value):
    assert abs(int(to_uint8(np.float32([value]))[0]) - value * 255) <= 0.5 + 1e-4


@pytest.mark.parametrize("window", [Window(0, 0.5), Window(0, 0, "LINEAR_EXACT"), Window(0, -3, "SIGMOID")])
def test_windows_the_standard_does_not_define_are_refused(window):
    assert not window.usable
    with pytest.raises(ValueError, match="not defined"):
        to_display(np.zeros((1, 1), np.float32), window)
