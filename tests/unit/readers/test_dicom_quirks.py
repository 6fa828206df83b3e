"""What real writers do to tables, padding, palettes, regions and profiles; the standard's section by each."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.icc import icc_status, to_srgb
from embedstore.testing.readers import BytesSource

from .dicom_files import dataset, file_bytes, item

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def read(ds: Dataset, want="display", syntax=ExplicitVRLittleEndian):
    reader = DicomReader()
    (asset,) = reader.describe(BytesSource(file_bytes(ds, syntax)))
    return asset.header, reader.read(asset, want)


def shown(ds: Dataset) -> np.ndarray:
    return read(ds)[1].pixels[..., 0]


def table(descriptor, data, vr="US"):
    made = item()
    made[0].add_new("LUTDescriptor", "US", descriptor)
    made[0].add_new("LUTData", vr, data)
    return made


class TestTables:
    def test_a_first_value_written_unsigned_is_negative_for_signed_images(self):
        """C.11.2.1.1: the second value is of the kind of the values looked up."""
        pixels = np.arange(-128, 128, dtype=np.int16).reshape(16, 16)
        rising = table([256, 65536 - 128, 8], list(range(256)))
        assert np.array_equal(shown(dataset(pixels, VOILUTSequence=rising)).ravel(), np.arange(256))

    def test_a_large_first_value_stays_large_where_nothing_can_be_negative(self):
        """C.11.2.1.1: unsigned values that a rescale leaves as they are; pydicom and dcmtk agree."""
        pixels = RAMP + np.uint16(40000)
        rising = table([256, 40000, 8], list(range(256)))
        for rescale in ({}, {"RescaleSlope": 1, "RescaleIntercept": 0}):
            assert np.array_equal(shown(dataset(pixels, VOILUTSequence=rising, **rescale)), RAMP)

    def test_the_first_value_is_negative_where_a_rescale_reaches_below_zero(self):
        rising = table([256, 65536 - 128, 8], list(range(256)))
        ds = dataset(RAMP, VOILUTSequence=rising, RescaleSlope=1, RescaleIntercept=-128)
        assert np.array_equal(shown(ds), RAMP)

    def test_a_table_of_8_bits_packed_two_to_a_word(self):
        words = np.arange(256, dtype=np.uint8)[::-1].copy().view("<u2").tolist()
        assert np.array_equal(shown(dataset(RAMP, VOILUTSequence=table([256, 0, 8], words))), 255 - RAMP)

    def test_a_table_of_8_bits_that_declares_16(self):
        """As declared (C.11.2.1.1) every grey would be below 256 of 65,535: black."""
        falling = table([256, 0, 16], list(range(255, -1, -1)))
        assert np.array_equal(shown(dataset(RAMP, VOILUTSequence=falling)), 255 - RAMP)

    def test_a_table_that_holds_more_than_it_declares(self):
        entries = [n * 16 for n in range(256)]
        wide = table([256, 0, 8], entries)
        assert np.array_equal(
            shown(dataset(RAMP, VOILUTSequence=wide)), np.rint(np.array(entries) / 4095 * 255).reshape(16, 16)
        )

    def test_a_table_of_12_bits_is_scaled_by_its_depth(self):
        entries = [n * 8 for n in range(256)]  # uses half of its range: stays half as bright
        assert shown(dataset(RAMP, VOILUTSequence=table([256, 0, 12], entries))).max() == 127

    def test_a_frame_has_its_own_table(self):
        """Frame VOI LUT with LUT (C.7.6.16.2.10b) comes before the image's."""
        ds = dataset(RAMP, VOILUTSequence=table([256, 0, 16], [65535] * 256))
        own = item(VOILUTSequence=table([256, 0, 8], list(range(255, -1, -1))))
        ds.PerFrameFunctionalGroupsSequence = item(FrameVOILUTSequence=own)
        assert np.array_equal(shown(ds), 255 - RAMP)


class TestPadding:
    WINDOW: ClassVar = {"WindowCenter": 128, "WindowWidth": 256}

    def test_padding_is_black_after_an_inversion_too(self):
        """C.7.5.1.1.2; else the surround of a MONOCHROME1 mammogram would glare white."""
        pixels = RAMP + 10
        pixels[:, :4] = 0
        ds = dataset(pixels, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0, **self.WINDOW)
        found = shown(ds)
        assert not found[:, :4].any()
        without = dataset(pixels, PhotometricInterpretation="MONOCHROME1", **self.WINDOW)
        assert np.array_equal(found[:, 4:], shown(without)[:, 4:])

    def test_a_range_and_the_other_signedness(self):
        pixels = RAMP.astype(np.int16)
        pixels[:, :2], pixels[:, 2:4] = -2000, -1990
        ds = dataset(pixels, PhotometricInterpretation="MONOCHROME1", **self.WINDOW)
        ds.add_new("PixelPaddingValue", "US", 65536 - 2000)
        ds.add_new("PixelPaddingRangeLimit", "US", 65536 - 1980)
        assert not shown(ds)[:, :4].any()

    @pytest.mark.parametrize(("kind", "form"), [("Float", np.float32), ("DoubleFloat", np.float64)])
    def test_padding_of_floating_pixels(self, kind, form):
        """C.7.6.24 and C.7.6.25: a tenth of the frame at minus a million must not set the stretch."""
        ramp = np.linspace(0, 1, 400, dtype=form).reshape(20, 20)
        padded = ramp.copy()
        padded[:2] = -1e6
        found = {}
        for name, pixels in (("plain", ramp), ("padded", padded)):
            ds = dataset(RAMP[:20], Rows=20, Columns=20)
            del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
            ds.BitsAllocated = form().itemsize * 8
            setattr(ds, f"{kind}PixelData", pixels.tobytes())
            setattr(ds, f"{kind}PixelPaddingValue", -1e6)
            found[name] = shown(ds)
        assert not found["padded"][:2].any()
        assert len(np.unique(found["padded"])) > 100
        assert found["padded"].max() == found["plain"].max() == 255

    def test_a_value_amid_the_others_is_not_believed(self):
        ds = dataset(RAMP, PixelPaddingValue=128, **self.WINDOW)
        assert np.array_equal(shown(ds), shown(dataset(RAMP, **self.WINDOW)))


class TestWithoutAWindow:
    CT: ClassVar = {"RescaleSlope": 1, "RescaleIntercept": -100}

    @pytest.mark.parametrize(
        ("elements", "centre", "width"), [({}, 50, 400), ({"BodyPartExamined": "HEAD"}, 40, 80)]
    )
    def test_ct_has_a_named_one(self, elements, centre, width):
        values = RAMP - 100.0
        linear = np.rint(np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255)
        header, image = read(dataset(RAMP, **self.CT, **elements))
        assert np.array_equal(image.pixels[..., 0], linear)
        assert f"window {centre}/{width}" in header.extra["display"]

    def test_a_localizer_and_a_secondary_capture_have_not(self):
        for elements in (
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        ):
            header, image = read(dataset(RAMP, **self.CT, **elements))
            assert header.extra["display"] == "percentiles 0.5 to 99.5"
            assert (image.pixels.min(), image.pixels.max()) == (0, 255)

    def test_a_rescale_that_changes_nothing_does_not_stretch_8_bits(self):
        pixels = np.arange(20, 120, dtype=np.uint8).reshape(10, 10)
        ds = dataset(pixels, RescaleSlope=1, RescaleIntercept=0, SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")
        assert np.array_equal(shown(ds), pixels)


def palette(indices, data, bits=16, first=0, count=None, keyword="{}PaletteColorLookupTableData", **elements):
    ds = dataset(indices, PhotometricInterpretation="PALETTE COLOR", **elements)
    for colour, entries in zip(("Red", "Green", "Blue"), data, strict=True):
        kind = "SS" if ds.PixelRepresentation else "US"
        ds.add_new(
            f"{colour}PaletteColorLookupTableDescriptor",
            kind,
            [len(entries) if count is None else count, first, bits],
        )
        words = np.array(entries, np.uint8 if keyword.startswith("8") else "<u2")
        ds.add_new(
            keyword.removeprefix("8").format(colour), "OW", words.tobytes() + b"\0" * (words.nbytes % 2)
        )
    return ds


class TestPalettes:
    PLAIN = "8{}PaletteColorLookupTableData"
    SEGMENTED = "Segmented{}PaletteColorLookupTableData"

    def test_8_bits_in_bytes(self):
        ds = palette(
            np.array([[0, 1, 2]], np.uint8), ([1, 2, 3], [4, 5, 6], [7, 8, 9]), 8, keyword=self.PLAIN
        )
        assert read(ds)[1].pixels.tolist() == [[[1, 4, 7], [2, 5, 8], [3, 6, 9]]]

    def test_8_bits_that_declare_16(self):
        ds = palette(np.array([[0, 1]], np.uint8), ([0, 200], [0, 100], [0, 50]))
        assert read(ds)[1].pixels.tolist() == [[[0, 0, 0], [200, 100, 50]]]

    def test_indices_beyond_a_table_of_bytes(self):
        """C.7.6.3.1.5: the last entry; pydicom counts in the width of the entries and wraps around."""
        ramp = list(range(256))
        ds = palette(np.array([[255, 256, 700]], np.uint16), (ramp, ramp, ramp), 8, keyword=self.PLAIN)
        assert read(ds)[1].pixels[0, :, 0].tolist() == [255, 255, 255]

    def test_signed_indices(self):
        entries = [256 * n for n in range(4)]
        ds = palette(np.array([[-9, -2, -1, 0, 1, 2]], np.int16), (entries, entries, entries), first=-2)
        assert read(ds)[1].pixels[0, :, 0].tolist() == [0, 0, 1, 2, 3, 3]

    def test_big_endian(self):
        """Words of the other order; pydicom reads them in the order of the machine."""
        ds = palette(np.array([[0, 1]], np.uint8), ([0x0100, 0xFF00],) * 3)
        for colour in ("Red", "Green", "Blue"):
            ds[f"{colour}PaletteColorLookupTableData"].value = b"\x01\x00\xff\x00"
        assert read(ds, syntax=ExplicitVRBigEndian)[1].pixels[0, :, 0].tolist() == [1, 255]

    @given(
        start=st.integers(256, 65535),
        middle=st.integers(0, 65535),
        end=st.integers(0, 65535),
        lengths=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    )
    def test_segments_are_those_of_pydicom(self, start, middle, end, lengths):
        segments = [0, 1, start, 1, lengths[0], middle, 1, lengths[1], end]
        count = 1 + sum(lengths)
        indices = np.arange(count, dtype=np.uint16)[None]
        ds = palette(indices, (segments,) * 3, count=count, keyword=self.SEGMENTED)
        ds.file_meta = Dataset()
        found = read(ds)[1].pixels
        reread = palette(indices, (segments,) * 3, count=count, keyword=self.SEGMENTED)
        reread.set_original_encoding(False, True)
        assert np.array_equal(found, apply_color_lut(indices, reread)[..., :3] >> 8)

    def test_an_indirect_segment_counts_bytes(self):
        """C.7.9.2.3: the offset is in bytes, the segment a copy of an earlier one."""
        segments = [0, 2, 0x1000, 0x2000, 1, 2, 0x4000, 2, 1, 8, 0]  # the linear one begins at byte 8
        ds = palette(np.arange(6, dtype=np.uint8)[None], (segments,) * 3, count=6, keyword=self.SEGMENTED)
        assert read(ds)[1].pixels[0, :, 0].tolist() == [0x10, 0x20, 0x30, 0x40, 0x40, 0x40]

    @pytest.mark.parametrize(
        "segments",
        [
            [1, 5, 9],
            [0, 5, 1],
            [7, 1, 1],
            [0, 0, 0, 0],
            [0, 1, 300, 2, 1, 6, 0],
            [0, 1, 300, *([1, 65535, 0] * 9)],
            [0, 1, 300, 1, 65000, 0, *([2, 65535, 6, 0] * 90)],
        ],
    )
    def test_damaged_segments_are_a_failure_at_once(self, segments):
        ds = palette(np.zeros((2, 2), np.uint8), (segments,) * 3, count=4, keyword=self.SEGMENTED)
        with pytest.raises(ReadFailure, match="palette"):
            read(ds)


def region(kind, x0, y0, x1, y1):
    found = item(RegionSpatialFormat=kind, RegionLocationMinX0=x0, RegionLocationMinY0=y0)[0]
    found.RegionLocationMaxX1, found.RegionLocationMaxY1 = x1, y1
    return found


class TestRegions:
    PIXELS = np.random.default_rng(5).integers(0, 256, (40, 60, 3)).astype(np.uint8)

    def rendered(self, *regions, want="display"):
        ds = dataset(self.PIXELS, Modality="US")
        ds.SequenceOfUltrasoundRegions = list(regions)
        return read(ds, want)

    def test_two_pictures_side_by_side(self):
        header, image = self.rendered(
            region(1, 5, 8, 24, 29), region(1, 30, 10, 54, 35), region(3, 0, 36, 59, 39)
        )
        assert image.offset == (8, 5)
        assert np.array_equal(image.pixels, self.PIXELS[8:36, 5:55])
        assert header.extra["display"] == "colour as stored, cropped to its 2D regions"
        assert (header.rows, header.columns) == (40, 60)

    def test_raw_values_are_the_whole_frame(self):
        _, image = self.rendered(region(1, 5, 8, 24, 29), want="raw")
        assert image.offset == (0, 0)
        assert np.array_equal(image.pixels, self.PIXELS)

    @pytest.mark.parametrize(
        "regions",
        [
            [],
            [region(3, 5, 8, 24, 29)],
            [region(1, 0, 0, 60, 40)],
            [region(1, 5, 8, 6, 9)],
            [region(1, 24, 8, 5, 29)],
            [region(1, 500, 500, 600, 600)],
        ],
        ids=["none", "spectral", "all", "a speck", "reversed", "outside"],
    )
    def test_what_is_no_picture_region_crops_nothing(self, regions):
        _, image = self.rendered(*regions)
        assert np.array_equal(image.pixels, self.PIXELS)


def swapped_profile() -> bytes:
    """sRGB with the colorants of red and blue exchanged, so that the conversion is easy to see."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * 20, 12)}
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = (
        profile[blue + 4 : blue + 12],
        profile[red + 4 : red + 12],
    )
    return bytes(profile)


class TestProfiles:
    PIXELS = np.random.default_rng(6).integers(0, 256, (10, 12, 3)).astype(np.uint8)

    def test_a_profile_is_applied_and_said(self):
        header, image = read(dataset(self.PIXELS, ICCProfile=swapped_profile()))
        assert np.abs(image.pixels.astype(int) - self.PIXELS[..., ::-1]).max() <= 2
        assert header.extra["icc"] == "converted"
        assert np.array_equal(
            read(dataset(self.PIXELS, ICCProfile=swapped_profile()), "raw")[1].pixels, self.PIXELS
        )

    def test_of_a_slide_that_of_its_optical_path(self):
        path = item(ICCProfile=swapped_profile())
        header, image = read(dataset(self.PIXELS, OpticalPathSequence=path))
        assert np.abs(image.pixels.astype(int) - self.PIXELS[..., ::-1]).max() <= 2
        assert header.extra["icc"] == "converted"

    def test_srgb_changes_nothing(self):
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        header, image = read(dataset(self.PIXELS, ICCProfile=srgb))
        assert np.array_equal(image.pixels, self.PIXELS)
        assert header.extra["icc"] == "srgb"

    def test_a_broken_profile_is_ignored_and_said(self):
        good = swapped_profile()
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        for profile, words in (
            (b"no profile" * 30, "damaged"),
            (good[:400], "cut short"),
            (lab, "another colour space"),
            (good[:128] + b"\xff" * (len(good) - 128), "damaged"),
            (good + bytes(5 << 20), "larger"),
        ):
            assert words in str(icc_status(profile))
            assert np.array_equal(to_srgb(self.PIXELS, profile), self.PIXELS)
        header, image = read(dataset(self.PIXELS, ICCProfile=good[:400]))
        assert header.extra["icc"] == "ignored: the profile is cut short"
        assert np.array_equal(image.pixels, self.PIXELS)

    @given(at=st.integers(128, 500), value=st.integers(0, 255))
    def test_altered_profiles_never_fail(self, at, value):
        profile = bytearray(swapped_profile())
        profile[at % len(profile)] = value
        assert to_srgb(self.PIXELS, bytes(profile)).shape == self.PIXELS.shape

    def test_against_pillow(self):
        profile = swapped_profile()
        theirs = ImageCms.profileToProfile(
            Pillow.fromarray(self.PIXELS),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        assert np.array_equal(to_srgb(self.PIXELS, profile), np.asarray(theirs))
